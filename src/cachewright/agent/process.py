"""Is this process alive, which one is it, and how is its end proven?

A process is known by pid + start time + boot id, held through a pidfd, signalled through nothing
else, and watched by the event loop whether it is our child or not. `TerminationProof` is made
here alone. This file starts engines detached and never ends one by itself; it knows nothing of
nodes.

Source: proc(5) (`/proc/PID/stat`), pidfd_open(2), flock(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachewright.kit import files
from cachewright.model.facts import ProcessIdentity, TerminationProof

_PROC = Path("/proc")
#: Positions in /proc/PID/stat after the command's name: fields 6 and 22 of proc(5).
_SESSION_FIELD = 6 - 3
_START_TIME_FIELD = 22 - 3
#: Said by the kernel for an id that is now a thread of another process.
_NO_PROCESS = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})
#: What this process may open: a pidfd and two connections a node, and engines inherit it
#: (65,000 clients each). Higher limits only make closing them slower.
_OPEN_FILES_WANTED = 262_144
#: The kernel ends a killed process within milliseconds unless a disk keeps it waiting.
KILL_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 0.02
#: Like nice(1) for all processes of a session. With 0 engines waited up to 2 s for a processor
#: while a hundred threads of clients were busy, with -5 up to 1.7 s, with this 0.8 s.
_SESSION_NICE = "-10"
#: A process that is just ending has no files to be found by, and gives up its lock a little later.
_UNSEEN_S = 0.5


class StillAlive(Exception):
    """A process was killed and has not ended within `KILL_TIMEOUT_S`; `str()` says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """The two facts of /proc/PID/stat that matter here."""

    session: int
    start_ticks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FileId:
    """Which file, whatever it is called."""

    device: int
    inode: int


def parse_stat(content: bytes) -> Stat:
    """Parse /proc/PID/stat; the command's name may hold spaces, parentheses and newlines."""
    fields = content[content.rindex(b")") + 2 :].split()
    return Stat(session=int(fields[_SESSION_FIELD]), start_ticks=int(fields[_START_TIME_FIELD]))


@functools.cache
def boot_id() -> str:
    """Return the id that the kernel drew when this host was booted."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat_of(pid: int) -> Stat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> ProcessIdentity | None:
    """Return who has the id `pid` now, `None` when nobody has."""
    stat = _stat_of(pid)
    if stat is None:
        return None
    return ProcessIdentity(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())


class Process:
    """A process held through its pidfd, until its end is proven or it is let go.

    Made by `spawn` and `adopt` inside a running event loop. The process itself does not notice.
    """

    def __init__(self, identity: ProcessIdentity, pidfd: int) -> None:
        self.identity = identity
        #: Evidence of the end; `None` while the process lives.
        self.proof: TerminationProof | None = None
        #: Readable once the process has ended; -1 when it is not held any more.
        self.pidfd = pidfd
        self._ended = asyncio.Event()
        self._on_end: Callable[[TerminationProof], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self.take_end)

    def watch(self, on_end: Callable[[TerminationProof], None]) -> None:
        """Call `on_end` in the event loop when the process ends, soon if it has already."""
        self._on_end = on_end
        if self.proof is not None:
            self._loop.call_soon(on_end, self.proof)

    async def ended(self, timeout_s: float | None) -> TerminationProof | None:
        """Wait for the end; `None` when the process still lives after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            pass
        return self.proof

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        if self.proof is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    async def kill(self) -> TerminationProof:
        """End the process with SIGKILL, which also a stopped one takes, and see its end.

        Raises:
            StillAlive: it does not end; the kernel will end it when it can.
        """
        self.send(signal.SIGKILL)
        proof = await self.ended(KILL_TIMEOUT_S)
        if proof is None:
            reason = f"process {self.identity.pid} lives {KILL_TIMEOUT_S:g} s after SIGKILL"
            raise StillAlive(reason)
        return proof

    def release(self) -> None:
        """Stop watching; the process goes on."""
        if self.proof is None and self.pidfd >= 0:
            self._close()

    def take_end(self) -> None:
        """Make the proof and tell the watcher; only after the kernel has marked the pidfd."""
        if self.proof is not None:
            return
        self.proof = _proof_by_pidfd(self.identity, self.pidfd)
        self._close()
        self._ended.set()
        if self._on_end is not None:
            self._on_end(self.proof)

    def _close(self) -> None:
        self._loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1


def notice_ends(processes: Iterable[Process | None]) -> None:
    """Tell the watchers of those that have ended, before the event loop comes round to it."""
    poll = select.poll()
    held: dict[int, Process] = {}
    for one in processes:
        if one is not None and one.pidfd >= 0:
            held[one.pidfd] = one
            poll.register(one.pidfd, select.POLLIN)
    for pidfd, _ in poll.poll(0) if held else ():
        held[pidfd].take_end()


def adopt(identity: ProcessIdentity) -> Process | TerminationProof:
    """Take hold of a process that was started earlier, by whomever, or prove that it has ended."""
    if identity.boot_id != boot_id():
        return _proof(identity, "the boot it ran in is over")
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError as error:
        if error.errno not in _NO_PROCESS:
            raise
        return _proof(identity, "its process id is not in use")
    # Only now is it certain whom the pidfd holds: an id may go to another process until it is open.
    if identify(identity.pid) != identity:
        os.close(pidfd)
        return _proof(identity, "its process id belongs to another process or to none")
    if _has_ended(pidfd):
        proof = _proof_by_pidfd(identity, pidfd)
        os.close(pidfd)
        return proof
    return Process(identity, pidfd)


