"""Who looks after every group, for ever? The loop: take, observe, plan, record, execute.

Nothing durable lives here: queue, back-off and silence are rebuilt from the list of groups. The
status is written before the steps are carried out, in one transaction with its events, so that
each event appears once whatever dies in between. One key is worked on by one worker at a time.
What cannot wait for a round is done beside it, by the `rescue`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from cachewright.control import rescue
from cachewright.control.execute import Executor, Failure
from cachewright.control.observe import Observer
from cachewright.kit.backoff import delay_after
from cachewright.kit.clock import Clock
from cachewright.kit.failpoints import passing
from cachewright.kit.queue import KeyedQueue
from cachewright.kit.tasks import Supervised
from cachewright.model.commands import HandOver, InstallBuild, PlaceGroup, Step
from cachewright.model.facts import Observed
from cachewright.model.groups import Group
from cachewright.model.settings import Limits
from cachewright.model.status import GroupStatus
from cachewright.plan.group import plan_group
from cachewright.plan.plan import Plan, busy_look_again_s
from cachewright.plan.shard import is_to_settle
from cachewright.plan.shutdown import plan_stop
from cachewright.store import records
from cachewright.store.base import Conflict, StoreUnavailable

_log = logging.getLogger(__name__)

#: Groups worked on at the same time; a worker mostly waits for engines.
WORKERS = 64
#: After a step that failed: the first and the longest pause, seconds. A try costs milliseconds, and
#: what stood in its way may be gone at any moment.
_RETRY_FIRST_S = 0.2
_RETRY_LAST_S = 5.0
#: While the store cannot be written, seconds: a disk that was full has room again at any moment.
_STORE_RETRY_S = 1.0
#: Failures in a row until people are told (after 1.4 s of quick ones), and until a create is given
#: up (after 16 s: a busy machine may fail a command for some seconds).
_TRIES_UNTIL_TOLD = 4
_TRIES_UNTIL_HOPELESS = 8
#: The same for what stands before every start: a build, an address.
_TRIES_BEFORE_START = 3
#: While the steps of a round last, its group is looked at so often, seconds; a large one as seldom
#: as between rounds.
_TELL_EVERY_S = 1.0
#: A rescue takes milliseconds and asks for a round itself; if it hangs, one begins all the same.
_ROUND_AFTER_RESCUE_S = 1.0
#: A look that straddles a rescue is followed by another one after this time, seconds.
_LOOK_AFTER_RESCUE_S = 0.01
#: Looks in a row that a rescue may spoil, one second at least: fifteen shards need half of it.
_LOOKS_BESIDE_RESCUE_MAX = 100
#: How often events past their retention are swept out, seconds.
_SWEEP_EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What would be done next for a group, and why."""

    group: Group
    previous: GroupStatus | None
    plan: Plan


