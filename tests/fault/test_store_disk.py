"""What happens when the disk is full, or the folder cannot be written?

Real refusals of the kernel, each in a child process (store_child.py has steps and checks): a
limit on the size of files, which works for everybody, and a small file system where the machine
allows one. Reads go on, nothing half-written shows, and writing goes on once there is room.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cachewright.store.sqlite import SqliteStore

CHILD = Path(__file__).with_name("store_child.py")
#: The children need about a second.
CHILD_TIMEOUT_S = 60.0
NOBODY = 65534


def run(command: Sequence[str]) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_file_size_limit_is_survived(tmp_path: Path) -> None:
    said = run([sys.executable, str(CHILD), "starve", str(tmp_path / "s" / "store.db"), "rlimit"])
    assert said.startswith("survived")


def test_a_full_file_system_is_survived(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=1m,mode=700 tmpfs {folder}"
    private = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*private, "sh", "-c", mount], capture_output=True, timeout=CHILD_TIMEOUT_S, check=False
        ).returncode
    ):
        pytest.skip("this machine does not let us mount a small file system")
    program = f"{mount} && exec {sys.executable} {CHILD} starve {folder}/store.db filler"
    said = run([*private, "sh", "-c", program])
    assert said.startswith("survived DISK_FULL")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an unprivileged child can reach, unlike pytest's own under root."""
    path = Path(tempfile.mkdtemp(prefix="cachewright-store-"))
    yield path
    path.chmod(0o700)
    shutil.rmtree(path)


def hand_over(folder: Path) -> None:
    """Give the folder to the user the child becomes, without the right to write."""
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    folder.chmod(0o500)


def test_a_read_only_folder_is_a_clear_refusal(folder: Path) -> None:
    hand_over(folder)
    assert run([sys.executable, str(CHILD), "open", str(folder / "store.db")]) == "READ_ONLY\n"
    assert list(folder.iterdir()) == []


def test_a_store_in_a_read_only_folder_is_a_clear_refusal(folder: Path) -> None:
    async def create() -> None:
        await (await SqliteStore.open(folder / "store.db")).close()

    asyncio.run(create())
    hand_over(folder)
    before = (folder / "store.db").read_bytes()
    assert run([sys.executable, str(CHILD), "open", str(folder / "store.db")]) == "READ_ONLY\n"
    assert (folder / "store.db").read_bytes() == before
