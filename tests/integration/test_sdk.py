"""Do the SDK's own waiters and paginators work? All that its model has for what is offered.

A paginator is tried with the smallest pages on a service of the test's own, filled with more than
one page of what it lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from cachewright import testing
from cachewright.api import operations
from tests import service_kit

_LOADER = botocore.session.get_session().get_component("data_loader")
PAGINATORS = sorted(
    _LOADER.load_service_model("elasticache", "paginators-1")["pagination"].keys()
    & operations.HANDLERS.keys()
)
WAITERS = {
    name: waiter["operation"]
    for name, waiter in _LOADER.load_service_model("elasticache", "waiters-2")["waiters"].items()
}
#: Both kinds have one waiter for their beginning and one for their end.
WAITERS_OF = {
    operation: sorted(name for name, of in WAITERS.items() if of == operation)
    for operation in set(WAITERS.values())
}
#: The smallest page that AWS allows, and more than fit on one.
PAGE, MANY, PAGE_MAX = 20, 23, 100
#: The SDK's own 15 s are for machines in a data centre.
SOON = {"Delay": 0.1, "MaxAttempts": 600}


class Listing(NamedTuple):
    """What a paginator is tried with."""

    #: Makes more than one page of it, if it is not there anyway.
    fill: Callable[[Any], None]
    parameters: Mapping[str, str]
    #: There are more than one page of it.
    is_long: bool = True


def nothing(api: Any) -> None:
    """What is listed is there already."""


def fill_with_nodes(api: Any) -> None:
    service_kit.create_available(api, "many", shards=12, replicas=1)


def fill_with_groups(api: Any) -> None:
    names = [f"group-{number}" for number in range(MANY)]
    for name in names:
        service_kit.create(api, name)
    for name in names:
        service_kit.wait_status(api, name, "available")


def fill_with_parameter_groups(api: Any) -> None:
    for number in range(MANY):
        api.create_cache_parameter_group(
            CacheParameterGroupName=f"group-{number}",
            CacheParameterGroupFamily="valkey8",
            Description="of a test",
        )


def fill_with_subnet_groups(api: Any) -> None:
    for number in range(MANY):
        api.create_cache_subnet_group(
            CacheSubnetGroupName=f"group-{number}",
            CacheSubnetGroupDescription="of a test",
            SubnetIds=["subnet-0000000a"],
        )


def fill_with_security_groups(api: Any) -> None:
    for number in range(MANY):
        api.create_cache_security_group(
            CacheSecurityGroupName=f"group-{number}", Description="of a test"
        )


def fill_with_reserved_nodes(api: Any) -> None:
    offering = api.describe_reserved_cache_nodes_offerings()["ReservedCacheNodesOfferings"][0]
    for number in range(MANY):
        api.purchase_reserved_cache_nodes_offering(
            ReservedCacheNodesOfferingId=offering["ReservedCacheNodesOfferingId"],
            ReservedCacheNodeId=f"node-{number}",
        )


#: Every offered paginator has its row, or its test fails.
LISTINGS = {
    "DescribeCacheClusters": Listing(fill_with_nodes, {}),
    "DescribeCacheEngineVersions": Listing(nothing, {}, is_long=False),
    "DescribeCacheParameterGroups": Listing(fill_with_parameter_groups, {}),
    "DescribeCacheParameters": Listing(nothing, {"CacheParameterGroupName": "default.valkey8"}),
    "DescribeCacheSecurityGroups": Listing(fill_with_security_groups, {}),
    "DescribeCacheSubnetGroups": Listing(fill_with_subnet_groups, {}),
    "DescribeEngineDefaultParameters": Listing(
        nothing, {"CacheParameterGroupFamily": "memcached1.6"}
    ),
    "DescribeEvents": Listing(fill_with_subnet_groups, {}),
    "DescribeReplicationGroups": Listing(fill_with_groups, {}),
    "DescribeReservedCacheNodes": Listing(fill_with_reserved_nodes, {}),
    "DescribeReservedCacheNodesOfferings": Listing(nothing, {}),
    "DescribeServiceUpdates": Listing(nothing, {}, is_long=False),
    "DescribeUpdateActions": Listing(nothing, {}, is_long=False),
}


@pytest.fixture
def own_api() -> Iterator[Any]:
    """Give a client of a service that only the test fills."""
    with testing.service() as running:
        yield running.client()


@pytest.mark.parametrize("operation", PAGINATORS)
def test_a_paginator_gives_everything_once_in_small_pages(own_api: Any, operation: str) -> None:
    listing = LISTINGS[operation]
    listing.fill(own_api)
    pages = paginate(own_api, operation, PageSize=PAGE)
    # Parameters that depend on the node type stand beside the others and count as well.
    assert all(len(page) <= PAGE for page in pages)
    assert (len(pages) > 1) is listing.is_long
    everything = [item for page in pages for item in page]
    assert len({str(item) for item in everything}) == len(everything)
    in_large_pages = paginate(own_api, operation, PageSize=PAGE_MAX)
    assert list(itertools.chain(*in_large_pages)) == everything


def paginate(api: Any, operation: str, **config: object) -> list[list[Any]]:
    """Return the items of each page."""
    pages = api.get_paginator(xform_name(operation)).paginate(
        **LISTINGS[operation].parameters, PaginationConfig=config
    )
    (key,) = pages.result_keys
    return [key.search(page) for page in pages]


def test_a_listing_goes_on_where_it_stopped(own_api: Any) -> None:
    fill_with_subnet_groups(own_api)
    paginator = own_api.get_paginator("describe_cache_subnet_groups")
    first = paginator.paginate(PaginationConfig={"MaxItems": 7, "PageSize": PAGE})
    begin = first.build_full_result()
    rest = paginator.paginate(
        PaginationConfig={"StartingToken": begin["NextToken"], "PageSize": PAGE}
    ).build_full_result()
    names = [
        group["CacheSubnetGroupName"]
        for part in (begin, rest)
        for group in part["CacheSubnetGroups"]
    ]
    assert names == sorted(["default", *(f"group-{number}" for number in range(MANY))])


# Waiters


def create(api: Any, operation: str, name: str) -> dict[str, str]:
    """Ask for what an operation describes; return the parameters that name it."""
    if operation == "DescribeReplicationGroups":
        service_kit.create(api, name)
        return {"ReplicationGroupId": name}
    api.create_cache_cluster(
        CacheClusterId=name,
        Engine="memcached",
        CacheNodeType=service_kit.NODE_TYPE,
        NumCacheNodes=2,
    )
    return {"CacheClusterId": name}


def delete(api: Any, operation: str, named: Mapping[str, str]) -> None:
    if operation == "DescribeReplicationGroups":
        api.delete_replication_group(**named)
    else:
        api.delete_cache_cluster(**named)


@pytest.mark.parametrize("operation", sorted(set(WAITERS.values())))
def test_the_waiters_of_a_kind_wait_until_it_serves_and_until_it_is_gone(
    api: Any, group_id: str, operation: str
) -> None:
    waiters = {name: api.get_waiter(xform_name(name)) for name in WAITERS_OF[operation]}
    available = next(waiter for name, waiter in waiters.items() if name.endswith("Available"))
    deleted = next(waiter for name, waiter in waiters.items() if name.endswith("Deleted"))
    named = create(api, operation, group_id)
    available.wait(**named, WaiterConfig=SOON)
    with pytest.raises(WaiterError, match="terminal failure"):
        deleted.wait(**named, WaiterConfig=SOON)
    delete(api, operation, named)
    deleted.wait(**named, WaiterConfig=SOON)
    with pytest.raises(WaiterError, match="NotFound"):
        available.wait(**named, WaiterConfig=SOON)


def test_every_waiter_of_the_sdk_is_tried() -> None:
    assert sorted(WAITERS) == [
        "CacheClusterAvailable",
        "CacheClusterDeleted",
        "ReplicationGroupAvailable",
        "ReplicationGroupDeleted",
    ]


# Who is asking


def sts(service: testing.Service, **changes: str) -> Any:
    key_id, secret = service.key_pair
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret, **changes}
    return boto3.session.Session(region_name=service.region, **keys).client(
        "sts",
        endpoint_url=service.url,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


def test_tools_may_ask_whose_account_it_is(service: testing.Service) -> None:
    answer = sts(service).get_caller_identity()
    assert (answer["Account"], answer["UserId"], answer["Arn"]) == (
        "000000000000",
        "000000000000",
        "arn:aws:iam::000000000000:root",
    )


def test_nobody_else_is_told_and_nothing_else_is_answered(service: testing.Service) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        sts(service, aws_secret_access_key="guessed").get_caller_identity()
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        sts(service, aws_access_key_id="AKIAGUESSED").get_caller_identity()
    with pytest.raises(ClientError, match="scoped to correct service: 'elasticache'"):
        sts(service).get_session_token()
