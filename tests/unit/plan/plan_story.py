"""What do stories about planned changes need? A settled group, rounds, and changes to its spec."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from cachewright.model.commands import Step, StopNode
from cachewright.model.groups import Group, NodeSpec, RestartCause
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, GroupStatus
from cachewright.plan.group import plan_group
from cachewright.plan.plan import Plan
from cachewright.plan.restarts import is_looked_for
from tests.property.plan.groups import CREATED_AT
from tests.property.plan.world import Refused, World

#: More rounds than any story here takes.
_ROUNDS_MAX = 60


class Story:
    """A group that has settled, and what happens to it."""

    def __init__(self, group: Group, *, round_s: float = 0.1) -> None:
        self.world = World(group=group)
        self.round_s = round_s
        self.now = CREATED_AT + datetime.timedelta(seconds=1)
        self.status: GroupStatus | None = None
        self.said: list[str] = []
        self.run(lambda status: status.state is GroupState.AVAILABLE)

    def look(self) -> Plan:
        observed = self.world.observe()
        return plan_group(self.world.group, self.status, observed, now=self.now, limits=Limits())

    def wait(self, seconds: float) -> None:
        self.now += datetime.timedelta(seconds=seconds)

    def round(self, *, may_fail: bool = False) -> Plan:
        """Look, write down, and carry out; a round takes a moment."""
        plan = self.look()
        self.wait(self.round_s)
        self.status = plan.status
        self.said += [event.message for event in plan.events]
        for step in plan.steps:
            with contextlib.suppress(*([Refused] if may_fail else [])):
                self.world.execute(step.command)
        self.world.tick()
        return plan

    def run(self, until: Callable[[GroupStatus], bool]) -> None:
        for _ in range(_ROUNDS_MAX):
            self.round()
            assert self.status is not None
            if until(self.status):
                return
        raise AssertionError(f"not settled: {self.status}")

    def settle(self) -> None:
        """Run until nothing is left to do."""
        for _ in range(_ROUNDS_MAX):
            if self.round().steps or self.look().steps:
                continue
            if not self._somebody_is_looked_for():
                return
        raise AssertionError(f"not settled: {self.status}")

    def _somebody_is_looked_for(self) -> bool:
        facts = self.world.observe()
        nodes = self.status.nodes if self.status else ()
        return any(is_looked_for(n, facts.of(n.node_id), self.now) for n in nodes)

    def change(
        self, edit: Callable[[tuple[NodeSpec, ...]], tuple[NodeSpec, ...]], *, shard: int = 0
    ) -> None:
        """Change the nodes of one shard."""
        shards = list(self.world.group.spec.shards)
        shards[shard] = dataclasses.replace(shards[shard], nodes=edit(shards[shard].nodes))
        self.edit(shards=tuple(shards))

    def restart(
        self, *node_ids: str, cause: RestartCause = RestartCause.REBOOT, shard: int = 0
    ) -> None:
        self.change(
            lambda nodes: tuple(
                dataclasses.replace(n, restarts=n.restarts + 1, restart_cause=cause)
                if n.node_id in node_ids
                else n
                for n in nodes
            ),
            shard=shard,
        )

    def restart_all(self) -> None:
        """Ask every node of every shard to restart."""
        shards = tuple(
            dataclasses.replace(
                shard,
                nodes=tuple(dataclasses.replace(n, restarts=n.restarts + 1) for n in shard.nodes),
            )
            for shard in self.world.group.spec.shards
        )
        self.edit(shards=shards)

    def wish(self, node_id: str, *, automatic_failover: bool = False) -> None:
        self.edit(primary_node_id=node_id, automatic_failover=automatic_failover)

    def edit(self, **changes: Any) -> None:
        spec = dataclasses.replace(self.world.group.spec, **changes)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    def remove(self, node_id: str) -> None:
        self.change(lambda nodes: tuple(n for n in nodes if n.node_id != node_id))

    def set_parameters(self, **values: str) -> None:
        named = {name.replace("_", "-"): value for name, value in values.items()}
        self.world.group = dataclasses.replace(self.world.group, parameters=named)


def steps(plan: Plan, kind: type) -> list[Step]:
    """Return the steps of a plan with one kind of command."""
    return [step for step in plan.steps if isinstance(step.command, kind)]


def ended(plan: Plan) -> list[str]:
    """Return the nodes that a plan ends."""
    return [step.node_id or "" for step in steps(plan, StopNode)]


def runs(one: Story) -> dict[str, str]:
    """Return the version that each node was last started as."""
    return {
        node_id: engine.launched.engine_version if engine.launched else ""
        for node_id, engine in one.world.engines.items()
    }
