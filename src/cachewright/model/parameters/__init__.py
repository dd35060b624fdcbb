"""Which parameters are there, what may they be, and what do they make of a node?

Tables and pure functions; nothing here knows a request, a record or an engine's files. `rows` are
the columns, `valkey_rows` and `memcached_rows` the catalogue, `allowed` checks values, `families`
finds rows and default groups, `effects` says what reaches an engine, `contradictions` which values
do not go together.
"""

from __future__ import annotations

from cachewright.model.parameters.allowed import is_allowed, wanted
from cachewright.model.parameters.blocking import RENAME_COMMANDS, blocked_commands
from cachewright.model.parameters.contradictions import contradiction_of
from cachewright.model.parameters.effects import (
    CLOSE_ON_REPLICA_WRITE,
    ENGINE_SETTINGS,
    FOREIGN_SETTINGS,
    by_node_type,
    is_immediate,
    maxclients_of,
    memory_of,
    settings_of,
)
from cachewright.model.parameters.families import (
    FAMILIES,
    PARAMETERS,
    default_group_name,
    default_groups,
    family_of,
    parameters_of,
    parameters_of_family,
    parse_default_group,
)
from cachewright.model.parameters.groups import DefaultGroup, ParameterGroup
from cachewright.model.parameters.rows import (
    BY_NODE_TYPE,
    ChangeType,
    DataType,
    Parameter,
    Reach,
)

__all__ = [
    "BY_NODE_TYPE",
    "CLOSE_ON_REPLICA_WRITE",
    "ENGINE_SETTINGS",
    "FAMILIES",
    "FOREIGN_SETTINGS",
    "PARAMETERS",
    "RENAME_COMMANDS",
    "ChangeType",
    "DataType",
    "DefaultGroup",
    "Parameter",
    "ParameterGroup",
    "Reach",
    "blocked_commands",
    "by_node_type",
    "contradiction_of",
    "default_group_name",
    "default_groups",
    "family_of",
    "is_allowed",
    "is_immediate",
    "maxclients_of",
    "memory_of",
    "parameters_of",
    "parameters_of_family",
    "parse_default_group",
    "settings_of",
    "wanted",
]
