"""Which topic does an event carry, and is it the one that was active when it happened?"""

from __future__ import annotations

from pathlib import Path

from cachewright.model.status import SourceType
from cachewright.service import events, replication_groups
from cachewright.service.inputs import DeleteReplicationGroup, ModifyReplicationGroup
from cachewright.store.records import ChangeSet
from tests.unit.service.service_world import World, run

TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"
OTHER = "arn:aws:sns:us-east-1:000000000000:other"


async def tell(world: World, source: SourceType, source_id: str) -> str:
    """Add an event and return the topic that it carries."""
    changes = ChangeSet()
    events.about(world.service, changes, source, source_id, "something happened")
    await world.records.commit(changes)
    return world.events()[-1].topic_arn


async def modify(world: World, **changes: str) -> None:
    wanted = ModifyReplicationGroup(replication_group_id="demo", **changes)  # type: ignore[arg-type] # names of fields
    await replication_groups.modify(world.service, wanted)
    uid = world.records.uid_of_group("demo")
    assert uid is not None
    spec = world.records.spec(uid)
    assert spec is not None
    await world.settle(spec.value)


def test_events_of_a_group_and_its_clusters_carry_the_topic_while_it_is_active(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        group = (SourceType.REPLICATION_GROUP, "demo")
        member = (SourceType.CACHE_CLUSTER, "demo-001")
        await world.create_available()
        assert [await tell(world, *source) for source in (group, member)] == ["", ""]
        await modify(world, notification_topic_arn=TOPIC)
        assert [await tell(world, *source) for source in (group, member)] == [TOPIC, TOPIC]
        await modify(world, notification_topic_status="inactive")
        assert [await tell(world, *source) for source in (group, member)] == ["", ""]
        await modify(world, notification_topic_status="active", notification_topic_arn=OTHER)
        assert [await tell(world, *source) for source in (group, member)] == [OTHER, OTHER]
        for stranger in (
            (SourceType.CACHE_CLUSTER, "demo"),
            (SourceType.CACHE_CLUSTER, "nobody"),
            (SourceType.CACHE_SUBNET_GROUP, "demo"),
        ):
            assert await tell(world, *stranger) == ""

    run(tmp_path, scenario)


def test_the_accepted_delete_is_told_to_the_topic(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(notification_topic_arn=TOPIC)
        request = DeleteReplicationGroup(replication_group_id="demo")
        await replication_groups.delete(world.service, request)
        last = world.events()[-1]
        assert (last.message, last.topic_arn) == (
            "Delete of replication group demo accepted",
            TOPIC,
        )

    run(tmp_path, scenario)
