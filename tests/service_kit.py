"""What do end-to-end tests need? A service that can be killed, waits, writers, looks at processes.

`Up` is `cachewright up` as a child of the test, for tests that end it in every way; tests that
only need a service that runs take the fixtures of `tests/integration/conftest.py`. Engines are
looked at from outside, through /proc and the folder of their state, never through our own classes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import boto3
import valkey
from botocore.config import Config
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError
from valkey.retry import Retry

from cachewright.kit import shared_memory
from cachewright.testing import leftovers
from tests import patience

T = TypeVar("T")

PORT = 6379
#: Six workers on two cores: nothing waits this long when all is well.
PATIENCE_S = 30.0
#: For tests that want to see a first moment.
LOOK_SOON_S = 0.02
#: A look costs both sides 3 to 5 ms.
LOOK_SELDOM_S = 0.2
#: Node groups of tests are as small as node types go.
NODE_TYPE = "cache.t4g.micro"
_READY = b"ready: "
_ENGINES = frozenset({"valkey-server", "redis-server"})
_SESSION = 6 - 3
_START_TICKS = 22 - 3
#: Settings of the person's own service must not reach a test's.
_PRIVATE = (
    "CACHEWRIGHT_ACCESS_KEY_ID",
    "CACHEWRIGHT_NOTIFY_URL",
    "CACHEWRIGHT_SECRET_ACCESS_KEY",
    "CACHEWRIGHT_STATE_DIR",
)


def wait_until(
    what: str,
    look: Callable[[], T],
    *,
    is_it: Callable[[T], object] = bool,
    timeout_s: float = PATIENCE_S,
    every_s: float | None = None,
) -> T:
    """Look until `is_it` says so and return what was seen; fail with the last observation.

    Without `every_s` it looks soon at first, and seldom after a while.
    """
    began_s = time.monotonic()
    while not is_it(seen := look()):
        waited_s = time.monotonic() - began_s
        assert waited_s < timeout_s, f"not within {timeout_s:g} s: {what}; seen: {seen!r}"
        seldom_s = LOOK_SELDOM_S if every_s is None else every_s
        time.sleep(patience.pause_s(waited_s, soon_s=every_s or LOOK_SOON_S, seldom_s=seldom_s))
    return seen


# Processes


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One engine process, for ever: a pid is used again, with its start time it is not."""

    node_id: str
    pid: int
    start_ticks: int

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_alive(self) -> bool:
        """Tell whether this very process is there and not a zombie."""
        try:
            fields = _stat(self.pid)
        except OSError:
            return False
        return int(fields[_START_TICKS]) == self.start_ticks and fields[0] not in {b"Z", b"X"}


