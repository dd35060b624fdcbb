"""Is the map of a cluster in memory while its engine runs, and in one place only at any time?"""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.agent import maps, memory
from cachewright.agent.folder import NodeFolder, Record
from cachewright.agent.machine import State
from cachewright.agent.memory import MemoryFolder
from cachewright.agent.node import Node
from cachewright.kit import shared_memory
from cachewright.model.commands import Launch, Peer
from cachewright.model.engines import EngineName
from cachewright.model.facts import Unknown
from cachewright.model.status import Role

NAME = "nodes.conf"
LAUNCH = Launch(
    key="g.0001", engine=EngineName.VALKEY, engine_version="9.1", address="127.0.0.1", port=6379,
    maxmemory_bytes=1 << 20, maxclients=100, settings=(), admin_password="a",
    replication_password="b",
)  # fmt: skip
KEEPING = dataclasses.replace(LAUNCH, settings=(("appendonly", "yes"),))


@dataclasses.dataclass(frozen=True)
class Places:
    """Where one node may have its map."""

    folder: NodeFolder
    memory: MemoryFolder

    def place(self, content: bytes, launch: Launch = LAUNCH) -> Path | None:
        return maps.place(self.memory, NAME, content, launch)

    def content(self) -> bytes | None:
        return maps.content(self.folder, self.memory, NAME)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    folder = NodeFolder(nodes, "g.0001")
    folder.make()
    yield Places(folder, MemoryFolder(folder.path))
    shutil.rmtree(shared_memory.folder_of(nodes), ignore_errors=True)


def test_a_map_is_in_memory_while_its_engine_runs_and_at_home_afterwards(places: Places) -> None:
    file = places.place(b"seeded")
    assert file is not None
    assert file.is_relative_to(shared_memory.ROOT)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"changed")
    assert places.content() == b"changed"
    maps.bring_home(places.folder, places.memory, NAME)
    assert places.content() == places.folder.content(NAME) == b"changed"
    assert not places.memory.path.exists()
    maps.bring_home(places.folder, places.memory, NAME)  # there is none
    assert places.content() == b"changed"


def test_with_an_append_only_file_it_is_on_the_disk_and_nowhere_else(places: Places) -> None:
    assert places.place(b"old") is not None
    assert places.place(b"new", KEEPING) is None
    assert places.content() is None


def test_without_room_in_memory_it_is_on_the_disk_and_nowhere_else(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.place(b"old") is not None
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", 1 << 60)
    assert places.place(b"new") is None
    assert places.content() is None


def test_it_stays_with_a_process_that_cannot_be_seen(places: Places) -> None:
    """Such an engine, which runs in another container for instance, ends without its map."""
    own = Peer(
        engine_id="a" * 40, address=LAUNCH.address, port=LAUNCH.port, role=Role.PRIMARY,
        primary_engine_id=None, slots=(), epoch=1,
    )  # fmt: skip
    launch = dataclasses.replace(LAUNCH, engine_id=own.engine_id, peers=(own,))
    places.folder.write(Record(state=State.STOPPED, launch=launch))
    file = places.place(b"seeded", launch)
    assert file is not None
    node = Node(places.folder.path.parent, LAUNCH.key, lambda _: None)
    with places.folder.output.open("ab") as output:
        fcntl.flock(output, fcntl.LOCK_EX)
        node.find_process()
        assert isinstance(node.process_fact(), Unknown)
        assert file.exists()
    node.find_process()
    assert not file.exists()
    assert places.content() == b"seeded"


def test_where_the_disk_takes_nothing_it_stays_in_memory(places: Places) -> None:
    assert places.place(b"seeded") is not None
    (places.folder.path / f"{NAME}.new").mkdir()
    maps.bring_home(places.folder, places.memory, NAME)
    assert places.content() == b"seeded"
    (places.folder.path / f"{NAME}.new").rmdir()
    maps.bring_home(places.folder, places.memory, NAME)
    assert places.folder.content(NAME) == b"seeded"
