"""Files change whole or not at all, and only their owner can read them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachewright.kit import files


def test_an_atomic_write_replaces_the_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_atomic_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"one")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, b"two")
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_private_file_that_was_readable_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "engine.conf"
    path.write_text("old")
    path.chmod(0o644)
    files.write_private(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"new"


def test_a_second_process_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import pathlib, sys\n"
        "from cachewright.kit import files\n"
        "try:\n"
        "    with files.locked(pathlib.Path(sys.argv[1])): print('taken')\n"
        "except files.AlreadyLocked as error: print(error.holder)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with files.locked(path):
        held = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    free = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert held.stdout.strip() == str(os.getpid())
    assert free.stdout.strip() == "taken"


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    files.make_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
