"""Does an agent know at once who falls silent, why, and when it answers again?"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
import uvloop

from cachewright.agent import node, pulse
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines import acl
from cachewright.engines.adapter import Connection
from cachewright.engines.discovery import DiscoveryAdapter
from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.resp import AdminConnection, EngineRefused
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.model.commands import StartNode, StopNode
from cachewright.model.facts import (
    EngineFact,
    NodeFact,
    Running,
    Silence,
    SilenceCause,
    Stopped,
    Unknown,
)
from tests.fault.agent_world import (
    KEY,
    PASSWORD,
    PATIENCE_S,
    PORT,
    fact_of,
    hosting,
    launch_of,
    new_agent,
    pid_of,
    slow_down_saving,
    start_serving,
    until,
)

#: The shortest patience with anybody is so many probes.
PROBES = 4
#: An answer is known of as soon as it is there, and not only with the next beat.
SOON_S = 0.4
#: A busy machine may be late with one answer; with so many it is not.
ROUNDS = 6
#: Nobody waited for the one second in which an engine has to answer.
UNASKED_S = 0.9


class Told(Counter[str]):
    """How often each node's silence was told."""

    def __init__(self, agent: LocalAgent) -> None:
        super().__init__()
        agent.on_silence(lambda key: self.update([key]))

    def nothing(self) -> bool:
        """Tell whether nobody was silent; once and back is a moment without a processor."""
        return all(times <= _ONCE_AND_BACK for times in self.values())


_ONCE_AND_BACK = 2