def engines(state_dir: Path) -> dict[str, Engine]:
    """Return the engines that run from a state folder, by node id."""
    found: dict[str, Engine] = {}
    for pid in leftovers.processes_of(state_dir):
        with contextlib.suppress(OSError):
            process = Path(f"/proc/{pid}")
            folder = (process / "cwd").readlink()
            if (process / "exe").readlink().name not in _ENGINES:
                continue
            fields = _stat(pid)
            is_child = int(fields[_SESSION]) != pid  # it saves or sends what its parent holds
            if fields[0] in {b"Z", b"X"} or is_child:
                continue
            node_id = folder.name.partition(".")[2]
            assert node_id not in found, f"two engines of {node_id}"
            found[node_id] = Engine(node_id=node_id, pid=pid, start_ticks=int(fields[_START_TICKS]))
    return found


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat that follow the name of the command."""
    content = Path(f"/proc/{pid}/stat").read_bytes()
    return content[content.rindex(b")") + 2 :].split()


def node_folders(state_dir: Path) -> dict[str, Path]:
    """Return the folder of every node that a state folder knows, by node id."""
    nodes = state_dir / "nodes"
    entries = nodes.iterdir() if nodes.is_dir() else ()
    return {path.name.partition(".")[2]: path for path in entries if path.is_dir()}


def assert_nothing_left(state_dir: Path) -> None:
    """Fail unless no engine and no folder of a node is left, on disk or in memory."""
    assert engines(state_dir) == {}
    assert node_folders(state_dir) == {}
    assert not shared_memory.folder_of(state_dir / "nodes").exists()


def can_be_bound(address: str, port: int = PORT) -> bool:
    """Tell whether a program could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_pool(prefix: int = 28) -> str:
    """Return a block of loopback addresses that nobody uses, outside of what services search."""
    size = 1 << (32 - prefix)
    for _ in range(100):
        number = secrets.randbelow((1 << 20) // size) * size
        base = f"127.{48 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        if can_be_bound(base) and can_be_bound(f"{base.rpartition('.')[0]}.{(number & 255) + 1}"):
            return f"{base}/{prefix}"
    raise AssertionError("no free pool")


# The service


@functools.cache
def _session() -> Any:
    # The model of the API is read once for a session, not once for a client.
    return boto3.session.Session()


def api_client(url: str, key_id: str, secret: str, *, region: str = "us-east-1") -> Any:
    """Return a boto3 client that does not hide failures behind retries."""
    return _session().client(
        "elasticache",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(
            proxies={}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30
        ),
    )


class Up:
    """`cachewright up` on one folder: started, ended in any way, and started again."""

    def __init__(
        self, state_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.state_dir = state_dir
        self.arguments = arguments
        self.environment = dict(environment or {})
        #: What Python runs: the program, or a test's that wraps it.
        self.program: tuple[str, ...] = ("-m", "cachewright")
        self.url = ""
        self._api: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._runs = 0

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child; there is one after `launch`."""
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """Everything that the last run said, on both streams."""
        return self._output_file().read_text(errors="replace")

    def launch(self, *arguments: str, **environment: str) -> None:
        """Start the process without waiting for it."""
        assert self._process is None or self._process.poll() is not None
        self._runs += 1
        known = {name: v for name, v in os.environ.items() if name not in _PRIVATE}
        command = [sys.executable, "-P", *self.program, "up", "--listen", "127.0.0.1:0"]
        command += ["--state-dir", str(self.state_dir), *self.arguments, *arguments]
        with self._output_file().open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=known | self.environment | environment,
            )

    def start(self, *arguments: str, **environment: str) -> None:
        """Start the service and return when it is ready."""
        self.launch(*arguments, **environment)
        assert self.wait_ready(), f"ended with {self.process.returncode}:\n{self.output}"

    def wait_ready(self) -> bool:
        """Return whether it became ready; false when it ended instead."""

        def look() -> str | None:
            has_ended = self.process.poll() is not None
            for line in self._output_file().read_bytes().splitlines():
                if line.startswith(_READY):
                    return line.removeprefix(_READY).decode().strip()
            return "" if has_ended else None

        self.url = wait_until("ready", look, is_it=lambda url: url is not None) or ""
        self.close_api()
        return bool(self.url)

    def kill(self) -> None:
        """End the server alone with SIGKILL, unless it is dead already, and see its end."""
        self.process.kill()
        self.wait_end()

    def lose_power(self) -> None:
        """End the server and every engine at nearly the same time, and what was in memory."""
        # The server first: until its end it may start engines that nobody has counted.
        self.process.kill()
        for engine in engines(self.state_dir).values():
            engine.kill()
        self.wait_end()
        for engine in engines(self.state_dir).values():
            engine.kill()
        wait_until("no engine", lambda: engines(self.state_dir), is_it=lambda left: not left)
        shared_memory.remove(self.state_dir / "nodes")

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Wait until a failpoint has stopped the server, and let it go on after the block."""
        wait_until("it stands still", lambda: _stat(self.process.pid)[0] == b"T")
        yield
        self.process.send_signal(signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code."""
        self.process.send_signal(number)
        return self.wait_end()

    def wait_end(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until the server has ended and return its exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it runs on:\n{self.output}") from None

    def let_run(self, seconds: float) -> None:
        """Let it work for a while; it must not end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise AssertionError(f"ended with {code}:\n{self.output}")

    def engines(self) -> dict[str, Engine]:
        """Return the engines that run now, by node id."""
        return engines(self.state_dir)

    @property
    def api(self) -> Any:
        """A boto3 client of the run that was ready last."""
        if self._api is None:
            content = json.loads((self.state_dir / "credentials.json").read_bytes())
            self._api = api_client(self.url, content["access_key_id"], content["secret_access_key"])
        return self._api

    def close_api(self) -> None:
        """Close the connections to the API."""
        if self._api is not None:
            self._api.close()
            self._api = None

    def _output_file(self) -> Path:
        return self.state_dir.with_name(f"{self.state_dir.name}.output.{self._runs}")


@contextlib.contextmanager
def up(folder: Path, *arguments: str, **environment: str) -> Iterator[Up]:
    """Run `cachewright up` for the block, on a folder of its own; nothing of it is left after."""
    with prepared(folder, *arguments, **environment) as service:
        service.start()
        yield service


@contextlib.contextmanager
def prepared(folder: Path, *arguments: str, **environment: str) -> Iterator[Up]:
    """Give a service that is not started yet; nothing of it is left after the block."""
    service = Up(folder / "state", *arguments, environment=environment)
    try:
        yield service
    finally:
        clean_up(service)


def clean_up(service: Up) -> None:
    """End everything that lives from the folder of a service, whatever the test did."""
    service.close_api()
    if service._process is not None:
        service._process.kill()  # a test's program is found by nothing else
    left = leftovers.kill_processes_of(service.state_dir)
    if service._process is not None:
        service.process.wait()
    assert left == (), f"these cannot be ended: {left}"


# Groups through the API


def create(api: Any, group_id: str, *, shards: int = 0, replicas: int = 0, **more: object) -> None:
    """Ask for a group: cluster mode with `shards` node groups, without cluster mode for 0."""
    request: dict[str, object] = {
        "ReplicationGroupId": group_id,
        "ReplicationGroupDescription": "of a test",
        "Engine": "valkey",
        "CacheNodeType": NODE_TYPE,
    }
    if shards:
        request |= {
            "ClusterMode": "enabled",
            "NumNodeGroups": shards,
            "ReplicasPerNodeGroup": replicas,
            "AutomaticFailoverEnabled": True,
        }
    else:
        request |= {"NumCacheClusters": 1 + replicas, "AutomaticFailoverEnabled": replicas > 0}
    api.create_replication_group(**request | more)


def describe(api: Any, group_id: str) -> dict[str, Any] | None:
    """Return a group as the API shows it, `None` when it is not found."""
    try:
        answer = api.describe_replication_groups(ReplicationGroupId=group_id)
    except api.exceptions.ReplicationGroupNotFoundFault:
        return None
    group: dict[str, Any] = answer["ReplicationGroups"][0]
    return group


def status(api: Any, group_id: str) -> str:
    """Return the status of a group, "gone" when it is not found."""
    group = describe(api, group_id)
    return "gone" if group is None else str(group["Status"])


def wait_status(
    api: Any,
    group_id: str,
    wanted: str,
    *,
    timeout_s: float = PATIENCE_S,
    every_s: float | None = None,
) -> None:
    """Wait until a group has a status; its events are told when it does not come."""
    try:
        wait_until(
            f"{group_id} is {wanted}",
            lambda: status(api, group_id),
            is_it=lambda seen: seen == wanted,
            timeout_s=timeout_s,
            every_s=every_s,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(messages(api))) from None


def create_available(api: Any, group_id: str, **shape: Any) -> dict[str, Any]:
    """Create a group, wait until it is available and return how it is shown."""
    create(api, group_id, **shape)
    wait_status(api, group_id, "available")
    group = describe(api, group_id)
    assert group is not None
    return group


def roles(api: Any, group_id: str) -> dict[str, str]:
    """Return the role of every member as the API says it; of groups without cluster mode."""
    group = describe(api, group_id)
    assert group is not None
    (shard,) = group["NodeGroups"]
    return {m["CacheClusterId"]: m.get("CurrentRole", "") for m in shard["NodeGroupMembers"]}


def delete(api: Any, group_id: str) -> None:
    """Delete a group and wait until it is not found any more."""
    api.delete_replication_group(ReplicationGroupId=group_id)
    wait_status(api, group_id, "gone")


def messages(api: Any, source_id: str | None = None) -> list[str]:
    """Return what the events say, oldest first; of one source or of all."""
    pages = api.get_paginator("describe_events").paginate(Duration=60)
    events = [event for page in pages for event in page["Events"]]
    return [
        e["Message"] for e in sorted(events, key=lambda e: e["Date"])
        if source_id in {None, e["SourceIdentifier"]}
    ]  # fmt: skip


def wait_event(api: Any, source_id: str, text: str, *, times: int = 1) -> list[str]:
    """Wait until so many events of a source have a text in them; return all that they say."""
    return wait_until(
        f"{times} x {text!r} of {source_id}",
        lambda: messages(api, source_id),
        is_it=lambda told: len([one for one in told if text in one]) >= times,
    )


def reachable(endpoint: tuple[str, int], use: Callable[[Any], str]) -> str:
    """Return what `use` says with a fresh connection, or how it failed; for waits."""
    try:
        with connect(endpoint) as client:
            return use(client)
    except (ValkeyError, OSError) as error:
        return repr(error)


def place(endpoint: Mapping[str, Any]) -> tuple[str, int]:
    """Return address and port of an endpoint of the API."""
    return str(endpoint["Address"]), int(endpoint["Port"])


def primary_endpoint(group: Mapping[str, Any]) -> tuple[str, int]:
    """Return where a group without cluster mode is written to."""
    return place(group["NodeGroups"][0]["PrimaryEndpoint"])


def reader_endpoint(group: Mapping[str, Any]) -> tuple[str, int]:
    """Return where a group without cluster mode is read from."""
    return place(group["NodeGroups"][0]["ReaderEndpoint"])


def nodes(api: Any, group_id: str) -> dict[str, tuple[str, int]]:
    """Return address and port of every member of a group, by cache cluster id."""
    group = describe(api, group_id)
    assert group is not None
    found: dict[str, tuple[str, int]] = {}
    for node_id in group["MemberClusters"]:
        answer = api.describe_cache_clusters(CacheClusterId=node_id, ShowCacheNodeInfo=True)
        found[node_id] = place(answer["CacheClusters"][0]["CacheNodes"][0]["Endpoint"])
    return found


# Engines


def connect(endpoint: tuple[str, int], **options: Any) -> Any:
    """Return a plain client that hides no failure; use it as a context."""
    host, port = endpoint
    kind: Any = valkey.Valkey
    defaults = {"decode_responses": True, "socket_timeout": 5.0, "retry": Retry(NoBackoff(), 0)}
    return kind(host=host, port=port, **(defaults | options))


def connect_cluster(group: Mapping[str, Any]) -> Any:
    """Return a cluster client that begins at the configuration endpoint."""
    host, port = place(group["ConfigurationEndpoint"])
    return valkey.ValkeyCluster(host=host, port=port, decode_responses=True, socket_timeout=5.0)


def admin(state_dir: Path, node_id: str) -> Any:
    """Return a connection of the administrator of an engine, as the folder of its node allows."""
    launch = _launch(state_dir, node_id)
    return connect(
        (launch["address"], launch["port"]),
        username="cachewright-admin",
        password=launch["admin_password"],
    )


def passwords(state_dir: Path, node_id: str) -> set[str]:
    """Return the secrets of a node."""
    launch = _launch(state_dir, node_id)
    return {launch["admin_password"], launch["replication_password"]}


def _launch(state_dir: Path, node_id: str) -> dict[str, Any]:
    record = json.loads((node_folders(state_dir)[node_id] / "node.json").read_bytes())
    launch: dict[str, Any] = record["launch"]
    return launch


class Writer:
    """Writes to one place all the time and keeps what was refused."""

    def __init__(self, write: Callable[[int], object]) -> None:
        self._write = write
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")
        self.acknowledged = 0
        self.refusals: list[str] = []

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        # The pause leaves the cores to those who are written to.
        while not self._stop.wait(0.0005) and len(self.refusals) < 10:
            try:
                self._write(self.acknowledged + 1)
                self.acknowledged += 1
            except (ValkeyError, OSError) as error:
                self.refusals.append(repr(error))

    def wait_for_writes(self, count: int = 50) -> None:
        """Return when so many more writes were acknowledged, or one was refused."""
        wanted = self.acknowledged + count
        wait_until(f"{count} writes", lambda: self.acknowledged >= wanted or len(self.refusals) > 0)


def tcp_is_refused(endpoint: tuple[str, int]) -> bool:
    """Tell whether nobody listens there."""
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex(endpoint) != 0
