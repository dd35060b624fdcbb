"""Is a start, a stop or an engine that goes wrong a clear failure that leaves nothing behind?"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent import process
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.catalogue import Catalogue
from cachewright.kit import failpoints
from cachewright.kit.clock import SystemClock
from cachewright.model.commands import (
    AdmitNode,
    ApplySettings,
    HostCommand,
    RemoveNode,
    StartNode,
    StopNode,
)
from cachewright.model.engines import EngineName
from cachewright.model.facts import Absent, NodeFact, Running, Stopped, Unknown
from cachewright.rpc.agent import CommandFailed
from tests import service_kit as kit
from tests.fault.agent_world import (
    KEY,
    PASSWORD,
    PORT,
    fact_of,
    hosting,
    launch_of,
    new_agent,
    pid_of,
    say,
    slow_down_saving,
    start_serving,
    until,
)

#: A program that is taken for the best build there is, and never answers.
SILENT_BUILD = """#!/bin/sh
case "$1" in
  --version) echo "Valkey server v=9.1.99 sha=0:0 malloc=jemalloc-5 bits=64 build=0" ;;
  --port) echo "Failed to configure TLS" ;;
  *) echo "not today, $(umask)"; exec sleep 1000 ;;
esac
"""


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


async def fails(agent: LocalAgent, command: HostCommand, words: str) -> NodeFact:
    with pytest.raises(CommandFailed, match=words):
        await agent.execute(command, epoch=1)
    return await fact_of(agent)


def proven_end(fact: NodeFact) -> Stopped:
    assert isinstance(fact.process, Stopped), fact
    assert fact.process.proof is not None
    return fact.process


def test_settings_change_in_the_running_engine_and_what_it_refuses_is_a_fact(
    tmp_path: Path,
) -> None:
    """All that it takes is taken; the process, and what it refuses, stay as they were."""

    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(
            launch_of(), settings=(("maxmemory-policy", "noeviction"), ("timeout", "0"))
        )
        await start_serving(agent, launch)
        before = await fact_of(agent)
        memory_bytes = launch.maxmemory_bytes * 2
        wanted = (("maxmemory-policy", "no such policy"), ("timeout", "30"))
        apply = ApplySettings(key=KEY, settings=wanted, maxmemory_bytes=memory_bytes)
        await agent.execute(apply, epoch=1)
        fact = await fact_of(agent)
        assert fact.process == before.process
        assert fact.launched is not None
        assert dict(fact.launched.settings) == {"maxmemory-policy": "noeviction", "timeout": "30"}
        assert fact.launched.maxmemory_bytes == memory_bytes
        (refused,) = fact.launched.refused
        assert (refused.name, refused.value) == ("maxmemory-policy", "no such policy")
        assert "maxmemory-policy" in refused.reason
        agent.close()

        again = new_agent(tmp_path)
        await again.open()
        assert (await fact_of(again)).launched == fact.launched
        better = (("maxmemory-policy", "allkeys-lru"), ("timeout", "30"))
        await again.execute(
            ApplySettings(key=KEY, settings=better, maxmemory_bytes=memory_bytes), epoch=1
        )
        fact = await fact_of(again)
        assert fact.launched is not None
        assert (fact.launched.settings, fact.launched.refused) == (better, ())
        await again.execute(StopNode(key=KEY), epoch=1)
        await fails(again, apply, "does not run")
        again.close()

    run(tmp_path, work)


@pytest.mark.parametrize("beyond_the_host", [False, True])
def test_a_running_engine_takes_as_many_clients_as_one_that_starts(
    tmp_path: Path, beyond_the_host: bool
) -> None:
    """Beyond what the host allows it would refuse the number; at its start it takes fewer."""

    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        pid = pid_of(await fact_of(agent))
        _, files_max = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        wanted = files_max if beyond_the_host else launch.maxclients // 2
        apply = ApplySettings(
            key=KEY,
            settings=launch.settings,
            maxmemory_bytes=launch.maxmemory_bytes,
            maxclients=wanted,
        )
        for _ in range(2):
            await agent.execute(apply, epoch=1)
        fact = await fact_of(agent)
        assert fact.launched is not None
        assert (fact.launched.maxclients, fact.launched.refused) == (wanted, ())
        name, password = "cachewright-admin", launch.admin_password
        with kit.connect((launch.address, PORT), username=name, password=password) as admin:
            takes = int(admin.config_get("maxclients")["maxclients"])
        assert takes == min(wanted, files_max - 32)

    run(tmp_path, work)


def test_a_taken_address_is_named_and_counted_until_it_is_free(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        with socket.create_server((launch.address, PORT)):
            words = f"{launch.address}:{PORT} is taken by another process"
            await fails(agent, StartNode(launch=launch), words)
            fact = await fails(agent, StartNode(launch=launch), words)
        assert isinstance(fact.process, Absent)
        assert fact.failed_starts == 2
        assert "is taken" in fact.failure
        await start_serving(agent, launch)
        fact = await fact_of(agent)
        assert (fact.failed_starts, fact.failure) == (0, "")

    run(tmp_path, work)


def test_a_node_that_never_started_can_be_stopped_and_removed(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(launch_of(), address="192.0.2.1")
        await fails(agent, StartNode(launch=launch), "192.0.2.1 does not exist on this host")
        for command in (StopNode(key=KEY), StopNode(key=KEY, saves=True), RemoveNode(key=KEY)):
            await agent.execute(command, epoch=1)
        assert (await fact_of(agent)).failed_starts == 0

    run(tmp_path, work)


def test_a_missing_build_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(launch_of(), engine=EngineName.REDIS, engine_version="7.0")
        words = r"no build of redis 7\.0; it has valkey 9\.1\."
        fact = await fails(agent, StartNode(launch=launch), words)
        assert isinstance(fact.process, Absent)

    run(tmp_path, work)


def test_a_crash_at_start_is_told_with_the_engines_words_and_without_secrets(
    tmp_path: Path,
) -> None:
    async def work(agent: LocalAgent) -> None:
        broken = dataclasses.replace(launch_of(), settings=(("maxmemory-policy", PASSWORD),))
        words = r"(?s)valkey ended with exit code 1 before it answered:\n.*maxmemory-policy"
        fact = await fails(agent, StartNode(launch=broken), words)
        stopped = proven_end(fact)
        assert any("maxmemory-policy" in line for line in stopped.log_tail)
        assert PASSWORD not in fact.failure + "".join(stopped.log_tail)
        assert fact.failed_starts == 1
        agent.close()

        again = new_agent(tmp_path)
        await again.open()
        fact = await fact_of(again)
        assert (fact.failed_starts, proven_end(fact).log_tail) == (1, stopped.log_tail)
        whole = dataclasses.replace(broken, settings=())
        await start_serving(again, whole)
        assert (await fact_of(again)).failed_starts == 0
        again.close()

    run(tmp_path, work)


def test_an_engine_that_does_not_answer_at_start_is_ended(tmp_path: Path) -> None:
    async def work() -> None:
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "valkey-server").write_text(SILENT_BUILD)
        (programs / "valkey-server").chmod(0o700)
        search_path = f"{programs}:/bin:/usr/bin"
        catalogue = Catalogue(tmp_path / "engines", search_path=search_path, apt_folder=tmp_path)
        agent = LocalAgent(tmp_path / "nodes", catalogue, SystemClock(), start_timeout_s=0.5)
        await agent.open()
        words = "(?s)did not answer within 0.5 s of its start .*ended:\nnot today, 0077"
        fact = await fails(agent, StartNode(launch=launch_of()), words)
        proof = proven_end(fact).proof
        assert proof is not None
        assert proof.exit_code == -signal.SIGKILL
        assert process.identify(proof.identity.pid) is None
        agent.close()

    asyncio.run(work())


def test_a_start_that_is_broken_off_goes_on_with_the_same_process(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        start = asyncio.create_task(agent.execute(StartNode(launch=launch), epoch=1))

        async def has_process() -> bool:
            return isinstance((await fact_of(agent)).process, Running)

        await until(has_process, "a process")
        start.cancel()
        await asyncio.wait([start])
        pid = pid_of(await fact_of(agent))
        assert await start_serving(agent, launch) == pid

    run(tmp_path, work)


def test_a_frozen_engine_is_silent_not_gone_and_can_still_be_ended(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        frozen, healthy = launch_of(), launch_of("abcd1234.store-002")
        pid = await start_serving(agent, frozen)
        await start_serving(agent, healthy)
        os.kill(pid, signal.SIGSTOP)
        facts = await agent.observe([frozen.key, healthy.key])
        assert isinstance(facts[frozen.key].process, Running)
        assert facts[frozen.key].engine == Unknown(reason="no answer within 1 s")
        assert not isinstance(facts[healthy.key].engine, Unknown)

        words = "cannot be told to save and runs on: no answer"
        fact = await fails(agent, StopNode(key=KEY, saves=True), words)
        assert pid_of(fact) == pid
        await agent.execute(StopNode(key=KEY), epoch=1)
        proof = proven_end(await fact_of(agent)).proof
        assert proof is not None
        assert proof.exit_code == -signal.SIGKILL

    run(tmp_path, work)


def test_a_frozen_engine_answers_again_when_it_wakes(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        pid = await start_serving(agent, launch_of())
        os.kill(pid, signal.SIGSTOP)
        assert isinstance((await fact_of(agent)).engine, Unknown)
        os.kill(pid, signal.SIGCONT)

        async def answers() -> bool:
            return not isinstance((await fact_of(agent)).engine, Unknown)

        await until(answers, "an answer")

    run(tmp_path, work)


def test_an_engine_that_cannot_save_lives_on_and_loses_nothing(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        say(launch.address, "SET", "a", "1")
        in_the_way = tmp_path / "nodes" / KEY / "dump.rdb"
        in_the_way.mkdir()
        fact = await fails(agent, StopNode(key=KEY, saves=True), "could not save and runs on")
        assert pid_of(fact) == pid
        assert not fact.has_saved_data
        assert say(launch.address, "GET", "a") == "1"
        in_the_way.rmdir()
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        assert (await fact_of(agent)).has_saved_data

    run(tmp_path, work)


def test_a_stop_that_is_refused_leaves_what_was_saved_before(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        say(launch.address, "SET", "a", "1")
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        loading = dataclasses.replace(launch, loads_saved_data=True)
        await agent.execute(StartNode(launch=loading), epoch=1)
        pid = pid_of(await fact_of(agent))
        (tmp_path / "nodes" / KEY / f"temp-{pid}.rdb").mkdir()  # where the engine writes first
        fact = await fails(agent, StopNode(key=KEY, saves=True), "could not save and runs on")
        assert fact.has_saved_data
        await agent.execute(StopNode(key=KEY), epoch=1)
        await start_serving(agent, loading)
        assert say(launch.address, "GET", "a") == "1"

    run(tmp_path, work)


def test_nobody_is_let_in_while_the_data_is_being_loaded(tmp_path: Path) -> None:
    """If it dies then, nothing is lost: the snapshot is still there until it is admitted."""

    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(launch_of(), maxmemory_bytes=1 << 30)
        await start_serving(agent, launch)
        say(launch.address, "EVAL", "for i=1,600000 do redis.call('SET', 'key-'..i, i) end", "0")
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        loading = dataclasses.replace(launch, loads_saved_data=True)
        await agent.execute(StartNode(launch=loading), epoch=1)

        async def is_admitted() -> bool:
            with contextlib.suppress(CommandFailed):
                await agent.execute(AdmitNode(key=KEY, bind=(launch.address,)), epoch=1)
            fact = await fact_of(agent)
            assert not isinstance(fact.engine, Unknown)
            assert fact.has_saved_data == fact.engine.is_held >= fact.engine.is_loading
            return not fact.engine.is_held

        await until(is_admitted, "admission")
        assert say(launch.address, "DBSIZE") == 600_000
        assert not (await fact_of(agent)).has_saved_data

    run(tmp_path, work)


def test_an_engine_that_is_killed_while_it_saves_has_no_saved_data(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        (await slow_down_saving(launch.address)).close()
        stop = asyncio.create_task(agent.execute(StopNode(key=KEY, saves=True), epoch=1))

        async def is_saving() -> bool:
            return bool(list((tmp_path / "nodes" / KEY).glob("temp-*.rdb")))

        await until(is_saving, "snapshot under way")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CommandFailed, match="was ended by SIGKILL without saving"):
            await stop
        assert not (await fact_of(agent)).has_saved_data
        await start_serving(agent, launch)
        assert not await is_saving()

    run(tmp_path, work)


def test_a_saving_stop_that_nobody_waits_for_keeps_the_data(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        (await slow_down_saving(launch.address)).close()
        stop = asyncio.create_task(agent.execute(StopNode(key=KEY, saves=True), epoch=1))

        async def is_saving() -> bool:
            return bool(list((tmp_path / "nodes" / KEY).glob("temp-*.rdb")))

        await until(is_saving, "snapshot under way")
        stop.cancel()
        await asyncio.wait([stop])
        fact = await fails(agent, StartNode(launch=launch), "still ending")
        assert fact.failed_starts == 0
        await fails(agent, RemoveNode(key=KEY), "still ending")
        await until(lambda: is_stopped(agent), "its end")
        assert (await fact_of(agent)).has_saved_data

    run(tmp_path, work)


def test_the_fork_of_an_engine_that_was_killed_is_ended_too(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        admin = await slow_down_saving(launch.address)
        await admin.command("BGSAVE")
        output = tmp_path / "nodes" / KEY / "start.log"
        _, fork = process.find_by_output(output)
        os.kill(fork.pid, signal.SIGSTOP)  # or it could notice by itself that it is alone
        os.kill(pid, signal.SIGKILL)
        await until(lambda: is_stopped(agent), "its end")
        assert process.find_by_output(output) == (fork,)
        await agent.execute(StopNode(key=KEY), epoch=1)
        assert not process.is_in_use(output)
        assert process.find_by_output(output) == ()
        admin.close()

    run(tmp_path, work)


def test_a_low_limit_of_open_files_is_raised_before_it_is_met(tmp_path: Path) -> None:
    script = """
