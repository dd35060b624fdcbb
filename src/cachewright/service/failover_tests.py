"""May a caller try out the failover of a shard now? `TestFailover`, with its conditions and limit.

A test is a planned restart of the present primary with a cause of its own: a replica takes over
without a loss, then the old primary is replaced and comes back as a replica. What this room does is
to say whether that may begin. The times of accepted tests are written down for the whole account,
so that the limit outlives the groups.
"""

from __future__ import annotations

import datetime

from cachewright.model.errors import ClientFault
from cachewright.model.groups import RestartCause, ShardSpec
from cachewright.model.status import GroupState, NodeState
from cachewright.service import events, restarts, rules, views
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import TestFailover
from cachewright.store import furniture
from cachewright.store.records import SPEC, STATUS, ChangeSet

#: The limit counts what was accepted within this span.
SPAN = datetime.timedelta(hours=24)


async def test(service: Service, wanted: TestFailover) -> views.GroupView:
    """Accept the test of a shard's failover and return the group as it is then."""

    def decide() -> Decision[views.GroupView]:
        group = views.find_group(service.records, wanted.replication_group_id)
        shard = rules.shard_of(group.spec, wanted.node_group_id)
        primary = _primary_to_replace(group, shard)
        changes = ChangeSet()
        _count(service, changes)
        after = restarts.asked(group.spec, {primary}, RestartCause.TEST_FAILOVER)
        changes.replace(SPEC + after.uid, after, group.spec_revision)
        # Who is the primary was read there: it must still be so.
        changes.expect(STATUS + after.uid, group.status_revision)
        text = f"Test Failover API called for node group {shard.shard_id}"
        events.about_group(service, changes, after.name, text)
        return Decision(uid=after.uid, changes=changes, result=views.with_spec(group, after))

    return await change(service, decide)


def _primary_to_replace(group: views.GroupView, shard: ShardSpec) -> str:
    """Return the primary of `shard`, or raise why its failover cannot be tested now."""
    spec = group.spec
    if not spec.automatic_failover:
        raise ClientFault(
            "TestFailoverNotAvailableFault",
            f"Replication group {spec.name} has automatic failover disabled: turn it on to test "
            "failover.",
        )
    if len(shard.nodes) == 1:
        raise ClientFault(
            "TestFailoverNotAvailableFault",
            f"Node group {shard.shard_id} of replication group {spec.name} has no replica that "
            "could take over.",
        )
    if group.state is not GroupState.AVAILABLE:
        raise rules.invalid_group_state(
            "Replication group must be in available state to test failover."
        )
    # A test that is under way shows here as well: its old primary is not back yet.
    for node in spec.nodes():
        state = group.node_state(node.node_id)
        if state is not NodeState.AVAILABLE:
            raise rules.invalid_group_state(
                f"Cache cluster {node.node_id} of replication group {spec.name} is in state "
                f"{state.value}: failover can be tested once all are available."
            )
    primary = group.primary_of(shard.nodes)
    if primary is None:
        raise rules.invalid_group_state(
            f"Node group {shard.shard_id} of replication group {spec.name} has no primary now."
        )
    return primary


def _count(service: Service, changes: ChangeSet) -> None:
    """Add this test to those that were accepted lately, or raise that there were too many."""
    now, limit = service.clock.now(), service.settings.limits.test_failovers_per_day
    written = furniture.test_failovers(service.records)
    recent = tuple(at for at in written.value if abs(now - at) < SPAN)
    if len(recent) >= limit:
        raise ClientFault(
            "APICallRateForCustomerExceeded",
            f"Failover can be tested on at most {limit} node groups in any 24 hours.",
        )
    changes.replace(furniture.TEST_FAILOVERS, (*recent, now), written.mod_revision)
