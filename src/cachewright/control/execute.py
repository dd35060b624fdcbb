"""Who turns steps into effects? Host commands go to the agent, the others become transactions.

The steps of one plan are independent and run at the same time, a bounded number at once. Every
command is idempotent and has a deadline; a failure is returned, never hidden. Knowledge has an
age: whoever slept between a look and a command looks again instead of giving it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachewright.control.errands import Errands
from cachewright.control.installs import Installs
from cachewright.kit import ids
from cachewright.kit.clock import Clock
from cachewright.kit.failpoints import passing
from cachewright.kit.tasks import Supervised
from cachewright.model.arns import Arns
from cachewright.model.commands import (
    ChangeMembership,
    ClaimSlots,
    CloseSlots,
    Command,
    ForgetGroup,
    InstallBuild,
    MoveSlots,
    PlaceGroup,
    ReleaseGroup,
    ReleaseNodes,
    StartNode,
    Step,
    StopNode,
    WeighSlots,
)
from cachewright.model.errors import Terminal
from cachewright.model.groups import Endpoints, Group, GroupKind, Membership
from cachewright.model.moves import Moves
from cachewright.plan import events, placement
from cachewright.rpc.agent import Agent, CommandFailed
from cachewright.store import records
from cachewright.store.base import Conflict

#: Engines of one host that start at the same time: each keeps a core busy for some ten
#: milliseconds. Other commands cost next to nothing and wait for nobody.
STARTS_AT_ONCE = 16
#: A start waits 10 s for the engine's first answer; loading a snapshot takes longer. Seconds.
_START_DEADLINE_S = 120.0
#: A save writes about 100 MB a second at the worst; 30 GB take five minutes. Seconds.
_STOP_DEADLINE_S = 300.0
_COMMAND_DEADLINE_S = 10.0
#: A look that is older than this is no ground for a command, seconds. More than the slowest look
#: takes (a host that is silent for 5 s), less than the 15 s after which engines elect on their own.
KNOWLEDGE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A step that did not work, and why; `is_final` when trying again cannot help."""

    step: Step
    reason: str
    is_final: bool = False
    #: Nothing is wrong: it was not tried, since what it rests on is too old.
    is_stale: bool = False


