"""Who acts at once when a process has ended or hangs? The rescue, which alone changes roles.

It looks only where something happened, writes nothing down and waits for no round: neither a full
disk nor a long step of the loop keeps a shard without a primary. Promotions and fences are issued
here only, and never while a role changes hands as planned: a look that straddles a handover sees
two replicas and no primary. What was done is told by the next round, which sees the difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from cachewright.control.execute import Executor, Failure
from cachewright.control.observe import Observer
from cachewright.kit.backoff import delay_after
from cachewright.kit.clock import Clock
from cachewright.kit.failpoints import passing
from cachewright.kit.queue import KeyedQueue
from cachewright.kit.tasks import Supervised
from cachewright.model.commands import FenceNode, PromoteNode, Step
from cachewright.model.groups import Group
from cachewright.plan.failover import plan_failover
from cachewright.plan.shard import reshards
from cachewright.store.records import Records

_log = logging.getLogger(__name__)

#: What is issued here and nowhere else.
URGENT = PromoteNode | FenceNode
#: Groups that are rescued at the same time; each mostly waits for engines.
_WORKERS = 32
#: Steps in a row for one group until others have their turn: the 250 shards of the largest group.
_STEPS_AT_ONCE = 250
#: After a step that failed: the first and the longest pause, seconds. The world has moved on, or
#: the kernel needs a moment; each try looks anew.
_RETRY_FIRST_S = 0.02
_RETRY_LAST_S = 2.0
#: While slots move, a promotion waits so long, seconds: if it came between the claim of a slot by
#: its new owner and the moment in which the replica hears of it, both would claim it, and one in
#: two times the one that has its keys no more would win (valkey#2724). News travel in milliseconds.
_AFTER_MOVES_S = 0.05


class Rescue:
    """Finds a primary for every shard that has lost its own, as soon as that is safe."""

    def __init__(
        self,
        *,
        store: Records,
        observer: Observer,
        executor: Executor,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        """`tell(uid)` is called whenever there may be something new to be written down."""
        self._records = store
        self._observer = observer
        self._executor = executor
        self._clock = clock
        self._tell = tell
        self._queue = KeyedQueue(clock.monotonic_s)
        self._failures: dict[str, int] = {}
        #: Shards that a call has named.
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        #: Grows by one when steps for a group begin, and when they end: odd while they go on.
        self._moments: dict[str, int] = {}
        #: Held while roles of a group change, or somebody looks whether they must.
        self._roles: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def call(self, uid: str, shard_ids: Iterable[str] = ()) -> None:
        """Look at a group at once, and at these shards even if everybody answers there.

        After a handover that was cut, or an election of the engines, all of a shard may be well
        and nobody its primary.
        """
        self._named[uid] |= set(shard_ids)
        self._queue.add(uid)

    def moment(self, uid: str) -> int:
        """Return a mark of this moment, for `was_quiet_since`."""
        return self._moments.get(uid, 0)

    def was_quiet_since(self, uid: str, moment: int) -> bool:
        """Tell whether nobody was promoted or fenced since: a look is of one world only then."""
        return self.moment(uid) == moment and moment % 2 == 0

    def forget(self, uid: str) -> None:
        """A group is gone."""
        self._failures.pop(uid, None)
        self._moments.pop(uid, None)
        self._named.pop(uid, None)
        self._roles.pop(uid, None)

    async def hand_over(
        self, group: Group, steps: tuple[Step, ...], *, known_at_s: float
    ) -> tuple[Failure, ...]:
        """Carry out planned changes of primary while no rescue of the group is under way."""
        if not steps:
            return ()
        async with self._roles[group.spec.uid]:
            return await self._executor.execute(group, steps, known_at_s=known_at_s)

    def start(self, tasks: Supervised) -> None:
        """Begin to answer calls, until `tasks` ends."""
        for number in range(_WORKERS):
            tasks.start(f"rescue-{number}", self._work)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.take()
            look_again_s: float | None = _RETRY_LAST_S
            try:
                async with self._roles[uid]:
                    look_again_s = await self._rescue(uid)
            finally:
                self._queue.done(uid)
                if look_again_s is not None:
                    self._queue.add_after(uid, look_again_s)
                self._tell(uid)

    async def _rescue(self, uid: str) -> float | None:
        """Do what is urgent for a group; return when to look again, seconds, `None` for never."""
        named = self._named.pop(uid, set())
        has_waited = False
        for _ in range(_STEPS_AT_ONCE):
            group = self._records.group(uid)
            if group is None:
                break
            passing("rescue.before_look")
            known_at_s = self._clock.monotonic_s()
            observed, struck = await self._observer.glance(group, named)
            written = self._records.status(uid)
            status = written.value if written else None
            steps = plan_failover(group, observed, status, struck=struck)
            if not steps:
                break
            if not has_waited and reshards(group, status) and _promotes(steps):
                await asyncio.sleep(_AFTER_MOVES_S)
                has_waited = True
                continue
            passing("rescue.before_steps")
            self._moments[uid] = self.moment(uid) + 1
            try:
                failures = await self._executor.execute(group, steps, known_at_s=known_at_s)
            finally:
                if uid in self._moments:  # else the group is gone meanwhile
                    self._moments[uid] += 1
            passing("rescue.after_steps")
            if failures:
                count = self._failures[uid] = self._failures.get(uid, 0) + 1
                for failure in failures:
                    _log.warning(
                        "event=rescue_failed group=%s node=%s command=%s reason=%r",
                        uid, failure.step.node_id, type(failure.step.command).__name__,
                        failure.reason,
                    )  # fmt: skip
                return delay_after(count - 1, first_s=_RETRY_FIRST_S, last_s=_RETRY_LAST_S)
        else:
            return 0.0
        self._failures.pop(uid, None)
        return None


def _promotes(steps: Iterable[Step]) -> bool:
    return any(isinstance(step.command, PromoteNode) for step in steps)
