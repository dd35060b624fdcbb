"""Pipelines follow slots that move between real engines, and nothing is sent twice without need."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hiredis
import pytest

from cachewright.checker import keys, pipes
from cachewright.checker.pipes import Command, Router
from tests import service_kit as kit
from tests.integration.engine_pairs import HALF, Node, two_primaries

_TIMEOUT_S = 10.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with two_primaries(tmp_path) as made:
        yield made


@pytest.fixture
def router(pair: tuple[Node, Node]) -> Iterator[Router]:
    with contextlib.closing(Router(pair[0].address, kit.PORT, timeout_s=_TIMEOUT_S)) as made:
        yield made


def key_of(slot: int) -> str:
    return keys.key_of_each_slot("pipes")[slot]


def add(slot: int) -> Command:
    return Command(slot, pipes.packed(("INCR", key_of(slot))))


def move(slot: int, giver: Node, taker: Node) -> None:
    """Give an empty slot away."""
    taker.ask("CLUSTER", "SETSLOT", slot, "NODE", taker.node_id)
    giver.ask("CLUSTER", "SETSLOT", slot, "NODE", taker.node_id)


def take(slot: int, taker: Node, giver: Node) -> None:
    """Take an empty slot from somebody who may write nothing down, and wait until that is known."""
    taker.ask("CLUSTER", "SETSLOT", slot, "NODE", taker.node_id)
    taker.ask("CLUSTER", "BUMPEPOCH")
    kit.wait_until(
        "the giver knows it",
        lambda: giver.ask("CLUSTER", "SLOTS"),
        is_it=lambda rows: any(
            row[0] <= slot <= row[1] and row[2][2].decode() == taker.node_id for row in rows
        ),
    )


def test_each_command_reaches_its_owner_and_answers_keep_their_order(
    pair: tuple[Node, Node], router: Router
) -> None:
    slots = [0, HALF, 1, 16_383, 0, HALF]
    assert router.request([add(slot) for slot in slots]) == [1, 1, 1, 1, 2, 2]
    assert router.owner_of(0).host == pair[0].address
    assert router.owner_of(16_383).host == pair[1].address
    assert router.redirected == 0


def test_an_error_of_an_engine_is_an_answer_like_others(router: Router) -> None:
    wrong = Command(0, pipes.packed(("LPUSH", key_of(0), "x")))
    first, second, third = router.request([add(0), wrong, add(0)])
    assert (first, third) == (1, 2)
    assert isinstance(second, hiredis.ReplyError)
    assert str(second).startswith("WRONGTYPE")


def test_a_slot_that_has_moved_is_followed_once(pair: tuple[Node, Node], router: Router) -> None:
    one, two = pair
    move(7, one, two)
    assert router.request([add(7), add(8), add(7)]) == [1, 1, 2]
    assert router.redirected == 2
    assert router.request([add(7)]) == [3]
    assert router.redirected == 2
    assert router.owner_of(7).host == two.address


def test_a_key_that_is_on_its_way_is_asked_for_at_the_other_end(
    pair: tuple[Node, Node], router: Router
) -> None:
    one, two = pair
    two.ask("CLUSTER", "SETSLOT", 7, "IMPORTING", one.node_id)
    one.ask("CLUSTER", "SETSLOT", 7, "MIGRATING", two.node_id)
    # The key is not there, so it may be at the other end already.
    assert router.request([add(7), add(HALF), add(7)]) == [1, 1, 2]
    assert two.ask("CLUSTER", "COUNTKEYSINSLOT", 7) == 1
    # It is not taken for moved.
    assert router.owner_of(7).host == one.address


def test_who_has_hung_up_is_called_again(pair: tuple[Node, Node], router: Router) -> None:
    """Nothing was on its way: nobody waits for an answer on a connection that is over."""
    assert router.request([add(7), add(HALF)]) == [1, 1]
    for node in pair:
        node.hang_up()
    assert router.request([add(7), add(HALF)]) == [2, 2]


@contextlib.contextmanager
def cut(node: Node, then: Callable[[], object]) -> Iterator[None]:
    """Let writes wait at a node, and hang up on them once they do; before that do something."""

    def hang_up() -> None:
        kit.wait_until(
            "a write waits",
            lambda: [one["flags"] for one in node.admin.client_list()],
            is_it=lambda flags: any("b" in one for one in flags),
        )
        then()
        node.hang_up()

    node.ask("CLIENT", "PAUSE", 10_000, "WRITE")
    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        node.ask("CLIENT", "UNPAUSE")


def test_who_hangs_up_and_owns_nothing_any_more_has_not_done_it(
    pair: tuple[Node, Node], router: Router
) -> None:
    one, two = pair
    with cut(one, lambda: take(7, two, one)):
        assert router.request([add(7)]) == [1]


def test_who_hangs_up_in_the_middle_leaves_it_open_what_was_done(
    pair: tuple[Node, Node], router: Router
) -> None:
    with (
        cut(pair[0], lambda: None),
        pytest.raises(pipes.Unreachable, match="hung up on 1 commands that nobody else has"),
    ):
        router.request([add(7)])
    # The next request has a connection of its own.
    assert router.request([add(7)]) == [1]


def test_a_node_that_has_ended_is_waited_for_and_then_told(
    pair: tuple[Node, Node],
) -> None:
    with contextlib.closing(Router(pair[0].address, kit.PORT, timeout_s=0.5)) as router:
        assert router.request([add(7)]) == [1]
        pair[0].process.kill()
        pair[0].process.wait()
        with pytest.raises(pipes.Unreachable):
            router.request([add(7)])


def test_nobody_to_ask_is_told_at_once() -> None:
    with pytest.raises(pipes.Unreachable, match="nobody says who owns which slot"):
        Router("127.0.0.1", 1, timeout_s=1.0)
