"""What happens in the demo, and in which order?

Start a service, create a group, wait, show it, let the workers work, let shards and replicas come
and go under them, compare the data, kill a primary under its clients, compare again, delete the
group, look for leftovers, stop the service, look again. A step that fails becomes a failed check
with its name; whatever happens, the service is stopped on the way out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from cachewright.checker.traffic import CheckFailed
from cachewright.cli import answers, calls, tables
from cachewright.cli.demo import checks, display, load, scaling, strike, workload
from cachewright.cli.failures import Failed
from cachewright.cli.interrupts import Interrupts
from cachewright.kit.secret import Secret
from cachewright.model.engines import version_key

GROUP = "demo"
SHARDS, REPLICAS = 3, 1
NODE_TYPE = "cache.t4g.small"
#: A group of 3 x 2 takes about 3 s; a machine under heavy load may take many times as long.
_CREATE_TIMEOUT_S = 120.0
_DELETE_TIMEOUT_S = 60.0
_POLL_INTERVAL_S = 0.1
_SOCKET_TIMEOUT_S = 10.0


class RunningService(Protocol):
    """What the demo needs of a service that was started for it."""

    @property
    def url(self) -> str:
        """Where its API listens."""

    @property
    def region(self) -> str:
        """Its region."""

    @property
    def state_dir(self) -> Path:
        """Its folder, which vanishes when it stops."""

    @property
    def key_pair(self) -> tuple[str, str]:
        """Access key id and secret access key."""

    def client(self) -> Any:
        """Return a boto3 client for ElastiCache."""

    def processes(self) -> tuple[int, ...]:
        """Return every process that lives from its folder; it may have stopped."""


#: Starts a service for the block, and leaves nothing of it.
OpenService = Callable[[], contextlib.AbstractContextManager[RunningService]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How the demo is to be."""

    workers: int
    #: How long they work before anything is done to the cluster.
    seconds: float
    #: Shards and replicas come and go.
    has_scaling: bool


@dataclass(kw_only=True, slots=True)
class Report:
    """All that the demo measured and checked: the document of `--output json`."""

    ok: bool = False
    engine_version: str = ""
    node_type: str = NODE_TYPE
    shards: int = SHARDS
    replicas_per_shard: int = REPLICAS
    workers: int
    #: Commands of one request.
    pipeline: int = workload.PIPELINE
    service_ready_s: float = 0.0
    #: From the create request until the group is `available`.
    create_s: float = 0.0
    #: From the delete request until the group is gone.
    delete_s: float = 0.0
    seconds: float = 0.0
    total: load.Figures | None = None
    by_workload: Mapping[str, load.Figures] = field(default_factory=dict)
    #: What came of the changes of shards and replicas.
    scaling: scaling.Scaling | None = None
    #: What clients saw of the kill of a primary.
    failover: strike.Failover | None = None
    checks: list[checks.Check] = field(default_factory=list)


