"""Do people learn what is wrong with the disk?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cachewright.agent import disk
from cachewright.rpc.agent import CommandFailed


def test_an_ordinary_folder_has_room(tmp_path: Path) -> None:
    disk.require_room(tmp_path, free_bytes_min=1)


def test_too_little_space_is_said_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=rf"{tmp_path} has \d+ MiB free, and 1073741824 MiB"):
        disk.require_room(tmp_path, free_bytes_min=1 << 50)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=f"{tmp_path}/gone: No such file"):
        disk.require_room(tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CommandFailed, match="permission is denied"):
        disk.require_room(tmp_path, free_bytes_min=1)


def test_a_read_only_disk_is_said() -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    folders = [Path(m[1]) for m in mounts if "ro" in m[3].split(",")]
    read_only = next((folder for folder in folders if folder.is_dir()), None)
    if read_only is None:
        pytest.skip("nothing is mounted read-only here")
    with pytest.raises(CommandFailed, match="read-only"):
        disk.require_room(read_only, free_bytes_min=0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "", "/a/b"), "/a/b: the disk is full"),
        (OSError(errno.EROFS, "", "/a"), "/a: the disk is read-only"),
        (PermissionError(errno.EACCES, "x"), "permission is denied"),
        (OSError(errno.ENOEXEC, "Exec format error", "/p"), "/p: Exec format error"),
        (OSError("odd"), "odd"),
    ],
)
def test_errors_are_explained(error: OSError, said: str) -> None:
    assert disk.explain(error) == said
