"""Were events told once and in order? A part of the judges, on texts alone."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator

from tests.fault.scenarios.records import Record, Told

_FAILOVER = re.compile(r"Failover from primary node (\S+) to replica node (\S+) completed")
_GROUP = "replication-group"
#: A text of each kind, the one that may come only after it, and whether the pair must be closed.
_PAIRS = (
    ("Recovering cache nodes", "Finished recovery for cache nodes"),
    ("does not serve fully", "serves fully again"),
)
_ONCE = ("Cache cluster created", "Cache cluster deleted")


def in_order_and_once(record: Record) -> Iterator[str]:
    """Pairs alternate, failovers form a chain and are told of both, creations happen once."""
    if record.expected.is_clock_stepped:
        return
    by_source: dict[tuple[str, str], list[str]] = {}
    for event in record.events:
        by_source.setdefault((event.source_type, event.source_id), []).append(event.message)
    for (_, source), messages in by_source.items():
        yield from pairs(source, messages)
        for text in _ONCE:
            if messages.count(text) > 1:
                yield f"{source} is told {messages.count(text)} times: {text}"
    yield from _failovers(record)


def pairs(source: str, messages: list[str]) -> Iterator[str]:
    """Beginnings and ends of one source alternate, and what was begun has ended."""
    for first, second in _PAIRS:
        yield from _alternate(source, messages, first, second)


def _alternate(source: str, messages: list[str], first: str, second: str) -> Iterator[str]:
    is_open = False
    for message in messages:
        if first in message:
            if is_open:
                yield f"{source} is told twice in a row: {message}"
            is_open = True
        elif second in message:
            if not is_open:
                yield f"{source} is told without its beginning: {message}"
            is_open = False
    if is_open and not any("deleted" in message for message in messages):
        yield f"{source} is never told the end of: {first}"


def _failovers(record: Record) -> Iterator[str]:
    of_group = [e for e in record.events if e.source_type == _GROUP and _FAILOVER.match(e.message)]
    of_nodes = [e for e in record.events if e.source_type != _GROUP and _FAILOVER.match(e.message)]
    if sorted(e.message for e in of_group) != sorted(e.message for e in of_nodes):
        counts = collections.Counter(e.message for e in of_group)
        counts.subtract(e.message for e in of_nodes)
        odd = [message for message, count in counts.items() if count]
        yield f"a failover is not told both of the group and of its primary: {odd}"
    yield from _chain(of_group)


def _chain(events: list[Told]) -> Iterator[str]:
    """Within a shard, who fails over next is who took over last."""
    last: dict[str, str] = {}
    for event in events:
        found = _FAILOVER.match(event.message)
        assert found is not None
        before, after = found.groups()
        shard = before.rpartition("-")[0]
        if last.get(shard, before) != before:
            yield f"{before} is told to fail over, but {last[shard]} was the primary"
        if before == after:
            yield f"{before} is told to fail over to itself"
        last[shard] = after
