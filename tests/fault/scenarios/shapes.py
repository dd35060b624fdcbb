"""Which groups do scenarios strike? Shapes as data, and how their nodes and keys are found."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import valkey.crc

from tests import service_kit as kit
from tests.fault.scenarios.probes import Target

GROUP = "chaos"
#: The name under which looks at the primary endpoint are kept.
ENDPOINT = "primary endpoint"
_SLOTS = 16_384


@dataclass(frozen=True, slots=True)
class Shape:
    """A replication group: `shards` is 0 where cluster mode is disabled."""

    name: str
    shards: int
    replicas: int

    @property
    def is_cluster(self) -> bool:
        """Tell whether cluster mode is enabled."""
        return self.shards > 0

    @property
    def shard_ids(self) -> tuple[str, ...]:
        """Return the node group ids."""
        return tuple(f"{number:04d}" for number in range(1, max(1, self.shards) + 1))

    @property
    def nodes(self) -> int:
        """Return how many nodes a whole group has."""
        return max(1, self.shards) * (1 + self.replicas)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("1+0", 0, 0),
        Shape("1+1", 0, 1),
        Shape("1+2", 0, 2),
        Shape("1x2", 1, 1),
        Shape("2x2", 2, 1),
        Shape("2x3", 2, 2),
        Shape("3x2", 3, 1),
    )
}


def shard_of(node_id: str, shape: Shape) -> str:
    """Return the node group of a cache cluster, by how they are called."""
    return node_id.split("-")[1] if shape.is_cluster else "0001"


@functools.cache
def key_of(shard_id: str, shape: Shape, prefix: str) -> str:
    """Return a key in the middle third of a shard's slots; those lie in order, about evenly."""
    if not shape.is_cluster:
        return prefix
    wanted = shape.shard_ids.index(shard_id)
    for number in range(10_000):
        key = f"{prefix}:{{{number}}}"
        slot = valkey.crc.key_slot(key.encode())
        if 1 <= 3 * slot * shape.shards / _SLOTS - 3 * wanted < 2:
            return key
    raise AssertionError("no key falls into this shard")


def targets(state_dir: Path, shape: Shape) -> Iterator[Target]:
    """Yield every node that has a folder, as a target of looks at the keys of its shard."""
    for node_id, place in places(state_dir):
        shard_id = shard_of(node_id, shape)
        # A shard that came later has no keys of its own: those of the first one are not there.
        keys_of = shard_id if shard_id in shape.shard_ids else shape.shard_ids[0]
        yield target(node_id, place, shape, shard_id, keys_of)


def targets_of_all_keys(state_dir: Path, shape: Shape) -> Iterator[Target]:
    """Yield every node once for each shard that there was: keys may be anywhere."""
    for node_id, place in places(state_dir):
        for shard_id in shape.shard_ids:
            yield target(node_id, place, shape, shard_id, shard_id)


def target(
    node_id: str, place: tuple[str, int], shape: Shape, shard_id: str, keys_of: str
) -> Target:
    """Return a node as a target of looks, kept under a shard."""
    return Target(
        shard_id=shard_id,
        node_id=node_id,
        place=place,
        probe_key=key_of(keys_of, shape, "probe"),
        writer_key=key_of(keys_of, shape, "written"),
    )


def places(state_dir: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield every node of the group that has a folder, with its place."""
    for node_id, folder in kit.node_folders(state_dir).items():
        if not node_id.startswith(f"{GROUP}-"):
            continue
        try:
            launch: dict[str, Any] = json.loads((folder / "node.json").read_bytes())["launch"]
        except (OSError, ValueError):
            continue
        yield node_id, (launch["address"], launch["port"])


def endpoint_targets(group: dict[str, Any], shape: Shape) -> Iterator[Target]:
    """Yield the endpoints that take writes, as targets of direct looks."""
    if shape.is_cluster:
        return
    yield Target(
        shard_id="0001",
        node_id=ENDPOINT,
        place=kit.primary_endpoint(group),
        probe_key="probe",
        writer_key="written",
    )