import asyncio, resource, sys
from pathlib import Path
from tests.fault.agent_world import new_agent
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
asyncio.run(new_agent(Path(sys.argv[1])).open())
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_an_agent_that_leads_its_session_has_it_preferred(tmp_path: Path) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel does not share processors out among sessions")
    script = """
import asyncio, os, sys
from pathlib import Path
from cachewright.agent import process
from tests.fault.agent_world import new_agent
asyncio.run(new_agent(Path(sys.argv[1])).open())
found = Path("/proc/self/autogroup").read_text()
process.prefer_session(os.getpid())
assert Path("/proc/self/autogroup").read_text() == found
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, check=True, start_new_session=True)


@pytest.mark.parametrize("name", ["node", "file"])
def test_something_in_the_way_of_the_folder_is_named(tmp_path: Path, name: str) -> None:
    async def work(agent: LocalAgent) -> None:
        path = tmp_path / "nodes" / KEY
        if name == "file":
            path.touch()
        else:
            path.symlink_to(tmp_path)
        fact = await fails(agent, StartNode(launch=launch_of()), f"cannot start valkey: {path}: ")
        assert fact.failed_starts == 1
        assert not (tmp_path / "node.json").exists()
        path.unlink()
        await start_serving(agent, launch_of())

    run(tmp_path, work)


def test_a_disk_that_takes_no_more_is_named_and_leaves_no_process(tmp_path: Path) -> None:
    """A limit of the size of files stands for a full disk, which an ordinary user cannot make."""
    script = """
