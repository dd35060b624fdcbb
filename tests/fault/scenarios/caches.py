"""What of a Memcached cluster that is struck? Two nodes, their clients, and the list that they get.

A small table beside the large one: nodes of Memcached know nothing of each other, so there is
nobody to fail over to and every write may be lost. What must hold is that others go on, that the
list of nodes never lies, that the status is true and that everything comes back by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cachewright.testing import leftovers
from tests import cache_kit
from tests import service_kit as kit
from tests.fault.scenarios import judges_events
from tests.fault.scenarios.records import Told

CACHE = "chaos"
SHAPE = "memcached-2"
_NODES = 2
_WHOLE_WITHIN_S = 45.0
_EVERY_S = 0.02
_JOIN_TIMEOUT_S = 10.0
#: A node that ended may be called available for so long, seconds.
_GRACE_S = 2.0

Lift = Callable[[], object]


@dataclass(slots=True)
class _Seen:
    """What one client saw of one node, or of the configuration endpoint."""

    #: The moment of each answer, and the moment of each failure with its text.
    answers: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    #: Every list of nodes by its version, in the order in which versions came.
    lists: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


class _Client(threading.Thread):
    """Uses one place again and again over connections of its own."""

    def __init__(self, place: tuple[str, int], use: Callable[[Any, _Seen], None]) -> None:
        super().__init__(daemon=True)
        self._place = place
        self._use = use
        self._halt = threading.Event()
        self.seen = _Seen()

    def run(self) -> None:
        """Use it until it is stopped."""
        node: Any = None
        while not self._halt.wait(_EVERY_S):
            try:
                node = node or cache_kit.Memcached(self._place)
                self._use(node, self.seen)
                self.seen.answers.append(time.monotonic())
            except (OSError, AssertionError, ValueError) as error:
                self.seen.failures.append((time.monotonic(), repr(error)))
                if node is not None:
                    node.close()
                node = None
        if node is not None:
            node.close()

    def stop(self) -> None:
        """End it."""
        self._halt.set()
        self.join(_JOIN_TIMEOUT_S)


def _store(node: Any, _: _Seen) -> None:
    node.set("key", "value")


def _list(endpoint: Any, seen: _Seen) -> None:
    version, members = endpoint.config()
    if not seen.lists or seen.lists[-1] != (version, tuple(members)):
        seen.lists.append((version, tuple(members)))


class Scene:
    """One scenario with a Memcached cluster."""

    def __init__(self, service: kit.Up, seed: int) -> None:
        self.service = service
        self.dice = random.Random(seed)  # noqa: S311 chooses moments and victims, not secrets
        self._held = contextlib.ExitStack()
        cluster = cache_kit.create_available(service.api, CACHE, _NODES)
        self.pids = cache_kit.pids(cluster)
        self.places = cache_kit.nodes(cluster)
        self.endpoint = kit.place(cluster["ConfigurationEndpoint"])
        self.clients = {n: _Client(place, _store) for n, place in self.places.items()}
        self.lister = _Client(self.endpoint, _list)
        for client in (*self.clients.values(), self.lister):
            client.start()
            self._held.callback(client.stop)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a process of the cluster."""
        assert pid in leftovers.processes_of(self.service.state_dir)
        os.kill(pid, number)
        if number is signal.SIGSTOP:
            self._held.callback(self._wake, pid)

    def _wake(self, pid: int) -> None:
        if pid in leftovers.processes_of(self.service.state_dir):
            os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End what the scene began."""
        with contextlib.suppress(ProcessLookupError):
            self.service.process.send_signal(signal.SIGCONT)
        self._held.close()


def _kill_node(scene: Scene) -> None:
    scene.signal(scene.dice.choice(sorted(scene.pids.values())), signal.SIGKILL)


def _kill_nodes(scene: Scene) -> None:
    for pid in scene.pids.values():
        scene.signal(pid, signal.SIGKILL)


def _kill_everything(scene: Scene) -> None:
    """Nodes and configuration endpoint: whatever lives from the folder but the server."""
    for pid in leftovers.processes_of(scene.service.state_dir):
        if pid != scene.service.process.pid:
            scene.signal(pid, signal.SIGKILL)


def _crash_host(scene: Scene) -> Lift:
    scene.service.kill()
    _kill_everything(scene)
    return scene.service.start


def _kill_server(scene: Scene) -> Lift:
    scene.service.kill()
    return scene.service.start


def _kill_server_and_node(scene: Scene) -> Lift:
    scene.service.kill()
    _kill_node(scene)
    return scene.service.start


def _stop_server_kill_node(scene: Scene) -> Lift:
    scene.service.process.send_signal(signal.SIGSTOP)
    _kill_node(scene)
    return lambda: scene.service.process.send_signal(signal.SIGCONT)


def _doze_node(scene: Scene) -> Lift:
    pid = scene.dice.choice(sorted(scene.pids.values()))
    scene.signal(pid, signal.SIGSTOP)
    return lambda: scene.signal(pid, signal.SIGCONT) if _is_there(scene, pid) else None


def _is_there(scene: Scene, pid: int) -> bool:
    return pid in leftovers.processes_of(scene.service.state_dir)


#: Each fault with how long it lasts, seconds.
FAULTS: dict[str, tuple[Callable[[Scene], Lift | None], tuple[float, float]]] = {
    "kill-node": (_kill_node, (0.0, 0.0)),
    "kill-nodes": (_kill_nodes, (0.0, 0.0)),
    "kill-everything": (_kill_everything, (0.0, 0.0)),
    "crash-host": (_crash_host, (0.0, 1.0)),
    "kill-server": (_kill_server, (0.0, 2.0)),
    "kill-server-and-node": (_kill_server_and_node, (0.0, 2.0)),
    "stop-server-kill-node": (_stop_server_kill_node, (0.5, 4.0)),
    "doze-node": (_doze_node, (0.5, 2.5)),
}


def names() -> Iterator[str]:
    """Yield the name of every cell."""
    return (f"{SHAPE}/at-rest/{fault}" for fault in FAULTS)


def play(service: kit.Up, name: str, seed: int) -> str:
    """Run one scenario; an `AssertionError` says what was wrong."""
    scene = Scene(service, seed)
    try:
        strike, lasts_s = FAULTS[name.split("/")[2]]
        time.sleep(scene.dice.uniform(0.2, 1.0))
        lift = strike(scene)
        time.sleep(scene.dice.uniform(*lasts_s))
        if lift is not None:
            lift()
        _wait_whole(scene)
        said = [*_lists_hold(scene), *_events_hold(service.api)]
    finally:
        scene.close()
    said += _leaves_nothing(service, scene)
    assert not said, "\n".join(said)
    stored = sum(len(client.seen.answers) for client in scene.clients.values())
    return f"{stored} items stored"


def _wait_whole(scene: Scene) -> None:
    """Wait until everybody stores again, where they did before, and the API says so."""
    api = scene.service.api
    cache_kit.wait_status(api, CACHE, "available", timeout_s=_WHOLE_WITHIN_S)
    since_s = time.monotonic()
    for client in (*scene.clients.values(), scene.lister):
        kit.wait_until(
            f"clients are served within {_GRACE_S:g} s of available: {client.seen.failures[-1:]}",
            lambda client=client: client.seen.answers[-1:],  # type: ignore[misc]
            is_it=lambda seen: bool(seen) and seen[-1] > since_s,
            timeout_s=_GRACE_S,
        )

    def look() -> dict[str, tuple[str, int]]:
        cluster = cache_kit.describe(api, CACHE)
        return {} if cluster is None else cache_kit.nodes(cluster)

    kit.wait_until("the same places", look, is_it=lambda seen: seen == scene.places)
    cache_kit.wait_status(api, CACHE, "available", timeout_s=_WHOLE_WITHIN_S)


def _lists_hold(scene: Scene) -> Iterator[str]:
    """Yield what was wrong with the lists of nodes that clients were told."""
    lists = scene.lister.seen.lists
    for before, after in itertools.pairwise(lists):
        if after[0] < before[0]:
            yield f"the version of the list went back from {before[0]} to {after[0]}"
        if after[0] == before[0]:
            yield f"version {after[0]} means {before[1]} and {after[1]}"
    if not lists or len(lists[-1][1]) != _NODES:
        yield f"the list has not {_NODES} nodes: {lists[-1:]}"


def _events_hold(api: Any) -> Iterator[str]:
    answer = api.describe_events(Duration=60)["Events"]
    told = [
        Told(source_type=e["SourceType"], source_id=e["SourceIdentifier"], message=e["Message"])
        for e in reversed(answer)
    ]
    for node in ("0001", "0002"):
        messages = [t.message for t in told if t.source_id == CACHE and t.message.endswith(node)]
        yield from judges_events.pairs(f"node {node}", messages)


def _leaves_nothing(service: kit.Up, scene: Scene) -> Iterator[str]:
    """Law 7: after the delete there is no process, folder or listener."""
    cache_kit.delete(service.api, CACHE)
    left = [p for p in leftovers.processes_of(service.state_dir) if p != service.process.pid]
    if left:
        yield f"law 7: processes {left} run on"
    if kit.node_folders(service.state_dir):
        yield f"law 7: folders are left: {sorted(kit.node_folders(service.state_dir))}"
    for place in (*scene.places.values(), scene.endpoint):
        if not kit.can_be_bound(*place):
            yield f"law 7: somebody listens on {place[0]}:{place[1]}"
