"""Does every request get an answer of ours: in time, within limits, without a traceback?"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import msgspec
import pytest

from cachewright.api import stages
from cachewright.api.app import App, make_app
from cachewright.cli import answers
from cachewright.control.loop import Explanation
from cachewright.model.commands import Step, StopNode
from cachewright.model.engines import EngineName
from cachewright.model.status import GroupState
from cachewright.plan.plan import Plan
from cachewright.rpc.agent import EngineOffer
from cachewright.store.base import Reason, StoreUnavailable
from tests.unit.api.api_caller import (
    SECRET,
    app_of,
    ask,
    ask_signed,
    no_end,
    no_explanation,
    no_install,
    serve,
)
from tests.unit.service.service_world import OFFERS, World, status_of


def test_health_needs_no_signature(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        answer = await ask(app, "GET", "/health")
        assert (answer.status, answer.document) == (200, {"status": "ok"})

    serve(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PUT", "/", 405, "MethodNotAllowed"),
        ("DELETE", "/", 405, "MethodNotAllowed"),
        ("HEAD", "/", 405, "MethodNotAllowed"),
        ("POST", "/health", 405, "MethodNotAllowed"),
        ("PATCH", "/cachewright/v1/groups", 405, "MethodNotAllowed"),
        ("GET", "/elsewhere", 404, "NoSuchKey"),
        ("POST", "//", 404, "NoSuchKey"),
        ("GET", "/cachewright/v1", 404, "NoSuchKey"),
        ("GET", "/cachewright/v1/groups", 403, "MissingAuthenticationToken"),
        ("POST", "/", 403, "MissingAuthenticationToken"),
    ],
)
def test_wrong_paths_and_methods_are_clean_errors(
    tmp_path: Path, method: str, path: str, status: int, code: str
) -> None:
    async def scenario(world: World, app: App) -> None:
        answer = await ask(app, method, path)
        assert (answer.status, code.encode() in answer.body) == (status, True)
        assert (b"allow" in answer.headers) == (status == 405)

    serve(tmp_path, scenario)


def test_a_body_may_come_in_pieces_and_may_not_pass_a_mebibyte(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        piece = b"x" * 65_536
        answer = await ask(app, chunks=(piece,) * 16)
        assert answer.status == 403  # read whole, and not signed
        answer = await ask(app, chunks=(*(piece,) * 16, b"x"))
        assert (answer.status, b"RequestEntityTooLarge" in answer.body) == (413, True)
        assert answer.headers[b"connection"] == b"close"
        answer = await ask(app, headers={"content-length": str(2**40)})
        assert answer.status == 413

    serve(tmp_path, scenario)


def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_READ_DEADLINE_S", 0.05)

    async def scenario(world: World, app: App) -> None:
        answer = await ask(app, chunks=(b"Action=",), stalls=True)
        assert (answer.status, b"RequestTimeout" in answer.body) == (408, True)
        assert answer.headers[b"connection"] == b"close"

    serve(tmp_path, scenario)


def test_a_caller_that_goes_away_is_not_answered(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            raise AssertionError(message)

        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
        }
        await app(scope, receive, send)

    serve(tmp_path, scenario)


def test_an_unforeseen_error_is_logged_and_answered_without_details(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World, app: App) -> None:
        def broken() -> int:
            raise ZeroDivisionError("the inside of the program")

        service = dataclasses.replace(world.service, address_capacity=broken)
        app = app_of(dataclasses.replace(world, service=service))
        body = (
            b"Action=CreateReplicationGroup&Version=2015-02-02&ReplicationGroupId=a&Engine=valkey"
            b"&ReplicationGroupDescription=b&CacheNodeType=cache.t4g.micro"
        )
        answer = await ask_signed(app, "POST", "/", body)
        assert (answer.status, b"InternalFailure" in answer.body) == (500, True)
        assert b"inside" not in answer.body
        assert b"<Type>Receiver</Type>" in answer.body
        request_id = answer.headers[b"x-amzn-requestid"].decode()
        assert any(request_id in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.ERROR):
        serve(tmp_path, scenario)


def test_a_store_that_cannot_write_is_service_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World, app: App) -> None:
        async def full(*_: object) -> int:
            raise StoreUnavailable(Reason.DISK_FULL, "make room")

        monkeypatch.setattr(world.records, "commit", full)
        body = (
            b"Action=CreateReplicationGroup&Version=2015-02-02&ReplicationGroupId=a&Engine=valkey"
            b"&ReplicationGroupDescription=b&CacheNodeType=cache.t4g.micro"
        )
        answer = await ask_signed(app, "POST", "/", body)
        assert (answer.status, b"the disk is full: make room" in answer.body) == (503, True)

    serve(tmp_path, scenario)


def test_answers_are_kept_for_one_revision_only(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        body = b"Action=DescribeReplicationGroups&Version=2015-02-02"
        first = await ask_signed(app, "POST", "/", body)
        again = await ask_signed(app, "POST", "/", body)
        assert first.body != again.body  # the request id
        for answer in (first, again):
            assert answer.headers[b"x-amzn-requestid"] in answer.body
            assert b"<ReplicationGroups/>" in answer.body
        await world.create()
        assert b"demo" in (await ask_signed(app, "POST", "/", body)).body
        events = b"Action=DescribeEvents&Version=2015-02-02"
        assert b"accepted" in (await ask_signed(app, "POST", "/", events)).body

    serve(tmp_path, scenario)


def test_the_native_face_shows_groups_engines_and_what_would_be_done(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        base = "/cachewright/v1"
        await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        await world.create(replication_group_id="new")
        answer = await ask_signed(app, "GET", f"{base}/groups")
        rows = {row["name"]: row for row in answer.document["groups"]}
        assert rows["demo"]["status"] == "available"
        assert (rows["demo"]["shards"], rows["demo"]["nodes"]) == (2, 4)
        assert rows["demo"]["endpoint"] == "127.64.0.5:6379"
        assert (rows["new"]["status"], rows["new"]["endpoint"]) == ("creating", None)
        group = (await ask_signed(app, "GET", f"{base}/groups/DEMO")).document
        assert [shard["slots"] for shard in group["shards"]] == ["0-8191", "8192-16383"]
        assert group["shards"][0]["nodes"][0]["role"] == "primary"
        assert group["events"][-1]["message"].endswith("accepted")
        engines = (await ask_signed(app, "GET", f"{base}/engines")).document["engines"]
        assert [engine["api_version"] for engine in engines] == ["7.0", "8.1", "9.1"]
        missing = await ask_signed(app, "GET", f"{base}/groups/nobody")
        assert (missing.status, missing.document["code"]) == (404, "ReplicationGroupNotFoundFault")
        gone = await ask_signed(app, "GET", f"{base}/groups/demo/explain")
        assert gone.status == 404
        for path in ("/nothing", "/groups/demo/more", "/groups/demo/explain/more", "/"):
            assert (await ask_signed(app, "GET", base + path)).status == 404

    serve(tmp_path, scenario)


def test_the_command_line_understands_the_native_face(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        base = "/cachewright/v1"
        spec = await world.create_available(num_cache_clusters=2)

        async def explain(uid: str) -> Explanation | None:
            group = world.records.group(uid)
            assert group is not None
            status = status_of(spec, GroupState.AVAILABLE)
            command = StopNode(key="x.demo-001")
            step = Step(command=command, reason="it is too many", node_id="demo-001")
            plan = Plan(steps=(step,), status=status, events=(), look_again_s=5.0)
            return Explanation(group=group, previous=None, plan=plan)

        app = make_app(
            world.service,
            lookup={"test": SECRET}.get,
            explain=explain,
            install=no_install,
            end_node=no_end,
        )
        groups = await ask_signed(app, "GET", f"{base}/groups")
        (row,) = msgspec.json.decode(groups.body, type=answers.Groups).groups
        assert (row.name, row.endpoint) == ("demo", "127.64.0.3:6379")
        group = await ask_signed(app, "GET", f"{base}/groups/demo")
        shown = msgspec.json.decode(group.body, type=answers.Group)
        assert shown.endpoints.reader == "127.64.0.4:6379"
        assert [node.role for node in shown.shards[0].nodes] == ["primary", "replica"]
        explained = await ask_signed(app, "GET", f"{base}/groups/demo/explain")
        explanation = msgspec.json.decode(explained.body, type=answers.Explanation)
        assert explanation.steps == (
            answers.Step(command="StopNode", node_id="demo-001", reason="it is too many"),
        )
        engines = await ask_signed(app, "GET", f"{base}/engines")
        lines = msgspec.json.decode(engines.body, type=answers.Engines).engines
        assert [line.source for line in lines] == ["embedded", "debian", "embedded"]
        refused = await ask_signed(app, "GET", f"{base}/groups/nobody")
        failure = msgspec.json.decode(refused.body, type=answers.Failure)
        assert failure.code == "ReplicationGroupNotFoundFault"

    serve(tmp_path, scenario)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "InvalidParameterValue"),
        (b"\xff", 400, "InvalidParameterValue"),
        (b"[" * 100_000, 400, "InvalidParameterValue"),
        (b'{"engine": 1, "version": "8.1"}', 400, "InvalidParameterValue"),
        (b'{"engine": "valkey", "version": "7.2"}', 400, "InvalidParameterCombination"),
        (b'{"engine": "valkey", "version": "8.1"}', 503, "ServiceUnavailable"),
    ],
)
def test_an_installation_is_refused_with_its_reason(
    tmp_path: Path, body: bytes, status: int, code: str
) -> None:
    async def scenario(world: World, app: App) -> None:
        path = "/cachewright/v1/engines/install"
        answer = await ask_signed(app, "POST", path, body)
        assert (answer.status, answer.document["code"]) == (status, code)

    serve(tmp_path, scenario)


def test_an_installation_answers_what_is_there_then(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        async def install(engine: EngineName, version: str) -> EngineOffer:
            assert (engine, version) == (EngineName.VALKEY, "8.1")
            return OFFERS[0]

        app = make_app(
            world.service,
            lookup={"test": SECRET}.get,
            explain=no_explanation,
            install=install,
            end_node=no_end,
        )
        path = "/cachewright/v1/engines/install"
        body = b'{"engine": "valkey", "version": "8.1"}'
        answer = await ask_signed(app, "POST", path, body)
        assert answer.document["version"] == "9.1.2"

    serve(tmp_path, scenario)


def test_a_drill_ends_the_primary_and_says_which_it_was(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        spec = await world.create_available(num_cache_clusters=2)
        ended: list[tuple[str, str]] = []

        async def end(uid: str, node_id: str) -> None:
            ended.append((uid, node_id))

        app = make_app(
            world.service,
            lookup={"test": SECRET}.get,
            explain=no_explanation,
            install=no_install,
            end_node=end,
        )
        path = "/cachewright/v1/groups/demo/drill"
        for body in (b"", b'{"shard_id": "0001"}', b'{"accepts_loss": true}'):
            answer = await ask_signed(app, "POST", path, body)
            shown = answer.document
            assert (shown["name"], shown["shard_id"], shown["node_id"]) == (
                "demo",
                "0001",
                "demo-001",
            )
            assert shown["at"]
        assert ended == [(spec.uid, "demo-001")] * 3

    serve(tmp_path, scenario)


FIGURES = {
    "is_good": False,
    "client": "redis-py 8.1.0",
    "during": "scale",
    "seconds": 2.5,
    "requests": 100,
    "failed": 1,
    "wrong_reads": 0,
    "lost": None,
    "doubled": 0,
    "longest_gap_ms": 12.5,
    "per_second": 40.0,
    "lowest_per_second": 30.0,
}


def test_the_figures_of_a_check_are_kept_and_shown_with_the_group(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available()
        path = "/cachewright/v1/groups/demo"
        assert (await ask_signed(app, "GET", path)).document["checks"] == []
        body = json.dumps(FIGURES).encode()
        kept = (await ask_signed(app, "POST", f"{path}/checks", body)).document
        assert kept == {"at": kept["at"], **FIGURES}
        assert (await ask_signed(app, "GET", path)).document["checks"] == [kept]

    serve(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "changed", "status"),
    [
        ("nobody", {}, 404),
        ("demo", {"during": "x" * 201}, 400),
        ("demo", {"client": "x" * 201}, 400),
        ("demo", {"failed": -1}, 400),
        ("demo", {"failed": 1 << 60}, 400),
        ("demo", {"failed": "none"}, 400),
        ("demo", {"longest_gap_ms": -0.5}, 400),
        ("demo", {"per_second": 1e300}, 400),
        ("demo", {"further": 1}, 400),
    ],
)
def test_figures_that_make_no_sense_are_refused(
    tmp_path: Path, name: str, changed: dict[str, object], status: int
) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available()
        body = json.dumps({**FIGURES, **changed}).encode()
        answer = await ask_signed(app, "POST", f"/cachewright/v1/groups/{name}/checks", body)
        assert answer.status == status
        for body in (b"", b"\xff", b"[]", b"[" * 100_000, b"{}"):
            answer = await ask_signed(app, "POST", "/cachewright/v1/groups/demo/checks", body)
            assert (answer.status, answer.document["code"]) == (400, "InvalidParameterValue")
        answer = await ask_signed(app, "GET", "/cachewright/v1/groups/demo")
        assert answer.document["checks"] == []

    serve(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("demo", b"\xff", 400, "InvalidParameterValue"),
        ("demo", b"[" * 100_000, 400, "InvalidParameterValue"),
        ("demo", b'{"shard_id": 1}', 400, "InvalidParameterValue"),
        ("demo", b'{"accepts_loss": "yes"}', 400, "InvalidParameterValue"),
        ("demo", b'{"shard": "0001"}', 400, "InvalidParameterValue"),
        ("demo", b'{"shard_id": "0009"}', 404, "NodeGroupNotFoundFault"),
        ("nobody", b"", 404, "ReplicationGroupNotFoundFault"),
        ("bare", b"", 400, "InvalidReplicationGroupState"),
        # It was allowed, and the host says that nothing runs.
        ("bare", b'{"accepts_loss": true}', 503, "ServiceUnavailable"),
    ],
)
def test_a_drill_is_refused_with_its_reason(
    tmp_path: Path, name: str, body: bytes, status: int, code: str
) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available(num_cache_clusters=2)
        await world.create_available(replication_group_id="bare")
        answer = await ask_signed(app, "POST", f"/cachewright/v1/groups/{name}/drill", body)
        assert (answer.status, answer.document["code"]) == (status, code)

    serve(tmp_path, scenario)
