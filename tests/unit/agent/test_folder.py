"""Does the folder of a node keep what it must, lose what it must, and stay within itself?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.agent import folder
from cachewright.agent.folder import NodeFolder, Record
from cachewright.agent.machine import State
from cachewright.model.commands import Launch, Peer
from cachewright.model.engines import EngineName
from cachewright.model.facts import ProcessIdentity
from cachewright.model.slots import SlotRange
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed

KEY = "abcd1234.store-0001-001"
LOG = "engine.log"


def make(nodes: Path, key: str = KEY) -> NodeFolder:
    made = NodeFolder(nodes, key)
    made.make()
    return made


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def full_record() -> Record:
    peer = Peer(
        engine_id="e" * 40,
        address="127.0.0.9",
        port=6379,
        role=Role.PRIMARY,
        primary_engine_id=None,
        slots=(SlotRange(0, 5), SlotRange(7, 9)),
        epoch=3,
    )
    launch = Launch(
        key=KEY,
        engine=EngineName.REDIS,
        engine_version="7.0",
        address="127.0.0.9",
        port=6379,
        maxmemory_bytes=1,
        maxclients=2,
        settings=(("a", "b"), ("c", "")),
        admin_password="secret-a",
        replication_password="secret-b",
        peers=(peer,),
        engine_id="e" * 40,
        loads_saved_data=True,
    )
    identity = ProcessIdentity(pid=1, start_ticks=2, boot_id="b")
    return Record(
        state=State.RUNNING, launch=launch, identity=identity, failed_starts=2, failure="because"
    )


def test_a_record_is_read_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    node = make(tmp_path)
    node.write(full_record())
    assert node.read() == full_record()
    assert node.path.stat().st_mode & 0o777 == 0o700
    assert (node.path / "node.json").stat().st_mode & 0o777 == 0o600
    assert names(node.path) == ["node.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"state":"flying"}', b"\xff"])
def test_a_record_that_makes_no_sense_is_unreadable(tmp_path: Path, content: bytes | None) -> None:
    node = make(tmp_path)
    if content is not None:
        (node.path / "node.json").write_bytes(content)
    assert node.read() is folder.UNREADABLE


@pytest.mark.parametrize(
    "key", ["", ".", "..", "a", "a.", ".a.b", "a/b.c", "../a.b", "a.b\n", "a.b\0", "a." + "b" * 200]
)
def test_a_key_that_could_leave_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(CommandFailed, match="no key"):
        NodeFolder(tmp_path, key)


def test_renewing_keeps_only_what_it_is_told_to(tmp_path: Path) -> None:
    node = make(tmp_path)
    node.write(full_record())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (node.path / "link").symlink_to(outside)
    (node.path / "appendonlydir").mkdir()
    for name in ("nodes.conf", "dump.rdb", "temp-7.rdb", "saved.json", "start.log"):
        (node.path / name).write_text("old")
    (node.path / LOG).write_text("said before")
    node.renew({"nodes.conf": b"new"}, keep=("dump.rdb", "saved.json"), log_name=LOG)
    left = {path.name: path.read_text() for path in node.path.iterdir() if path.suffix != ".json"}
    assert left == {
        "nodes.conf": "new",
        "dump.rdb": "old",
        "start.log": "old",
        "engine.previous.log": "said before",
    }
    assert (node.path / "saved.json").exists()
    assert node.read() == full_record()
    assert (node.path / "nodes.conf").stat().st_mode & 0o777 == 0o600
    assert (outside / "precious").exists()


def test_the_log_tail_is_short_printable_and_without_secrets(tmp_path: Path) -> None:
    node = make(tmp_path)
    assert node.log_tail(LOG, ()) == ()
    (node.path / LOG).write_bytes(b"x" * 100_000 + b"\nfirst\x1b[31m\n\n")
    (node.path / "start.log").write_bytes(b"requirepass secret-a secret-b\r\n\xff\0end")
    tail = node.log_tail(LOG, ("secret-a", "secret-b", ""))
    assert tail == ("first [31m", "requirepass *** ***", "\ufffd end")
    (node.path / LOG).write_text("".join(f"{number}\n" for number in range(100)))
    assert len(node.log_tail(LOG, ())) == folder.LOG_LINES_MAX


def test_removing_follows_no_link_and_can_be_repeated(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    node = make(tmp_path)
    (node.path / "link").symlink_to(outside)
    node.remove()
    node.remove()
    assert not node.exists()
    node.path.symlink_to(outside)
    assert not node.exists()
    with pytest.raises(NotADirectoryError):
        node.make()
    node.remove()
    assert names(tmp_path) == ["outside"]
    assert (outside / "precious").exists()


def test_a_removal_that_was_cut_short_is_ended_and_other_things_are_left_alone(
    tmp_path: Path,
) -> None:
    make(tmp_path)
    cut_short = tmp_path / f".removing.{KEY}"
    cut_short.mkdir()
    (cut_short / "node.json").touch()
    (tmp_path / "epoch").touch()
    (tmp_path / "lost+found").mkdir()
    assert [key for key, _ in folder.open_all(tmp_path)] == [KEY]
    assert names(tmp_path) == [KEY, "epoch", "lost+found"]


def test_removing_ends_an_earlier_removal_of_the_same_key(tmp_path: Path) -> None:
    (tmp_path / f".removing.{KEY}" / "deep").mkdir(parents=True)
    make(tmp_path).remove()
    assert names(tmp_path) == []