class _StepFailed(Exception):
    """The story cannot go on."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.check = checks.Check(name=name, ok=False, detail=detail)


def play(
    open_service: OpenService,
    *,
    console: Console,
    interrupts: Interrupts,
    wish: Wish,
) -> Report:
    """Play the whole demo and return what came of it."""
    report = Report(workers=wish.workers)
    shown = display.make_display(console)
    shown.say("Starting a service of its own, in a temporary folder and on free addresses.")
    start = time.monotonic()
    try:
        with interrupts.undisturbed_at_end(open_service()) as service:
            report.service_ready_s = round(time.monotonic() - start, 3)
            shown.say(f"It is ready at {service.url} after {report.service_ready_s:.1f} s.")
            _tell(service, shown, report, wish)
            shown.say("Stopping the service.")
        report.checks.append(checks.service_is_gone(service.state_dir, service.processes()))
    except Exception as error:  # noqa: BLE001 the last line: named as a failed check
        _note(report, "the service starts and stops", str(error))
    report.ok = all(check.ok for check in report.checks)
    shown.show(display.checks_table(report.checks))
    return report


def _tell(service: RunningService, shown: display.Display, report: Report, wish: Wish) -> None:
    """Tell the story; what fails in it becomes a failed check, and the service still stops."""
    try:
        _Story(service, shown, report).tell(wish)
    except _StepFailed as failed:
        report.checks.append(failed.check)
    except Failed as failed:
        _note(report, "the service answers", failed.message)
    except load.LoadFailed as failed:
        _note(report, "the workers do their work", str(failed))
    except scaling.ScalingFailed as failed:
        _note(report, "the group becomes what was asked for", str(failed))
    except (strike.StrikeFailed, CheckFailed) as failed:
        _note(report, "clients go on", str(failed))
    except Exception as error:  # noqa: BLE001 an error of an SDK or an engine, by its name
        _note(report, "no step of the demo fails", f"{type(error).__name__}: {error}")


def _note(report: Report, name: str, detail: str) -> None:
    report.checks.append(checks.Check(name=name, ok=False, detail=detail))


class _Story:
    """The part that needs a running service."""

    def __init__(self, service: RunningService, shown: display.Display, report: Report) -> None:
        key_id, secret = service.key_pair
        self._service = service
        self._api = service.client()
        self._native = calls.Service(
            url=service.url, region=service.region, access_key_id=key_id, secret=Secret(secret)
        )
        self._shown = shown
        self._report = report
        #: Every node that there was, and every address.
        self._node_ids: set[str] = set()
        self._addresses: set[str] = set()

    def tell(self, wish: Wish) -> None:
        """Create, work, scale, compare, kill, compare, delete, look for leftovers."""
        before = self._service.processes()
        group = self._create()
        self._shown.show(tables.nodes_table(group.shards))
        endpoint = self._endpoint()
        outcome = self._work(endpoint, wish)
        self._check_data(endpoint, outcome)
        self._strike(self._look())
        self._check_data_again(endpoint, outcome)
        self._delete()
        self._check_leftovers(before)

    def _look(self) -> answers.Group:
        """Look at the group, and remember who is in it."""
        group = self._native.group(GROUP)
        nodes = [node for shard in group.shards for node in shard.nodes]
        self._node_ids |= {node.node_id for node in nodes}
        self._addresses |= {f"{node.address}:{node.port}" for node in nodes if node.address}
        ends = group.endpoints
        self._addresses |= {at for at in (ends.primary, ends.reader, ends.configuration) if at}
        return group

    def _create(self) -> answers.Group:
        versions = self._api.describe_cache_engine_versions(Engine="valkey")["CacheEngineVersions"]
        version = max((str(v["EngineVersion"]) for v in versions), key=version_key)
        self._shown.say(
            f"Creating {SHARDS} shards x {REPLICAS} replica of valkey {version} through boto3."
        )
        start = time.monotonic()
        self._api.create_replication_group(
            ReplicationGroupId=GROUP,
            ReplicationGroupDescription="made by cachewright demo",
            Engine="valkey",
            EngineVersion=version,
            CacheNodeType=NODE_TYPE,
            NumNodeGroups=SHARDS,
            ReplicasPerNodeGroup=REPLICAS,
            AutomaticFailoverEnabled=True,
        )
        with self._shown.moving():
            group = self._wait_until_available(start)
        self._report.create_s = round(time.monotonic() - start, 3)
        builds = {node.engine_version for shard in group.shards for node in shard.nodes}
        self._report.engine_version = ", ".join(sorted(filter(None, builds)))
        self._shown.say(
            f"Available after {self._report.create_s:.1f} s: every slot is served and every "
            "replica is in sync."
        )
        return group

    def _wait_until_available(self, start: float) -> answers.Group:
        while True:
            group = self._look()
            elapsed_s = time.monotonic() - start
            self._shown.progress(group, elapsed_s)
            if group.status == "available":
                return group
            if group.status != "creating" or elapsed_s > _CREATE_TIMEOUT_S:
                told = "; ".join(event.message for event in group.events)
                detail = f"it is {group.status} after {elapsed_s:.0f} s: {group.reason} {told}"
                raise _StepFailed("the group becomes available", detail)
            time.sleep(_POLL_INTERVAL_S)

    def _endpoint(self) -> tuple[str, int]:
        answer = self._api.describe_replication_groups(ReplicationGroupId=GROUP)
        found = answer["ReplicationGroups"][0]["ConfigurationEndpoint"]
        return found["Address"], found["Port"]

    def _work(self, endpoint: tuple[str, int], wish: Wish) -> load.Outcome:
        host, port = endpoint
        seconds = wish.seconds
        self._shown.say(
            f"{self._report.workers} worker processes play a leaderboard and a session store for "
            f"{seconds:g} s, through the endpoint {host}:{port} and straight to the engines."
        )
        with load.running(
            host=host, port=port, workers=self._report.workers, on_tick=self._show_rate(seconds)
        ) as work:
            with self._shown.moving():
                work.follow(seconds)
            if wish.has_scaling:
                self._scale(work)
            outcome = work.finish()
        self._report.seconds = round(outcome.seconds, 3)
        self._report.total = outcome.total
        self._report.by_workload = outcome.by_kind
        self._shown.show(display.figures_view(outcome))
        return outcome

    def _show_rate(self, seconds: float) -> load.OnTick:
        def show(elapsed_s: float, operations: int, _errors: int) -> None:
            if elapsed_s <= seconds:
                self._shown.rate(elapsed_s, seconds, operations)

        return show

    def _scale(self, work: load.Load) -> None:
        with self._shown.moving():
            scaled, verdict, seen = scaling.scale(
                self._api, self._look, work, self._shown.say, self._shown.scaling
            )
        self._report.scaling = scaled
        self._shown.show(display.scaling_view(scaled))
        self._report.checks += [
            checks.clients_noticed_nothing(verdict, seen, scaled.strays),
            checks.slots_are_spread(scaling.slots_of(self._look()), scaling.FEWER_SHARDS),
        ]

    def _check_data(self, endpoint: tuple[str, int], outcome: load.Outcome) -> None:
        self._shown.say("Reading the data back and comparing it with what the workers computed.")
        with _client(endpoint) as client:
            self._report.checks += [
                checks.every_answer_was_good(
                    outcome.errors, outcome.first_error, outcome.total.operations
                ),
                checks.boards_are_right(client, outcome.tops),
                checks.sessions_are_right(client, outcome.visits),
            ]

    def _strike(self, group: answers.Group) -> None:
        self._shown.say("Clients write numbers to every shard and read them, through the endpoint.")
        with self._shown.moving():
            failover, verdict = strike.strike(
                group,
                self._look,
                self._service.processes(),
                self._shown.say,
                self._shown.clients,
            )
        self._report.failover = failover
        self._shown.show(display.failover_view(failover))
        self._report.checks += [
            checks.clients_are_served_again(verdict, failover.gap_ms),
            checks.no_write_is_lost(verdict),
            checks.group_is_whole_again(failover.node_id, failover.primary, failover.whole_after_s),
        ]

    def _check_data_again(self, endpoint: tuple[str, int], outcome: load.Outcome) -> None:
        with _client(endpoint) as client:
            self._report.checks.append(
                checks.data_outlived(
                    checks.boards_are_right(client, outcome.tops),
                    checks.sessions_are_right(client, outcome.visits),
                )
            )

    def _delete(self) -> None:
        self._shown.say("Deleting the group through boto3.")
        start = time.monotonic()
        self._api.delete_replication_group(ReplicationGroupId=GROUP)
        while self._native.groups().groups:
            elapsed_s = time.monotonic() - start
            if elapsed_s > _DELETE_TIMEOUT_S:
                raise _StepFailed("the group goes away", f"it is there after {elapsed_s:.0f} s")
            time.sleep(_POLL_INTERVAL_S)
        self._report.delete_s = round(time.monotonic() - start, 3)
        self._shown.say(f"Gone after {self._report.delete_s:.1f} s. Looking for leftovers.")

    def _check_leftovers(self, before: tuple[int, ...]) -> None:
        state_dir = self._service.state_dir
        listed = self._api.describe_replication_groups()["ReplicationGroups"]
        self._report.checks += [
            checks.group_is_gone([str(found["ReplicationGroupId"]) for found in listed]),
            checks.processes_are_gone(before, self._service.processes()),
            checks.sockets_are_gone(
                checks.pool_of(state_dir), self._addresses, checks.listening_sockets()
            ),
            checks.folders_are_gone(state_dir, self._node_ids),
        ]


@contextlib.contextmanager
def _client(endpoint: tuple[str, int]) -> Iterator[Any]:
    import valkey

    host, port = endpoint
    client = valkey.ValkeyCluster(host=host, port=port, socket_timeout=_SOCKET_TIMEOUT_S)
    with contextlib.closing(client):
        yield client
