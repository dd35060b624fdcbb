"""Parameter groups through boto3: what goes over the wire, pages, and refusals with their codes."""

from __future__ import annotations

import pytest

from cachewright.model.parameters import FAMILIES, parameters_of_family
from tests.integration.api_server import Client, refusal

FAMILY = "valkey9"


def create(client: Client, name: str, **changes: object) -> dict[str, object]:
    request = {
        "CacheParameterGroupName": name,
        "CacheParameterGroupFamily": FAMILY,
        "Description": "of a test",
        **changes,
    }
    made: dict[str, object] = client.create_cache_parameter_group(**request)["CacheParameterGroup"]
    return made


def pairs(**values: str) -> list[dict[str, str]]:
    return [
        {"ParameterName": name.replace("_", "-"), "ParameterValue": value}
        for name, value in values.items()
    ]


def of_user(client: Client, name: str) -> dict[str, str]:
    shown = client.describe_cache_parameters(CacheParameterGroupName=name, Source="user")
    return {each["ParameterName"]: each.get("ParameterValue") for each in shown["Parameters"]}


def test_a_group_from_its_beginning_to_its_end(client: Client, name: str) -> None:
    made = create(client, name.upper(), Tags=[{"Key": "team", "Value": "a"}])
    arn = f"arn:aws:elasticache:us-east-1:000000000000:parametergroup:{name}"
    assert made == {
        "CacheParameterGroupName": name,
        "CacheParameterGroupFamily": FAMILY,
        "Description": "of a test",
        "IsGlobal": False,
        "ARN": arn,
    }
    assert client.list_tags_for_resource(ResourceName=arn)["TagList"] == [
        {"Key": "team", "Value": "a"}
    ]
    described = client.describe_cache_parameter_groups(CacheParameterGroupName=name)
    assert described["CacheParameterGroups"] == [made]
    changed = client.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=pairs(timeout="20", notify_keyspace_events="KEA"),
    )
    assert changed["CacheParameterGroupName"] == name
    assert of_user(client, name) == {"timeout": "20", "notify-keyspace-events": "KEA"}
    client.modify_cache_parameter_group(
        CacheParameterGroupName=name, ParameterNameValues=pairs(notify_keyspace_events="")
    )
    # An empty value is not shown, as at ElastiCache.
    assert of_user(client, name) == {"timeout": "20", "notify-keyspace-events": None}
    client.reset_cache_parameter_group(
        CacheParameterGroupName=name, ParameterNameValues=[{"ParameterName": "timeout"}]
    )
    assert of_user(client, name) == {"notify-keyspace-events": None}
    client.reset_cache_parameter_group(CacheParameterGroupName=name, ResetAllParameters=True)
    assert of_user(client, name) == {}
    client.delete_cache_parameter_group(CacheParameterGroupName=name)
    request = {"CacheParameterGroupName": name}
    assert refusal(client.describe_cache_parameter_groups, **request) == (
        "CacheParameterGroupNotFound",
        404,
    )


