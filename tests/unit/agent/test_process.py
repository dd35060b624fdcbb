"""Is a process told from every other one, and is its end proven only when it has ended?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from cachewright.agent import process
from cachewright.model.facts import ProcessIdentity, TerminationProof

#: All of this takes milliseconds; a loaded machine stretches them.
PATIENCE_S = 10.0
SLEEPER = ("sleep", "1000")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that nobody here has started through `spawn`."""
    with subprocess.Popen(SLEEPER) as child:
        try:
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def parent(deed: str) -> Iterator[int]:
    """Run a process that has a child and never waits for it; yield the id of the child."""
    script = f"import os; pid = os.fork()\nif pid == 0: {deed}\nprint(pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process_with_child:
        assert process_with_child.stdout is not None
        try:
            yield int(process_with_child.stdout.readline())
        finally:
            process_with_child.kill()


def names(folder: str) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


def links_of(pid: int) -> list[str]:
    found: list[str] = []
    for entry in sorted(Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(str(entry.readlink()))
    return found


def _is_administrator() -> bool:
    """Tell whether we have CAP_SYS_ADMIN."""
    status = Path("/proc/self/status").read_text().splitlines()
    (held,) = (line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(held, 16) >> 21 & 1)


def nice_of(pid: int) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(3 * PATIENCE_S):
            await work()

    asyncio.run(limited())


def spawn(folder: Path, *argv: str) -> process.Process:
    return process.spawn(
        argv, folder=folder, environment=dict(os.environ), output=folder / "start.log"
    )


def identity_of(pid: int) -> ProcessIdentity:
    identity = process.identify(pid)
    assert identity is not None
    return identity


def adopt_living(identity: ProcessIdentity) -> process.Process:
    found = process.adopt(identity)
    assert isinstance(found, process.Process)
    return found


def proof_of(identity: ProcessIdentity) -> TerminationProof:
    found = process.adopt(identity)
    assert isinstance(found, TerminationProof)
    return found


@pytest.mark.parametrize("name", [b"a", b"a b", b") 1 (", b"a) S 9 9 9", b"\n", b"\xff("])
def test_the_name_of_a_command_may_hold_anything(name: bytes) -> None:
    fields = [str(number).encode() for number in range(4, 53)]
    content = b"77 (" + name + b") S " + b" ".join(fields) + b"\n"
    assert process.parse_stat(content) == process.Stat(session=6, start_ticks=22)


def test_nobody_has_an_id_beyond_the_largest() -> None:
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert process.identify(pid_max + 1) is None


def test_identity_is_stable_and_differs_between_processes(
    stranger: subprocess.Popen[bytes],
) -> None:
    assert identity_of(stranger.pid) == identity_of(stranger.pid)
    assert identity_of(stranger.pid) != identity_of(os.getpid())
    assert identity_of(os.getpid()).boot_id == process.boot_id()


@pytest.mark.parametrize(
    ("argv", "exit_code", "words"),
    [
        (("true",), 0, "ended with exit code 0"),
        (("sh", "-c", "exit 3"), 3, "ended with exit code 3"),
        (("sh", "-c", "kill -SEGV $$"), -11, "was ended by SIGSEGV"),
        (("sh", "-c", "kill -40 $$"), -40, "was ended by signal 40"),
    ],
)
def test_a_child_that_ends_gives_proof_with_its_exit_code(
    tmp_path: Path, argv: tuple[str, ...], exit_code: int, words: str
) -> None:
    async def work() -> None:
        child = spawn(tmp_path, *argv)
        proof = await child.ended(PATIENCE_S)
        assert proof is not None
        assert proof == child.proof
        assert (proof.identity, proof.exit_code) == (child.identity, exit_code)
        assert process.describe_end(proof) == words
        assert process.identify(child.identity.pid) is None  # it was reaped

    run(work)


def test_its_end_is_told_once(tmp_path: Path) -> None:
    async def work() -> None:
        told: list[TerminationProof] = []
        child = spawn(tmp_path, *SLEEPER)
        child.watch(told.append)
        assert await child.ended(0.01) is None
        proof = await child.kill()
        assert told == [proof]
        assert await child.kill() == proof
        assert await child.ended(0) == proof
        assert told == [proof]

    run(work)


def test_who_watches_late_is_told_too(tmp_path: Path) -> None:
    async def work() -> None:
        child = spawn(tmp_path, "true")
        proof = await child.ended(PATIENCE_S)
        told = asyncio.get_running_loop().create_future()
        child.watch(told.set_result)
        assert await told == proof

    run(work)


def test_a_stopped_process_can_be_ended(tmp_path: Path) -> None:
    async def work() -> None:
        child = spawn(tmp_path, *SLEEPER)
        os.kill(child.identity.pid, signal.SIGSTOP)
        assert (await child.kill()).exit_code == -signal.SIGKILL

    run(work)


def test_a_process_of_somebody_else_is_watched_without_its_exit_code() -> None:
    async def work(pid: int) -> None:
        proof = await adopt_living(identity_of(pid)).kill()
        assert proof.exit_code is None
        assert process.describe_end(proof) == "ended"

    with parent("os.execvp('sleep', ['sleep', '1000'])") as pid:
        run(lambda: work(pid))


def test_a_zombie_has_ended() -> None:
    with parent("os._exit(0)") as pid:
        until(lambda: b") Z " in Path(f"/proc/{pid}/stat").read_bytes(), "a zombie")
        assert proof_of(identity_of(pid)).evidence == "the kernel reported its exit"


def test_a_process_that_has_ended_is_proven_to(tmp_path: Path) -> None:
    async def work() -> None:
        child = spawn(tmp_path, "true")
        await child.ended(PATIENCE_S)
        assert "not in use" in proof_of(child.identity).evidence

    run(work)


def test_another_process_with_the_same_id_is_not_adopted(
    stranger: subprocess.Popen[bytes],
) -> None:
    earlier = structs.replace(identity_of(stranger.pid), start_ticks=1)
    assert "another process" in proof_of(earlier).evidence


def test_an_id_that_is_a_thread_now_is_not_adopted() -> None:
    async def work() -> None:
        await asyncio.to_thread(lambda: None)  # the pool's thread stays
        thread = next(name for name in names("/proc/self/task") if int(name) != os.getpid())
        identity = structs.replace(identity_of(os.getpid()), pid=int(thread))
        assert isinstance(process.adopt(identity), TerminationProof)

    run(work)


def test_nothing_survives_its_boot(stranger: subprocess.Popen[bytes]) -> None:
    earlier = structs.replace(identity_of(stranger.pid), boot_id="earlier")
    assert "boot" in proof_of(earlier).evidence


def test_releasing_leaves_it_alone_and_it_can_be_adopted_again(tmp_path: Path) -> None:
    async def work() -> None:
        child = spawn(tmp_path, *SLEEPER)
        descriptors = len(names("/proc/self/fd"))
        child.release()
        child.release()
        assert len(names("/proc/self/fd")) == descriptors - 1
        assert process.identify(child.identity.pid) == child.identity
        assert (await adopt_living(child.identity).kill()).exit_code == -signal.SIGKILL

    run(work)


def test_a_program_is_started_apart_from_us(tmp_path: Path) -> None:
    """Own session and group, no input, private files, no core files, nothing of our descriptors."""

    async def work() -> None:
        child = spawn(tmp_path, "sh", "-c", "umask; pwd; ls -l /proc/$$/fd; exec sleep 1000")
        pid = child.identity.pid
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert process.is_leader(child.identity)
        assert not process.is_leader(structs.replace(child.identity, pid=os.getpid()))
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        output = tmp_path / "start.log"
        assert output.stat().st_mode & 0o777 == 0o600
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the program")
        # The loader of the program still opens and closes its libraries for a moment.
        expected = ["/dev/null", str(output), str(output)]
        until(lambda: links_of(pid) == expected, "no more descriptors than these")
        assert output.read_text().splitlines()[:2] == ["0077", str(tmp_path)]
        await child.kill()

    run(work)


@pytest.mark.parametrize(("mode", "error"), [(None, FileNotFoundError), (0o600, PermissionError)])
def test_a_program_that_cannot_be_started_is_an_error_and_no_process(
    tmp_path: Path, mode: int | None, error: type[OSError]
) -> None:
    async def work() -> None:
        program = tmp_path / "program"
        if mode is not None:
            program.write_bytes(b"#!/bin/sh\n")
            program.chmod(mode)
        with pytest.raises(error, match=str(program)):
            spawn(tmp_path, str(program))
        assert not process.is_in_use(tmp_path / "start.log")

    run(work)


def test_output_is_in_use_until_the_last_fork_has_ended(tmp_path: Path) -> None:
    async def work() -> None:
        output = tmp_path / "start.log"
        assert not process.is_in_use(output)
        assert process.find_by_output(output) == ()
        child = spawn(tmp_path, "sh", "-c", "sleep 1000 & exec sleep 1000")
        until(lambda: len(process.find_by_output(output)) == 2, "second process")
        first, second = process.find_by_output(output)
        assert first == child.identity
        assert not process.is_leader(second)
        await child.kill()
        assert process.is_in_use(output)
        assert process.find_by_output(output) == (second,)
        await process.end_leftovers(output)
        assert not process.is_in_use(output)
        assert proof_of(second)

    run(work)


def test_who_only_reads_the_output_is_no_leftover(tmp_path: Path) -> None:
    output = tmp_path / "start.log"
    output.touch()
    with output.open() as reader, subprocess.Popen(SLEEPER, stdin=reader) as other:
        try:
            assert not process.is_in_use(output)
            run(lambda: process.end_leftovers(output))
            assert other.poll() is None
        finally:
            other.kill()


def test_somebody_who_cannot_be_seen_is_never_taken_for_ended(tmp_path: Path) -> None:
    """A holder whose standard output is elsewhere stands for one in another container."""
    output = tmp_path / "start.log"
    script = f"exec 3>>{output}; flock -n 3; exec 1>&2; echo locked >&2; exec sleep 1000"
    with subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE) as holder:
        assert holder.stderr is not None
        holder.stderr.readline()
        try:
            assert process.is_in_use(output)
            with pytest.raises(process.StillAlive, match="cannot be seen"):
                run(lambda: process.end_leftovers(output))
        finally:
            holder.kill()