import asyncio, resource, sys
from pathlib import Path
from tests.fault.agent_world import *

async def main(folder):
    async with hosting(folder) as agent:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            await agent.execute(StartNode(launch=launch_of()), epoch=0)
        except Exception as error:
            print(type(error).__name__, error)
        print((await fact_of(agent)).process)

asyncio.run(main(Path(sys.argv[1])))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "CommandFailed cannot start valkey: " in done.stdout
    assert "larger than the limit" in done.stdout
    assert "Stopped(proof=None" in done.stdout


def test_the_id_of_an_engine_that_another_process_has_now_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    async def work(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        await agent.execute(StopNode(key=KEY), epoch=1)
        agent.close()
        file = tmp_path / "nodes" / KEY / "node.json"
        record = json.loads(file.read_bytes())
        record["identity"]["pid"] = os.getpid()
        file.write_text(json.dumps(record))
        again = new_agent(tmp_path)
        await again.open()
        proof = proven_end(await fact_of(again)).proof
        assert proof is not None
        assert "another process" in proof.evidence
        await again.execute(RemoveNode(key=KEY), epoch=1)  # and we are alive
        again.close()

    run(tmp_path, work)


def test_the_end_of_a_boot_is_the_end_of_its_engines(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        agent.close()
        file = tmp_path / "nodes" / KEY / "node.json"
        record = json.loads(file.read_bytes())
        record["identity"] |= {"pid": os.getpid(), "boot_id": "another"}
        record["state"] = "running"
        file.write_text(json.dumps(record))
        again = new_agent(tmp_path)
        await again.open()
        fact = await fact_of(again)
        proof = proven_end(fact).proof
        assert proof is not None
        assert proof.evidence == "the boot it ran in is over"
        assert fact.has_saved_data
        again.close()

    run(tmp_path, work)


def test_an_engine_that_came_up_while_nobody_looked_has_started(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        agent.close()
        file = tmp_path / "nodes" / KEY / "node.json"
        record = json.loads(file.read_bytes()) | {"state": "starting", "failed_starts": 2}
        file.write_text(json.dumps(record))
        again = new_agent(tmp_path)
        await again.open()
        assert (await fact_of(again)).failed_starts == 2
        assert (await fact_of(again)).failed_starts == 0
        assert json.loads(file.read_bytes())["state"] == "running"
        again.close()

    run(tmp_path, work)


def test_an_engine_whose_record_is_lost_is_found_by_its_output(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        agent.close()
        (tmp_path / "nodes" / KEY / "node.json").write_text("")
        again = new_agent(tmp_path)
        await again.open()
        fact = await fact_of(again)
        assert pid_of(fact) == pid
        assert isinstance(fact.engine, Unknown)
        await fails(again, StartNode(launch=launch), "other settings: stop it first")
        await again.execute(StopNode(key=KEY), epoch=1)
        proven_end(await fact_of(again))
        await again.execute(RemoveNode(key=KEY), epoch=1)
        again.close()

    run(tmp_path, work)


def test_a_process_that_cannot_be_seen_is_unknown_until_it_lets_go(tmp_path: Path) -> None:
    """A holder of the engine's lock without its output stands for one in another container."""

    async def work(agent: LocalAgent, holder: subprocess.Popen[bytes]) -> None:
        for command in (StartNode(launch=launch_of()), StopNode(key=KEY), RemoveNode(key=KEY)):
            fact = await fails(agent, command, "somebody who cannot be seen from here")
            assert isinstance(fact.process, Unknown)
        holder.kill()
        await until(lambda: is_stopped(agent), "its end")
        await start_serving(agent, launch_of())

    async def stop(agent: LocalAgent) -> None:
        await start_serving(agent, launch_of())
        await agent.execute(StopNode(key=KEY), epoch=1)

    run(tmp_path, stop)
    output = tmp_path / "nodes" / KEY / "start.log"
    script = f"exec 3>>{output}; flock -n 3; echo locked; exec sleep 1000"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            run(tmp_path, lambda agent: work(agent, holder))
        finally:
            holder.kill()


@pytest.mark.parametrize("point", ["agent.before_spawn", "agent.after_spawn"])
def test_an_error_around_the_start_of_the_process_leaves_none(tmp_path: Path, point: str) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        failpoints.arm(point)
        with pytest.raises(failpoints.Injected):
            await agent.execute(StartNode(launch=launch), epoch=1)
        assert isinstance((await fact_of(agent)).process, Stopped)
        assert not process.is_in_use(tmp_path / "nodes" / KEY / "start.log")
        await agent.execute(RemoveNode(key=KEY), epoch=1)
        await start_serving(agent, launch)

    try:
        run(tmp_path, work)
    finally:
        failpoints.disarm_all()


async def is_stopped(agent: LocalAgent) -> bool:
    return isinstance((await fact_of(agent)).process, Stopped)
