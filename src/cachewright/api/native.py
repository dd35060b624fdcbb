"""What does our own command line ask that AWS's API has no words for? A small JSON face.

    GET  /cachewright/v1/groups                 every group and cluster of its own, by name
    GET  /cachewright/v1/groups/NAME            one with its nodes and newest events
    GET  /cachewright/v1/groups/NAME/explain    what the loop would do next, and why
    GET  /cachewright/v1/engines                the engine lines that can run
    POST /cachewright/v1/engines/install        {"engine": "valkey", "version": "8.1"}
    POST /cachewright/v1/groups/NAME/drill      {"shard_id": "0001", "accepts_loss": false}
    POST /cachewright/v1/groups/NAME/checks     the figures of a check (`model.checks`)
    POST /cachewright/v1/maintenance            {"at": "2026-01-04T05:30:00Z"}

NAME is a replication group, a cache cluster, or a member, which means its group. Maintenance
applies now what waits for the windows that are open at the given moment, so that nobody has to
wait for Sunday; it does no more than `ApplyImmediately` does. A drill ends the primary of a shard
(the first one where none is named) with SIGKILL and says which node that was; it refuses to lose
data unless that is accepted. Figures of a check are kept with the group, the newest five.

Requests are signed as on the AWS face. An error is `{"code": ..., "message": ...}` with its HTTP
status. Nothing else can be changed here.
"""

from __future__ import annotations

import asyncio
import datetime
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from cachewright.api import render
from cachewright.api.faults import Refused
from cachewright.api.render import Output
from cachewright.control.loop import Explanation
from cachewright.model import slots
from cachewright.model.checks import CheckFigures, KeptCheck
from cachewright.model.engines import EngineName
from cachewright.model.errors import invalid_value
from cachewright.model.groups import DISCOVERY_ID, GroupKind, NodeSpec
from cachewright.model.status import Event
from cachewright.protocol.sigv4 import WireRequest
from cachewright.rpc.agent import EngineOffer
from cachewright.service import checks, drills, engine_versions, pending, rules, views
from cachewright.service.context import Service
from cachewright.service.views import GroupView
from cachewright.store.records import EVENT_RETENTION

PREFIX = b"/cachewright/v1/"
#: Observing a group asks its engines; each of them answers or is silent within a second.
_EXPLAIN_DEADLINE_S = 10.0
#: Downloading and unpacking a build takes seconds, on a slow line minutes.
_INSTALL_DEADLINE_S = 540.0
#: Ending a process takes milliseconds; observing its group before may take a second.
_DRILL_DEADLINE_S = 15.0
_EVENTS_SHOWN = 20


class MaintenanceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `maintenance`."""

    #: Aware, in any zone.
    at: datetime.datetime


class InstallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `engines/install`."""

    engine: str
    #: major.minor.
    version: str


class DrillRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a group's `drill`; may be left out."""

    shard_id: str | None = None
    accepts_loss: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeFace:
    """Answers requests below `PREFIX`."""

    service: Service
    explain: Callable[[str], Awaitable[Explanation | None]]
    install: Callable[[EngineName, str], Awaitable[EngineOffer]]
    #: End the process of a node (uid of its group, its id) and return when that is proven.
    end_node: Callable[[str, str], Awaitable[None]]

    async def answer(self, request: WireRequest) -> Output:
        """Return what is asked for, ready to become JSON."""
        path = request.path.removeprefix(PREFIX).decode("latin-1")
        match request.method, [urllib.parse.unquote(part) for part in path.split("/")]:
            case "GET", ["groups"]:
                return self._groups()
            case "GET", ["groups", name]:
                return _group(self.service, views.find_any(self.service.records, name))
            case "GET", ["groups", name, "explain"]:
                return await self._explain(name)
            case "GET", ["engines"]:
                lines = engine_versions.offered(self.service)
                return {"engines": [_engine(entry.offer) for entry in lines]}
            case "POST", ["groups", name, "drill"]:
                return await self._drill(name, request.body)
            case "POST", ["groups", name, "checks"]:
                return await self._keep_check(name, request.body)
            case "POST", ["engines", "install"]:
                return await self._install(request.body)
            case "POST", ["maintenance"]:
                return await self._maintain(request.body)
            case _:
                raise Refused("NoSuchKey", "There is nothing at this path for this method.")

    def _groups(self) -> Output:
        records = self.service.records
        groups = (views.view(records, uid) for uid in records.uids())
        rows = [_row(group) for group in groups if group is not None]
        return {"groups": sorted(rows, key=lambda row: (row["name"], row["kind"]))}

    async def _explain(self, name: str) -> Output:
        spec = views.find_any(self.service.records, name).spec
        async with asyncio.timeout(_EXPLAIN_DEADLINE_S):
            explanation = await self.explain(spec.uid)
        if explanation is None:
            raise rules.group_not_found(name)
        plan = explanation.plan
        return {
            "name": spec.name,
            "status": plan.status.state.value,
            "reason": plan.status.reason,
            "steps": [
                {
                    "command": type(step.command).__name__,
                    "node_id": step.node_id,
                    "reason": step.reason,
                }
                for step in plan.steps
            ],
            "look_again_s": plan.look_again_s,
        }

    async def _drill(self, name: str, body: bytes) -> Output:
        try:
            wanted = msgspec.json.decode(body or b"{}", type=DrillRequest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise invalid_value(
                'The body must be JSON such as {"shard_id": "0001", "accepts_loss": false}.'
            ) from None
        drill = await drills.begin(
            self.service, name, shard_id=wanted.shard_id, accepts_loss=wanted.accepts_loss
        )
        async with asyncio.timeout(_DRILL_DEADLINE_S):
            await self.end_node(drill.uid, drill.node_id)
        return {
            "name": drill.group_name,
            "shard_id": drill.shard_id,
            "node_id": drill.node_id,
            "at": drill.at,
        }

    async def _keep_check(self, name: str, body: bytes) -> Output:
        try:
            figures = msgspec.json.decode(body, type=CheckFigures)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid_value(f"The body must be the figures of a check: {error}") from None
        return _check(await checks.keep(self.service, name, figures))

    async def _install(self, body: bytes) -> Output:
        try:
            wanted = msgspec.json.decode(body, type=InstallRequest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise invalid_value(
                'The body must be JSON such as {"engine": "valkey", "version": "8.1"}.'
            ) from None
        line = engine_versions.choose_install(self.service, wanted.engine, wanted.version)
        async with asyncio.timeout(_INSTALL_DEADLINE_S):
            return _engine(await self.install(line.engine, line.api_version))

    async def _maintain(self, body: bytes) -> Output:
        try:
            wanted = msgspec.json.decode(body, type=MaintenanceRequest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            wanted = None
        if wanted is None or wanted.at.tzinfo is None:
            raise invalid_value('The body must be JSON such as {"at": "2026-01-04T05:30:00Z"}.')
        at = wanted.at.astimezone(datetime.UTC)
        return {"at": at, "applied": list(await pending.apply_due(self.service, at))}


def _row(group: GroupView) -> Output:
    spec = group.spec
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "status": _status(group),
        "reason": group.reason,
        "engine": spec.engine.value,
        "engine_version": spec.engine_version,
        "node_type": spec.node_type,
        "cluster_enabled": spec.cluster_enabled,
        "shards": len(spec.shards),
        "nodes": sum(1 for _ in spec.nodes()),
        "endpoint": next(filter(None, _endpoints(group).values()), None),
        "created_at": spec.created_at,
    }


def _status(group: GroupView) -> str:
    """Return the status by the word that the API has for this kind of group."""
    if group.spec.kind is GroupKind.REPLICATION_GROUP:
        return group.state.value
    cluster = views.cluster_of(group, group.spec.name)
    return group.state.value if cluster is None else cluster.state.value


def _group(service: Service, group: GroupView) -> Output:
    spec = group.spec
    return {
        **_row(group),
        "description": spec.description,
        "endpoints": _endpoints(group),
        "shards": [
            {
                "shard_id": shard.shard_id,
                "slots": slots.render_ranges(group.slots_of(shard)),
                "nodes": [_node(group, node) for node in shard.nodes],
            }
            for shard in group.shards()
        ],
        "resharding_percent": group.resharding_percent,
        "events": [_event(happened) for happened in _newest_events(service, group)],
        "checks": [_check(kept) for kept in checks.kept_of(service.records, spec.uid)],
    }


def _node(group: GroupView, node: NodeSpec) -> Output:
    place = group.place_of(node.node_id)
    role = group.role_of(node.node_id)
    return {
        "node_id": node.node_id,
        "role": None if role is None else role.value,
        "status": group.node_state(node.node_id).value,
        "address": None if place is None else place.address,
        "port": None if place is None else place.port,
        "zone": node.zone,
        "engine_version": render.running_version(group, node.node_id),
    }


def _endpoints(group: GroupView) -> dict[str, str | None]:
    """Return the endpoints as HOST:PORT, the one to connect to first."""
    shown: dict[str, str | None] = dict.fromkeys(("configuration", "primary", "reader", "node"))
    placement = group.placement
    if placement is None:
        return shown
    if group.spec.kind is not GroupKind.REPLICATION_GROUP:
        is_memcached = group.spec.kind is GroupKind.MEMCACHED
        place = group.place_of(DISCOVERY_ID if is_memcached else group.spec.name)
        role = "configuration" if is_memcached else "node"
        shown[role] = None if place is None else _joined(place.address, place.port)
    elif group.spec.cluster_enabled:
        shown["configuration"] = _joined(*render.configuration_endpoint(group, placement))
    else:
        shard = group.spec.shards[0]
        shown["primary"] = _joined(*render.primary_endpoint(group, placement, shard))
        shown["reader"] = _joined(*render.reader_endpoint(group, placement, shard))
    return shown


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _newest_events(service: Service, group: GroupView) -> list[Event]:
    """Return the newest events of a group and its members, oldest first."""
    now = service.clock.now()
    since = max(group.spec.created_at, now - EVENT_RETENTION)
    sources = {group.spec.name, *group.spec.cluster_ids()}
    happened = service.records.events(since=since, until=now)
    return [event for _, event in happened if event.source_id in sources][-_EVENTS_SHOWN:]


def _check(kept: KeptCheck) -> Output:
    figures: Output = msgspec.structs.asdict(kept.figures)
    return {"at": kept.at, **figures}


def _event(happened: Event) -> Output:
    return {
        "at": happened.at,
        "source_type": happened.source_type.value,
        "source_id": happened.source_id,
        "message": happened.message,
    }


def _engine(offer: EngineOffer) -> Output:
    return {
        "engine": offer.engine.value,
        "api_version": offer.api_version,
        "version": offer.version,
        "is_installed": offer.is_installed,
        "source": offer.source,
    }
