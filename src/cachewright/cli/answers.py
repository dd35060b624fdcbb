"""What does the service tell the command line? The JSON of its native face, as typed values.

`GET /cachewright/v1/groups` answers `Groups`, `/groups/NAME` a `Group`, `/groups/NAME/explain` an
`Explanation`, `/engines` `Engines`, `POST /engines/install` an `Engine`, `POST /groups/NAME/drill`
a `Drill`, `POST /groups/NAME/checks` a `Check`, and whatever fails a `Failure` with its HTTP
status. Members that are not known here are passed over, so that a newer service can talk to an
older command line. `--output json` prints these values with these keys.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Addresses that follow a role, as HOST:PORT; `None` where the mode has no such endpoint."""

    primary: str | None = None
    reader: str | None = None
    configuration: str | None = None
    #: Of a single node: the node itself.
    node: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """One replication group or cache cluster of its own in a list."""

    name: str
    #: "replication-group", "single-node" or "memcached".
    kind: str = "replication-group"
    #: By the words of the API: creating, available, modifying, deleting, create-failed.
    status: str
    #: One sentence on what is waited for or what went wrong; empty when all is well.
    reason: str
    engine: str
    #: major.minor.
    engine_version: str
    node_type: str
    cluster_enabled: bool
    shards: int
    nodes: int
    #: The address to connect to, HOST:PORT; `None` before there is one.
    endpoint: str | None
    #: ISO 8601, UTC.
    created_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Every group, sorted by name."""

    groups: tuple[GroupRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node as it was last seen."""

    node_id: str
    #: "primary" or "replica"; `None` while nobody knows.
    role: str | None
    #: By the words of the API.
    status: str
    #: `None` before the node has a place.
    address: str | None
    port: int | None
    zone: str
    #: Full version that runs; `None` while none does.
    engine_version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One shard (node group)."""

    shard_id: str
    #: "0-5461", several ranges with commas; empty where cluster mode is disabled.
    slots: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened."""

    #: ISO 8601, UTC.
    at: str
    source_type: str
    source_id: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What clients saw while something was done to a group."""

    #: When the figures were brought (ISO 8601, UTC).
    at: str
    is_good: bool
    #: Name and version of the client.
    client: str
    #: The command that ran meanwhile; empty where none did.
    during: str
    seconds: float
    requests: int
    failed: int
    wrong_reads: int
    lost: int | None
    doubled: int
    longest_gap_ms: float
    per_second: float
    lowest_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One replication group or cache cluster with everything that is known of it."""

    name: str
    kind: str = "replication-group"
    status: str
    reason: str
    description: str
    engine: str
    engine_version: str
    node_type: str
    cluster_enabled: bool
    endpoints: Endpoints
    shards: tuple[Shard, ...]
    #: The newest ones, oldest first.
    events: tuple[Event, ...]
    created_at: str
    #: The newest ones, oldest first.
    checks: tuple[Check, ...] = ()
    #: How much is done of a resharding that goes on, 0 to 100; `None` where none does.
    resharding_percent: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Something that would be done now."""

    #: The kind of command, for example "StartNode".
    command: str
    node_id: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What would be done next for a group, and why."""

    name: str
    status: str
    reason: str
    #: In this order; empty when nothing is to be done.
    steps: tuple[Step, ...]
    #: Seconds until the next look without a cause.
    look_again_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One engine line that can run here, now or after an installation."""

    engine: str
    #: major.minor.
    api_version: str
    #: Full version; for a line that is not installed, the one an installation would most likely
    #: bring, or `None`.
    version: str | None
    is_installed: bool
    #: "embedded", "path" or "debian".
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Engines:
    """Every engine line, by engine and version."""

    engines: tuple[Engine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drill:
    """A primary that was ended on purpose."""

    name: str
    shard_id: str
    node_id: str
    #: ISO 8601, UTC.
    at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a request was not answered."""

    #: An error code of the AWS API.
    code: str
    message: str
