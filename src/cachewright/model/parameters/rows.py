"""What is there to say about one parameter? The columns of the catalogue.

Values, no behaviour. Names, defaults and allowed values are ElastiCache's (user guide, "Engine
specific parameters"); where the engines take less, the row says what they take.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: In the catalogue: the value depends on the node type.
BY_NODE_TYPE = "(by node type)"
#: The largest number of the engines' `int` and `long long` settings.
INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1


class DataType(enum.Enum):
    """What a value is, as the API says it. Switches of Valkey and Redis are strings there."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    FLOAT = "float"


class ChangeType(enum.Enum):
    """When a new value reaches nodes that run."""

    IMMEDIATE = "immediate"
    REQUIRES_REBOOT = "requires-reboot"


class Reach(enum.Enum):
    """Where a parameter takes effect."""

    #: A setting of the engine by the same name.
    ENGINE = "engine"
    #: The same, meaningful in cluster mode only.
    CLUSTER = "cluster"
    #: The same, meaningful without cluster mode only.
    STANDALONE = "standalone"
    #: A part of the engine's one setting `client-output-buffer-limit`.
    BUFFER_LIMIT = "buffer-limit"
    #: A part of what a launch says beside its settings: memory, connections, mode.
    LAUNCH = "launch"
    #: Without cluster mode, something that the agent does beside the engine.
    AGENT = "agent"
    #: What the engine lets its clients do.
    USERS = "users"
    #: Nothing that an engine is told: it describes what always holds here.
    SERVICE = "service"


#: The families of Redis and Valkey that can run here.
REDIS7 = ("redis7",)
VALKEY8 = ("valkey8",)
VALKEY9 = ("valkey9",)
VALKEY = VALKEY8 + VALKEY9
REDIS_AND_VALKEY = REDIS7 + VALKEY
MEMCACHED = ("memcached1.6",)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: a parameter as some families have it."""

    name: str
    data_type: DataType
    #: The value in a new group; `BY_NODE_TYPE` where no single one exists.
    default: str
    #: As the API shows it: "a,b", "1-100", "0-", "0,20-"; `None` where `letters` bind.
    allowed: str | None
    description: str
    families: tuple[str, ...] = REDIS_AND_VALKEY
    #: First engine version that has it.
    since: str = "7.0"
    reach: Reach = Reach.ENGINE
    change_type: ChangeType = ChangeType.IMMEDIATE
    is_modifiable: bool = True
    #: It can change only while no cluster uses the group.
    is_fixed_in_use: bool = False
    #: What a text may be made of, where `allowed` is `None`.
    letters: str = ""
    #: The largest number that the engine takes, where `allowed` names no end.
    ceiling: int = LONG_MAX