def test_a_parameter_has_all_that_is_known_of_it(client: Client, name: str) -> None:
    create(client, name)
    client.modify_cache_parameter_group(
        CacheParameterGroupName=name, ParameterNameValues=pairs(timeout="20")
    )
    shown = client.describe_cache_parameters(CacheParameterGroupName=name)
    by_name = {each["ParameterName"]: each for each in shown["Parameters"]}
    assert by_name["timeout"] == {
        "ParameterName": "timeout",
        "ParameterValue": "20",
        "Description": parameters_of_family(FAMILY)["timeout"].description,
        "Source": "user",
        "DataType": "integer",
        "AllowedValues": "0,20-",
        "IsModifiable": True,
        "MinimumEngineVersion": "7.0.0",
        "ChangeType": "immediate",
    }
    assert by_name["databases"]["ChangeType"] == "requires-reboot"
    assert by_name["maxclients"]["IsModifiable"] is False
    assert "ParameterValue" not in by_name["rename-commands"]
    assert "maxmemory" not in by_name
    by_type = {each["ParameterName"]: each for each in shown["CacheNodeTypeSpecificParameters"]}
    assert {
        "CacheNodeType": "cache.t4g.micro",
        "Value": "536870912",
    } in by_type["maxmemory"]["CacheNodeTypeSpecificValues"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_of_a_family_come_in_pages(client: Client, family: str) -> None:
    paginator = client.get_paginator("describe_engine_default_parameters")
    pages = list(
        paginator.paginate(CacheParameterGroupFamily=family, PaginationConfig={"PageSize": 20})
    )
    assert len(pages) > 1
    assert {page["EngineDefaults"]["CacheParameterGroupFamily"] for page in pages} == {family}
    names = [
        each["ParameterName"]
        for page in pages
        for kind in ("Parameters", "CacheNodeTypeSpecificParameters")
        for each in page["EngineDefaults"][kind]
    ]
    assert set(names) == set(parameters_of_family(family))
    assert len(names) - len(set(names)) == (0 if family.startswith("memcached") else 1)


def test_groups_and_their_parameters_come_in_pages(client: Client, name: str) -> None:
    for number in range(25):
        create(client, f"{name}-{number}")
    pages = list(
        client.get_paginator("describe_cache_parameter_groups").paginate(
            PaginationConfig={"PageSize": 20}
        )
    )
    listed = [
        group["CacheParameterGroupName"] for page in pages for group in page["CacheParameterGroups"]
    ]
    assert listed == sorted(set(listed))
    assert {f"{name}-{number}" for number in range(25)} | {"default.valkey9"} <= set(listed)
    pages = list(
        client.get_paginator("describe_cache_parameters").paginate(
            CacheParameterGroupName=f"{name}-0", PaginationConfig={"PageSize": 20}
        )
    )
    assert len(pages) > 2
    shown = {each["ParameterName"] for page in pages for each in page["Parameters"]}
    shown |= {
        each["ParameterName"] for page in pages for each in page["CacheNodeTypeSpecificParameters"]
    }
    assert shown == set(parameters_of_family(FAMILY))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("timeout", "20\nsave 1 1"),
        ("timeout", 'a"b'),
        ("timeout", "9" * 1_000),
        ("Timeout", "20"),
        ("no-such-thing", "20"),
        ("notify-keyspace-events", "KE\u2028A"),
        ("maxmemory-policy", "allkeys-lru\t"),
        ("maxmemory", "1"),
    ],
)
def test_bad_names_and_values_are_refused_and_lose_nothing(
    client: Client, name: str, parameter: str, value: str
) -> None:
    create(client, name)
    client.modify_cache_parameter_group(
        CacheParameterGroupName=name, ParameterNameValues=pairs(slowlog_max_len="7")
    )
    refused = refusal(
        client.modify_cache_parameter_group,
        CacheParameterGroupName=name,
        ParameterNameValues=[
            {"ParameterName": "tcp-keepalive", "ParameterValue": "7"},
            {"ParameterName": parameter, "ParameterValue": value},
        ],
    )
    assert refused == ("InvalidParameterValue", 400)
    assert of_user(client, name) == {"slowlog-max-len": "7"}


def test_refusals_have_the_codes_of_elasticache(client: Client, name: str) -> None:
    create(client, name)
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="with parameters",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
        CacheParameterGroupName=name,
    )
    (cluster,) = client.describe_cache_clusters(CacheClusterId=f"{name}-001")["CacheClusters"]
    assert cluster["CacheParameterGroup"]["CacheParameterGroupName"] == name
    group = {"CacheParameterGroupName": name}
    state = ("InvalidCacheParameterGroupState", 400)
    assert refusal(client.delete_cache_parameter_group, **group) == state
    default = {"CacheParameterGroupName": "default.valkey9"}
    assert refusal(client.delete_cache_parameter_group, **default) == state
    values = pairs(timeout="20")
    refused = refusal(client.modify_cache_parameter_group, ParameterNameValues=values, **default)
    assert refused == state
    databases = pairs(databases="3")
    refused = refusal(client.modify_cache_parameter_group, ParameterNameValues=databases, **group)
    assert refused == state
    refused = refusal(
        client.create_cache_parameter_group,
        CacheParameterGroupFamily=FAMILY,
        Description="again",
        **group,
    )
    assert refused == ("CacheParameterGroupAlreadyExists", 400)
    missing = {"CacheParameterGroupName": f"{name}-not"}
    gone = ("CacheParameterGroupNotFound", 404)
    assert refusal(client.describe_cache_parameters, **missing) == gone
    assert refusal(client.delete_cache_parameter_group, **missing) == gone
    refused = refusal(client.describe_cache_parameters, Source="nobody", **group)
    assert refused == ("InvalidParameterValue", 400)
    refused = refusal(client.describe_engine_default_parameters, CacheParameterGroupFamily="x1")
    assert refused == ("InvalidParameterValue", 400)


def test_a_value_of_100_kb_is_refused(client: Client, name: str) -> None:
    create(client, name)
    for parameter in ("timeout", "notify-keyspace-events", "rename-commands"):
        code, status = refusal(
            client.modify_cache_parameter_group,
            CacheParameterGroupName=name,
            ParameterNameValues=[{"ParameterName": parameter, "ParameterValue": "K" * 100_000}],
        )
        assert (code in {"ValidationError", "InvalidParameterValue"}, status) == (True, 400)
    assert of_user(client, name) == {}
