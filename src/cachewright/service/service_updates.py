"""Which service updates are there? Newer builds on the host than groups run, noticed and kept.

`notice` writes down what is new; it is called again and again. Everything else reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cachewright.model import engines
from cachewright.model.engines import EngineName, version_key
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupKind, GroupSpec
from cachewright.model.service_updates import LISTED, ServiceUpdate, UpdateStatus, name_of
from cachewright.service import events, rules, views
from cachewright.service.context import Service
from cachewright.service.inputs_service_updates import DescribeServiceUpdates
from cachewright.store import furniture
from cachewright.store.base import Conflict
from cachewright.store.records import ChangeSet

#: How often it is looked for new builds, seconds: one is installed at most now and then.
NOTICE_EVERY_S = 15.0
_NAME = re.compile(r"[a-z0-9-]{1,100}", re.ASCII)
#: Records removed in one transaction.
_FORGOTTEN_AT_ONCE = 1_000


def find(service: Service, name: str) -> ServiceUpdate:
    """Return the update `name`, or raise that there is none."""
    known = _NAME.fullmatch(name.lower()) is not None
    found = furniture.service_update(service.records, name.lower()) if known else None
    if found is None:
        raise ClientFault(
            "ServiceUpdateNotFoundFault", f"Service update {rules.shown(name)} not found."
        )
    return found


def describe(
    service: Service, wanted: DescribeServiceUpdates
) -> tuple[tuple[ServiceUpdate, UpdateStatus], ...]:
    """Return the updates that pass the filters with their statuses, by name."""
    if wanted.service_update_name:
        found: tuple[ServiceUpdate, ...] = (find(service, wanted.service_update_name),)
    else:
        found = furniture.service_updates(service.records)
    with_status = ((update, status_of(service, update)) for update in found)
    statuses = frozenset(wanted.service_update_status)
    return tuple(row for row in with_status if not statuses or row[1].value in statuses)


def status_of(service: Service, update: ServiceUpdate) -> UpdateStatus:
    """Return whether an update can be applied."""
    best = _best_versions(service).get((update.engine, update.api_version))
    if best == update.version:
        return UpdateStatus.AVAILABLE
    is_newer = best is not None and version_key(best) > version_key(update.version)
    return UpdateStatus.EXPIRED if is_newer else UpdateStatus.CANCELLED


def outdated_nodes(group: views.GroupView, update: ServiceUpdate) -> tuple[str, ...]:
    """Return the nodes of which it is known that they run an older build of the update's line."""
    return tuple(
        node.node_id for node in group.spec.nodes() if _is_outdated(group, node.node_id, update)
    )


def concerns(update: ServiceUpdate, spec: GroupSpec) -> bool:
    """Tell whether a group runs the line of engines that the update belongs to."""
    return (spec.engine, spec.engine_version) == (update.engine, update.api_version)


async def notice(service: Service) -> tuple[ServiceUpdate, ...]:
    """Write down updates that are new, forget what is no use any more; return the new ones."""
    made: list[ServiceUpdate] = []
    for update in _new(service):
        changes = ChangeSet()
        changes.create(furniture.SERVICE_UPDATE + update.name, update)
        for cluster_id, node_id in _nodes_in_need(service, update):
            text = f"Service update is available for cache node {node_id}."
            events.about_cluster(service, changes, cluster_id, text)
        try:
            await service.records.commit(changes)
        except Conflict:  # somebody else has noticed it
            continue
        made.append(update)
    await _forget(service)
    return tuple(made)


def _new(service: Service) -> Iterator[ServiceUpdate]:
    for (engine, api_version), version in _best_versions(service).items():
        update = ServiceUpdate(
            name=name_of(engine, version),
            engine=engine,
            api_version=api_version,
            version=version,
            released_at=service.clock.now(),
        )
        is_known = furniture.service_update(service.records, update.name) is not None
        if not is_known and any(_nodes_in_need(service, update)):
            yield update


def _nodes_in_need(service: Service, update: ServiceUpdate) -> Iterator[tuple[str, str]]:
    """Yield (cache cluster id, cache node id) of every node that runs an older build."""
    for uid in service.records.uids():
        group = views.view(service.records, uid)
        if group is None or group.spec.deletion is not None or not concerns(update, group.spec):
            continue
        for node_id in outdated_nodes(group, update):
            if group.spec.kind is GroupKind.MEMCACHED:
                yield group.spec.name, node_id
            else:
                yield node_id, "0001"


def _is_outdated(group: views.GroupView, node_id: str, update: ServiceUpdate) -> bool:
    seen = group.seen(node_id)
    if seen is None or not seen.engine_version or update.has_reached(seen.engine_version):
        return False
    # Who is still to be upgraded from an older line skips its builds.
    return engines.api_version_of(update.engine, seen.engine_version) == update.api_version


def _best_versions(service: Service) -> dict[tuple[EngineName, str], str]:
    """Return the full version of the build that a start of each line would take now."""
    return {
        (offer.engine, offer.api_version): offer.version
        for offer in service.offers()
        if offer.is_installed and offer.version is not None
    }


async def _forget(service: Service) -> None:
    """Remove what was asked of groups that are gone, or that is over for long."""
    records, now = service.records, service.clock.now()
    changes = ChangeSet()
    for key in records.keys(furniture.UPDATE_REQUEST):
        update_name, _, uid = key.removeprefix(furniture.UPDATE_REQUEST).partition("/")
        group = views.view(records, uid)
        update = furniture.service_update(records, update_name)
        request = furniture.update_request(records, update_name, uid)
        is_over = (
            group is not None
            and update is not None
            and request is not None
            and not outdated_nodes(group, update)
            and now - request.value.changed_at > LISTED
        )
        if (group is None or update is None or is_over) and (
            len(changes.operations) < _FORGOTTEN_AT_ONCE
        ):
            changes.delete(key)
    if not changes.is_empty():
        await records.commit(changes)
