"""How does a test start a service of its own, and how does it end for certain?

`service()` runs `cachewright up` as a process of its own session, under a guardian (see
`guardian`), in a fresh folder and on free addresses. Leaving the block stops the service, its
engines and the guardian, and removes the folder; so does the end of the test's process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cachewright.testing import leftovers
from cachewright.testing.caches import CacheCluster, ClusterFactory
from cachewright.testing.groups import AVAILABLE_TIMEOUT_S, GroupFactory, ReplicationGroup

#: `up` is ready after about 0.6 s; a machine under heavy load may take many times as long.
START_TIMEOUT_S = 30.0
#: The service asks its engines to save and stop; after this it is killed, and they with it.
STOP_TIMEOUT_S = 20.0
#: What the guardian adds to the stop: killing and removing.
_GUARDIAN_EXTRA_S = 15.0
_POLL_INTERVAL_S = 0.01
_READY = "ready: "
#: The last part of the output says why a start failed.
_OUTPUT_BYTES_SHOWN = 8_192
#: Settings of the person's own service must not reach a test's.
_PRIVATE_VARIABLES = frozenset(
    {
        "CACHEWRIGHT_ACCESS_KEY_ID",
        "CACHEWRIGHT_NOTIFY_URL",
        "CACHEWRIGHT_SECRET_ACCESS_KEY",
        "CACHEWRIGHT_STATE_DIR",
    }
)


class ServiceFailed(Exception):
    """The service did not start or did not stop; the text holds its output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The root credentials of a service."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


class Service:
    """A running service."""

    def __init__(self, *, url: str, region: str, credentials: Credentials, state_dir: Path) -> None:
        self.url = url
        self.region = region
        self.credentials = credentials
        self.state_dir = state_dir
        self._client: Any = None
        self._groups: GroupFactory | None = None
        self._clusters: ClusterFactory | None = None

    def client(self) -> Any:
        """Return a boto3 client for ElastiCache; the same one each time, safe between threads."""
        if self._client is None:
            import boto3  # noqa: PLC0415 only callers of the API pay for it
            from botocore.config import Config  # noqa: PLC0415 the same

            self._client = boto3.session.Session(
                aws_access_key_id=self.credentials.access_key_id,
                aws_secret_access_key=self.credentials.secret_access_key,
                region_name=self.region,
            ).client(
                "elasticache",
                endpoint_url=self.url,
                # No proxy of the environment stands between a machine and itself.
                config=Config(proxies={}, retries={"total_max_attempts": 1}),
            )
        return self._client

    def create_replication_group(
        self,
        group_id: str | None = None,
        *,
        shards: int = 1,
        replicas: int = 0,
        cluster_mode: bool | None = None,
        timeout_s: float = AVAILABLE_TIMEOUT_S,
        **parameters: object,
    ) -> ReplicationGroup:
        """Create a group and return it when it is available; see `GroupFactory.__call__`."""
        if self._groups is None:
            self._groups = self.group_factory()
        return self._groups(
            group_id,
            shards=shards,
            replicas=replicas,
            cluster_mode=cluster_mode,
            timeout_s=timeout_s,
            **parameters,
        )

    def create_cache_cluster(
        self,
        cluster_id: str | None = None,
        *,
        engine: str = "memcached",
        nodes: int = 1,
        timeout_s: float = AVAILABLE_TIMEOUT_S,
        **parameters: object,
    ) -> CacheCluster:
        """Create a cluster and return it when it is available; see `ClusterFactory.__call__`."""
        if self._clusters is None:
            self._clusters = self.cluster_factory()
        return self._clusters(
            cluster_id, engine=engine, nodes=nodes, timeout_s=timeout_s, **parameters
        )

    @property
    def key_pair(self) -> tuple[str, str]:
        """Access key id and secret access key."""
        return self.credentials.access_key_id, self.credentials.secret_access_key

    def group_factory(self) -> GroupFactory:
        """Return a factory of groups with a life of its own: its `close` deletes what it made."""
        return GroupFactory(self.client())

    def cluster_factory(self) -> ClusterFactory:
        """Return a factory of cache clusters with a life of its own, as `group_factory` does."""
        return ClusterFactory(self.client())

    def processes(self) -> tuple[int, ...]:
        """Return the pids of the service and its engines; empty once it has stopped."""
        return leftovers.processes_of(self.state_dir)

    def close(self) -> None:
        """Close the connections that were made here; the service itself is not touched."""
        if self._groups is not None:
            self._groups.close_clients()
        if self._clusters is not None:
            self._clusters.close_clients()
        if self._client is not None:
            self._client.close()
            self._client = None


