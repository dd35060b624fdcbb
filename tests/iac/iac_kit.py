"""What do tests with other people's tools need? To run them, and to see what they left behind."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from cachewright import testing

EXAMPLES = Path(__file__).parents[2] / "examples"
#: A tool's own waits are 15 s and 30 s long; one command has up to two of them, and four workers
#: share two cores.
COMMAND_TIMEOUT_S = 180.0
#: An endpoint on this machine answers within milliseconds.
_ANSWER_TIMEOUT_S = 10.0
#: As `cachewright up` calls it.
_PROFILE = "cachewright"
#: What a person has set for their own AWS account must not reach a test.
_PRIVATE = ("AWS_", "TF_", "CACHEWRIGHT_", "ANSIBLE_")
#: Every list of things that callers make: operation and member of the answer.
_LISTS = (
    ("describe_cache_clusters", "CacheClusters"),
    ("describe_cache_parameter_groups", "CacheParameterGroups"),
    ("describe_cache_security_groups", "CacheSecurityGroups"),
    ("describe_cache_subnet_groups", "CacheSubnetGroups"),
    ("describe_replication_groups", "ReplicationGroups"),
    ("describe_snapshots", "Snapshots"),
)

#: What the kinds of things call their names; a cluster of a group has two, and its own is first.
_NAMES = (
    "CacheClusterId",
    "ReplicationGroupId",
    "SnapshotName",
    "CacheParameterGroupName",
    "CacheSubnetGroupName",
    "CacheSecurityGroupName",
)


class ToolFailed(AssertionError):
    """A tool ended with an exit code that the test does not expect; the text holds its output."""


def run(
    argv: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    expects: Sequence[int] = (0,),
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> str:
    """Run a tool to its end and return what it said on both streams.

    Raises:
        ToolFailed: its exit code is none of `expects`.
    """
    ended = subprocess.run(
        [str(word) for word in argv],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
        text=True,
    )
    if ended.returncode not in expects:
        command = " ".join(map(str, argv))
        raise ToolFailed(f"{command} ended with {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


def environment(*, url: str, key_pair: tuple[str, str], region: str, home: Path) -> dict[str, str]:
    """Return the environment of a person whose profile is that of a service.

    The profile stands in `home`, like everything that a tool keeps; it is all that a tool is told.
    """
    known = {name: v for name, v in os.environ.items() if not name.startswith(_PRIVATE)}
    key_id, secret = key_pair
    folder = home / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text(
        f"[profile {_PROFILE}]\nregion = {region}\nendpoint_url = {url}\n"
        f"aws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
    )
    return known | {"HOME": str(home), "AWS_PROFILE": _PROFILE, "NO_PROXY": "*"}


def environment_of(service: testing.Service, home: Path) -> dict[str, str]:
    """Return the environment of a person who uses `service`."""
    return environment(url=service.url, key_pair=service.key_pair, region=service.region, home=home)


def discovered_nodes(endpoint: tuple[str, int]) -> list[str]:
    """Return the nodes that a configuration endpoint of Memcached tells of."""
    with socket.create_connection(endpoint, timeout=_ANSWER_TIMEOUT_S) as connection:
        connection.sendall(b"config get cluster\r\n")
        answer = connection.makefile("rb")
        head = answer.readline().split()
        body = answer.read(int(head[3]))
    return body.decode("ascii").split("\n")[1].split()


def events(api: Any) -> list[tuple[str, str]]:
    """Return what has happened: source and message, one by one."""
    pages = api.get_paginator("describe_events").paginate(Duration=60)
    return [
        (each["SourceIdentifier"], each["Message"]) for page in pages for each in page["Events"]
    ]


def processes_at_rest(service: testing.Service) -> frozenset[int]:
    """Return the processes of a service without groups."""
    return frozenset(service.processes())


def left_behind(api: Any) -> list[str]:
    """Return the names of everything that can be described, but what a fresh service has."""
    found: list[str] = []
    for operation, member in _LISTS:
        try:
            answer = getattr(api, operation)()
        except ClientError as error:
            # What is not offered cannot be left either.
            if error.response["Error"]["Code"] != "UnsupportedOperation":
                raise
            continue
        ours = (_name(item) for item in answer[member])
        found += [f"{operation}: {name}" for name in ours if not name.startswith("default")]
    return found


def _name(item: Mapping[str, Any]) -> str:
    """Return the name of a group, cluster or snapshot, whatever its kind calls it."""
    return next(str(item[key]) for key in _NAMES if key in item)
