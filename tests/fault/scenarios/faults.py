"""What goes wrong? Faults as data: how each strikes, how it is lifted, and where it makes sense.

A strike returns when the damage is done; what it returns is called to lift the fault. Victims and
moments are chosen by the scene's dice, so that a seed repeats them. Only processes of the scene's
own service are touched.

What has no row and why: a disk whose fsync stalls needs a block device of our own, and that a root
user; engines that do not get on are made by signals and by scripts instead.
"""

from __future__ import annotations

import contextlib
import enum
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests import service_kit as kit
from tests.fault import service_disk_child
from tests.fault.scenarios import ending, ground, movers
from tests.fault.scenarios.scene import Scene
from tests.fault.scenarios.shapes import targets

Lift = Callable[[], object]
Strike = Callable[[Scene], Lift | None]

#: How long a script keeps its engine busy: noticed, and far from every patience.
_SCRIPT_S = 3
_SCRIPT = "local over = os.clock() + ARGV[1]; while os.clock() < over do end; return 1"
#: So short that nobody may take it for a death, and how often, seconds.
_PULSE_S = 0.4
_PULSES = 4
#: One more than the cores of a small machine.
_BUSY = 3


class Need(enum.Enum):
    """What a service needs that a fault shall strike; see `ground`."""

    NOTHING = "nothing"
    #: A file system of its own that is small enough to be filled.
    SMALL_DISK = "a small disk"
    #: A build of an engine that nobody else uses.
    OWN_ENGINE = "an engine of its own"
    #: A wall clock that can be stepped.
    OWN_CLOCK = "a clock of its own"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One way in which things go wrong."""

    name: str
    strike: Strike
    #: Is called before the operation begins.
    prepare: Callable[[Scene], None] = movers.nothing
    #: It strikes who gives slots away, or who gets some.
    needs_moves: bool = False
    #: For how long, seconds; zero for what is over at once.
    lasts_s: tuple[float, float] = (0.0, 0.0)
    #: How many replicas and shards there have to be.
    replicas: int = 0
    shards: int = 0
    #: An engine dies that takes writes.
    ends_primary: bool = False
    #: No node of a shard outlives it.
    ends_all: bool = False
    #: The controller cannot act meanwhile.
    stuns_server: bool = False
    #: Whoever is frozen is waited for, seconds; 0 where nobody is.
    patience_s: float = 0.0
    needs: Need = Need.NOTHING


def _kill(engines: list[kit.Engine]) -> None:
    for engine in engines:
        engine.kill()


def _primary_of(scene: Scene, shard_id: str) -> list[kit.Engine]:
    return _found(scene, [scene.primary(shard_id)])


def _replica_of(scene: Scene, shard_id: str) -> list[kit.Engine]:
    return _found(scene, [*scene.replicas(shard_id)[:1]])


def _found(scene: Scene, engines: list[kit.Engine | None]) -> list[kit.Engine]:
    """Return those that there are: in the middle of an operation a victim may be gone."""
    found = [engine for engine in engines if engine is not None]
    assert found or not scene.is_at_rest, "there is nobody to strike"
    return found


def kill_primary(scene: Scene) -> None:
    _kill(_primary_of(scene, scene.a_shard()))


def kill_replica(scene: Scene) -> None:
    _kill(_replica_of(scene, scene.a_shard()))


def kill_twice(scene: Scene) -> None:
    """The primary, and whoever took over from it."""
    shard_id = scene.a_shard()
    _kill(_primary_of(scene, shard_id))
    scene.wait(0.0, 0.4)
    scene.is_at_rest = False
    _kill(_primary_of(scene, shard_id))


def kill_shard(scene: Scene) -> None:
    shard_id = scene.a_shard()
    _kill([*_primary_of(scene, shard_id), *scene.engines(shard_id).values()])


def kill_group(scene: Scene) -> None:
    scene.struck_shards |= set(scene.shape.shard_ids)
    _kill(list(scene.engines().values()))


def kill_primaries(scene: Scene) -> None:
    """Of every shard, within a millisecond: no majority is left that could vote."""
    scene.struck_shards |= set(scene.shape.shard_ids)
    _kill([e for shard_id in scene.shape.shard_ids for e in _primary_of(scene, shard_id)])


def crash_host(scene: Scene) -> Lift:
    scene.struck_shards |= set(scene.shape.shard_ids)
    scene.service.lose_power()
    return scene.service.start


def kill_server(scene: Scene) -> Lift:
    scene.service.kill()
    return scene.service.start


def kill_server_and_primary(scene: Scene) -> Lift:
    victims = _primary_of(scene, scene.a_shard())
    scene.service.kill()
    _kill(victims)
    return scene.service.start


def stop_primary(scene: Scene) -> None:
    """For ever: whoever wakes it is the end of the scene."""
    for engine in _primary_of(scene, scene.a_shard()):
        scene.freeze(engine)


def doze_primary(scene: Scene) -> Lift:
    """Frozen, and woken at about the time when it is given up."""
    victims = _primary_of(scene, scene.a_shard())
    for engine in victims:
        scene.freeze(engine)

    def wake() -> None:
        for engine in victims:
            engine.kill(signal.SIGCONT)

    return wake


def pulse_primary(scene: Scene) -> None:
    """Frozen again and again, each time too short to mean anything."""
    for engine in _primary_of(scene, scene.a_shard()):
        for _ in range(_PULSES):
            scene.freeze(engine)
            time.sleep(_PULSE_S)
            engine.kill(signal.SIGCONT)
            time.sleep(_PULSE_S)


def stop_replica(scene: Scene) -> None:
    for engine in _replica_of(scene, scene.a_shard()):
        scene.freeze(engine)


def stop_server(scene: Scene) -> Lift:
    scene.service.process.send_signal(signal.SIGSTOP)
    return lambda: scene.service.process.send_signal(signal.SIGCONT)


def stop_server_kill_primary(scene: Scene) -> Lift:
    """What the server believed when it fell asleep is not so when it wakes."""
    victims = _primary_of(scene, scene.a_shard())
    scene.service.process.send_signal(signal.SIGSTOP)
    _kill(victims)
    return lambda: scene.service.process.send_signal(signal.SIGCONT)


def run_script(scene: Scene) -> None:
    """A script that takes some seconds: the engine does nothing else meanwhile."""
    shard_id = scene.a_shard()
    pids = {engine.pid for engine in _primary_of(scene, shard_id)}
    for target in targets(scene.service.state_dir, scene.shape):
        engine = scene.engines(shard_id).get(target.node_id)
        if engine is None or engine.pid not in pids:
            continue
        begun_s = time.monotonic()
        with kit.connect(target.place, socket_timeout=10.0 * _SCRIPT_S) as client:
            client.execute_command("EVAL", _SCRIPT, 1, target.probe_key, _SCRIPT_S)
        # It counts the time of its processor, which others may use as well.
        scene.overrun_s = max(0.0, time.monotonic() - begun_s - _SCRIPT_S)


def keep_cores_busy(scene: Scene) -> Lift:
    scene.struck_shards |= set(scene.shape.shard_ids)
    program = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(_BUSY)]

    def stop() -> None:
        for process in busy:
            process.kill()
            process.wait()

    scene.later(stop)
    return stop


def _limit_descriptors(pid: int, count: int) -> tuple[int, int]:
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))


def _starve_of_descriptors(pid: int) -> Lift:
    before = _limit_descriptors(pid, ending.descriptors(pid))

    def give_back() -> None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    return give_back


def starve_primary_of_descriptors(scene: Scene) -> Lift | None:
    """Nobody new is let in; who is connected is served."""
    for engine in _primary_of(scene, scene.a_shard()):
        return _starve_of_descriptors(engine.pid)
    return None


def starve_server_of_descriptors(scene: Scene) -> Lift:
    """The server can open nothing, and a primary dies."""
    victims = _primary_of(scene, scene.a_shard())
    lift = _starve_of_descriptors(scene.service.process.pid)
    scene.later(lift)
    _kill(victims)
    return lift


def _take(place: tuple[str, int]) -> socket.socket | None:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(place)
    except OSError:
        taken.close()
        return None
    taken.listen()
    return taken


def _take_address(scene: Scene, victims: list[kit.Engine]) -> Lift | None:
    """End a node and listen on its address before anybody else can."""
    if not victims:
        return None
    victim = victims[0]
    found = {t.node_id: t.place for t in targets(scene.service.state_dir, scene.shape)}
    server = scene.service.process
    server.send_signal(signal.SIGSTOP)
    try:
        victim.kill()
        # The last of its threads closes the listener.
        taken = kit.wait_until("its address is free", lambda: _take(found[victim.node_id]))
        assert taken is not None
        scene.later(taken.close)
    finally:
        server.send_signal(signal.SIGCONT)
    lift: Lift = taken.close
    return lift


def take_address_of_replica(scene: Scene) -> Lift | None:
    return _take_address(scene, _replica_of(scene, scene.a_shard()))


def take_address_of_primary(scene: Scene) -> Lift | None:
    return _take_address(scene, _primary_of(scene, scene.a_shard()))


def fill_disk(scene: Scene) -> Lift:
    """Nothing can be written any more, neither by engines nor by the store."""
    scene.struck_shards |= set(scene.shape.shard_ids)
    filler = service_disk_child.fill(scene.service.state_dir.parent)
    return filler.unlink


def fill_disk_kill_primary(scene: Scene) -> Lift:
    """The new primary must not wait until its promotion is written down."""
    lift = fill_disk(scene)
    scene.struck_shards.clear()
    _kill(_primary_of(scene, scene.a_shard()))
    return lift


def _hide_engine(scene: Scene) -> Lift:
    """Remove the build that the group runs on; processes that run go on."""
    folder = ground.program_of(scene.service).parent
    hidden = folder.with_name("hidden")
    folder.rename(hidden)

    def bring_back() -> None:
        hidden.rename(folder)

    return bring_back


def hide_engine_kill_replica(scene: Scene) -> Lift:
    lift = _hide_engine(scene)
    kill_replica(scene)
    return lift


def hide_engine_kill_primary(scene: Scene) -> Lift:
    lift = _hide_engine(scene)
    kill_primary(scene)
    return lift


def step_clock(scene: Scene) -> Lift:
    """Forward or back, by minutes; callers' clocks may differ by so much."""
    scene.struck_shards |= set(scene.shape.shard_ids)
    ground.step(scene.service, scene.dice.choice((-1, 1)) * scene.dice.uniform(60.0, 600.0))

    def step_back() -> None:
        ground.step(scene.service, 0.0)

    return step_back


