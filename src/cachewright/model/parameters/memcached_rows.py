"""Which parameters has the family of Memcached? A table, sorted by name.

Left out is what ElastiCache dropped before 1.6 (`modern`, `expirezero_does_not_evict`). Everything
is settled when a node starts: the engine takes its settings as flags.
"""

from __future__ import annotations

from cachewright.model.parameters.rows import (
    BY_NODE_TYPE,
    INT_MAX,
    MEMCACHED,
    ChangeType,
    DataType,
    Parameter,
    Reach,
)

_ON_OFF = "0,1"
#: The engine's pages have 1 MiB, which chunks must divide, and it counts chunks in KiB.
_CHUNKS = ",".join(str(1024 << power) for power in range(11))


def _row(  # noqa: PLR0917 the columns of a table have an order
    name: str,
    data_type: DataType,
    default: str,
    allowed: str | None,
    since: str,
    description: str,
    *,
    reach: Reach = Reach.ENGINE,
    is_modifiable: bool = True,
    ceiling: int = INT_MAX,
) -> Parameter:
    return Parameter(
        name,
        data_type,
        default,
        allowed,
        description,
        families=MEMCACHED,
        since=since,
        reach=reach,
        change_type=ChangeType.REQUIRES_REBOOT,
        is_modifiable=is_modifiable,
        ceiling=ceiling,
    )


_BOOL = DataType.BOOLEAN
_INT = DataType.INTEGER
_TEXT = DataType.STRING

# fmt: off
ROWS: tuple[Parameter, ...] = (
    _row("backlog_queue_limit", _INT, "1024", "1-10000", "1.4.5",
        "Connections that may wait to be accepted.", is_modifiable=False),
    _row("binding_protocol", _TEXT, "auto", "auto,ascii", "1.4.5",
        "Protocol that clients speak; auto finds out from their first byte. The binary one alone "
        "is not offered: the service itself speaks the other."),
    _row("cas_disabled", _BOOL, "0", _ON_OFF, "1.4.5",
        "Whether check-and-set is off, which saves 8 bytes an item."),
    _row("chunk_size", _INT, "48", "1-1024", "1.4.5",
        "Least bytes for key, value and flags of the smallest items."),
    _row("chunk_size_growth_factor", DataType.FLOAT, "1.25", "1.01-1024", "1.4.5",
        "How much larger the chunks of each slab class are than those of the one before."),
    _row("config_max", _INT, "16", "16", "1.4.14",
        "Configurations that discovery can hold.", reach=Reach.SERVICE, is_modifiable=False),
    _row("config_size_max", _INT, "65536", "65536", "1.4.14",
        "Longest configuration, in bytes, that discovery can hold.",
        reach=Reach.SERVICE, is_modifiable=False),
    _row("disable_flush_all", _BOOL, "0", _ON_OFF, "1.4.24",
        "Whether clients are kept from emptying the node with flush_all."),
    _row("error_on_memory_exhausted", _BOOL, "0", _ON_OFF, "1.4.5",
        "Whether a full node refuses new items instead of evicting old ones."),
    _row("hash_algorithm", _TEXT, "jenkins", "jenkins,murmur3", "1.4.24",
        "Function that spreads keys over the hash table."),
    _row("hashpower_init", _INT, "16", "16", "1.4.14",
        "Size of the hash table at the start, as a power of two.", is_modifiable=False),
    _row("idle_timeout", _INT, "0", "0-86400", "1.4.33",
        "Seconds after which an idle client is disconnected; 0 is never."),
    _row("inline_ascii_resp", _BOOL, "0", _ON_OFF, "1.5.10",
        "Whether the head of an answer is kept with its item. The engine has dropped it: either "
        "value changes nothing."),
    _row("large_memory_pages", _BOOL, "0", _ON_OFF, "1.4.5",
        "Whether memory is taken in large pages.", is_modifiable=False),
    _row("lock_down_paged_memory", _BOOL, "0", _ON_OFF, "1.4.5",
        "Whether memory is kept from being swapped out.", is_modifiable=False),
    _row("lru_crawler", _BOOL, "0", _ON_OFF, "1.4.24",
        "Whether a thread looks for expired items in the background."),
    _row("lru_maintainer", _BOOL, "0", _ON_OFF, "1.4.24",
        "Whether a thread sorts items by use in the background."),
    _row("max_cache_memory", _INT, BY_NODE_TYPE, None, "1.4.5",
        "Megabytes of a node, before memcached_connections_overhead is taken off.",
        reach=Reach.LAUNCH, is_modifiable=False),
    _row("max_item_size", _INT, "1048576", "1024-1073741824", "1.4.5",
        "Bytes of the largest item. It is a multiple of slab_chunk_max, and at most a quarter of "
        "the memory for items."),
    _row("max_simultaneous_connections", _INT, "65000", "3-65000", "1.4.5",
        "Client connections that a node takes at once.",
        reach=Reach.LAUNCH, is_modifiable=False),
    _row("maxconns_fast", _BOOL, "0", _ON_OFF, "1.4.14",
        "Whether connections beyond the limit are refused at once instead of left waiting."),
    _row("maximize_core_file_limit", _BOOL, "0", _ON_OFF, "1.4.5",
        "Whether a crash may write a core file of any size. Hosts here forbid core files, which "
        "would hold the data: either value changes nothing."),
    _row("memcached_connections_overhead", _INT, "100", "0-", "1.4.5",
        "Megabytes of a node that are for connections and not for items.", reach=Reach.LAUNCH),
    _row("no_modern", _BOOL, "1", _ON_OFF, "1.5.10",
        "Whether what the engine turned on in 1.5 is off: slab_reassign, slab_automove, "
        "lru_crawler, lru_maintainer, maxconns_fast and murmur3."),
    _row("num_threads", _INT, BY_NODE_TYPE, None, "1.4.5",
        "Threads that serve clients.", is_modifiable=False),
    _row("requests_per_event", _INT, "20", "20", "1.4.5",
        "Requests of one client that are served before others get their turn.",
        is_modifiable=False),
    _row("slab_automove", _INT, "0", "0,1,2", "1.4.14",
        "How eagerly pages move to slab classes that need them; 0 is never. Without slab_reassign "
        "none moves by itself."),
    _row("slab_chunk_max", _INT, "524288", _CHUNKS, "1.4.33",
        "Bytes of the largest chunk. It is at most max_item_size and divides it."),
    _row("slab_reassign", _BOOL, "0", _ON_OFF, "1.4.14",
        "Whether pages can move from one slab class to another. From 1.6.34 on the engine cannot "
        "do without what moves them: 0 lets it move none by itself."),
    _row("track_sizes", _BOOL, "0", _ON_OFF, "1.4.33",
        "Whether the sizes of items are counted from the start, for the command stats sizes."),
    _row("watch", _BOOL, "1", _ON_OFF, "1.4.33",
        "Whether clients can follow fetches, evictions and changes with the command watch."),
    _row("watcher_logbuf_size", _INT, "256", "1-65536", "1.4.33",
        "Kilobytes of log that wait for each watcher."),
    _row("worker_logbuf_size", _INT, "64", "1-65536", "1.4.33",
        "Kilobytes of log that wait in each thread. Before 1.6.40 the engine cannot be told."),
)
# fmt: on
