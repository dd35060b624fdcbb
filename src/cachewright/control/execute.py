"""Who turns steps into effects? Host commands go to the agent, the others become transactions.

The steps of one plan are independent and run at the same time, a bounded number at once. Every
command is idempotent and has a deadline; a failure is returned, never hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachewright.control.installs import Installs
from cachewright.kit import ids
from cachewright.kit.clock import Clock
from cachewright.kit.failpoints import passing
from cachewright.kit.tasks import Supervised
from cachewright.model.arns import Arns
from cachewright.model.commands import (
    Command,
    ForgetGroup,
    InstallBuild,
    PlaceGroup,
    ReleaseGroup,
    StartNode,
    Step,
    StopNode,
)
from cachewright.model.errors import Terminal
from cachewright.model.groups import Endpoints, Group, GroupPlacement
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A step that did not work, and why; `is_final` when trying again cannot help."""

    step: Step
    reason: str
    is_final: bool = False


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

    def begin(self, tasks: Supervised, wake: Callable[[str], None]) -> None:
        """Allow work that outlives a step, as a task of `tasks`; its end wakes who waits."""
        self._installs = Installs(self._agent, tasks, wake)

    async def execute(self, group: Group, steps: tuple[Step, ...]) -> tuple[Failure, ...]:
        """Carry out all `steps` at the same time and return the ones that failed."""
        outcomes = await asyncio.gather(*(self._attempt(group, step) for step in steps))
        return tuple(outcome for outcome in outcomes if outcome is not None)

    async def _attempt(self, group: Group, step: Step) -> Failure | None:
        deadline_s = _deadline_s(step.command)
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
            case PlaceGroup():
                await self._place(group, command)
            case ForgetGroup():
                await self._forget(group)
            case ReleaseGroup():
                await self._release(group, command)
            case InstallBuild():
                if self._installs is None:
                    raise CommandFailed("nothing is installed before the loop runs")
                self._installs.ask(command, group.spec.uid)
            case StartNode():
                async with self._starts:
                    await self._agent.execute(command, epoch=self._epoch)
            case _:
                await self._agent.execute(command, epoch=self._epoch)

    async def _place(self, group: Group, command: PlaceGroup) -> None:
        spec = group.spec
        placed = placement.place_group(
            spec,
            pool=self._pool,
            taken=self._records.taken_addresses(),
            host=self._agent.host,
            engine_ids=[ids.new_engine_id() for _ in spec.nodes()],
            build_version=command.build_version,
        )
        changes = records.ChangeSet()
        changes.create(records.PLACEMENT + spec.uid, placed)
        for key in records.address_keys(placed):
            changes.create(key, spec.uid)
        await self._records.commit(changes)

    async def _forget(self, group: Group) -> None:
        spec = group.spec
        written = self._records.spec(spec.uid)
        if written is None:
            return
        changes = records.ChangeSet()
        changes.expect(records.SPEC + spec.uid, written.mod_revision)
        for prefix in (records.SPEC, records.SECRET, records.PLACEMENT, records.STATUS):
            changes.delete(prefix + spec.uid)
        if group.placement is not None:
            _free(changes, records.address_keys(group.placement))
        had_name = self._records.uid_of_group(spec.name) == spec.uid
        if had_name:
            changes.delete(records.GROUP_NAME + spec.name)
            changes.delete(records.TAGS + self._arns.of_group(spec.name))
        for node in spec.nodes():
            if self._records.uid_of_node(node.node_id) == spec.uid:
                changes.delete(records.NODE_NAME + node.node_id)
                changes.delete(records.TAGS + self._arns.of_node(node.node_id))
        for event in events.of_removal(group, self._clock.now(), had_name=had_name):
            changes.add_event(event)
        await self._records.commit(changes)

    async def _release(self, group: Group, command: ReleaseGroup) -> None:
        spec = group.spec
        written = self._records.placement(spec.uid)
        if written is None:
            return
        before = written.value
        kept = tuple(n for n in before.nodes if n.node_id == command.retained_node_id)
        after = GroupPlacement(
            nodes=kept,
            endpoints=Endpoints(),
            build_version=before.build_version,
            shares_address=before.shares_address,
        )
        changes = records.ChangeSet()
        changes.replace(records.PLACEMENT + spec.uid, after, written.mod_revision)
        _free(changes, set(records.address_keys(before)) - set(records.address_keys(after)))
        changes.delete(records.GROUP_NAME + spec.name)
        changes.delete(records.TAGS + self._arns.of_group(spec.name))
        for node in spec.nodes():
            if node.node_id != command.retained_node_id:
                changes.delete(records.NODE_NAME + node.node_id)
                changes.delete(records.TAGS + self._arns.of_node(node.node_id))
        for event in events.of_release(group, command.retained_node_id, self._clock.now()):
            changes.add_event(event)
        await self._records.commit(changes)


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
