"""How large may a node be, and what could it become?"""

from __future__ import annotations

from cachewright.model import node_types
from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.service import refits, rules, views
from cachewright.service.context import Service
from cachewright.service.inputs import ListAllowedNodeTypeModifications

_EXAMPLES = ("cache.t4g.micro", "cache.t4g.small", "cache.m7g.large", "cache.r7g.large")


def require(name: str | None) -> str:
    """Return the name of a node type that there is."""
    if not name:
        raise invalid_value("The parameter CacheNodeType must be provided.")
    if node_types.node_type_of(name) is None:
        raise invalid_value(
            f"Invalid value '{rules.shown(name)}' for CacheNodeType. "
            f"Valid values are for example {', '.join(_EXAMPLES)}"
        )
    return name


async def allowed(
    service: Service, wanted: ListAllowedNodeTypeModifications
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return to which larger and to which smaller types the named resource could change now."""
    if bool(wanted.cache_cluster_id) == bool(wanted.replication_group_id):
        raise invalid_combination(
            "Exactly one of CacheClusterId and ReplicationGroupId must be provided."
        )
    if wanted.cache_cluster_id:
        group = views.find_cluster(service.records, wanted.cache_cluster_id).group
    else:
        group = views.find_group(service.records, wanted.replication_group_id or "")
    spec = group.spec
    await service.look(spec.uid)
    return refits.types_up(spec), refits.types_down(service, spec)