@contextlib.contextmanager
def service(
    *,
    state_dir: Path | None = None,
    address_pool: str | None = None,
    region: str = "us-east-1",
    arguments: Sequence[str] = (),
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[Service]:
    """Run a service for the block, on a free port and free addresses.

        with service() as running:
            group = running.create_replication_group(shards=3, replicas=1)
            group.valkey().set("greeting", "hello")

    Args:
        state_dir: A folder that is kept; by default a temporary one that is removed.
        address_pool: Block of loopback addresses (CIDR); by default a free one is found.
        region: The region of the service.
        arguments: Further arguments of `cachewright up`.
        start_timeout_s: Seconds until a start that is not ready ends with `ServiceFailed`.
    """
    if state_dir is None:
        # A short path: a socket's path may have 107 bytes. The guardian makes and removes it.
        temporary = Path(tempfile.gettempdir()) / f"cachewright-{secrets.token_hex(6)}"
        folder = temporary / "state"
    else:
        temporary, folder = None, state_dir.absolute()
    command = [sys.executable, "-P", "-m", "cachewright", "up", "--listen", "127.0.0.1:0"]
    command += ["--state-dir", str(folder), "--region", region]
    command += ["--address-pool", address_pool] if address_pool else []
    with tempfile.TemporaryFile() as output:
        guardian = _start_guardian(folder, temporary, [*command, *arguments], output)
        try:
            url = _wait_until_ready(guardian, output, start_timeout_s)
            credentials = _credentials(folder)
            running = Service(url=url, region=region, credentials=credentials, state_dir=folder)
            with contextlib.closing(running):
                yield running
        finally:
            _stop_guardian(guardian, folder, output)


def _start_guardian(
    state_dir: Path, folder: Path | None, command: Sequence[str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    guardian = [sys.executable, "-P", "-m", "cachewright.testing.guardian"]
    return subprocess.Popen(
        [*guardian, str(state_dir), str(folder or ""), str(STOP_TIMEOUT_S), *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={name: v for name, v in os.environ.items() if name not in _PRIVATE_VARIABLES},
    )


def _wait_until_ready(
    guardian: subprocess.Popen[bytes], output: IO[bytes], timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    while True:
        has_ended = guardian.poll() is not None
        for line in _read(output).splitlines():
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
        if has_ended:
            raise ServiceFailed(f"the service ended at its start:\n{_read(output)}")
        if time.monotonic() > deadline:
            raise ServiceFailed(f"not ready after {timeout_s:g} s:\n{_read(output)}")
        time.sleep(_POLL_INTERVAL_S)


def _read(output: IO[bytes]) -> str:
    # pread: the position belongs to the processes that write.
    size = os.fstat(output.fileno()).st_size
    start = max(0, size - _OUTPUT_BYTES_SHOWN)
    return os.pread(output.fileno(), _OUTPUT_BYTES_SHOWN, start).decode(errors="replace")


def _credentials(state_dir: Path) -> Credentials:
    content = json.loads((state_dir / "credentials.json").read_bytes())
    return Credentials(
        access_key_id=content["access_key_id"], secret_access_key=content["secret_access_key"]
    )


def _stop_guardian(guardian: subprocess.Popen[bytes], state_dir: Path, output: IO[bytes]) -> None:
    try:
        # Closes its input, which asks it to stop, and waits.
        guardian.communicate(timeout=STOP_TIMEOUT_S + _GUARDIAN_EXTRA_S)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
    if left := leftovers.kill_processes_of(state_dir):
        raise ServiceFailed(f"processes {left} cannot be ended:\n{_read(output)}")