class Controller:
    """Keeps every group as its callers want it."""

    def __init__(
        self,
        *,
        store: records.Records,
        observer: Observer,
        executor: Executor,
        clock: Clock,
        limits: Limits,
        settle: Callable[[str], Awaitable[object]],
    ) -> None:
        """`settle(uid)` makes what is wanted of a group what could be reached (law: one writer)."""
        self._records = store
        self._observer = observer
        self._executor = executor
        self._clock = clock
        self._limits = limits
        self._settle = settle
        self._queue = KeyedQueue(clock.monotonic_s)
        self._rescue = rescue.Rescue(
            store=store, observer=observer, executor=executor, clock=clock, tell=self.wake
        )
        self._failures: dict[str, int] = {}
        self._last_steps: dict[str, tuple[Step, ...]] = {}

    def wake(self, uid: str) -> None:
        """Look at a group as soon as possible."""
        self._queue.add(uid)

    def wake_for_node(self, key: str) -> None:
        """Look at the group of a node whose process has ended, or does not answer."""
        uid = key.partition(".")[0]
        self._rescue.call(uid)
        self._queue.add_after(uid, _ROUND_AFTER_RESCUE_S)

    async def look_once(self) -> None:
        """Bring every status up to what is true now, before anybody is told an old one.

        Only looks and records; what is to be done follows once the loop runs.
        """
        at_once = asyncio.Semaphore(WORKERS)

        async def look(uid: str) -> None:
            async with at_once:
                planned = await self._plan(uid)
                if planned is not None:
                    await self._record(*planned)

        await asyncio.gather(*(look(uid) for uid in self._records.uids()))

    def start(self, tasks: Supervised) -> None:
        """Begin to look after every group, until `tasks` ends."""
        self._executor.begin(tasks, self.wake)
        self._rescue.start(tasks)
        for uid in self._records.uids():
            self._queue.add(uid)
        for number in range(WORKERS):
            tasks.start(f"controller-{number}", self._work)

    async def explain(self, uid: str) -> Explanation | None:
        """Return what the next round would do for a group, without doing it."""
        planned = await self._plan(uid)
        if planned is None:
            return None
        group, written, plan = planned
        return Explanation(group=group, previous=written.value if written else None, plan=plan)

    async def round(self, uid: str) -> float | None:
        """Take one look at a group and do what is safe; return when to look again, seconds.

        `None`: there is no such group any more.
        """
        passing("control.before_observe")
        known_at_s = self._clock.monotonic_s()
        planned = await self._plan(uid)
        if planned is None:
            self._forget(uid)
            return None
        group, written, plan = planned
        self._call_rescue(group, plan.steps)  # it waits for no disk
        passing("control.before_record")
        try:
            await self._record(group, written, plan)
        except Conflict:
            return 0.0
        passing("control.after_record")
        if is_to_settle(group, plan.status):
            await self._settle(uid)
        failures = await self._execute(group, plan, known_at_s)
        return self._look_again_s(uid, plan, failures)

    async def stop_engines(self, progress: Callable[[str], None]) -> tuple[Failure, ...]:
        """Stop every engine gracefully, saving data; return what could not be stopped.

        The workers must have ended. An engine that cannot save keeps running: its data is worth
        more than a tidy process table.
        """
        failures: list[Failure] = []
        for uid in self._records.uids():
            group = self._records.group(uid)
            if group is None or group.placement is None:
                continue
            status = self._records.status(uid)
            observed = await self._observer.observe(group)
            for stage in plan_stop(group, status.value if status else None, observed):
                now_s = self._clock.monotonic_s()  # nobody else acts any more
                failed = await self._executor.execute(group, stage, known_at_s=now_s)
                failures.extend(failed)
                if failed:
                    break
            progress(group.spec.name)
        return tuple(failures)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.take()
            look_again_s: float | None = _RETRY_LAST_S
            try:
                look_again_s = await self.round(uid)
            except StoreUnavailable as error:
                _log.warning("event=round_not_recorded uid=%s reason=%r", uid, str(error))
                look_again_s = _STORE_RETRY_S
            finally:
                self._queue.done(uid)
                if look_again_s is not None:
                    self._queue.add_after(uid, look_again_s)

    async def _plan(
        self, uid: str
    ) -> tuple[Group, records.Versioned[GroupStatus] | None, Plan] | None:
        """Observe and plan; `None` when there is no such group any more.

        What is asked for and what was said of it are of one moment, however long the look takes.
        """
        group, written = self._records.group(uid), self._records.status(uid)
        if group is None:
            return None
        observed = await self._look(group)
        plan = plan_group(
            group,
            written.value if written else None,
            observed,
            now=self._clock.now(),
            limits=self._limits,
        )
        return group, written, plan

    async def _look(self, group: Group) -> Observed:
        """Look at a group; again, if a rescue came between: there may seem to be two primaries.

        A rescue that hangs keeps nobody from being told: the last look counts then.
        """
        for _ in range(_LOOKS_BESIDE_RESCUE_MAX):
            moment = self._rescue.moment(group.spec.uid)
            moves = self._executor.moves(group.spec.uid)  # before the look: what ends then is seen
            seen = await self._observer.observe(group)
            observed = msgspec.structs.replace(seen, moves=moves)
            if self._rescue.was_quiet_since(group.spec.uid, moment):
                break
            await asyncio.sleep(_LOOK_AFTER_RESCUE_S)
        return observed

    async def _record(
        self, group: Group, written: records.Versioned[GroupStatus] | None, plan: Plan
    ) -> None:
        """Write status and events, if they say anything new, against what the plan was made on."""
        if written is not None and written.value == plan.status and not plan.events:
            return
        uid = group.spec.uid
        spec = self._records.spec(uid)
        if spec is None or spec.value != group.spec:
            raise Conflict(key=records.SPEC + uid, expected=0, actual=0)
        changes = records.ChangeSet()
        changes.expect(records.SPEC + uid, spec.mod_revision)
        changes.replace(records.STATUS + uid, plan.status, written.mod_revision if written else 0)
        for event in plan.events:
            changes.add_event(event, topic_arn=group.spec.topic_arn())
            _log.info("event=recorded group=%s message=%r", group.spec.name, event.message)
        await self._records.commit(changes)

    def _call_rescue(self, group: Group, steps: tuple[Step, ...]) -> None:
        """Name the shards that need a promotion or a fence."""
        urgent = {s.node_id for s in steps if isinstance(s.command, rescue.URGENT)}
        places = group.placement.nodes if group.placement and urgent else ()
        named = [place.shard_id for place in places if place.node_id in urgent]
        if named:
            self._rescue.call(group.spec.uid, named)

    async def _execute(self, group: Group, plan: Plan, known_at_s: float) -> tuple[Failure, ...]:
        """Carry out the steps of a round but what is left to the rescue.

        A start may last for minutes: what happens beside it is told meanwhile.
        """
        steps = plan.steps
        planned = tuple(s for s in steps if isinstance(s.command, HandOver))
        others = tuple(s for s in steps if not isinstance(s.command, HandOver | rescue.URGENT))
        handing = asyncio.ensure_future(
            self._rescue.hand_over(group, planned, known_at_s=known_at_s)
        )
        work = asyncio.gather(self._executor.execute(group, others, known_at_s=known_at_s), handing)
        pause_s = max(_TELL_EVERY_S, busy_look_again_s(len(plan.status.nodes)))
        try:
            while not (await asyncio.wait({work}, timeout=pause_s))[0]:
                if handing.done():  # else there may seem to be no primary
                    await self._tell(group.spec.uid)
        finally:
            work.cancel()
            await asyncio.wait({work})
        return tuple(failure for failures in work.result() for failure in failures)

    async def _tell(self, uid: str) -> None:
        """Bring the status up to what is true now; the round that goes on does what follows."""
        planned = await self._plan(uid)
        if planned is None:
            return
        try:
            await self._record(*planned)
        except (Conflict, StoreUnavailable) as error:
            _log.warning("event=status_not_told uid=%s reason=%r", uid, str(error))

    def _look_again_s(self, uid: str, plan: Plan, failures: tuple[Failure, ...]) -> float:
        if any(failure.is_stale for failure in failures):
            return 0.0
        if failures:
            count = self._failures[uid] = self._failures.get(uid, 0) + 1
            for failure in failures:
                _log.warning(
                    "event=step_failed group=%s node=%s command=%s reason=%r",
                    uid, failure.step.node_id, type(failure.step.command).__name__, failure.reason,
                )  # fmt: skip
                self._note_obstacle(uid, failure, count)
            return delay_after(count - 1, first_s=_RETRY_FIRST_S, last_s=_RETRY_LAST_S)
        self._failures.pop(uid, None)
        self._observer.clear_obstacle(uid)
        repeats = plan.steps == self._last_steps.get(uid)
        self._last_steps[uid] = plan.steps
        if plan.steps and not repeats:
            return 0.0
        return plan.look_again_s

    def _note_obstacle(self, uid: str, failure: Failure, count: int) -> None:
        is_before_start = isinstance(failure.step.command, InstallBuild | PlaceGroup)
        tries = _TRIES_BEFORE_START if is_before_start else _TRIES_UNTIL_HOPELESS
        is_hopeless = failure.is_final or count >= tries
        if is_hopeless or count >= _TRIES_UNTIL_TOLD:
            self._observer.set_obstacle(uid, failure.reason, is_hopeless=is_hopeless)

    def _forget(self, uid: str) -> None:
        self._observer.forget(uid)
        self._executor.forget(uid)
        self._rescue.forget(uid)
        self._failures.pop(uid, None)
        self._last_steps.pop(uid, None)


async def sweep_events(store: records.Records, clock: Clock) -> float:
    """Remove events past their retention; return when to sweep again, seconds."""
    while keys := store.expired_events(clock.now()):  # each round leaves fewer
        await store.remove_events(keys)
    return _SWEEP_EVERY_S