def step_clock_kill_primary(scene: Scene) -> Lift:
    lift = step_clock(scene)
    scene.struck_shards.clear()
    kill_primary(scene)
    return lift


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="kill-primary", strike=kill_primary, ends_primary=True),
        Fault(name="kill-replica", strike=kill_replica, replicas=1),
        Fault(name="kill-twice", strike=kill_twice, replicas=2, ends_primary=True),
        Fault(name="kill-shard", strike=kill_shard, ends_primary=True, ends_all=True),
        Fault(name="kill-group", strike=kill_group, ends_primary=True, ends_all=True),
        Fault(name="kill-primaries", strike=kill_primaries, replicas=1, shards=2,
              ends_primary=True),
        Fault(name="crash-host", strike=crash_host, lasts_s=(0.0, 1.0), ends_primary=True,
              ends_all=True, stuns_server=True),
        Fault(name="kill-server", strike=kill_server, lasts_s=(0.0, 2.0), stuns_server=True),
        Fault(name="kill-server-and-primary", strike=kill_server_and_primary, replicas=1,
              lasts_s=(0.0, 2.0), ends_primary=True, stuns_server=True),
        Fault(name="die-at-failpoint", prepare=movers.arm_a_failpoint,
              strike=movers.die_at_failpoint, stuns_server=True),
        Fault(name="nothing", strike=movers.nothing, lasts_s=(0.0, 2.0)),
        Fault(name="kill-giver", strike=movers.kill_giver, needs_moves=True, replicas=1,
              ends_primary=True),
        Fault(name="kill-taker", strike=movers.kill_taker, needs_moves=True, replicas=1,
              ends_primary=True),
        Fault(name="kill-giver-and-taker", strike=movers.kill_giver_and_taker, needs_moves=True,
              replicas=1, ends_primary=True),
        Fault(name="doze-taker", strike=movers.doze_taker, needs_moves=True, replicas=1,
              lasts_s=(4.0, 6.0), ends_primary=True, patience_s=3.0),
        Fault(name="stop-primary", strike=stop_primary, replicas=1, ends_primary=True,
              patience_s=3.0),
        Fault(name="doze-primary", strike=doze_primary, replicas=1, lasts_s=(0.8, 3.0),
              patience_s=3.0),
        Fault(name="pulse-primary", strike=pulse_primary),
        Fault(name="stop-replica", strike=stop_replica, replicas=1),
        Fault(name="stop-server", strike=stop_server, lasts_s=(1.0, 6.0), stuns_server=True),
        Fault(name="stop-server-kill-primary", strike=stop_server_kill_primary, replicas=1,
              lasts_s=(0.5, 4.0), ends_primary=True, stuns_server=True),
        Fault(name="run-script", strike=run_script, patience_s=3.0),
        Fault(name="busy-cores", strike=keep_cores_busy, lasts_s=(3.0, 6.0)),
        Fault(name="primary-out-of-descriptors", strike=starve_primary_of_descriptors,
              lasts_s=(2.0, 6.0)),
        Fault(name="server-out-of-descriptors", strike=starve_server_of_descriptors, replicas=1,
              lasts_s=(2.0, 6.0), ends_primary=True, stuns_server=True),
        Fault(name="take-address-of-replica", strike=take_address_of_replica, replicas=1,
              lasts_s=(1.0, 5.0)),
        Fault(name="take-address-of-primary", strike=take_address_of_primary, replicas=1,
              lasts_s=(1.0, 5.0), ends_primary=True),
        Fault(name="fill-disk", strike=fill_disk, lasts_s=(2.0, 5.0), needs=Need.SMALL_DISK),
        Fault(name="fill-disk-kill-primary", strike=fill_disk_kill_primary, replicas=1,
              lasts_s=(2.0, 5.0), ends_primary=True, needs=Need.SMALL_DISK),
        Fault(name="hide-engine-kill-replica", strike=hide_engine_kill_replica, replicas=1,
              lasts_s=(1.0, 4.0), needs=Need.OWN_ENGINE),
        Fault(name="hide-engine-kill-primary", strike=hide_engine_kill_primary, replicas=1,
              lasts_s=(1.0, 4.0), ends_primary=True, needs=Need.OWN_ENGINE),
        Fault(name="step-clock", strike=step_clock, lasts_s=(1.0, 6.0), needs=Need.OWN_CLOCK),
        Fault(name="step-clock-kill-primary", strike=step_clock_kill_primary, replicas=1,
              lasts_s=(1.0, 6.0), ends_primary=True, needs=Need.OWN_CLOCK),
    )
}  # fmt: skip
