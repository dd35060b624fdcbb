"""Which commands last longer than a round, and what became of them?

Weighing and moving slots takes from milliseconds to minutes, so no worker of the loop waits for
it: the step begins it, one errand for each node at a time, and its end wakes the group. What is
remembered is lost with the process: the next one looks at the engines and asks again.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from cachewright.control.observe import AGENT_DEADLINE_S
from cachewright.kit.tasks import Supervised
from cachewright.model.commands import ClaimSlots, CloseSlots, MoveSlots, WeighSlots, node_id_of
from cachewright.model.facts import NodeFact, Unknown
from cachewright.model.moves import MoveMethod, Moves, Moving
from cachewright.model.slots import SlotRanges
from cachewright.model.status import Role
from cachewright.plan import slots
from cachewright.rpc.agent import Agent, CommandFailed, StaleEpoch

_log = logging.getLogger(__name__)

#: What is done beside the rounds.
Errand = MoveSlots | CloseSlots | ClaimSlots | WeighSlots
#: A move is bounded in size and its host ends one that makes no progress; a single slot may hold
#: some gigabytes, and a slow line moves 10 MB a second. Seconds.
_DEADLINE_S = 900.0
#: Claims in a row that fail until people are told: the first may be bad luck, as a node that ended.
CLAIMS_UNTIL_TOLD = 2
#: Between two tries to end a cut move: twice as long after each failure, for memory that has to
#: come free, but never longer than that.
_CLOSE_AGAIN_S = 0.1
_CLOSE_AGAIN_S_MAX = 10.0


@dataclass(slots=True)
class _Book:
    """What is known of one group."""

    #: By the key of the node that it is asked of.
    running: dict[str, Errand] = field(default_factory=dict)
    #: Why the last errand of a node failed, until it is asked for the next one.
    failed: dict[str, str] = field(default_factory=dict)
    #: The resharding that the failures are of.
    generation: int = 0
    failures: collections.Counter[MoveMethod] = field(default_factory=collections.Counter)
    last_failure: str = ""
    #: Claims that failed in a row, and why the last one did.
    failed_claims: int = 0
    claim_failure: str = ""
    #: The same of cut moves that could not be ended, since anything has moved; and when that is
    #: tried again at the earliest.
    failed_closings: int = 0
    close_failure: str = ""
    close_again_s: float = 0.0


class Errands:
    """The errands under way on one host."""

    def __init__(
        self, agent: Agent, tasks: Supervised, wake: Callable[[str], None], *, epoch: int
    ) -> None:
        self._agent = agent
        self._tasks = tasks
        self._wake = wake
        self._epoch = epoch
        self._books: dict[str, _Book] = {}

    def ask(self, errand: Errand, uid: str) -> None:
        """Begin an errand, unless its node is on one already.

        Raises:
            CommandFailed: the last one of this node failed; the next call begins anew.
        """
        book = self._books.setdefault(uid, _Book())
        if errand.key in book.running:
            return
        if isinstance(errand, WeighSlots | MoveSlots) and errand.generation != book.generation:
            book.generation = errand.generation
            book.failures.clear()
            book.failed.clear()
            book.last_failure = ""
            book.failed_closings = 0
            book.close_again_s = 0.0
        if isinstance(errand, CloseSlots) and _now_s() < book.close_again_s:
            raise CommandFailed(book.close_failure)
        failure = book.failed.pop(errand.key, "")
        if failure:
            raise CommandFailed(failure)
        book.running[errand.key] = errand
        self._tasks.start(f"errand-{errand.key}", lambda: self._run(errand, uid, book))

    def moves(self, uid: str) -> Moves:
        """Return what is under way of a group, and how often it has failed."""
        book = self._books.get(uid)
        if book is None:
            return Moves()
        return Moves(
            running=tuple(
                Moving(
                    from_id=node_id_of(errand.key),
                    to_id=node_id_of(errand.to_key),
                    slots=errand.slots,
                )
                for errand in book.running.values()
                if isinstance(errand, MoveSlots)
            ),
            generation=book.generation,
            failures=dict(book.failures),
            last_failure=book.last_failure,
            failed_closings=book.failed_closings,
            close_failure=book.close_failure,
            claim_failure=book.claim_failure if book.failed_claims >= CLAIMS_UNTIL_TOLD else "",
        )

    def forget(self, uid: str) -> None:
        """A group is gone; what is still under way ends with its nodes."""
        self._books.pop(uid, None)

    async def _run(self, errand: Errand, uid: str, book: _Book) -> None:
        if book.running.get(errand.key) is not errand:
            return  # it ended by an error of ours, which was logged
        try:
            failure = await self._carry_out(errand)
            if isinstance(errand, MoveSlots):
                gets_on = not failure or await self._gets_on(errand)
                _count(book, errand.method, failure, gets_on=gets_on)
            elif isinstance(errand, CloseSlots):
                book.failed_closings = book.failed_closings + 1 if failure else 0
                book.close_failure = failure
                book.close_again_s = _now_s() + _pause_s(book.failed_closings)
            elif isinstance(errand, ClaimSlots):
                book.failed_claims = book.failed_claims + 1 if failure else 0
                book.claim_failure = failure
        except StaleEpoch as error:
            failure = str(error)  # counted by nobody: another one gives the orders
        finally:
            del book.running[errand.key]
        if failure:
            book.failed[errand.key] = failure
            _log.warning(
                "event=errand_failed node=%s command=%s reason=%r",
                errand.key, type(errand).__name__, failure,
            )  # fmt: skip
        self._wake(uid)

    async def _carry_out(self, errand: Errand) -> str:
        """Do it; return why it failed, empty where it did not.

        Raises:
            StaleEpoch: another control plane gives the orders.
        """
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._agent.execute(errand, epoch=self._epoch)
        except StaleEpoch:
            raise
        except CommandFailed as error:
            return str(error)
        except TimeoutError:
            return f"not done within {_DEADLINE_S:.0f} s"
        return ""

    async def _gets_on(self, move: MoveSlots) -> bool:
        """Tell whether a move that failed has got on all the same, by the word of both."""
        try:
            async with asyncio.timeout(AGENT_DEADLINE_S):
                facts = await self._agent.observe((move.key, move.to_key))
        except TimeoutError:
            return False
        return slots.gets_on(move.slots, _owned(facts[move.key]), _owned(facts[move.to_key]))


def _pause_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    doublings = min(failures - 1, 10)  # a number that stays small
    return min(_CLOSE_AGAIN_S * 2**doublings, _CLOSE_AGAIN_S_MAX) if failures else 0.0


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _owned(fact: NodeFact) -> SlotRanges | None:
    """Return what a primary says it owns, `None` where none answers."""
    engine = fact.engine
    if isinstance(engine, Unknown) or engine.cluster is None or engine.role is not Role.PRIMARY:
        return None
    return engine.cluster.own_slots


def _count(book: _Book, method: MoveMethod, failure: str, *, gets_on: bool) -> None:
    """Count failures that got nowhere; slots are not given up while some get on."""
    book.last_failure = failure or book.last_failure
    if gets_on:
        book.failures.clear()
        book.failed_closings = 0  # there may be room now
        book.close_again_s = 0.0
    else:
        book.failures[method] += 1
