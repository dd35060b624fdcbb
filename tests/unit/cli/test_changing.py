"""What is asked of the service for a change, when is it over, and what are people told?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from cachewright.cli import answers, app, calls, changing, tables
from cachewright.cli.failures import Failed
from tests.unit.cli.cli_values import group, node, shard

CHANGE = changing.Change(
    action="X",
    params={},
    text="3 shards instead of 2",
    is_reached=lambda seen: len(seen.shards) == 3,
)


def shards(*counts: int) -> tuple[answers.Shard, ...]:
    return tuple(
        shard(
            *(node(f"scores-{number:04}-{place:03}", "replica") for place in range(1, count + 1)),
            shard_id=f"{number:04}",
        )
        for number, count in enumerate(counts, 1)
    )


TWO = group(*shards(2, 2))
FOUR = group(*shards(2, 2, 2, 2))
SINGLE = group(*shards(1), kind="single-node", cluster_enabled=False)
PLAIN = group(*shards(3), cluster_enabled=False)


# What is asked


def test_more_shards_are_asked_for_by_their_number() -> None:
    change = changing.shards(TWO, 3, ())
    assert change.action == "ModifyReplicationGroupShardConfiguration"
    assert change.params == {
        "ReplicationGroupId": "scores",
        "NodeGroupCount": "3",
        "ApplyImmediately": "true",
    }
    assert change.text == "3 shards instead of 2"
    assert change.is_reached(group(*shards(2, 2, 2)))
    assert not change.is_reached(TWO)


@pytest.mark.parametrize(
    ("count", "removed", "gone"),
    [
        (2, (), ["0003", "0004"]),
        (2, ("0001", "0002"), ["0001", "0002"]),
        (None, ("0002",), ["0002"]),
        # Wrong counts are refused by the service, which says what is wrong.
        (2, ("0002",), ["0002"]),
    ],
)
def test_fewer_shards_name_those_that_go(
    count: int | None, removed: tuple[str, ...], gone: list[str]
) -> None:
    params = changing.shards(FOUR, count, removed).params
    listed = {key: value for key, value in params.items() if key.startswith("NodeGroupsToRemove")}
    assert listed == {
        f"NodeGroupsToRemove.NodeGroupToRemove.{number}": shard_id
        for number, shard_id in enumerate(gone, 1)
    }
    assert params["NodeGroupCount"] == str(len(FOUR.shards) - len(gone) if count is None else count)


def test_the_same_number_spreads_slots_anew() -> None:
    change = changing.shards(TWO, 2, ())
    assert change.text == "slots spread anew over 2 shards"
    assert "NodeGroupsToRemove.NodeGroupToRemove.1" not in change.params


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (PLAIN, "one shard: --replicas and --node-type change"),
        (SINGLE, "one shard: --node-type changes its size"),
        (dataclasses.replace(SINGLE, kind="memcached"), "one shard: --node-type .* their number"),
    ],
)
def test_only_cluster_mode_has_other_numbers_of_shards(other: answers.Group, said: str) -> None:
    with pytest.raises(Failed, match=said):
        changing.shards(other, 2, ())


def test_replicas_come_or_go_in_all_shards_or_in_some() -> None:
    change = changing.replicas(TWO, 2, ())
    assert (change.action, change.params["NewReplicaCount"]) == ("IncreaseReplicaCount", "2")
    assert change.is_reached(group(*shards(3, 3)))
    assert not change.is_reached(group(*shards(3, 2)))
    change = changing.replicas(PLAIN, 1, ())
    assert (change.action, change.text) == ("DecreaseReplicaCount", "1 replica")
    change = changing.replicas(TWO, 0, ("0002",))
    path = "ReplicaConfiguration.ConfigureShard.1"
    assert change.action == "DecreaseReplicaCount"
    assert (change.params[f"{path}.NodeGroupId"], change.params[f"{path}.NewReplicaCount"]) == (
        "0002", "0",
    )  # fmt: skip
    assert change.is_reached(group(*shards(2, 1)))


def test_more_here_and_fewer_there_are_two_changes() -> None:
    with pytest.raises(Failed, match="--shard 0001"):
        changing.replicas(group(*shards(1, 3)), 1, ())
    with pytest.raises(Failed, match="has no replicas"):
        changing.replicas(SINGLE, 1, ())


def test_type_and_version_are_asked_of_a_group_or_of_a_cluster() -> None:
    change = changing.node_type(TWO, "cache.r7g.large")
    assert change.action == "ModifyReplicationGroup"
    assert change.params["CacheNodeType"] == "cache.r7g.large"
    assert change.is_reached(dataclasses.replace(TWO, node_type="cache.r7g.large"))
    change = changing.version(SINGLE, "9.2", engine=None, parameter_group="mine")
    assert change.action == "ModifyCacheCluster"
    assert change.params == {
        "CacheClusterId": "scores",
        "EngineVersion": "9.2",
        "ApplyImmediately": "true",
        "CacheParameterGroupName": "mine",
    }
    assert not change.is_reached(SINGLE)


def test_an_upgrade_is_reached_when_every_node_runs_the_version() -> None:
    change = changing.version(group(engine="redis"), "9.1", engine="valkey", parameter_group=None)
    assert change.params["Engine"] == "valkey"
    assert change.is_reached(TWO)
    old = dataclasses.replace(TWO.shards[0].nodes[0], engine_version="9.10.2")
    mixed = group(shard(old), TWO.shards[1])
    assert not change.is_reached(mixed)


def test_valkey_is_meant_by_a_version_that_redis_has_not() -> None:
    def line(engine: str, version: str) -> answers.Engine:
        return answers.Engine(
            engine=engine, api_version=version, version=None, is_installed=True, source="path"
        )

    known = answers.Engines(engines=(line("redis", "7.0"), line("valkey", "9.1")))
    redis = group(engine="redis")
    assert changing.engine_for(redis, "9.1", known) == "valkey"
    assert changing.engine_for(redis, "7.0", known) is None
    assert changing.engine_for(redis, "12.0", known) is None
    assert changing.engine_for(group(), "9.1", known) is None


# How it is followed


def follow(looks: Iterator[answers.Group], **changes: Any) -> changing.Report:
    usual: dict[str, Any] = {"timeout_s": 5.0, "show": lambda seen, seconds: None}
    return changing.follow(TWO, CHANGE, lambda: next(looks), **{**usual, **changes})


def test_a_change_is_followed_until_it_is_over() -> None:
    event = answers.Event(at="x", source_type="y", source_id="scores", message="Moving slots")
    busy = dataclasses.replace(TWO, status="modifying", resharding_percent=40.0)
    done = group(*shards(2, 2, 2), events=(event,))
    shown: list[str] = []
    report = follow(
        iter([busy, done]), show=lambda seen, seconds: shown.append(tables.progress_text(seen))
    )
    assert (report.ok, report.is_over, report.status) == (True, True, "available")
    assert report.events == ("Moving slots",)
    assert shown == ["modifying  resharding (40 %)", "available"]


def test_what_ends_otherwise_is_not_ok() -> None:
    report = follow(iter([TWO]))
    assert (report.ok, report.is_over) == (False, True)
    report = follow(iter([dataclasses.replace(TWO, status="deleting")]))
    assert (report.ok, report.is_over) == (False, True)


def test_following_ends_when_nobody_wants_to_wait_any_more() -> None:
    busy = dataclasses.replace(TWO, status="modifying")
    report = follow(iter([busy]), timeout_s=0.0)
    assert (report.ok, report.is_over, report.status) == (False, False, "modifying")


def test_progress_is_shown_with_a_reason_and_nodes() -> None:
    busy = dataclasses.replace(
        TWO, status="modifying", reason="adding scores-0003-001", resharding_percent=12.0
    )
    console = Console(width=120, record=True)
    console.print(tables.progress_view(busy, "3 shards instead of 2", 3.2))
    console.print(tables.group_view(busy))
    text = console.export_text()
    assert text.count("adding scores-0003-001 (12 %)") == 2
    assert "3 shards instead of 2, 3 s" in text
    assert "scores-0001-001" in text


# How it is used


@pytest.mark.parametrize(
    "arguments",
    [
        ["scale", "scores"],
        ["scale", "scores", "--shards", "0"],
        ["scale", "scores", "--replicas", "-1"],
        ["scale", "scores", "--shards", "3", "--replicas", "2"],
        ["scale", "scores", "--shards", "3", "--shard", "0001"],
        ["scale", "scores", "--node-type", "cache.t4g.small", "--remove", "0001"],
        ["scale", "scores", "--shards", "3", "--timeout", "-1"],
        ["upgrade", "scores"],
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(arguments: list[str]) -> None:
    cli = app.command_line(further=(), open_service=pytest.fail)
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_a_refusal_says_what_to_do_next() -> None:
    def body(code: str, message: str) -> bytes:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return f"<ErrorResponse>{error}</ErrorResponse>".encode()

    def text(status: int, code: str, message: str = "no &lt;more&gt;.") -> str:
        return calls.api_failure(status, body(code, message)).message

    assert text(400, "InvalidParameterValue") == "no <more>."
    assert "cachewright ls" in text(404, "ReplicationGroupNotFoundFault")
    assert "cachewright explain" in text(400, "InvalidReplicationGroupState")
    assert "--max-nodes" in text(400, "NodeQuotaForCustomerExceeded")
    assert "status 502" in calls.api_failure(502, b"<html>").message