def run(
    folder: Path,
    work: Callable[[LocalAgent], Awaitable[None]],
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(hosted())


async def glance(agent: LocalAgent, key: str = KEY) -> NodeFact:
    return (await agent.glance([key]))[key]


async def silence_of(
    agent: LocalAgent, probes: int = PROBES, cause: SilenceCause | None = None
) -> Silence:
    """Wait for a silence of so many probes, and for its cause: a busy host gives another first."""

    async def is_silent() -> bool:
        silence = (await glance(agent)).silence
        if silence is None or silence.probes < probes:
            return False
        return cause is None or silence.cause is cause

    await until(is_silent, "a silence")
    fact = await glance(agent)
    assert fact.silence is not None
    assert isinstance(fact.process, Running)
    assert isinstance(fact.engine, Unknown)
    return fact.silence


async def answers_again(agent: LocalAgent) -> None:
    async def is_well() -> bool:
        return (await glance(agent)).silence is None

    await until(is_well, "an answer")
    fact = await fact_of(agent)
    assert isinstance(fact.engine, EngineFact)
    assert fact.silence is None


async def return_of(agent: LocalAgent, pid: int) -> float:
    """Let a silent one go on right after a beat; return how long its answer was not known of."""
    silence = (await glance(agent)).silence
    await silence_of(agent, 1 if silence is None else silence.probes + 1)
    told = Told(agent)
    began_s = time.monotonic()
    os.kill(pid, signal.SIGCONT)

    async def is_well() -> bool:
        return (await glance(agent)).silence is None

    await until(is_well, "an answer")
    took_s = time.monotonic() - began_s
    assert told[KEY]
    return took_s


async def beats(count: float) -> None:
    await asyncio.sleep(count * pulse.BEAT_S)


async def administrator(address: str) -> AdminConnection:
    return await ValkeyAdapter().connect(address, PORT, PASSWORD, timeout_s=5)


def test_one_that_is_stopped_is_found_out_within_two_seconds_and_so_is_its_return(
    tmp_path: Path,
) -> None:
    async def work(agent: LocalAgent) -> None:
        other = launch_of("g.other")
        await start_serving(agent, other)
        pid = await start_serving(agent, launch_of())
        await beats(3)
        told = Told(agent)
        os.kill(pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        silence = await silence_of(agent)
        assert time.monotonic() - stopped_s > PROBES * pulse.BEAT_S - 0.1
        assert silence.cause is SilenceCause.STOPPED
        assert silence.seconds == pytest.approx(silence.probes * pulse.BEAT_S, abs=0.1)
        assert told[KEY] == silence.probes
        began_s = time.monotonic()
        observed = await fact_of(agent)
        assert time.monotonic() - began_s < UNASKED_S  # nobody waits for who cannot answer
        assert observed.silence is not None
        assert isinstance(observed.engine, Unknown)
        took_s = [await return_of(agent, pid)]
        while min(took_s) > SOON_S and len(took_s) < ROUNDS:
            os.kill(pid, signal.SIGSTOP)
            took_s.append(await return_of(agent, pid))
        assert min(took_s) < SOON_S
        await answers_again(agent)
        told.clear()
        await beats(3)
        assert told.nothing()

    run(tmp_path, work)


def test_an_endless_script_works_and_then_says_so(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(launch_of(), settings=(("lua-time-limit", "2500"),))
        await start_serving(agent, launch)
        await beats(3)
        with socket.create_connection((launch.address, PORT)) as client:
            client.sendall(hiredis.pack_command(("EVAL", "while true do end", 0)))  # type: ignore[arg-type]
            causes: list[SilenceCause] = []

            async def has_said_so() -> bool:
                silence = (await glance(agent)).silence
                if silence is not None:
                    causes.append(silence.cause)
                return SilenceCause.SCRIPT in causes

            await until(has_said_so, "a script")
            # On a busy host it may have got no turn for a while.
            assert set(causes[:-1]) & {SilenceCause.WORKING, SilenceCause.STARVED}
            before = await silence_of(agent)
            silence = await silence_of(agent, before.probes + 2, SilenceCause.SCRIPT)
            assert silence.seconds > before.seconds
            observed = await fact_of(agent)
            assert isinstance(observed.engine, Unknown)
            assert "BUSY" in observed.engine.reason
            assert observed.silence is not None
            admin = await administrator(launch.address)
            await admin.command("SCRIPT", "KILL")
            admin.close()
            await answers_again(agent)

    run(tmp_path, work)


def test_one_that_sleeps_for_a_moment_is_told_of_and_has_no_cause(tmp_path: Path) -> None:
    """`SAVE` with a delay for each key: its only thread sleeps and answers nothing."""

    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        admin = await slow_down_saving(launch.address)
        saving = asyncio.create_task(admin.command("SAVE", timeout_s=30))
        await silence_of(agent, 2, SilenceCause.UNTOLD)
        assert await saving == b"OK"
        admin.close()
        await answers_again(agent)

    run(tmp_path, work)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_the_agent_slept_through_is_nobodys_silence(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of("g.well")
        await start_serving(agent, launch)
        pid = await start_serving(agent, launch_of())
        await beats(3)
        told = Told(agent)
        for slept_s in (0.7, 1.3, 2.6):
            time.sleep(slept_s)  # noqa: ASYNC251 the event loop is to stand still
            await asyncio.sleep(0.1)
            assert not told
        os.kill(pid, signal.SIGSTOP)
        before = await silence_of(agent, 1)
        time.sleep(3)  # noqa: ASYNC251
        silence = await silence_of(agent, before.probes + 1)
        assert silence.probes == before.probes + 1
        assert silence.seconds <= before.seconds + pulse.BEAT_S
        assert silence.cause is SilenceCause.STARVED
        await silence_of(agent, before.probes + 5, SilenceCause.STOPPED)
        assert told[KEY]

    run(tmp_path, work, loop)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_answers_that_lie_in_a_socket_are_read_before_anybody_is_called_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The agent asks and falls asleep: when it wakes up, its next beat is due at once."""
    naps: list[float] = []
    ask = pulse.Pulse._ask

    def ask_and_sleep(self: pulse.Pulse) -> None:
        ask(self)
        if naps:
            time.sleep(naps.pop())

    monkeypatch.setattr(pulse.Pulse, "_ask", ask_and_sleep)

    async def work(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        await beats(3)
        told = Told(agent)
        for nap_s in (0.7, 1.4):
            naps.append(nap_s)
            await beats(3)
            assert not naps
        assert not told

    run(tmp_path, work, loop)


def test_a_mistake_of_ours_looks_like_no_silence_and_stays_with_one_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = launch_of("g.other")
    connect, beat = node.Node.connect, pulse.Pulse.beat
    beaten: Counter[str] = Counter()

    async def cannot(self: node.Node, **rest: Any) -> Connection:
        if self.key == KEY and "timeout_s" in rest:
            raise ZeroDivisionError
        return await connect(self, **rest)

    def beats_badly(self: pulse.Pulse, *rest: Any, **more: Any) -> None:
        beaten[self._node.key] += 1
        if beaten[KEY] > PROBES + 2 and self._node.key == KEY:
            raise ZeroDivisionError
        beat(self, *rest, **more)

    monkeypatch.setattr(node.Node, "connect", cannot)
    monkeypatch.setattr(pulse.Pulse, "beat", beats_badly)

    async def work(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        pid = await start_serving(agent, other)
        assert (await silence_of(agent)).cause is SilenceCause.REFUSING

        async def is_badly_beaten() -> bool:
            return beaten[KEY] > PROBES + 4

        await until(is_badly_beaten, "beats")
        os.kill(pid, signal.SIGSTOP)

        async def is_silent() -> bool:
            return (await glance(agent, other.key)).silence is not None

        await until(is_silent, "a silence")

    run(tmp_path, work)


def test_after_its_end_nobody_is_silent_and_the_next_process_is_another(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        await beats(3)
        os.kill(pid, signal.SIGSTOP)
        await silence_of(agent, 2)
        told, ended = Told(agent), asyncio.Event()
        agent.on_exit(lambda _: ended.set())
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
        fact = await glance(agent)
        assert isinstance(fact.process, Stopped)
        assert fact.silence is None
        told.clear()
        await beats(3)
        assert told.nothing()
        pid = await start_serving(agent, launch)
        assert (await fact_of(agent)).silence is None
        await beats(3)
        assert told.nothing()
        told.clear()
        os.kill(pid, signal.SIGSTOP)
        assert (await silence_of(agent, 2)).probes == told[KEY]

    run(tmp_path, work)


def test_a_restart_between_two_beats_is_noticed(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        await agent.execute(StopNode(key=launch.key), epoch=1)
        pid = await start_serving(agent, launch)
        os.kill(pid, signal.SIGSTOP)
        await silence_of(agent, cause=SilenceCause.STOPPED)

    run(tmp_path, work)


def test_one_that_is_told_to_end_is_not_silent_while_it_saves(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        (await slow_down_saving(launch.address)).close()
        told = Told(agent)
        began_s = time.monotonic()
        await agent.execute(StopNode(key=launch.key, saves=True), epoch=1)
        assert time.monotonic() - began_s > 2 * pulse.BEAT_S
        assert told.nothing()

    run(tmp_path, work)


def test_one_that_was_silent_and_is_ended_is_silent_no_more(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        os.kill(await start_serving(agent, launch_of()), signal.SIGSTOP)
        await silence_of(agent)
        stopping = asyncio.create_task(agent.execute(StopNode(key=KEY), epoch=1))
        seen: list[Silence | None] = []
        while not stopping.done():  # it is asked for a second before it is killed
            seen.append((await glance(agent)).silence)
            await asyncio.sleep(0.05)
        await stopping
        assert seen[-1] is None

    run(tmp_path, work)


def test_a_start_is_waited_for_elsewhere(tmp_path: Path) -> None:
    """It has a deadline of its own, and a process that is hung from its start has no pulse."""

    async def work(agent: LocalAgent) -> None:
        told = Told(agent)
        launch = launch_of()
        starting = asyncio.create_task(agent.execute(StartNode(launch=launch), epoch=1))

        async def pid_once_there() -> int:
            process = (await glance(agent)).process
            return process.identity.pid if isinstance(process, Running) else 0

        await until(pid_once_there, "a process")
        os.kill(await pid_once_there(), signal.SIGSTOP)
        await beats(3)
        assert told.nothing()
        assert (await glance(agent)).silence is None
        os.kill(await pid_once_there(), signal.SIGCONT)
        await starting

    run(tmp_path, work)


def test_an_agent_that_comes_back_finds_who_is_silent(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        pid = await start_serving(agent, launch_of())
        agent.close()
        os.kill(pid, signal.SIGSTOP)
        again = new_agent(tmp_path)
        await again.open()
        try:
            told = Told(again)
            silence = await silence_of(again, cause=SilenceCause.STOPPED)
            assert told[KEY] >= silence.probes
            os.kill(pid, signal.SIGCONT)
            await answers_again(again)
        finally:
            again.close()

    run(tmp_path, work)


def test_a_connection_that_is_cut_is_made_again_and_nothing_is_told(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        told = Told(agent)
        admin = await administrator(launch.address)
        for _ in range(3):
            await admin.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await beats(1.5)
        assert told.nothing()
        admin.close()
        os.kill(pid_of(await fact_of(agent)), signal.SIGSTOP)
        await silence_of(agent, 2)  # it is pinged again

    run(tmp_path, work)


def test_one_that_lets_nobody_in_refuses(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        admin = await administrator(launch.address)
        await admin.command("ACL", "SETUSER", acl.ADMIN_USER, "resetpass", ">another")
        clients = await admin.command("CLIENT", "LIST")
        assert isinstance(clients, bytes)
        (pinged,) = re.findall(rb"^id=(\d+) .* cmd=ping ", clients, re.MULTILINE)
        await admin.command("CLIENT", "KILL", "ID", pinged)
        silence = await silence_of(agent)
        assert silence.cause is SilenceCause.REFUSING
        observed = await fact_of(agent)  # on a connection that it let in before
        assert isinstance(observed.engine, EngineFact)
        assert observed.silence is None
        await admin.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert (await fact_of(agent)).silence is not None
        await admin.command("ACL", "SETUSER", acl.ADMIN_USER, "resetpass", f">{PASSWORD}")
        admin.close()
        await answers_again(agent)

    run(tmp_path, work)


def test_one_that_has_lost_its_primary_answers(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await beats(3)
        told = Told(agent)
        admin = await administrator(launch.address)
        await admin.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        await admin.command("REPLICAOF", "127.255.255.1", 1)
        with pytest.raises(EngineRefused, match="MASTERDOWN"):
            await admin.command("GET", "a")
        await beats(3)
        await admin.command("REPLICAOF", "NO", "ONE")
        admin.close()
        assert told.nothing()

    run(tmp_path, work)


def timers() -> list[asyncio.TimerHandle]:
    """Return what the event loop will do later."""
    loop: Any = asyncio.get_running_loop()
    return list(loop._scheduled)


def test_nothing_is_left_of_it_after_close(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        here = asyncio.all_tasks()
        launch, frozen = launch_of(), launch_of("g.frozen")
        await start_serving(agent, launch)
        pid = await start_serving(agent, frozen)
        agent.close()
        os.kill(pid, signal.SIGSTOP)
        again = new_agent(tmp_path)
        await again.open()
        await beats(2.5)
        told = Told(again)
        assert len(asyncio.all_tasks()) == len(here) + 1  # it waits for a connection
        again.close()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == here
        assert not [timer for timer in timers() if not timer.cancelled()]
        admin = await administrator(launch.address)

        async def is_alone() -> bool:
            users = str(await admin.command("CLIENT", "LIST")).count(f"user={acl.ADMIN_USER}")
            return users == 1

        await until(is_alone, "no connection of ours")
        await beats(3)
        assert not told
        assert not again._pulses._pulses
        admin.close()

    run(tmp_path, work)


def test_who_has_no_successor_has_no_pulse() -> None:
    assert MemcachedAdapter().pinger is None
    assert DiscoveryAdapter().pinger is None
