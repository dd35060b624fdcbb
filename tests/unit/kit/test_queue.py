"""The queue hands out each key to one worker at a time and forgets no wish."""

from __future__ import annotations

import asyncio
import datetime

from hypothesis import given
from hypothesis import strategies as st

from cachewright.kit.clock import ManualClock, SystemClock
from cachewright.kit.queue import KeyedQueue

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_a_key_that_waits_already_comes_once() -> None:
    async def scenario() -> None:
        queue = KeyedQueue(ManualClock(START).monotonic_s)
        queue.add("a")
        queue.add("a")
        assert await queue.take() == "a"
        queue.done("a")
        assert queue.is_idle()

    asyncio.run(scenario())


def test_a_key_added_during_its_work_comes_again_and_not_at_the_same_time() -> None:
    async def scenario() -> None:
        queue = KeyedQueue(ManualClock(START).monotonic_s)
        queue.add("a")
        queue.add("b")
        assert await queue.take() == "a"
        queue.add("a")
        assert await queue.take() == "b"
        assert not queue.is_idle()
        queue.done("a")
        assert await queue.take() == "a"

    asyncio.run(scenario())


def test_the_earliest_of_two_delays_wins() -> None:
    async def scenario() -> None:
        clock = ManualClock(START)
        queue = KeyedQueue(clock.monotonic_s)
        queue.add_after("a", 10.0)
        queue.add_after("a", 1.0)
        queue.add_after("a", 5.0)
        clock.advance(1.5)
        assert await queue.take() == "a"
        queue.done("a")
        clock.advance(20.0)
        queue.add("b")
        assert await queue.take() == "b"
        queue.done("b")
        assert queue.is_idle()

    asyncio.run(scenario())


def test_waiting_ends_when_a_delay_is_over() -> None:
    async def scenario() -> None:
        queue = KeyedQueue(SystemClock().monotonic_s)
        queue.add_after("a", 0.02)
        async with asyncio.timeout(5):
            assert await queue.take() == "a"

    asyncio.run(scenario())


def test_a_forgotten_key_does_not_come() -> None:
    async def scenario() -> None:
        clock = ManualClock(START)
        queue = KeyedQueue(clock.monotonic_s)
        queue.add_after("a", 1.0)
        queue.add("b")
        queue.forget("a")
        clock.advance(2.0)
        assert await queue.take() == "b"
        queue.done("b")
        assert queue.is_idle()

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "take", "done"]))))
def test_no_wish_is_lost_and_no_key_is_taken_twice(script: list[tuple[str, str]]) -> None:
    """After every wish the key is taken at least once more; a key in work is never handed out."""

    async def scenario() -> None:
        queue = KeyedQueue(ManualClock(START).monotonic_s)
        active: set[str] = set()
        wished: set[str] = set()
        for key, action in script:
            if action == "add":
                queue.add(key)
                wished.add(key)
            elif action == "take" and wished - active:
                taken = await queue.take()
                assert taken not in active
                assert taken in wished
                active.add(taken)
                wished.discard(taken)
            elif action == "done" and key in active:
                active.discard(key)
                queue.done(key)
        for key in tuple(active):
            queue.done(key)
        left = set()
        while not queue.is_idle():
            key = await queue.take()
            left.add(key)
            queue.done(key)
        assert left == wished

    asyncio.run(scenario())
