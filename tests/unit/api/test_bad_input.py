"""Is input that nobody should send answered with a clear error, and is nothing left behind?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.api.app import App
from cachewright.store import records
from tests.unit.api.api_caller import FORM, Answer, ask_signed, serve
from tests.unit.service.service_world import World

VERSION = "Version=2015-02-02"
CREATE = (
    f"Action=CreateReplicationGroup&{VERSION}&ReplicationGroupId=demo&Engine=valkey"
    "&ReplicationGroupDescription=x&CacheNodeType=cache.t4g.micro"
)
DESCRIBE = f"Action=DescribeReplicationGroups&{VERSION}"


async def post(app: App, form: str | bytes, content_type: str = FORM) -> Answer:
    body = form.encode() if isinstance(form, str) else form
    return await ask_signed(app, "POST", "/", body, content_type=content_type)


def code_of(answer: Answer) -> str:
    _, _, rest = answer.body.decode().partition("<Code>")
    return rest.partition("</Code>")[0]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        pytest.param("", "MissingAction", id="an empty body"),
        pytest.param("x" * 1_048_576, "InvalidQueryParameter", id="a mebibyte of nonsense"),
        pytest.param("&" * 1_048_576, "InvalidQueryParameter", id="a mebibyte of separators"),
        pytest.param(f"Action=DropEverything&{VERSION}", "InvalidAction", id="an unknown action"),
        pytest.param("Action=DescribeEvents", "InvalidAction", id="no version"),
        pytest.param(
            "Action=DescribeEvents&Version=2014-01-01", "InvalidAction", id="another version"
        ),
        pytest.param(f"{DESCRIBE}&Marker=%zz", "MalformedQueryString", id="a broken escape"),
        pytest.param(f"{DESCRIBE}&Marker=%ff", "MalformedQueryString", id="no UTF-8"),
        pytest.param(f"{DESCRIBE}&Marker=nonsense", "InvalidParameterValue", id="a false marker"),
        pytest.param(f"{DESCRIBE}&MaxRecords=19", "InvalidParameterValue", id="pages too small"),
        pytest.param(f"{DESCRIBE}&MaxRecords=101", "InvalidParameterValue", id="pages too large"),
        pytest.param(f"{DESCRIBE}&MaxRecords=many", "InvalidParameterValue", id="no number"),
        pytest.param(
            f"{DESCRIBE}&MaxRecords=20&MaxRecords=20",
            "InvalidQueryParameter",
            id="a parameter twice",
        ),
        pytest.param(f"Action=ModifyReplicationGroup&{VERSION}", "InvalidParameterValue",
                     id="a required parameter that is missing"),
        pytest.param(f"{CREATE}&NumNodeGroups=0", "InvalidParameterValue", id="no shard"),
        pytest.param(f"{CREATE}&NumNodeGroups=-1", "InvalidParameterValue", id="minus one shard"),
        pytest.param(f"{CREATE}&NumNodeGroups=1000000000",
                     "NodeGroupsPerReplicationGroupQuotaExceeded", id="10^9 shards"),
        pytest.param(f"{CREATE}&NumNodeGroups=99999999999999999999", "InvalidParameterValue",
                     id="more shards than an integer holds"),
        pytest.param(f"{CREATE}&NumNodeGroups=167&ReplicasPerNodeGroup=2",
                     "NodeGroupsPerReplicationGroupQuotaExceeded", id="501 nodes"),
        pytest.param(
            CREATE + "&NumCacheClusters=2" + "".join(
                f"&PreferredCacheClusterAZs.AvailabilityZone.{n}=us-east-1a" for n in range(1, 6)),
            "InvalidParameterCombination", id="5 zones for 2 nodes"),
        pytest.param(
            CREATE + "".join(
                f"&NodeGroupConfiguration.NodeGroupConfiguration.{n}.NodeGroupId={n}"
                for n in range(1, 3_000)),
            "NodeGroupsPerReplicationGroupQuotaExceeded", id="3000 configured shards"),
        pytest.param(
            CREATE + "".join(
                f"&NodeGroupConfiguration.NodeGroupConfiguration.{n + 1}.Slots={slots}"
                for n, slots in enumerate(("0-99", "50-16383"))),
            "InvalidParameterValue", id="slots that overlap"),
        pytest.param(CREATE.replace("=demo", "=" + "a" * 51), "InvalidParameterValue",
                     id="an id of 51 characters"),
        pytest.param(CREATE.replace("=demo", "=a--b"), "InvalidParameterValue",
                     id="an id with two hyphens"),
        pytest.param(CREATE.replace("=demo", "=%F0%9F%98%80"), "InvalidParameterValue",
                     id="an id that is an emoji"),
        pytest.param(CREATE.replace("=demo", "=a%0Ab"), "InvalidParameterValue",
                     id="an id with a newline"),
        pytest.param(CREATE.replace("=demo", "=a%00b"), "InvalidParameterValue",
                     id="an id with NUL"),
        pytest.param(CREATE.replace("=demo", "=%22a%27"), "InvalidParameterValue",
                     id="an id with quotes"),
        pytest.param(CREATE.replace("=demo", "=..%2F..%2Fetc%2Fpasswd"), "InvalidParameterValue",
                     id="an id that climbs folders"),
        pytest.param(f"{CREATE}&CacheParameterGroupName=x%0D%0Asave%201%201",
                     "InvalidParameterValue", id="CRLF in the parameter group"),
        pytest.param(f"{CREATE}&PreferredMaintenanceWindow=sun:05:00-sun:06:00%0D%0A",
                     "InvalidParameterValue", id="CRLF in a window"),
    ],
)  # fmt: skip
def test_bad_input_is_a_clear_error_and_leaves_nothing_behind(
    tmp_path: Path, form: str, code: str
) -> None:
    async def scenario(world: World, app: App) -> None:
        answer = await post(app, form)
        assert code_of(answer) == code, answer.body
        assert 400 <= answer.status < 500
        assert b"Traceback" not in answer.body
        assert len(answer.body) < 4_096
        assert world.records.store.list(records.SPEC) == ()
        assert world.records.revision == 0

    serve(tmp_path, scenario)


@pytest.mark.parametrize("content_type", ["application/json", "text/xml", "multipart/form-data"])
def test_a_body_that_is_no_form_is_refused(tmp_path: Path, content_type: str) -> None:
    async def scenario(world: World, app: App) -> None:
        answer = await post(app, DESCRIBE, content_type)
        assert (answer.status, code_of(answer)) == (400, "InvalidQueryParameter")

    serve(tmp_path, scenario)


def test_unknown_parameters_and_holes_in_lists_are_tolerated_as_by_aws(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        form = (
            f"{CREATE}&SomethingNew=1&Tags.Tag.1.Key=a&Tags.member.3.Key=b&SecurityGroupIds="
            "&AuthToken="
        )
        assert (await post(app, form)).status == 200
        arn = world.service.arns.of_group("demo")
        assert world.records.tags(arn).value == {"a": "", "b": ""}

    serve(tmp_path, scenario)


def test_a_secret_that_is_refused_is_not_shown(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        answer = await post(app, f"{CREATE}&AuthToken=correct-horse-battery")
        assert code_of(answer) == "InvalidParameterValue"
        assert b"AuthToken" in answer.body
        assert b"correct-horse" not in answer.body

    serve(tmp_path, scenario)


def test_a_caller_s_text_comes_back_escaped(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        text = "%3Cscript%3E%26%22"
        assert (
            await post(app, CREATE.replace("Description=x", f"Description={text}"))
        ).status == 200
        answer = await post(app, DESCRIBE)
        assert b"<Description>&lt;script&gt;&amp;" in answer.body
        answer = await post(app, f"{DESCRIBE}&ReplicationGroupId={text}")
        assert (code_of(answer), b"<script>" in answer.body) == (
            "ReplicationGroupNotFoundFault",
            False,
        )

    serve(tmp_path, scenario)
