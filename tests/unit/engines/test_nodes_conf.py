"""What is written down about a cluster, and what is read of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewright.engines.nodes_conf import (
    NOBODY_ID,
    bus_port,
    owns_nothing,
    parse_own_slots,
    render_nodes_conf,
)
from cachewright.engines.text import UnusableLaunch
from cachewright.model.commands import Launch, Peer
from cachewright.model.engines import EngineName
from cachewright.model.slots import SlotRange
from cachewright.model.status import Role

A, B, C = "a" * 40, "b" * 40, "c" * 40
FIRST = Peer(
    engine_id=A,
    address="127.0.1.1",
    port=6379,
    role=Role.PRIMARY,
    primary_engine_id=None,
    slots=(SlotRange(0, 99), SlotRange(200, 200)),
    epoch=1,
)
FOLLOWER = Peer(
    engine_id=B,
    address="127.0.1.2",
    port=6379,
    role=Role.REPLICA,
    primary_engine_id=A,
    slots=(),
    epoch=0,
)
SECOND = replace(
    FIRST, engine_id=C, address="127.0.1.3", port=60000, slots=(SlotRange(100, 199),), epoch=2
)
LAUNCH = Launch(
    key="g.n",
    engine=EngineName.VALKEY,
    engine_version="9.1",
    address="127.0.1.2",
    port=6379,
    maxmemory_bytes=1,
    maxclients=1,
    settings=(),
    admin_password="a",
    replication_password="r",
    peers=(FIRST, FOLLOWER, SECOND),
    engine_id=B,
)


def test_a_primary_that_owns_nothing_begins_as_the_replica_of_nobody() -> None:
    empty = replace(FOLLOWER, role=Role.PRIMARY, primary_engine_id=None, epoch=3)
    launch = replace(LAUNCH, peers=(FIRST, empty, SECOND))
    assert owns_nothing(launch)
    assert render_nodes_conf(launch).decode() == (
        f"{NOBODY_ID} :0@0 master,noaddr - 0 0 0 disconnected\n"
        f"{A} 127.0.1.1:6379@16379 master - 0 0 1 disconnected 0-99 200\n"
        f"{B} 127.0.1.2:6379@16379 myself,slave {NOBODY_ID} 0 0 3 connected\n"
        f"{C} 127.0.1.3:60000@50000 master - 0 0 2 disconnected 100-199\n"
        "vars currentEpoch 3 lastVoteEpoch 0\n"
    )


def test_who_has_slots_or_data_or_a_primary_waits_as_engines_do() -> None:
    empty = replace(FOLLOWER, role=Role.PRIMARY, primary_engine_id=None, epoch=3)
    alone = replace(LAUNCH, peers=(FIRST, empty, SECOND))
    for launch in (
        LAUNCH,
        replace(LAUNCH, peers=(), engine_id=""),
        replace(alone, loads_saved_data=True),
        replace(alone, loads_append_only_file=True),
        replace(LAUNCH, address=FIRST.address, engine_id=A),
    ):
        assert not owns_nothing(launch)
        if launch.peers:
            assert NOBODY_ID.encode() not in render_nodes_conf(launch)


def test_every_node_is_written_with_itself_marked() -> None:
    assert render_nodes_conf(LAUNCH).decode() == (
        f"{A} 127.0.1.1:6379@16379 master - 0 0 1 disconnected 0-99 200\n"
        f"{B} 127.0.1.2:6379@16379 myself,slave {A} 0 0 0 connected\n"
        f"{C} 127.0.1.3:60000@50000 master - 0 0 2 disconnected 100-199\n"
        "vars currentEpoch 2 lastVoteEpoch 0\n"
    )


@pytest.mark.parametrize(
    "peers",
    [
        pytest.param((FIRST, SECOND), id="this node is missing"),
        pytest.param((FIRST, replace(FOLLOWER, port=6380), SECOND), id="this node is elsewhere"),
        pytest.param((FIRST, FOLLOWER, FIRST), id="a node twice"),
        pytest.param(
            (FIRST, FOLLOWER, replace(SECOND, address="127.0.1.1", port=6379)), id="a place twice"
        ),
        pytest.param((FIRST, FOLLOWER, replace(SECOND, epoch=1)), id="an epoch twice"),
        pytest.param((FIRST, FOLLOWER, replace(SECOND, epoch=-1)), id="no epoch"),
        pytest.param((FIRST, FOLLOWER, replace(SECOND, slots=FIRST.slots)), id="a slot twice"),
        pytest.param((FOLLOWER,), id="no primary"),
        pytest.param((FIRST, replace(FOLLOWER, primary_engine_id=B)), id="follows itself"),
        pytest.param((FIRST, replace(FOLLOWER, primary_engine_id=None)), id="follows nobody"),
        pytest.param((FIRST, replace(FOLLOWER, slots=(SlotRange(7, 7),))), id="replica with slots"),
        pytest.param((replace(FIRST, primary_engine_id=C), FOLLOWER, SECOND), id="led primary"),
        pytest.param((replace(FIRST, engine_id=f"{A}\n"), FOLLOWER), id="id with a line feed"),
        pytest.param((replace(FIRST, engine_id="A" * 40), FOLLOWER), id="id in upper case"),
        pytest.param((replace(FIRST, address="example"), FOLLOWER), id="a name as address"),
        pytest.param((replace(FIRST, port=0), FOLLOWER), id="no port"),
    ],
)
def test_what_is_no_cluster_is_refused(peers: tuple[Peer, ...]) -> None:
    with pytest.raises(UnusableLaunch):
        render_nodes_conf(replace(LAUNCH, peers=peers))


@pytest.mark.parametrize(
    ("port", "expected"), [(6379, 16379), (55535, 65535), (55536, 45536), (65535, 55535)]
)
def test_every_port_has_a_bus_port(port: int, expected: int) -> None:
    assert bus_port(port) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("0-5460", (SlotRange(0, 5460),)),
        ("0-5460 5462 5461", (SlotRange(0, 5462),)),
        ("7 9-10 [11->-" + C + "] [12-<-" + C + "]", (SlotRange(7, 7), SlotRange(9, 10))),
        ("", ()),
    ],
)
def test_own_slots_are_read_from_the_own_line(own: str, expected: tuple[SlotRange, ...]) -> None:
    """Lines as Valkey 9.1 sends them, own one first, in the middle, last."""
    mine = f"{A} 127.0.1.1:6379@16379,, myself,master - 0 0 1 connected {own}".rstrip()
    others = [
        f"{B} 127.0.1.2:6379@16379,myself.example slave {A} 0 1795444782000 1 connected",
        f"{C} 127.0.1.3:6379@16379 master - 0 1795444782000 2 connected 6000-16383",
    ]
    for position in range(3):
        lines = [*others[:position], mine, *others[position:]]
        for end in ("\n", ""):
            assert parse_own_slots(("\n".join(lines) + end).encode()) == expected


def test_a_reply_without_an_own_line_has_no_slots() -> None:
    assert parse_own_slots(b"") == ()
    assert parse_own_slots(f"{C} 127.0.1.3:1@2 master - 0 0 2 connected 0-9\n".encode()) == ()


def test_a_range_that_an_engine_names_twice_counts_once() -> None:
    """Valkey 8.1.1 answers like this after a client asked for CLUSTER SHARDS."""
    line = b"%s 127.1.2.3:6379@16379 myself,master - 0 0 1 connected 0-99 0-99\n" % (b"a" * 40)
    assert parse_own_slots(line) == (SlotRange(0, 99),)
