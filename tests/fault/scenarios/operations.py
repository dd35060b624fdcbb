"""What was going on when it went wrong? Operations as data, through boto3 as callers use them.

Each has a part that prepares (before writers begin), a part that begins the operation right before
the fault, and one that says how it is to end. An operation that was accepted must be seen to have
happened whatever struck meanwhile (law 9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from valkey.exceptions import ValkeyError

from tests import service_kit as kit
from tests.fault.scenarios import changes
from tests.fault.scenarios.scene import Scene
from tests.fault.scenarios.shapes import GROUP

_PARAMETERS = "chaos-parameters"
#: A value that is no default and that engines take while they run.
_PARAMETER, _VALUE = "maxmemory-samples", "7"
_HAPPENED_WITHIN_S = 20.0


def _nothing(_: Scene) -> None:
    """Nothing is to be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Something that callers ask for."""

    name: str
    #: Begin it; returns as soon as the call is answered.
    begin: Callable[[Scene], None] = _nothing
    #: Make the group; `create` is the operation itself.
    make: Callable[[Scene], None] = lambda scene: scene.create()
    #: Fail unless it has happened.
    check: Callable[[Scene], None] = _nothing
    #: The fault strikes so long after it began, seconds.
    after_s: tuple[float, float] = (0.0, 0.0)
    #: How many replicas there have to be; cluster mode enabled, disabled, or either.
    replicas: int = 0
    is_cluster: bool | None = None
    #: It moves primaries, or ends engines, itself.
    changes_primaries: bool = False
    ends_engines: bool = False
    keeps_on_disk: bool = False
    checks_events: bool = False
    #: How many shards there have to be.
    shards: int = 0
    #: Slots go from shard to shard.
    moves_slots: bool = False
    #: Key by key, which takes longer.
    copies_keys: bool = False
    #: Clients are to notice nothing of it.
    is_silent: bool = False
    #: The faults that strike it; all where none are named.
    faults: frozenset[str] = frozenset()
    #: Nothing goes on when the fault strikes.
    is_at_rest: bool = False
    is_create: bool = False
    is_delete: bool = False


def _fail_over(scene: Scene) -> None:
    primary = scene.primary(scene.a_shard())
    if primary is not None:
        primary.kill()


def _test_failover(scene: Scene) -> None:
    shard_id = scene.a_shard()
    scene.api.test_failover(ReplicationGroupId=GROUP, NodeGroupId=shard_id)


def _check_test_failover(scene: Scene) -> None:
    kit.wait_event(scene.api, GROUP, "Test Failover API called for node group")
    # Who loses every node meanwhile has nobody left who could take over.
    if not scene.expected.may_lose_all:
        kit.wait_event(scene.api, GROUP, "Failover from primary node")


def _make_manual(scene: Scene) -> None:
    scene.create(AutomaticFailoverEnabled=False)


def _hand_over(scene: Scene) -> None:
    wanted = scene.replicas("0001")[-1].node_id
    scene.struck_shards.add("0001")
    scene.api.modify_replication_group(
        ReplicationGroupId=GROUP,
        PrimaryClusterId=wanted,
        ApplyImmediately=True,
    )
    scene.wished_primary = wanted


def _check_hand_over(scene: Scene) -> None:
    """The wish stands: whenever that node can be the primary it becomes it."""

    def look() -> str:
        primary = scene.primary("0001")
        return "nobody" if primary is None else primary.node_id

    kit.wait_until(
        "the wished primary",
        look,
        is_it=lambda seen: seen == scene.wished_primary,
        timeout_s=_HAPPENED_WITHIN_S,
    )


def _reboot(scene: Scene) -> None:
    primary = scene.primary(scene.a_shard())
    node_id = primary.node_id if primary else f"{GROUP}-001"
    scene.api.reboot_cache_cluster(
        CacheClusterId=node_id,
        CacheNodeIdsToReboot=["0001"],
    )


def _join(scene: Scene) -> None:
    scene.api.create_cache_cluster(CacheClusterId=f"{GROUP}-joined", ReplicationGroupId=GROUP)
    scene.nodes_wanted += 1


def _leave(scene: Scene) -> None:
    scene.api.delete_cache_cluster(CacheClusterId=scene.replicas("0001")[-1].node_id)
    scene.nodes_wanted -= 1


def _family(scene: Scene) -> str:
    groups = scene.api.describe_cache_parameter_groups()["CacheParameterGroups"]
    engine = str(scene.engine.get("Engine", "valkey"))
    found = {group["CacheParameterGroupFamily"] for group in groups}
    families = {family for family in found if family.startswith(engine)}
    newest: str = max(families)
    return newest


def _parameter_group(scene: Scene, **values: str) -> str:
    scene.api.create_cache_parameter_group(
        CacheParameterGroupName=_PARAMETERS,
        CacheParameterGroupFamily=_family(scene),
        Description="of a test",
    )
    if scene.shape.is_cluster:
        values = {"cluster-enabled": "yes"} | values
    if values:
        _set(scene, **values)
    return _PARAMETERS


def _set(scene: Scene, **values: str) -> None:
    scene.api.modify_cache_parameter_group(
        CacheParameterGroupName=_PARAMETERS,
        ParameterNameValues=[
            {"ParameterName": name.replace("_", "-"), "ParameterValue": value}
            for name, value in values.items()
        ],
    )


def _make_with_parameters(scene: Scene) -> None:
    scene.create(CacheParameterGroupName=_parameter_group(scene))


def _change_parameter(scene: Scene) -> None:
    _set(scene, **{_PARAMETER: _VALUE})


def _check_parameter(scene: Scene) -> None:
    """Every engine has the value, also those that were started meanwhile."""

    def look() -> set[str]:
        found: set[str] = set()
        for node_id in scene.engines():
            try:
                with kit.admin(scene.service.state_dir, node_id) as admin:
                    found.add(str(admin.config_get(_PARAMETER)[_PARAMETER]))
            except (ValkeyError, OSError) as error:
                found.add(repr(error))
        return found

    kit.wait_until(
        "the value is everywhere",
        look,
        is_it=lambda seen: seen == {_VALUE},
        timeout_s=_HAPPENED_WITHIN_S,
    )


def _make_append_only(scene: Scene) -> None:
    # What is acknowledged is in the file then: `everysec` may hold some back for 2 s.
    name = _parameter_group(scene, appendonly="yes", appendfsync="no")
    scene.create(CacheParameterGroupName=name)


def _delete(scene: Scene) -> None:
    scene.remember()
    scene.api.delete_replication_group(ReplicationGroupId=GROUP)
    scene.is_deleted = True


#: Of operations that change the size of a group: a server, a giver, a taker or somebody else dies,
#: or sleeps, in the middle.
_IN_THE_MIDDLE = frozenset({
    "nothing", "die-at-failpoint", "kill-primary", "kill-replica", "kill-server",
    "kill-server-and-primary", "stop-server", "stop-server-kill-primary", "stop-primary",
    "pulse-primary", "kill-giver", "kill-taker", "kill-giver-and-taker", "doze-taker",
    "kill-primaries", "busy-cores", "crash-host",
})  # fmt: skip

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation(name="at-rest", after_s=(0.0, 1.0), is_at_rest=True),
        Operation(name="create", after_s=(0.0, 2.0), is_create=True),
        Operation(name="delete", begin=_delete, after_s=(0.0, 0.3), is_delete=True),
        Operation(name="failover", begin=_fail_over, after_s=(0.0, 1.0), replicas=2,
                  changes_primaries=True, ends_engines=True),
        Operation(name="test-failover", begin=_test_failover, check=_check_test_failover,
                  checks_events=True, after_s=(0.0, 1.5), replicas=1,
                  changes_primaries=True, ends_engines=True),
        Operation(name="handover", make=_make_manual, begin=_hand_over, check=_check_hand_over,
                  after_s=(0.0, 0.5), replicas=1, is_cluster=False, changes_primaries=True),
        Operation(name="reboot", begin=_reboot, after_s=(0.0, 1.5), is_cluster=False,
                  changes_primaries=True,
                  ends_engines=True),
        Operation(name="join", begin=_join, after_s=(0.0, 1.5), is_cluster=False),
        Operation(name="leave", begin=_leave, after_s=(0.0, 1.0), replicas=2, is_cluster=False,
                  ends_engines=True),
        Operation(name="parameters", make=_make_with_parameters, begin=_change_parameter,
                  check=_check_parameter, after_s=(0.0, 0.5)),
        Operation(name="scale-out", begin=changes.scale_out, check=changes.check_shards,
                  after_s=(0.0, 4.0), is_cluster=True, moves_slots=True, is_silent=True,
                  faults=_IN_THE_MIDDLE),
        Operation(name="scale-in", begin=changes.scale_in, check=changes.check_shards,
                  after_s=(0.0, 3.0), is_cluster=True, shards=2, moves_slots=True,
                  is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="rebalance", make=changes.make_uneven, begin=changes.rebalance,
                  check=changes.check_shards, after_s=(0.0, 2.0), is_cluster=True, shards=2,
                  moves_slots=True, is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="copy-out", make=changes.make_older, begin=changes.scale_out,
                  check=changes.check_shards, after_s=(0.0, 6.0), is_cluster=True,
                  moves_slots=True, copies_keys=True, is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="copy-in", make=changes.make_older, begin=changes.scale_in,
                  check=changes.check_shards, after_s=(0.0, 5.0), is_cluster=True, shards=2,
                  moves_slots=True, copies_keys=True, is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="replicas-out", begin=changes.more_replicas, after_s=(0.0, 2.0),
                  is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="replicas-in", begin=changes.fewer_replicas, after_s=(0.0, 1.0),
                  replicas=2, is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="node-type", begin=changes.larger_nodes, check=changes.check_larger,
                  after_s=(0.0, 0.5), is_silent=True, faults=_IN_THE_MIDDLE),
        Operation(name="upgrade", make=changes.make_older, begin=changes.upgrade,
                  check=changes.check_version, after_s=(0.0, 6.0), replicas=1, is_silent=True,
                  changes_primaries=True, ends_engines=True, faults=_IN_THE_MIDDLE),
        Operation(name="append-only", make=_make_append_only, after_s=(0.0, 1.0),
                  keeps_on_disk=True, is_at_rest=True),
    )
}  # fmt: skip
