"""Which failures of moves count? Only those in a row that got nowhere."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.control.errands import Errands
from cachewright.kit.tasks import Supervised
from cachewright.model.commands import ClaimSlots, CloseSlots, HostCommand, MoveSlots, WeighSlots
from cachewright.model.engines import EngineName
from cachewright.model.facts import (
    ClusterFact,
    EngineFact,
    NodeFact,
    ProcessIdentity,
    Running,
    Unknown,
)
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SlotRange, ranges_of
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed, EngineOffer, StaleEpoch

GIVER, TAKER = "g.giver", "g.taker"
SLOTS = (SlotRange(0, 99),)
GENERATION = 7


@dataclass(frozen=True)
class Outcome:
    """What becomes of one order."""

    method: MoveMethod
    #: How many of the slots move.
    moved: int
    fails: bool
    #: Somebody else gives the orders.
    is_stale: bool = False
    #: Who does not answer afterwards.
    silent: frozenset[str] = frozenset()
    #: Who is a replica afterwards: it says that it owns nothing.
    replica: str = ""

    def is_seen_to_get_on(self) -> bool:
        """Tell whether it worked, or half has moved, or something before one of both ended."""
        heard = {GIVER, TAKER} - self.silent - {self.replica}
        least = 50 if len(heard) == 2 else 1
        return not self.fails or (self.moved >= least and len(heard) > 0)


class Host:
    """Two primaries, of which one gives slots to the other."""

    host = "local"

    def __init__(self) -> None:
        self.outcome = Outcome(MoveMethod.COPY, 0, fails=False)

    async def execute(self, command: HostCommand, *, epoch: int) -> None:
        if self.outcome.is_stale:
            raise StaleEpoch("the epoch is over")
        if self.outcome.fails:
            raise CommandFailed(f"it moved {self.outcome.moved}")

    async def observe(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        return {key: self.fact(key) for key in keys}

    async def glance(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        return await self.observe(keys)

    def on_exit(self, callback: Callable[[str], None]) -> None:
        """Nobody ends here."""

    def on_silence(self, callback: Callable[[str], None]) -> None:
        """Nobody is asked but by an errand."""

    def offers(self) -> tuple[EngineOffer, ...]:
        return ()

    async def install(self, engine: EngineName, api_version: str) -> EngineOffer:
        raise CommandFailed("there is nothing to be had")

    def fact(self, key: str) -> NodeFact:
        process = Running(identity=ProcessIdentity(pid=1, start_ticks=1, boot_id="b"))
        if key in self.outcome.silent:
            return NodeFact(process=process, engine=Unknown(reason="silent"))
        moved = self.outcome.moved
        own = range(moved) if key == TAKER else range(moved, 100)
        is_replica = key == self.outcome.replica
        cluster = ClusterFact(
            is_ok=True,
            slots_assigned=16384,
            known_nodes=2,
            current_epoch=1,
            own_slots=() if is_replica else ranges_of(own),
        )
        engine = EngineFact(
            version="9.1.2",
            role=Role.REPLICA if is_replica else Role.PRIMARY,
            is_held=False,
            is_loading=False,
            used_memory_bytes=0,
            bind=("127.0.0.1",),
            cluster=cluster,
        )
        return NodeFact(process=process, engine=engine)


outcomes = st.builds(
    Outcome,
    method=st.sampled_from(MoveMethod),
    moved=st.sampled_from([0, 0, 1, 49, 50, 100]),
    fails=st.booleans() | st.just(True),
    is_stale=st.sampled_from([False, False, False, True]),
    silent=st.sets(st.sampled_from([GIVER, TAKER])).map(frozenset),
    replica=st.sampled_from(["", "", GIVER, TAKER]),
)


def order(method: MoveMethod, generation: int = GENERATION) -> MoveSlots:
    return MoveSlots(
        key=GIVER,
        to_key=TAKER,
        to_engine_id="t" * 40,
        to_address="127.0.0.2",
        to_port=6379,
        slots=SLOTS,
        method=method,
        generation=generation,
    )


async def carry_out(
    errands: Errands, host: Host, outcome: Outcome, *, ended: asyncio.Event
) -> None:
    """Let a move end like this; return when that is known."""
    host.outcome = outcome
    ended.clear()
    try:
        errands.ask(order(outcome.method), "g")
    except CommandFailed:
        errands.ask(order(outcome.method), "g")  # the first call told of the failure before
    await ended.wait()


@given(st.lists(outcomes, max_size=12))
def test_only_failures_in_a_row_that_got_nowhere_count(row: list[Outcome]) -> None:
    async def run() -> None:
        host = Host()
        failures: collections.Counter[MoveMethod] = collections.Counter()
        async with Supervised() as tasks:
            ended = asyncio.Event()
            errands = Errands(host, tasks, lambda uid: ended.set(), epoch=1)
            for outcome in row:
                await carry_out(errands, host, outcome, ended=ended)
                if outcome.is_stale:
                    pass
                elif outcome.is_seen_to_get_on():
                    failures.clear()
                else:
                    failures[outcome.method] += 1
                moves = errands.moves("g")
                for method in MoveMethod:
                    assert moves.failures_of(method, GENERATION) == failures[method]
                    assert moves.failures_of(method, GENERATION + 1) == 0
                if outcome.fails and not outcome.is_stale:
                    assert moves.last_failure == f"it moved {outcome.moved}"

    asyncio.run(run())


@given(st.lists(st.booleans(), max_size=6))
def test_claims_that_fail_again_are_told_until_one_works(fails: list[bool]) -> None:
    claim = ClaimSlots(key=GIVER, slots=SLOTS, others=())

    async def run() -> None:
        host, ended = Host(), asyncio.Event()
        async with Supervised() as tasks:
            errands = Errands(host, tasks, lambda uid: ended.set(), epoch=1)
            for number, is_failure in enumerate(fails):
                host.outcome = Outcome(MoveMethod.COPY, number, fails=is_failure)
                ended.clear()
                try:
                    errands.ask(claim, "g")
                except CommandFailed:
                    errands.ask(claim, "g")  # the first call told of the failure before
                await ended.wait()
                is_again = is_failure and number > 0 and fails[number - 1]
                assert errands.moves("g").claim_failure == (
                    f"it moved {number}" if is_again else ""
                )

    asyncio.run(run())


def test_ends_of_cut_moves_that_fail_are_counted_and_tried_at_growing_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = CloseSlots(key=GIVER, slots=SLOTS, others=())
    weigh = WeighSlots(key=TAKER, generation=GENERATION)
    now_s = 0.0
    monkeypatch.setattr("cachewright.control.errands._now_s", lambda: now_s)

    async def run() -> None:
        nonlocal now_s
        host, ended = Host(), asyncio.Event()

        async def carry(errand: CloseSlots | MoveSlots | WeighSlots, *, fails: bool) -> None:
            host.outcome = Outcome(MoveMethod.COPY, 0, fails=fails)
            ended.clear()
            try:
                errands.ask(errand, "g")
            except CommandFailed:
                errands.ask(errand, "g")
            await ended.wait()

        async with Supervised() as tasks:
            errands = Errands(host, tasks, lambda uid: ended.set(), epoch=1)
            for number, pause_s in enumerate((0.1, 0.2, 0.4), 1):
                await carry(close, fails=True)
                assert errands.moves("g").failed_closings == number
                assert errands.moves("g").close_failure == "it moved 0"
                now_s += pause_s - 0.01
                for _ in range(3):
                    with pytest.raises(CommandFailed, match="it moved 0"):
                        errands.ask(close, "g")
                now_s += 0.02
            await carry(close, fails=False)
            assert errands.moves("g").failed_closings == 0
            await carry(close, fails=True)
            # What failed before does not count for another resharding.
            await carry(weigh, fails=False)
            assert errands.moves("g").failed_closings == 0
            await carry(close, fails=True)
            assert errands.moves("g").failed_closings == 1
            # Nor after slots have moved: there may be room now, and it is tried at once.
            await carry(order(MoveMethod.COPY), fails=True)
            assert errands.moves("g").failed_closings == 1
            await carry(order(MoveMethod.COPY), fails=False)
            assert errands.moves("g").failed_closings == 0
            await carry(close, fails=True)

    asyncio.run(run())
