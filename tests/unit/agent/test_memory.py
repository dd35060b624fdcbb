"""Is shared memory given only where there is room for all that was promised, and to its owner?"""

from __future__ import annotations

import os
import shutil
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.agent import memory as tested
from cachewright.agent.memory import MemoryFolder
from cachewright.kit import shared_memory

NAME = "items"
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of the nodes; what is in memory for them is removed after the test."""
    folder = tmp_path / "nodes"
    folder.mkdir()
    yield folder
    shutil.rmtree(shared_memory.folder_of(folder), ignore_errors=True)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file system in memory with room for a GiB, which nobody else uses meanwhile.

    A folder stands for it: nothing is written into its files.
    """
    root = tmp_path / "memory"
    root.mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(f"tmpfs {root.resolve()} tmpfs rw 0 0\n")
    monkeypatch.setattr(tested, "_MOUNTS", mounts)
    facts = types.SimpleNamespace(f_bavail=GIB >> 12, f_frsize=1 << 12)
    monkeypatch.setattr(os, "statvfs", lambda _: facts)
    return root


def test_a_claim_is_private_and_as_large_as_asked(nodes: Path) -> None:
    folder = MemoryFolder(nodes / "g.0001")
    assert folder.claim(NAME, 8 * MIB, keeps=False) == ""
    file = folder.path / NAME
    assert file.stat().st_size == 8 * MIB
    assert file.stat().st_blocks == 0
    for path, mode in ((file, 0o600), (folder.path, 0o700), (folder.path.parent, 0o700)):
        assert path.stat().st_mode & 0o777 == mode
    folder.remove()
    assert not folder.path.parent.exists()
    folder.remove()


def test_only_who_keeps_finds_what_was_there(nodes: Path) -> None:
    folder = MemoryFolder(nodes / "g.0001")
    folder.claim(NAME, MIB, keeps=False)
    (folder.path / NAME).write_bytes(b"x" * MIB)
    (folder.path / "more").touch()
    assert folder.claim(NAME, MIB, keeps=True) == ""
    assert (folder.path / NAME).read_bytes()[:3] == b"xxx"
    assert folder.claim(NAME, MIB, keeps=False) == ""
    assert [path.name for path in folder.path.iterdir()] == [NAME]
    assert (folder.path / NAME).read_bytes()[:3] == b"\0\0\0"


def test_room_that_was_promised_is_not_given_twice(tmp_path: Path, memory: Path) -> None:
    """Nobody has taken any yet: what counts is what all may take, of whatever service."""
    most = GIB * 2 // 3
    first = MemoryFolder(tmp_path / "one" / "g.0001", root=memory)
    second = MemoryFolder(tmp_path / "two" / "g.0001", root=memory)
    assert first.claim(NAME, most, keeps=False) == ""
    refusal = second.claim(NAME, most, keeps=False)
    assert "MiB that nobody claims" in refusal
    assert f"{most >> 20} MiB are wanted" in refusal
    assert not second.path.exists()
    # Its own claim is not in its way, and neither is one that was given back.
    assert first.claim(NAME, most, keeps=True) == ""
    first.remove()
    assert second.claim(NAME, most, keeps=False) == ""


def test_others_are_left_some(tmp_path: Path, memory: Path) -> None:
    folder = MemoryFolder(tmp_path / "nodes" / "g.0001", root=memory)
    most = GIB - tested.FREE_BYTES_MIN
    assert "are wanted" in folder.claim(NAME, most + 1, keeps=False)
    assert folder.claim(NAME, most, keeps=False) == ""


def test_a_disk_is_no_memory(nodes: Path, tmp_path: Path) -> None:
    folder = MemoryFolder(nodes / "g.0001", root=tmp_path)
    assert folder.claim(NAME, MIB, keeps=False) == f"{tmp_path} is no file system in memory"
    assert not folder.path.exists()
    nowhere = MemoryFolder(nodes / "g.0001", root=tmp_path / "nowhere")
    assert "is no file system in memory" in nowhere.claim(NAME, MIB, keeps=False)


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_not_used(nodes: Path, mode: int) -> None:
    common = shared_memory.folder_of(nodes)
    common.mkdir()
    (common / "bait").touch()
    common.chmod(mode)
    folder = MemoryFolder(nodes / "g.0001")
    assert "something else is in its place" in folder.claim(NAME, MIB, keeps=False)
    assert [path.name for path in common.iterdir()] == ["bait"]


def test_a_link_in_the_place_of_the_file_is_not_followed(nodes: Path, tmp_path: Path) -> None:
    folder = MemoryFolder(nodes / "g.0001")
    folder.claim(NAME, MIB, keeps=False)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder.path / NAME).unlink()
    (folder.path / NAME).symlink_to(victim)
    assert folder.claim(NAME, MIB, keeps=True).startswith("nothing can be kept in memory")
    assert victim.read_bytes() == b"precious"


def test_two_nodes_come_and_go_at_once(nodes: Path) -> None:
    """The one that goes removes the common folder, the one that comes needs it."""
    first, second = MemoryFolder(nodes / "g.0001"), MemoryFolder(nodes / "g.0002")
    for _ in range(50):
        assert first.claim(NAME, MIB, keeps=False) == ""
        first.remove()
        assert second.claim(NAME, MIB, keeps=False) == ""
    assert second.path.exists()