def spawn(
    argv: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path
) -> Process:
    """Start a program that outlives us, in a session of its own, saying everything to `output`.

    The program holds a lock on its output file for as long as it or a child of it lives, which
    is how it is found if we die before its identity is written down (`is_in_use`).

    Raises:
        OSError: it cannot be started.
    """
    descriptor = _open_output(output)
    try:
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)
    # The pidfd is what waits for it. Without this, `subprocess` would wait for the pid as well
    # and complain about a child that is left running on purpose.
    started.returncode = 0
    _limit(started.pid)
    prefer_session(started.pid)
    pidfd = os.pidfd_open(started.pid)  # a child that nobody has waited for keeps its id
    identity = identify(started.pid)
    assert identity is not None  # for the same reason
    return Process(identity, pidfd)


def is_in_use(output: Path) -> bool:
    """Tell whether a program that was started with this output file, or its child, still lives."""
    try:
        descriptor = os.open(output, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def end_leftovers(output: Path) -> None:
    """End every process that has `output` as its standard output.

    An engine that was killed leaves the fork behind that was writing a snapshot.

    Raises:
        StillAlive: somebody who cannot be seen from here, in another container for instance,
            still holds the file.
    """
    loop = asyncio.get_running_loop()
    seen_at = loop.time()
    deadline = seen_at + KILL_TIMEOUT_S
    while is_in_use(output):
        for identity in find_by_output(output):
            leftover = adopt(identity)
            if isinstance(leftover, Process):
                await leftover.kill()
            seen_at = loop.time()
        if loop.time() >= min(deadline, seen_at + _UNSEEN_S):
            raise StillAlive(f"somebody who cannot be seen from here still writes to {output}")
        await asyncio.sleep(_LOOK_AGAIN_S)


def describe_end(proof: TerminationProof) -> str:
    """Say in a few words how a process ended."""
    if proof.exit_code is None:
        return "ended"
    if proof.exit_code >= 0:
        return f"ended with exit code {proof.exit_code}"
    try:
        return f"was ended by {signal.Signals(-proof.exit_code).name}"
    except ValueError:
        return f"was ended by signal {-proof.exit_code}"


def file_id(path: Path) -> FileId | None:
    """Return which file is at `path`, `None` when there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return FileId(device=found.st_dev, inode=found.st_ino)


def find_by_output(output: Path) -> tuple[ProcessIdentity, ...]:
    """Return the processes whose standard output is `output`, leaders of their session first.

    Looks once at every process of the host that belongs to our user; none is a leader but the
    program that `spawn` started.
    """
    wanted = file_id(output)
    found: list[tuple[bool, ProcessIdentity]] = []
    if wanted is None:
        return ()
    for entry in os.scandir(_PROC):
        if not entry.name.isdecimal() or file_id(_PROC / entry.name / "fd/1") != wanted:
            continue
        pid = int(entry.name)
        stat, identity = _stat_of(pid), identify(pid)
        if stat is not None and identity is not None and pid != os.getpid():
            found.append((stat.session != pid, identity))
    return tuple(identity for _, identity in sorted(found, key=lambda one: one[0]))


def is_leader(identity: ProcessIdentity) -> bool:
    """Tell whether the process leads a session, as every program started by `spawn` does."""
    stat = _stat_of(identity.pid)
    return stat is not None and stat.session == identity.pid


def raise_open_files_limit() -> None:
    """Let this process, and the engines that inherit it, open as many files as the host allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def prefer_session(pid: int) -> None:
    """Let who leads a session get a processor before others do, where that exists and is allowed.

    Kernels may share processors out among sessions, and one that mostly sleeps is kept waiting by
    one that is busy with many threads (`docs/adr/0024-preferred-sessions.md`). Nothing happens for
    a process in somebody else's session, such as a terminal's: what else runs there stays as it is.
    """
    with contextlib.suppress(OSError):
        if os.getsid(pid) == pid:
            (_PROC / str(pid) / "autogroup").write_text(_SESSION_NICE)


def _limit(pid: int) -> None:
    """Forbid core files, which hold data and passwords; drop a protection from the OOM killer.

    An engine that outgrows the host must not be spared because the service that started it is.
    """
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        (_PROC / str(pid) / "oom_score_adj").write_text("0")


def _open_output(path: Path) -> int:
    """Create the file anew, private and locked; the lock lives as long as a copy of the result."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, files.PRIVATE_FILE)
    with contextlib.suppress(OSError):  # a file system without locks: `find_by_output` remains
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _proof_by_pidfd(identity: ProcessIdentity, pidfd: int) -> TerminationProof:
    """Make the proof once the kernel has marked `pidfd` as ended; reaps our own child."""
    exit_code: int | None = None
    with contextlib.suppress(ChildProcessError):  # not our child: its code is its parent's
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        if result is not None:
            by_itself = result.si_code == os.CLD_EXITED
            exit_code = result.si_status if by_itself else -result.si_status
    return _proof(identity, "the kernel reported its exit", exit_code)


def _proof(
    identity: ProcessIdentity, evidence: str, exit_code: int | None = None
) -> TerminationProof:
    return TerminationProof(identity=identity, exit_code=exit_code, evidence=evidence)
