"""What may never happen while a group changes its version? A law beside those of `invariants`.

An older engine may not understand what a newer one sends it, and loses all that it has in a copy
of the newer one's set.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachewright.model.commands import HandOver, PromoteNode, StartNode, node_id_of
from cachewright.model.engines import version_key
from cachewright.model.facts import NodeFact, Observed
from cachewright.model.groups import Group
from cachewright.plan.evidence import answer_of, has_surely_ended, siblings_of, steps_of
from cachewright.plan.plan import Plan


def version_violations(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Yield every way in which `plan` would make somebody follow a newer primary without need."""
    for step in steps_of(plan, StartNode):
        assert step.node_id is not None
        assert isinstance(step.command, StartNode)
        own = version_key(step.command.launch.engine_version)
        for other in _living_siblings(group, observed, step.node_id):
            if own < _version(observed.of(other)):
                yield f"law 4: {step.node_id} is started beside {other}, which is newer"
    for step in steps_of(plan, HandOver):
        assert isinstance(step.command, HandOver)
        to = node_id_of(step.command.to_key)
        for other in _living_siblings(group, observed, to):
            if other != step.node_id and _version(observed.of(other)) < _version(observed.of(to)):
                yield f"law 4: {to} becomes the primary of {other}, which is older"
    for step in steps_of(plan, PromoteNode):
        assert step.node_id is not None
        for other in _living_siblings(group, observed, step.node_id):
            is_older = _version(observed.of(other)) < _version(observed.of(step.node_id))
            if is_older and _is_as_good(observed.of(other), observed.of(step.node_id)):
                yield f"law 4: {step.node_id} is promoted although {other} is older and as good"


def _living_siblings(group: Group, observed: Observed, node_id: str) -> list[str]:
    return [n for n in siblings_of(group, node_id) if not has_surely_ended(observed.of(n))]


def _is_as_good(one: NodeFact, other: NodeFact) -> bool:
    """Tell whether a node could have been promoted just as well as another one."""
    mine, its = answer_of(one), answer_of(other)
    if mine is None or its is None or mine.is_held or mine.is_loading:
        return False
    return (mine.replication_id, mine.offset) == (its.replication_id, its.offset)


def _version(fact: NodeFact) -> tuple[int, ...]:
    # Who was never started follows nobody.
    return version_key(fact.launched.engine_version) if fact.launched is not None else (1 << 16,)
