"""Which requests make a group, and with which words are the others refused?"""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.settings import Addressing, Limits
from cachewright.service import new_group
from cachewright.service.context import Service
from cachewright.service.inputs import CreateReplicationGroup, NodeGroup
from tests.unit.service.service_world import OFFERS, World, offer, run, wanted

IPC = "InvalidParameterCombination"
IPV = "InvalidParameterValue"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Return a service whose store is closed: making a spec reads offers, settings, clock."""

    async def scenario(world: World) -> Service:
        return world.service

    return run(tmp_path_factory.mktemp("service"), scenario)


def with_settings(service: Service, **changes: object) -> Service:
    settings = dataclasses.replace(service.settings, **changes)  # type: ignore[arg-type] # by name
    return dataclasses.replace(service, settings=settings)


def case(name: str, code: str, text: str, **changes: object) -> object:
    return pytest.param(wanted(**changes), code, text, id=name)


def ranges(*texts: str) -> tuple[NodeGroup, ...]:
    return tuple(NodeGroup(slots=text) for text in texts)


REFUSED = [
    case("an empty id", IPV, "must not be blank", replication_group_id=""),
    case("an id of 41 characters", IPV, "from 1 to 40", replication_group_id="a" * 41),
    case("an id of 51 characters", IPV, "from 1 to 40", replication_group_id="a" * 51),
    case("an id that begins with a digit", IPV, "valid identifier", replication_group_id="1a"),
    case("an id with two hyphens in a row", IPV, "two consecutive", replication_group_id="a--b"),
    case("an id that ends with a hyphen", IPV, "not end with", replication_group_id="a-"),
    case("an id with an emoji", IPV, "only ASCII", replication_group_id="a\N{GRINNING FACE}"),
    case("an id with a letter like k", IPV, "only ASCII", replication_group_id="\N{KELVIN SIGN}"),
    case("an id with a quote", IPV, "only ASCII", replication_group_id='a"b'),
    case("an id that climbs folders", IPV, "only ASCII", replication_group_id="../../etc"),
    case("a blank description", IPV, "must not be blank", replication_group_description=" "),
    case("a long description", IPV, "at most 255", replication_group_description="x" * 256),
    case("memcached", IPV, "valkey or redis", engine="memcached"),
    case("an engine nobody knows", IPV, "valkey or redis", engine="mysql"),
    case("a version that is not here", IPC, "Cannot find version 7.2 for valkey. Available here: "
         "redis 7.0, valkey 8.1, valkey 9.1", engine_version="7.2"),
    case("redis in a version of valkey", IPC, "Cannot find version 9.1 for redis",
         engine="redis", engine_version="9.1"),
    case("a version with three parts", IPV,
         "Specific version selection is not allowed for '9.1.2', please use '9.1'",
         engine_version="9.1.2"),
    case("a version that is no version", IPC, "Cannot find version ../x", engine_version="../x"),
    case("no node type", IPV, "CacheNodeType must be provided", cache_node_type=None),
    case("a node type nobody knows", IPV, "cache.t4g.micro", cache_node_type="cache.x9.tiny"),
    case("a parameter group of one's own", "CacheParameterGroupNotFound",
         "CacheParameterGroup not found: mine", cache_parameter_group_name="mine"),
    case("a parameter group of another family", IPC,
         "Expected a parameter group of family valkey9 but found one of family redis7",
         cache_parameter_group_name="default.redis7"),
    case("two shards with cluster mode off in the group", IPC, "default.valkey9.cluster.on",
         num_node_groups=2, cache_parameter_group_name="default.valkey9"),
    case("cluster mode on with a group that has it off", IPC, "default.valkey9.cluster.on",
         cluster_mode="enabled", cache_parameter_group_name="default.valkey9"),
    case("cluster mode off with a group that has it on", IPC, "ClusterMode disabled",
         cluster_mode="disabled", cache_parameter_group_name="default.valkey9.cluster.on"),
    case("cluster mode off with two shards", IPC, "ClusterMode disabled",
         cluster_mode="disabled", num_node_groups=2),
    case("cluster mode compatible", IPC, "not offered yet", cluster_mode="compatible"),
    case("failover with one node", IPC,
         "When using automatic failover, there must be at least 2 cache clusters in the "
         "replication group.", automatic_failover_enabled=True),
    case("cluster mode without failover", IPC,
         "Redis with cluster mode enabled cannot be created with auto failover turned off.",
         num_node_groups=2, automatic_failover_enabled=False),
    case("zones without failover", IPC, "MultiAZEnabled requires AutomaticFailoverEnabled",
         multi_az_enabled=True, num_cache_clusters=2),
    case("all nodes in one zone", IPC, "another availability zone", multi_az_enabled=True,
         automatic_failover_enabled=True, num_cache_clusters=2,
         preferred_cache_cluster_azs=("us-east-1a", "us-east-1a")),
    case("several zones without replicas", IPC, "node group 0001 has none",
         multi_az_enabled=True, num_node_groups=2),
    case("no shard", IPV, "NumNodeGroups", num_node_groups=0),
    case("minus one shard", IPV, "NumNodeGroups", num_node_groups=-1),
    case("a thousand million shards", "NodeGroupsPerReplicationGroupQuotaExceeded", "at most 90",
         num_node_groups=10**9),
    case("91 shards", "NodeGroupsPerReplicationGroupQuotaExceeded", "at most 90",
         num_node_groups=91),
    case("96 nodes in 16 shards", "NodeQuotaForClusterExceeded",
         "Cluster node quota exceeded. Each cluster can have at most 90 nodes in this region.",
         num_node_groups=16, replicas_per_node_group=5),
    case("six replicas", IPV, "between 0 and 5", num_node_groups=1, replicas_per_node_group=6),
    case("minus one replica", IPV, "between 0 and 5", replicas_per_node_group=-1),
    case("no cluster", IPV, "between 1 and 6", num_cache_clusters=0),
    case("seven clusters", IPV, "between 1 and 6", num_cache_clusters=7),
    case("clusters and shards", IPC, "NumCacheClusters cannot be combined",
         num_cache_clusters=2, num_node_groups=2),
    case("clusters and replicas", IPC, "NumCacheClusters cannot be combined",
         num_cache_clusters=2, replicas_per_node_group=1),
    case("clusters and configured shards", IPC, "NumCacheClusters cannot be combined",
         num_cache_clusters=2, node_group_configuration=(NodeGroup(),)),
    case("3 shards, 2 of them configured", IPC, "has 2 elements",
         num_node_groups=3, node_group_configuration=(NodeGroup(), NodeGroup())),
    case("five zones for two nodes", IPC, "names 5 zones for 2 cache clusters",
         num_cache_clusters=2, preferred_cache_cluster_azs=("us-east-1a",) * 5),
    case("zones for many shards", IPC, "single node group", num_node_groups=2,
         preferred_cache_cluster_azs=("us-east-1a",)),
    case("zones twice", IPC, "PreferredCacheClusterAZs cannot be combined",
         node_group_configuration=(NodeGroup(),), preferred_cache_cluster_azs=("us-east-1a",)),
    case("a zone of another region", IPV, "Valid zones are us-east-1a, us-east-1b, us-east-1c",
         num_cache_clusters=1, preferred_cache_cluster_azs=("eu-west-1a",)),
    case("a primary in no zone", IPV, "'mars'",
         node_group_configuration=(NodeGroup(primary_availability_zone="mars"),)),
    case("one zone for two replicas", IPC, "names 1 zones for 2 replicas",
         node_group_configuration=(
             NodeGroup(replica_count=2, replica_availability_zones=("us-east-1a",)),)),
    case("a gap in the slots", IPV, "slots 100-199 are in no node group",
         node_group_configuration=ranges("0-99", "200-16383")),
    case("slots that end early", IPV, "slots 16383-16383 are in no node group",
         node_group_configuration=ranges("0-99", "100-16382")),
    case("an overlap of slots", IPV, "slots 90-99 are in node groups 0001 and 0002",
         node_group_configuration=ranges("0-99", "90-16383")),
    case("a range inside another", IPV, "slots 5-6 are in node groups 0001 and 0002",
         node_group_configuration=ranges("0-16383", "5-6")),
    case("slots for one of two shards", IPC, "1 of 2 node groups",
         node_group_configuration=(NodeGroup(slots="0-16383"), NodeGroup())),
    case("slots that are no range", IPV, "for example 0-3999",
         node_group_configuration=ranges("zero", "1-2")),
    case("slots beyond the last", IPV, "from 0 to 16383",
         node_group_configuration=ranges("0-16384", "1-2")),
    case("slots without cluster mode", IPC, "cluster mode enabled",
         node_group_configuration=ranges("0-16383")),
    case("a shard id twice", IPV, "0007 was given more than once", node_group_configuration=(
         NodeGroup(node_group_id="7"), NodeGroup(node_group_id="0007"))),
    case("a shard id in other digits", IPV, "1 to 4 digits", node_group_configuration=(
         NodeGroup(node_group_id="\N{ARABIC-INDIC DIGIT ONE}"), NodeGroup())),
    case("another id for the only shard", IPC, "0001",
         node_group_configuration=(NodeGroup(node_group_id="0002"),)),
    case("a port of the system", IPV, "between 1024 and 65535", port=80),
    case("no port", IPV, "between 1024 and 65535", port=0),
    case("a port without room for the bus", IPV, "between 1024 and 55535", port=60_000,
         num_node_groups=2),
    case("a subnet group", "CacheSubnetGroupNotFoundFault", "mine does not exist",
         cache_subnet_group_name="mine"),
    case("a security group that is none", IPV, "'nope'", security_group_ids=("nope",)),
    case("a topic that is none", IPV, "notification topic", notification_topic_arn="nope"),
    case("a window without days", IPV, "ddd:hh24:mi", preferred_maintenance_window="05:00-09:00"),
    case("a snapshot window of a week", IPV, "hh24:mi", snapshot_window="sun:05:00-sun:09:00"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED)
def test_a_request_is_refused_with_code_and_reason(
    service: Service, request_: CreateReplicationGroup, code: str, text: str
) -> None:
    with pytest.raises(ClientFault) as caught:
        new_group.new_spec(service, request_)
    assert (caught.value.code, text in caught.value.message) == (code, True), caught.value.message


def test_a_small_request_gets_the_documented_defaults(service: Service) -> None:
    spec = new_group.new_spec(service, wanted(replication_group_id="DeMo"))
    assert spec.name == "demo"
    assert (spec.engine, spec.engine_version) == (EngineName.VALKEY, "9.1")
    assert (spec.parameter_group, spec.cluster_enabled) == ("default.valkey9", False)
    assert [node.node_id for node in spec.nodes()] == ["demo-001"]
    assert (spec.port, spec.subnet_group, spec.snapshot_retention_days) == (6379, "default", 0)
    assert (spec.automatic_failover, spec.multi_az, spec.auto_minor_version_upgrade) == (
        False,
        False,
        True,
    )
    assert (spec.snapshotting_node_id, spec.notification) == (None, None)


def test_no_engine_means_redis(service: Service) -> None:
    spec = new_group.new_spec(service, wanted(engine=None))
    assert (spec.engine, spec.parameter_group) == (EngineName.REDIS, "default.redis7")


def test_more_than_one_shard_means_cluster_mode_with_failover(service: Service) -> None:
    spec = new_group.new_spec(service, wanted(num_node_groups=3, replicas_per_node_group=1))
    assert spec.cluster_enabled
    assert spec.automatic_failover
    assert spec.parameter_group == "default.valkey9.cluster.on"
    assert [node.node_id for node in spec.nodes()] == [
        f"demo-000{shard}-00{node}" for shard in (1, 2, 3) for node in (1, 2)
    ]
    assert [str(shard.slots[0]) for shard in spec.shards] == [
        "0-5460",
        "5461-10921",
        "10922-16383",
    ]
    assert spec.snapshotting_node_id is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"cluster_mode": "enabled"}, id="by ClusterMode"),
        pytest.param(
            {"cache_parameter_group_name": "Default.Valkey9.Cluster.On"}, id="by parameter group"
        ),
    ],
)
def test_one_shard_can_have_cluster_mode(service: Service, changes: dict[str, object]) -> None:
    spec = new_group.new_spec(service, wanted(num_cache_clusters=2, **changes))
    assert spec.cluster_enabled
    assert [node.node_id for node in spec.nodes()] == ["demo-0001-001", "demo-0001-002"]


def test_nodes_of_a_shard_and_primaries_of_a_group_spread_over_the_zones(service: Service) -> None:
    spec = new_group.new_spec(service, wanted(num_node_groups=3, replicas_per_node_group=2))
    for shard in spec.shards:
        assert {node.zone[-1] for node in shard.nodes} == {"a", "b", "c"}
    assert [shard.nodes[0].zone[-1] for shard in spec.shards] == ["a", "b", "c"]


def test_zones_that_are_given_are_kept_and_the_others_complete_them(service: Service) -> None:
    asked = (
        NodeGroup(
            node_group_id="12",
            replica_count=1,
            slots="0-8000",
            primary_availability_zone="us-east-1c",
            replica_availability_zones=("us-east-1b",),
        ),
        NodeGroup(slots="8001-16383", primary_availability_zone="us-east-1b"),
    )
    spec = new_group.new_spec(
        service, wanted(node_group_configuration=asked, replicas_per_node_group=1)
    )
    assert [shard.shard_id for shard in spec.shards] == ["0012", "0001"]
    assert [[node.zone[-1] for node in shard.nodes] for shard in spec.shards] == [
        ["c", "b"],
        ["b", "c"],
    ]


def test_500_nodes_need_a_raised_quota_and_501_are_never_allowed_by_it(service: Service) -> None:
    raised = with_settings(service, limits=Limits(nodes_per_cluster=500))
    request = wanted(num_node_groups=100, replicas_per_node_group=4)
    assert sum(1 for _ in new_group.new_spec(raised, request).nodes()) == 500
    with pytest.raises(ClientFault) as caught:
        new_group.new_spec(raised, wanted(num_node_groups=501))
    assert caught.value.code == "NodeGroupsPerReplicationGroupQuotaExceeded"
    more = wanted(num_node_groups=84, replicas_per_node_group=5)
    with pytest.raises(ClientFault) as caught:
        new_group.new_spec(raised, more)
    assert caught.value.code == "NodeQuotaForClusterExceeded"


def test_a_port_cannot_be_chosen_where_nodes_share_an_address(service: Service) -> None:
    sharing = with_settings(service, addressing=Addressing.PORTS)
    assert new_group.new_spec(sharing, wanted(port=6379)).port == 6379
    with pytest.raises(ClientFault, match="a port"):
        new_group.new_spec(sharing, wanted(port=7000))


def test_the_newest_offered_version_is_the_default(service: Service) -> None:
    offers = (offer(EngineName.VALKEY, "8.0.1"), offer(EngineName.VALKEY, "8.1.3"))
    older = dataclasses.replace(service, offers=lambda: offers)
    assert new_group.new_spec(older, wanted()).engine_version == "8.1"


def test_without_any_engine_the_error_says_so(service: Service) -> None:
    unknown_line = dataclasses.replace(OFFERS[0], api_version="3.2")
    nothing = dataclasses.replace(service, offers=lambda: ())
    nothing_known = dataclasses.replace(service, offers=lambda: (unknown_line,))
    for without in (nothing, nothing_known):
        with pytest.raises(ClientFault, match="no engine at all"):
            new_group.new_spec(without, wanted())
