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

from cachewright.kit.tasks import Supervised
from cachewright.model.commands import ClaimSlots, CloseSlots, MoveSlots, WeighSlots, node_id_of
from cachewright.model.moves import MoveMethod, Moves, Moving
from cachewright.rpc.agent import Agent, CommandFailed

_log = logging.getLogger(__name__)

#: What is done beside the rounds.
Errand = MoveSlots | CloseSlots | ClaimSlots | WeighSlots
#: A move is bounded in size and its host ends one that makes no progress; a single slot may hold
#: some gigabytes, and a slow line moves 10 MB a second. Seconds.
_DEADLINE_S = 900.0


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
        if isinstance(errand, MoveSlots) and errand.generation != book.generation:
            book.generation = errand.generation
            book.failures.clear()
            book.failed.clear()
            book.last_failure = ""
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
            failures=dict(book.failures),
            last_failure=book.last_failure,
        )

    def forget(self, uid: str) -> None:
        """A group is gone; what is still under way ends with its nodes."""
        self._books.pop(uid, None)

    async def _run(self, errand: Errand, uid: str, book: _Book) -> None:
        if book.running.get(errand.key) is not errand:
            return  # it ended by an error of ours, which was logged
        failure = ""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._agent.execute(errand, epoch=self._epoch)
        except CommandFailed as error:
            failure = str(error)
        except TimeoutError:
            failure = f"not done within {_DEADLINE_S:.0f} s"
        finally:
            del book.running[errand.key]
        if failure:
            book.failed[errand.key] = failure
            _log.warning(
                "event=errand_failed node=%s command=%s reason=%r",
                errand.key, type(errand).__name__, failure,
            )  # fmt: skip
        if isinstance(errand, MoveSlots):
            _count(book, errand.method, failure)
        self._wake(uid)


def _count(book: _Book, method: MoveMethod, failure: str) -> None:
    if failure:
        book.failures[method] += 1
        book.last_failure = failure
    else:
        book.failures.clear()
