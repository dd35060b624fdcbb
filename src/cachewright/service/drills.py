"""May the primary of a shard be ended on purpose, to see what its clients notice? A fire drill.

Says whether and which node, and writes it down as an event; who ends the process is the caller's
hook. Unlike a test of failover this is a real loss of a primary: what no replica has is gone.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cachewright.model.errors import invalid_combination
from cachewright.model.groups import GroupKind, ShardSpec
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.service import events, rules, views
from cachewright.service.context import Decision, Service, change
from cachewright.store.records import SPEC, STATUS, ChangeSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Drill:
    """A drill that was accepted: this primary is to be ended now."""

    uid: str
    group_name: str
    shard_id: str
    node_id: str
    at: datetime.datetime


async def begin(
    service: Service, group_name: str, *, shard_id: str | None, accepts_loss: bool
) -> Drill:
    """Accept a drill on a shard, the first one if none is named.

    Args:
        service: what use cases need.
        group_name: the id of a replication group.
        shard_id: which of its shards, `None` for the first.
        accepts_loss: go on where no replica could take over, although the data is lost then.
    """

    def decide() -> Decision[Drill]:
        group = views.find_any(service.records, group_name)
        spec = group.spec
        if spec.kind is not GroupKind.REPLICATION_GROUP:
            raise invalid_combination(
                f"{spec.name} is not a replication group: nothing fails over."
            )
        shard = spec.shards[0] if shard_id is None else rules.shard_of(spec, shard_id)
        primary = _primary_to_end(group, shard, accepts_loss=accepts_loss)
        changes = ChangeSet()
        # What was read must still be so when the event is written.
        changes.expect(SPEC + spec.uid, group.spec_revision)
        changes.expect(STATUS + spec.uid, group.status_revision)
        text = f"Drill: primary {primary} of shard {shard.shard_id} is ended"
        events.about_group(service, changes, spec.name, text)
        result = Drill(
            uid=spec.uid,
            group_name=spec.name,
            shard_id=shard.shard_id,
            node_id=primary,
            at=service.clock.now(),
        )
        return Decision(uid=None, changes=changes, result=result)

    return await change(service, decide)


def _primary_to_end(group: views.GroupView, shard: ShardSpec, *, accepts_loss: bool) -> str:
    """Return the primary of `shard`, or raise why it is not ended now."""
    name = group.spec.name
    if group.state is not GroupState.AVAILABLE:
        raise rules.invalid_group_state(
            f"Replication group {name} must be in available state for a drill."
        )
    primary = group.primary_of(shard.nodes)
    if primary is None or group.node_state(primary) is not NodeState.AVAILABLE:
        raise rules.invalid_group_state(
            f"Node group {shard.shard_id} of replication group {name} has no available primary now."
        )
    has_successor = any(
        group.role_of(node.node_id) is Role.REPLICA
        and group.node_state(node.node_id) is NodeState.AVAILABLE
        for node in shard.nodes
    )
    if not has_successor and not accepts_loss:
        raise rules.invalid_group_state(
            f"Node group {shard.shard_id} of replication group {name} has no available replica: "
            "a drill would lose its data."
        )
    return primary
