"""Is all well in the end? What a scene asks once its fault is over, of engines and of the disk."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from valkey.exceptions import ValkeyError

from tests import service_kit as kit
from tests.fault.scenarios.probes import Target
from tests.fault.scenarios.records import Told
from tests.fault.scenarios.shapes import GROUP, Shape, places, shard_of, targets_of_all_keys

_SLOTS = 16_384
_SAME_WITHIN_S = 5.0
#: Files of a node that others may read.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def what_is_missing(
    api: Any, service: kit.Up, shape: Shape, *, nodes_wanted: int, shards_wanted: int
) -> str:
    """Return why a group is not whole yet, empty when it is."""
    try:
        group = kit.describe(api, GROUP)
        if group is None:
            return "the group is gone"
        if group["Status"] != "available":
            return f"the group is {group['Status']}"
        clusters = api.describe_cache_clusters()["CacheClusters"]
    except (BotoCoreError, ClientError) as error:
        return f"the API says {error!r}"
    members = {
        c["CacheClusterId"]: c["CacheClusterStatus"]
        for c in clusters
        if c["CacheClusterId"].startswith(f"{GROUP}-")
    }
    waiting = {node_id: status for node_id, status in members.items() if status != "available"}
    if waiting:
        return f"nodes wait: {waiting}"
    if len(members) != nodes_wanted or set(group["MemberClusters"]) != set(members):
        return f"{sorted(members)} are there, {nodes_wanted} are wanted"
    if len(group["NodeGroups"]) != shards_wanted:
        return f"{len(group['NodeGroups'])} shards are there, {shards_wanted} are wanted"
    running = [n for n in service.engines() if n.startswith(f"{GROUP}-")]
    if sorted(running) != sorted(members):
        return f"{sorted(running)} run, {sorted(members)} are members"
    return _out_of_sync(service.state_dir, shape, nodes_wanted)


def _out_of_sync(state_dir: Path, shape: Shape, nodes_wanted: int) -> str:
    roles: dict[str, list[str]] = {}
    for node_id, place in places(state_dir):
        said = kit.reachable(place, role)
        if said not in {"master", "slave connected"}:
            return f"{node_id} says {said}"
        roles.setdefault(shard_of(node_id, shape), []).append(said)
        if shape.is_cluster:
            slots = kit.reachable(place, _slots)
            if slots != f"ok {_SLOTS}":
                return f"{node_id} knows of slots: {slots}"
            if wrong := _open_or_strange(state_dir, node_id, nodes_wanted):
                return f"{node_id} has {wrong}"
    if sum(len(found) for found in roles.values()) != nodes_wanted:
        return f"nodes answer: {roles}"
    wrong_roles = {shard: found for shard, found in roles.items() if found.count("master") != 1}
    return f"not one primary: {wrong_roles}" if wrong_roles else ""


def role(client: Any) -> str:
    """Return what an engine says of its role, and whether it is in sync."""
    said = client.execute_command("ROLE")
    return f"slave {said[3]}" if said[0] == "slave" else str(said[0])


def _slots(client: Any) -> str:
    said = client.execute_command("CLUSTER INFO")
    rows = said if isinstance(said, dict) else dict(
        row.split(":", 1) for row in str(said).splitlines() if ":" in row
    )  # fmt: skip
    return f"{rows['cluster_state']} {rows['cluster_slots_ok']}"


def _open_or_strange(state_dir: Path, node_id: str, nodes_wanted: int) -> str:
    """Return slots that somebody has begun to move, and nodes that nobody should know any more."""
    try:
        with kit.admin(state_dir, node_id) as admin:
            # The client parses what it knows into something else.
            said = admin.execute_command("CLUSTER", "NODES")
            shown = str(said)
    except (ValkeyError, OSError, KeyError) as error:
        return repr(error)
    if "->-" in shown or "-<-" in shown:
        return "open slots"
    known = len(said) if isinstance(said, dict) else len(shown.strip().splitlines())
    return "" if known == nodes_wanted else f"{known} nodes in its table"


def different_copies(state_dir: Path, shape: Shape) -> list[str]:
    """Return which nodes of a shard do not hold the same numbers, once nobody writes any more."""
    # Of each shard that there is now, the keys of each that there was.
    by_keys: dict[tuple[str, str], list[Target]] = {}
    for target in targets_of_all_keys(state_dir, shape):
        shard_id = shard_of(target.node_id, shape)
        by_keys.setdefault((shard_id, target.shard_id), []).append(target)
    findings: list[str] = []
    for (shard_id, _), found in by_keys.items():

        def look(found: list[Target] = found) -> dict[str, str]:
            return {target.node_id: _content(target, shape) for target in found}

        try:
            kit.wait_until(
                "the same copies",
                look,
                is_it=lambda seen: len(set(seen.values())) == 1,
                timeout_s=_SAME_WITHIN_S,
            )
        except AssertionError as error:
            findings.append(f"law 5: shard {shard_id} has different copies: {error}")
    return findings


def _content(target: Target, shape: Shape) -> str:
    """Return length, first and last of what the writer wrote, and a sum over all of it."""
    try:
        with kit.connect(target.place) as client:
            if shape.is_cluster:
                client.execute_command("READONLY")
            found = client.execute_command("LRANGE", target.writer_key, 0, -1)
    except (ValkeyError, OSError) as error:
        return repr(error)
    return f"{len(found)} numbers, {found[:1]}..{found[-1:]}, sum {sum(map(int, found))}"


def passwords(state_dir: Path) -> set[str]:
    """Return every secret of the nodes that there are now, and of the API."""
    found: set[str] = set()
    for node_id in kit.node_folders(state_dir):
        try:
            found |= kit.passwords(state_dir, node_id)
        except (OSError, ValueError, KeyError):
            continue
    credentials = json.loads((state_dir / "credentials.json").read_bytes())
    return found | {credentials["secret_access_key"]}


def told_secrets(service: kit.Up, secrets: set[str], events: Iterable[Told]) -> list[str]:
    """Law 8: return where a secret can be read that should not be there."""
    findings: list[str] = []
    texts = {"an event": "\n".join(event.message for event in events), "the log": service.output}
    for folder in kit.node_folders(service.state_dir).values():
        for path in folder.iterdir():
            try:
                if path.is_file() and path.stat().st_mode & _OTHERS:
                    findings.append(f"law 8: others can read {path.name} of a node")
                if path.suffix == ".log":
                    texts[f"{path.name} of a node"] = path.read_text(errors="replace")
            except OSError:
                continue
    for engine in service.engines().values():
        try:
            argv = Path(f"/proc/{engine.pid}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        texts[f"argv of {engine.node_id}"] = argv
    for where, text in texts.items():
        if any(secret in text for secret in secrets):
            findings.append(f"law 8: a secret is in {where}")
    return findings


def what_is_left(state_dir: Path, places: Iterable[tuple[str, int]]) -> list[str]:
    """Law 7: return what is left of a group that is gone."""
    findings = [f"law 7: {n} runs on" for n in kit.engines(state_dir) if n.startswith(GROUP)]
    findings += [
        f"law 7: the folder of {n} is left"
        for n in kit.node_folders(state_dir)
        if n.startswith(GROUP)
    ]
    for place in places:
        if not kit.can_be_bound(*place):
            findings.append(f"law 7: somebody listens on {place[0]}:{place[1]}")
    return findings


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
