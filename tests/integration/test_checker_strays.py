"""Keys that lie where no client finds them are counted, and no others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.checker import keys, strays
from cachewright.checker.pipes import Place
from tests import service_kit as kit
from tests.integration.engine_pairs import HALF, Node, two_primaries

KEYS = keys.key_of_each_slot("strays")
_THERE = HALF + 1


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with two_primaries(tmp_path) as made:
        yield made


def place_of(node: Node) -> Place:
    return Place(node.address, kit.PORT)


def leave(node: Node, slot: int, other: Node) -> None:
    """Put a key onto a node that does not own its slot, as a move that is cut may."""
    node.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", other.node_id)
    with node.admin.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("ASKING")
        pipeline.set(KEYS[slot], "x")
        assert pipeline.execute()[-1]
    node.ask("CLUSTER", "SETSLOT", slot, "STABLE")


@pytest.mark.parametrize("asked", [0, 1])
def test_keys_of_slots_that_their_node_does_not_own_are_counted(
    pair: tuple[Node, Node], asked: int
) -> None:
    one, two = pair
    for slot in (0, 1, 8_191):
        one.ask("SET", KEYS[slot], "x")
    two.ask("SET", KEYS[_THERE], "x")
    assert strays.count(place_of(pair[asked]), timeout_s=0.0) == 0
    leave(one, _THERE, two)
    leave(one, 16_383, two)
    leave(two, 8_191, one)
    assert strays.count(place_of(pair[asked]), timeout_s=0.0) == 3


def test_what_is_on_its_way_is_not_owned_yet(pair: tuple[Node, Node]) -> None:
    """Brackets stand for a move, not for a slot that is owned."""
    one, two = pair
    two.ask("CLUSTER", "SETSLOT", 7, "IMPORTING", one.node_id)
    one.ask("CLUSTER", "SETSLOT", 7, "MIGRATING", two.node_id)
    assert strays.count(place_of(one), timeout_s=0.0) == 0
    assert strays.count(place_of(two), timeout_s=0.0) == 0


def test_what_is_being_removed_is_waited_for(pair: tuple[Node, Node]) -> None:
    one, two = pair
    leave(one, _THERE, two)
    begin_s = time.monotonic()
    removing = threading.Timer(0.5, lambda: one.ask("FLUSHALL"))
    removing.start()
    try:
        assert strays.count(place_of(one), timeout_s=kit.PATIENCE_S) == 0
    finally:
        removing.join()
    assert time.monotonic() - begin_s >= 0.5


def test_whom_nobody_can_ask_nobody_knows_about(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.process.kill()
    two.process.wait()
    assert strays.count(place_of(one), timeout_s=0.0) is None
    assert strays.count(place_of(two), timeout_s=0.0) is None


@pytest.mark.parametrize("closed", ["cluster|nodes", "cluster|countkeysinslot"])
def test_who_may_not_be_asked_is_not_taken_for_tidy(pair: tuple[Node, Node], closed: str) -> None:
    one, two = pair
    assert strays.count(place_of(one), timeout_s=0.0) == 0
    for node in (one, two):
        node.ask("ACL", "SETUSER", "default", f"-{closed}")
    assert strays.count(place_of(one), timeout_s=0.0) is None
