"""Which names, texts and numbers are allowed, and how is a refusal worded? Rules of many resources.

Pure functions over values. Texts follow what ElastiCache answers where that is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from cachewright.model.errors import ClientFault, invalid_value
from cachewright.model.groups import GroupSpec, ShardSpec
from cachewright.model.settings import Settings

GROUP_ID_CHARS_MAX = 40
CLUSTER_ID_CHARS_MAX = 50
DESCRIPTION_CHARS_MAX = 255
#: Ports below belong to the system.
PORT_MIN = 1024
PORT_MAX = 65_535
#: The engines' cluster bus listens this far above the port.
CLUSTER_BUS_OFFSET = 10_000
RETENTION_DAYS_MAX = 35
ZONE_LETTERS = "abc"

#: Longest echo of a caller's text in an error: enough to recognise it.
_SHOWN_CHARS_MAX = 128
#: Longest id of any resource; longer ones cannot exist and are not looked up.
_ID_CHARS_MAX = 50

_IDENTIFIER = re.compile(r"[a-z](-?[a-z0-9])*", re.ASCII | re.IGNORECASE)
#: Control characters, line and paragraph separators, lone surrogates and non-characters: nothing
#: that could end a line in a file or a log, or that XML cannot carry.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_SECURITY_GROUP = re.compile(r"sg-[0-9a-f]{8,17}", re.ASCII)
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]*:[0-9]*:[A-Za-z0-9_.-]{1,256}", re.ASCII)


def shown(text: str) -> str:
    """Return a caller's text as it may appear in an error: never long, never on two lines."""
    cut = text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}..."
    return _CONTROL.sub("?", cut)


def is_identifier(text: str) -> bool:
    """Tell whether `text` could be the id of a resource."""
    return len(text) <= _ID_CHARS_MAX and _IDENTIFIER.fullmatch(text) is not None


def refuse_control_characters(params: Mapping[str, object]) -> None:
    """Refuse every text with a character that could break a line, however deep it is nested."""
    for path, text in _texts(params):
        if _CONTROL.search(text):
            raise invalid_value(f"The parameter {path} contains a control character.")


def _texts(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    # The model nests only a few shapes deep, and decoded params follow the model.
    waiting: list[tuple[str, object]] = list(params.items())
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, Mapping):
            waiting.extend((f"{path}.{name}", part) for name, part in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((f"{path}.{number}", part) for number, part in enumerate(value, 1))


def group_name(text: str) -> str:
    """Return a new replication group's id in lower case, or raise what is wrong with it."""
    return _identifier(text, "ReplicationGroupIdentifier", GROUP_ID_CHARS_MAX)


def cluster_id(text: str) -> str:
    """Return a new cache cluster's id in lower case, or raise what is wrong with it."""
    return _identifier(text, "CacheClusterIdentifier", CLUSTER_ID_CHARS_MAX)


def _identifier(text: str, member: str, chars_max: int) -> str:
    if not text:
        raise invalid_value(f"The parameter {member} must be provided and must not be blank.")
    if len(text) > chars_max:
        raise invalid_value(
            f"The parameter {member} must have from 1 to {chars_max} characters; "
            f"'{shown(text)}' has {len(text)}."
        )
    if not is_identifier(text):
        raise invalid_value(
            f"The parameter {member} is not a valid identifier. Identifiers must "
            "begin with a letter; must contain only ASCII letters, digits, and hyphens; and must "
            f"not end with a hyphen or contain two consecutive hyphens: '{shown(text)}'."
        )
    return text.lower()


def description(text: str, *, member: str = "ReplicationGroupDescription") -> str:
    """Return the description that stands in `member`, or raise what is wrong with it."""
    if not text.strip():
        raise invalid_value(f"The parameter {member} must be provided and must not be blank.")
    if len(text) > DESCRIPTION_CHARS_MAX:
        raise invalid_value(
            f"The parameter {member} must have at most {DESCRIPTION_CHARS_MAX} characters, "
            f"not {len(text)}."
        )
    return text


def between(name: str, value: int, low: int, high: int) -> int:
    """Return `value` if it is from `low` to `high`, both included."""
    if not low <= value <= high:
        raise invalid_value(f"Invalid value {value} for {name}. Must be between {low} and {high}")
    return value


def port(value: int, *, cluster_enabled: bool) -> int:
    """Return a port on which engines can listen as an ordinary user."""
    high = PORT_MAX - CLUSTER_BUS_OFFSET if cluster_enabled else PORT_MAX
    return between("Port", value, PORT_MIN, high)


def zones(settings: Settings) -> tuple[str, ...]:
    """Return the availability zones of the region."""
    return tuple(settings.region + letter for letter in ZONE_LETTERS)


def zone(text: str, known: tuple[str, ...]) -> str:
    """Return an availability zone of the region."""
    if text not in known:
        raise invalid_value(
            f"Invalid availability zone '{shown(text)}'. Valid zones are {', '.join(known)}"
        )
    return text


def security_group_ids(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return VPC security groups, which are kept as a note: nothing filters by them."""
    for group_id in ids:
        if not _SECURITY_GROUP.fullmatch(group_id):
            raise invalid_value(f"Invalid security group id: '{shown(group_id)}'")
    return tuple(dict.fromkeys(ids))


def topic_arn(text: str) -> str:
    """Return the ARN of a notification topic."""
    if not _TOPIC.fullmatch(text):
        raise invalid_value(f"Invalid notification topic ARN: '{shown(text)}'")
    return text


def group_not_found(name: str) -> ClientFault:
    """Return the error for a replication group that is not there."""
    return ClientFault(
        "ReplicationGroupNotFoundFault", f"ReplicationGroup {shown(name)} not found."
    )


def shard_of(spec: GroupSpec, shard_id: str) -> ShardSpec:
    """Return the shard with this id, or raise that the group has none."""
    for shard in spec.shards:
        if shard.shard_id == shard_id:
            return shard
    raise ClientFault(
        "NodeGroupNotFoundFault",
        f"Node group {shown(shard_id)} of replication group {spec.name} not found.",
    )


def cluster_not_found(cluster_id: str) -> ClientFault:
    """Return the error for a cache cluster that is not there."""
    return ClientFault("CacheClusterNotFound", f"CacheCluster not found: {shown(cluster_id)}")


def invalid_group_state(message: str) -> ClientFault:
    """Return the error for a group that is not in the state which the request needs."""
    return ClientFault("InvalidReplicationGroupState", message)


def invalid_cluster_state(message: str) -> ClientFault:
    """Return the error for a cache cluster that is not in the state which the request needs."""
    return ClientFault("InvalidCacheClusterState", message)
