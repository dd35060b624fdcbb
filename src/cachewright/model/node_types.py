"""How large is a node of each type? The table of node types and what an engine may use of one.

Source: ElastiCache user guide, node-type specific parameters; the Memcached memory of
cache.c7gn.12xlarge is not published and taken as the node's memory in MiB. Types with data
tiering (r6gd) are left out: the engines here keep everything in memory.
"""

from __future__ import annotations

from typing import NamedTuple


class NodeType(NamedTuple):
    """One row of the table."""

    name: str
    vcpus: int
    #: `maxmemory` before `reserved-memory-percent`, bytes.
    memory_bytes: int
    #: Memcached `max_cache_memory`, MB, and `num_threads`.
    memcached_memory_mb: int
    memcached_threads: int
    #: False for previous generations, which take no new clusters at AWS.
    is_current: bool


# fmt: off
NODE_TYPES: tuple[NodeType, ...] = (
    NodeType("cache.t4g.micro", 2, 536870912, 512, 2, True),
    NodeType("cache.t4g.small", 2, 1471026299, 1402, 2, True),
    NodeType("cache.t4g.medium", 2, 3317862236, 3164, 2, True),
    NodeType("cache.t3.micro", 2, 536870912, 512, 2, True),
    NodeType("cache.t3.small", 2, 1471026299, 1402, 2, True),
    NodeType("cache.t3.medium", 2, 3317862236, 3364, 2, True),
    NodeType("cache.t2.micro", 1, 581959680, 555, 1, False),
    NodeType("cache.t2.small", 1, 1665138688, 1588, 1, False),
    NodeType("cache.t2.medium", 2, 3461349376, 3301, 2, False),
    NodeType("cache.m7g.large", 2, 6854542746, 6537, 2, True),
    NodeType("cache.m7g.xlarge", 4, 13891921715, 13248, 4, True),
    NodeType("cache.m7g.2xlarge", 8, 27966669210, 26671, 8, True),
    NodeType("cache.m7g.4xlarge", 16, 56116178125, 53516, 16, True),
    NodeType("cache.m7g.8xlarge", 32, 111325552312, 107000, 32, True),
    NodeType("cache.m7g.12xlarge", 48, 168715971994, 160900, 48, True),
    NodeType("cache.m7g.16xlarge", 64, 225000375228, 214577, 64, True),
    NodeType("cache.m6g.large", 2, 6854542746, 6537, 2, True),
    NodeType("cache.m6g.xlarge", 4, 13891921715, 13248, 4, True),
    NodeType("cache.m6g.2xlarge", 8, 27966669210, 26671, 8, True),
    NodeType("cache.m6g.4xlarge", 16, 56116178125, 53516, 16, True),
    NodeType("cache.m6g.8xlarge", 32, 111325552312, 107000, 32, True),
    NodeType("cache.m6g.12xlarge", 48, 168715971994, 160900, 48, True),
    NodeType("cache.m6g.16xlarge", 64, 225000375228, 214577, 64, True),
    NodeType("cache.m5.large", 2, 6854542746, 6537, 2, True),
    NodeType("cache.m5.xlarge", 4, 13891921715, 13248, 4, True),
    NodeType("cache.m5.2xlarge", 8, 27966669210, 26671, 8, True),
    NodeType("cache.m5.4xlarge", 16, 56116178125, 53516, 16, True),
    NodeType("cache.m5.12xlarge", 48, 168715971994, 160900, 48, True),
    NodeType("cache.m5.24xlarge", 96, 337500562842, 321865, 96, True),
    NodeType("cache.m4.large", 2, 6892593152, 6573, 2, True),
    NodeType("cache.m4.xlarge", 4, 11496376320, 11496, 4, True),
    NodeType("cache.m4.2xlarge", 8, 31889126359, 30412, 8, True),
    NodeType("cache.m4.4xlarge", 16, 65257290629, 62234, 16, True),
    NodeType("cache.m4.10xlarge", 40, 166047614239, 158355, 40, True),
    NodeType("cache.r7g.large", 2, 14037181030, 13387, 2, True),
    NodeType("cache.r7g.xlarge", 4, 28261849702, 26953, 4, True),
    NodeType("cache.r7g.2xlarge", 8, 56711183565, 54084, 8, True),
    NodeType("cache.r7g.4xlarge", 16, 113609865216, 108347, 16, True),
    NodeType("cache.r7g.8xlarge", 32, 225000375228, 214577, 32, True),
    NodeType("cache.r7g.12xlarge", 48, 341206346547, 325400, 48, True),
    NodeType("cache.r7g.16xlarge", 64, 450000750456, 429154, 64, True),
    NodeType("cache.r6g.large", 2, 14037181030, 13387, 2, True),
    NodeType("cache.r6g.xlarge", 4, 28261849702, 26953, 4, True),
    NodeType("cache.r6g.2xlarge", 8, 56711183565, 54084, 8, True),
    NodeType("cache.r6g.4xlarge", 16, 113609865216, 108347, 16, True),
    NodeType("cache.r6g.8xlarge", 32, 225000375228, 214577, 32, True),
    NodeType("cache.r6g.12xlarge", 48, 341206346547, 325400, 48, True),
    NodeType("cache.r6g.16xlarge", 64, 450000750456, 429154, 64, True),
    NodeType("cache.r5.large", 2, 14037181030, 13387, 2, True),
    NodeType("cache.r5.xlarge", 4, 28261849702, 26953, 4, True),
    NodeType("cache.r5.2xlarge", 8, 56711183565, 54084, 8, True),
    NodeType("cache.r5.4xlarge", 16, 113609865216, 108347, 16, True),
    NodeType("cache.r5.12xlarge", 48, 341206346547, 325400, 48, True),
    NodeType("cache.r5.24xlarge", 96, 682485973811, 650869, 96, True),
    NodeType("cache.r4.large", 2, 13201781556, 12590, 2, True),
    NodeType("cache.r4.xlarge", 4, 26898228839, 25652, 4, True),
    NodeType("cache.r4.2xlarge", 8, 54197537997, 51686, 8, True),
    NodeType("cache.r4.4xlarge", 16, 108858546586, 103815, 16, True),
    NodeType("cache.r4.8xlarge", 32, 218255432090, 208144, 32, True),
    NodeType("cache.r4.16xlarge", 64, 437021573120, 416776, 64, True),
    NodeType("cache.c7gn.large", 2, 3317862236, 3164, 2, True),
    NodeType("cache.c7gn.xlarge", 4, 6854542746, 6537, 4, True),
    NodeType("cache.c7gn.2xlarge", 8, 13891921715, 13248, 8, True),
    NodeType("cache.c7gn.4xlarge", 16, 27966669210, 26671, 16, True),
    NodeType("cache.c7gn.8xlarge", 32, 56116178125, 53516, 32, True),
    NodeType("cache.c7gn.12xlarge", 48, 84357985997, 80450, 48, True),
    NodeType("cache.c7gn.16xlarge", 64, 113609865216, 108347, 64, True),
    NodeType("cache.r3.large", 2, 14470348800, 13800, 2, False),
    NodeType("cache.r3.xlarge", 4, 30513561600, 29100, 4, False),
    NodeType("cache.r3.2xlarge", 8, 62495129600, 59600, 8, False),
    NodeType("cache.r3.4xlarge", 16, 126458265600, 120600, 16, False),
    NodeType("cache.r3.8xlarge", 32, 254384537600, 120600, 32, False),
    NodeType("cache.m3.medium", 1, 2988441600, 2850, 1, False),
    NodeType("cache.m3.large", 2, 6501171200, 6200, 2, False),
    NodeType("cache.m3.xlarge", 4, 14260633600, 13600, 4, False),
    NodeType("cache.m3.2xlarge", 8, 29989273600, 28600, 8, False),
    NodeType("cache.m2.xlarge", 2, 17091788800, 33800, 2, False),
    NodeType("cache.m2.2xlarge", 4, 35022438400, 30412, 4, False),
    NodeType("cache.m2.4xlarge", 8, 70883737600, 68000, 16, False),
    NodeType("cache.m1.small", 1, 943718400, 1301, 1, False),
    NodeType("cache.m1.medium", 1, 3093299200, 3350, 1, False),
    NodeType("cache.m1.large", 2, 7025459200, 7100, 2, False),
    NodeType("cache.m1.xlarge", 4, 14889779200, 14600, 4, False),
    NodeType("cache.c1.xlarge", 8, 6501171200, 6600, 8, False),
    NodeType("cache.t1.micro", 1, 142606336, 213, 1, False),
)
# fmt: on

_BY_NAME = {node_type.name: node_type for node_type in NODE_TYPES}
_MAXCLIENTS_SMALL = 20_000
_MAXCLIENTS_MEDIUM = 46_000
_MAXCLIENTS = 65_000


def node_type_of(name: str) -> NodeType | None:
    """Return the row named `name`, `None` when there is none."""
    return _BY_NAME.get(name)


def maxclients(node_type: NodeType) -> int:
    """Return how many client connections a node of this type takes."""
    name = node_type.name
    if name.startswith("cache.t2.") or name in {"cache.t3.micro", "cache.t4g.micro"}:
        return _MAXCLIENTS_SMALL
    if name in {"cache.t3.small", "cache.t3.medium"}:
        return _MAXCLIENTS_MEDIUM
    return _MAXCLIENTS