def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    script = (
        "import resource as r; from cachewright.agent import process as p;"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, r.getrlimit(r.RLIMIT_NOFILE)[1]));"
        "p.raise_open_files_limit(); first = r.getrlimit(r.RLIMIT_NOFILE);"
        "p.raise_open_files_limit(); assert r.getrlimit(r.RLIMIT_NOFILE) == first;"
        "assert first[0] == min(first[1], 262144) or first[1] == r.RLIM_INFINITY, first"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_session_is_preferred_where_that_is_allowed_and_only_by_who_leads_it(
    tmp_path: Path,
) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel does not share processors out among sessions")
    allowed = subprocess.run(
        [sys.executable, "-c", "import os; os.nice(-10)"], check=False, stderr=subprocess.DEVNULL
    )
    preferred = "-10" if allowed.returncode == 0 else "0"
    if allowed.returncode == 0 and not _is_administrator():
        pytest.skip("the kernel takes one such change in 100 ms from who is no administrator")
    script = (
        "import os, subprocess as s; from cachewright.agent import process as p;"
        "look = lambda: open('/proc/self/autogroup').read().split()[-1];"
        "child = s.Popen(['sleep', '1000']); p.prefer_session(child.pid); child.kill();"
        "print(look()); p.prefer_session(os.getpid()); print(look())"
    )
    leader = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, start_new_session=True
    )
    assert leader.stdout.decode().split() == ["0", preferred]

    async def work() -> None:
        child = spawn(tmp_path, "sleep", "1000")
        assert nice_of(child.identity.pid) == preferred
        await child.kill()

    run(work)


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, f"no {what}"
        select.select([], [], [], 0.005)