class Executor:
    """Carries out steps for groups."""

    def __init__(
        self,
        *,
        agent: Agent,
        store: records.Records,
        clock: Clock,
        arns: Arns,
        pool: placement.AddressPool,
        epoch: int,
    ) -> None:
        self._agent = agent
        self._records = store
        self._clock = clock
        self._arns = arns
        self._pool = pool
        self._epoch = epoch
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._installs: Installs | None = None
        self._errands: Errands | None = None

    def begin(self, tasks: Supervised, wake: Callable[[str], None]) -> None:
        """Allow work that outlives a step, as a task of `tasks`; its end wakes who waits."""
        self._installs = Installs(self._agent, tasks, wake)
        self._errands = Errands(self._agent, tasks, wake, epoch=self._epoch)

    def moves(self, uid: str) -> Moves:
        """Return which slots of a group are on their way."""
        return self._errands.moves(uid) if self._errands is not None else Moves()

    def forget(self, uid: str) -> None:
        """A group is gone."""
        if self._errands is not None:
            self._errands.forget(uid)

    async def execute(
        self, group: Group, steps: tuple[Step, ...], *, known_at_s: float
    ) -> tuple[Failure, ...]:
        """Carry out all `steps` at the same time and return the ones that failed.

        `known_at_s` is the monotonic second at which the look began that they rest on.
        """
        outcomes = await asyncio.gather(*(self._attempt(group, s, known_at_s) for s in steps))
        return tuple(outcome for outcome in outcomes if outcome is not None)

    async def _attempt(self, group: Group, step: Step, known_at_s: float) -> Failure | None:
        deadline_s = _deadline_s(step.command)
        age_s = self._clock.monotonic_s() - known_at_s
        if age_s > KNOWLEDGE_S:
            reason = f"what it rests on is {age_s:.0f} s old"
            return Failure(step=step, reason=reason, is_stale=True)
        try:
            async with asyncio.timeout(deadline_s):
                await self._carry_out(group, step.command)
        except (CommandFailed, Conflict) as error:
            return Failure(step=step, reason=str(error))
        except Terminal as error:
            return Failure(step=step, reason=str(error), is_final=True)
        except TimeoutError:
            return Failure(step=step, reason=f"not done within {deadline_s:.0f} s")
        passing("control.after_step")
        return None

    async def _carry_out(self, group: Group, command: Command) -> None:
        match command:
            case PlaceGroup() | ForgetGroup() | ReleaseGroup() | ReleaseNodes():
                await self._change_places(group, command)
            case ChangeMembership():
                await self._change_membership(group, command)
            case InstallBuild():
                if self._installs is None:
                    raise CommandFailed("nothing is installed before the loop runs")
                self._installs.ask(command, group.spec.uid)
            case MoveSlots() | CloseSlots() | ClaimSlots() | WeighSlots():
                if self._errands is None:
                    raise CommandFailed("no slots are moved before the loop runs")
                self._errands.ask(command, group.spec.uid)
            case StartNode():
                async with self._starts:
                    await self._agent.execute(command, epoch=self._epoch)
            case _:
                await self._agent.execute(command, epoch=self._epoch)

    async def _change_places(
        self, group: Group, command: PlaceGroup | ForgetGroup | ReleaseGroup | ReleaseNodes
    ) -> None:
        match command:
            case PlaceGroup():
                await self._place(group, command)
            case ForgetGroup():
                await self._forget(group)
            case ReleaseGroup():
                await self._release(group, command)
            case ReleaseNodes():
                await self._release_nodes(group, command)

    async def _place(self, group: Group, command: PlaceGroup) -> None:
        spec = group.spec
        written = self._records.placement(spec.uid)
        before = written.value if written else None
        placed = placement.place_group(
            spec,
            before,
            pool=self._pool,
            taken=self._records.taken_addresses(),
            host=self._agent.host,
            new_engine_id=ids.new_engine_id,
            build_version=command.build_version,
        )
        known = set(records.address_keys(before)) if before else set()
        changes = records.ChangeSet()
        revision = written.mod_revision if written else 0
        changes.replace(records.PLACEMENT + spec.uid, placed, revision)
        for key in records.address_keys(placed):
            if key not in known:
                changes.create(key, spec.uid)
        await self._records.commit(changes)

    async def _forget(self, group: Group) -> None:
        spec = group.spec
        written = self._records.spec(spec.uid)
        if written is None:
            return
        changes = records.ChangeSet()
        changes.expect(records.SPEC + spec.uid, written.mod_revision)
        for prefix in records.OF_GROUP:
            changes.delete(prefix + spec.uid)
        if group.placement is not None:
            _free(changes, records.address_keys(group.placement))
        had_name = self._records.uid_of_group(spec.name) == spec.uid
        if had_name:
            changes.delete(records.GROUP_NAME + spec.name)
            changes.delete(records.TAGS + self._arns.of_group(spec.name))
        for cluster_id in _cluster_ids(group):
            if self._records.uid_of_node(cluster_id) == spec.uid:
                self._free_cluster(changes, cluster_id)
        for event in events.of_removal(group, self._clock.now(), had_name=had_name):
            changes.add_event(event, topic_arn=spec.topic_arn())
        await self._records.commit(changes)

    async def _release_nodes(self, group: Group, command: ReleaseNodes) -> None:
        """Free what nodes had that left a group which stays."""
        spec = group.spec
        written = self._records.placement(spec.uid)
        if written is None:
            return
        before = written.value
        kept = tuple(node for node in before.nodes if node.node_id not in command.node_ids)
        after = dataclasses.replace(before, nodes=kept)
        changes = records.ChangeSet()
        changes.replace(records.PLACEMENT + spec.uid, after, written.mod_revision)
        _free(changes, set(records.address_keys(before)) - set(records.address_keys(after)))
        if spec.kind is not GroupKind.MEMCACHED:
            for node_id in command.node_ids:
                self._free_cluster(changes, node_id)
        for event in events.of_leaving(group, command.node_ids, self._clock.now()):
            changes.add_event(event, topic_arn=spec.topic_arn())
        await self._records.commit(changes)

    async def _change_membership(self, group: Group, command: ChangeMembership) -> None:
        uid = group.spec.uid
        written = self._records.membership(uid)
        if written is not None and written.value.node_ids == command.node_ids:
            return
        version = written.value.version + 1 if written else 1
        changes = records.ChangeSet()
        changes.expect(records.SPEC + uid, self._spec_revision(uid))
        changes.replace(
            records.MEMBERSHIP + uid,
            Membership(version=version, node_ids=command.node_ids),
            written.mod_revision if written else 0,
        )
        await self._records.commit(changes)

    def _spec_revision(self, uid: str) -> int:
        written = self._records.spec(uid)
        return written.mod_revision if written else 0

    def _free_cluster(self, changes: records.ChangeSet, cluster_id: str) -> None:
        changes.delete(records.NODE_NAME + cluster_id)
        changes.delete(records.TAGS + self._arns.of_node(cluster_id))

    async def _release(self, group: Group, command: ReleaseGroup) -> None:
        spec = group.spec
        written = self._records.placement(spec.uid)
        if written is None:
            return
        before = written.value
        kept = tuple(n for n in before.nodes if n.node_id == command.retained_node_id)
        after = dataclasses.replace(before, nodes=kept, endpoints=Endpoints())
        changes = records.ChangeSet()
        changes.replace(records.PLACEMENT + spec.uid, after, written.mod_revision)
        _free(changes, set(records.address_keys(before)) - set(records.address_keys(after)))
        changes.delete(records.GROUP_NAME + spec.name)
        changes.delete(records.TAGS + self._arns.of_group(spec.name))
        for node in spec.nodes():
            if node.node_id != command.retained_node_id:
                self._free_cluster(changes, node.node_id)
        for event in events.of_release(group, command.retained_node_id, self._clock.now()):
            changes.add_event(event, topic_arn=spec.topic_arn())
        await self._records.commit(changes)


def _cluster_ids(group: Group) -> set[str]:
    """Return every cache cluster of a group, also those that are about to leave it."""
    ids = set(group.spec.cluster_ids())
    if group.placement is not None and group.spec.kind is not GroupKind.MEMCACHED:
        ids |= group.placement.node_ids()
    return ids


def _free(changes: records.ChangeSet, keys: Iterable[str]) -> None:
    for key in keys:
        changes.delete(key)


def _deadline_s(command: Command) -> float:
    match command:
        case StartNode():
            return _START_DEADLINE_S
        case StopNode():
            return _STOP_DEADLINE_S
        case _:
            return _COMMAND_DEADLINE_S
