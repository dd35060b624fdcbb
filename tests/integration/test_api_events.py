"""Does DescribeEvents tell what happened, of every source, newest first and on pages?"""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from cachewright.model.status import Event, SourceType
from cachewright.store.records import ChangeSet
from tests.integration.api_server import Client, Server, refusal
from tests.unit.service.service_world import World


def messages(client: Client, **filters: Any) -> list[str]:
    pages = client.get_paginator("describe_events").paginate(**filters)
    return [event["Message"] for page in pages for event in page["Events"]]


def test_every_kind_of_source_has_events(client: Client, name: str) -> None:
    client.create_cache_subnet_group(
        CacheSubnetGroupName=name,
        CacheSubnetGroupDescription="d",
        SubnetIds=["subnet-01234567"],
    )
    client.create_cache_security_group(CacheSecurityGroupName=name, Description="d")
    client.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily="valkey9", Description="d"
    )
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="d",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
    )
    client.create_cache_cluster(
        CacheClusterId=f"{name}-c",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
        NumCacheNodes=1,
    )
    for source_type, source_id in (
        ("cache-subnet-group", name),
        ("cache-security-group", name),
        ("cache-parameter-group", name),
        ("replication-group", name),
        ("cache-cluster", f"{name}-c"),
    ):
        answer = client.describe_events(SourceType=source_type, SourceIdentifier=source_id.upper())
        (event,) = answer["Events"]
        assert (event["SourceType"], event["SourceIdentifier"]) == (source_type, source_id)
        assert set(event) == {"SourceType", "SourceIdentifier", "Message", "Date"}
        assert source_id in event["Message"]
    assert len(messages(client)) >= 5
    for source_type in ("user", "user-group", "serverless-cache", "serverless-cache-snapshot"):
        assert messages(client, SourceType=source_type) == []


def test_events_come_newest_first_on_pages_and_within_their_span(
    server: Server, client: Client, name: str
) -> None:
    now = datetime.datetime.now(datetime.UTC)

    async def happen(world: World) -> None:
        changes = ChangeSet()
        for number in range(250):
            changes.add_event(
                Event(
                    source_type=SourceType.CACHE_CLUSTER,
                    source_id=name,
                    message=str(number),
                    at=now - datetime.timedelta(minutes=number),
                )
            )
        await world.records.commit(changes)

    server.do(happen)
    source = {"SourceType": "cache-cluster", "SourceIdentifier": name}

    def minutes(count: int) -> datetime.timedelta:
        # Half a minute of room for the time that the test itself takes.
        return datetime.timedelta(minutes=count, seconds=-30)

    assert messages(client, **source) == [str(number) for number in range(60)]
    assert messages(client, **source, Duration=5) == [str(number) for number in range(5)]
    everything = messages(client, **source, Duration=14 * 24 * 60)
    assert everything == [str(number) for number in range(250)]
    since = messages(client, **source, StartTime=now - minutes(100))
    assert since == [str(number) for number in range(100)]
    both = messages(client, **source, StartTime=now - minutes(120), EndTime=now - minutes(100))
    assert both == [str(number) for number in range(100, 120)]
    page = client.describe_events(**source, Duration=600, MaxRecords=20)
    assert len(page["Events"]) == 20
    rest = client.describe_events(**source, Duration=600, MaxRecords=20, Marker=page["Marker"])
    assert rest["Events"][0]["Message"] == "20"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"SourceIdentifier": "x"}, "InvalidParameterCombination"),
        ({"SourceType": "sandwich"}, "ValidationError"),
        ({"Duration": 0}, "InvalidParameterValue"),
        ({"Duration": 14 * 24 * 60 + 1}, "InvalidParameterValue"),
        ({"MaxRecords": 19}, "InvalidParameterValue"),
        ({"MaxRecords": 101}, "InvalidParameterValue"),
        ({"Marker": "nobody"}, "InvalidParameterValue"),
        ({"StartTime": "2026-01-02", "EndTime": "2026-01-01"}, "InvalidParameterValue"),
    ],
)
def test_a_wrong_question_is_refused(client: Client, request_: Any, code: str) -> None:
    assert refusal(client.describe_events, **request_) == (code, 400)
