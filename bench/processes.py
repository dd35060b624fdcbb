"""How does a measured process start and end, and what did it use?

Everything started here ends when the benchmark does, also when that is killed: the kernel sends
the signal that `spawn` names. Reads `/proc`: Linux only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cachewright.agent.process import prefer_session

#: Between two looks at a condition, everywhere in the benchmark: ours and baselines alike.
POLL_S = 0.01
#: A stop that takes longer is ended by SIGKILL.
STOP_TIMEOUT_S = 60.0
#: Of a command that failed.
_LINES_SHOWN = 3
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
#: Positions in /proc/PID/stat after the command's name (proc(5): fields 14, 15, 22).
_UTIME, _STIME, _START = 11, 12, 19


class BenchFailed(Exception):
    """A measurement cannot go on; `str()` says why."""


def spawn(
    argv: Sequence[str | Path],
    *,
    folder: Path,
    output: Path,
    environment: Mapping[str, str] | None = None,
    has_pipe: bool = False,
    death_signal: signal.Signals = signal.SIGTERM,
    is_preferred: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process that gets `death_signal` when the benchmark ends.

    Its output goes to `output`; with `has_pipe` its standard output is to be read by the caller.
    With `is_preferred` it gets a processor as readily as what Cachewright runs does.
    """
    with output.open("ab") as sink:
        started = subprocess.Popen(
            [str(word) for word in argv],
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if has_pipe else sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal),  # noqa: PLW1509 one thread
        )
    if is_preferred:
        prefer_session(started.pid)
    return started


def stop(process: subprocess.Popen[bytes], *, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, then make it."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()


def kill_later(pids: Sequence[int], after_s: float) -> threading.Thread:
    """End processes by SIGKILL, all at once, from a thread of its own; returns that."""

    def kill() -> None:
        time.sleep(after_s)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, name="killer")
    thread.start()
    return thread


def run_to_end(argv: Sequence[str | Path], *, timeout_s: float) -> str:
    """Run a command and return what it says on its standard output."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout_s, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        output = (getattr(error, "stdout", None) or b"") + (getattr(error, "stderr", None) or b"")
        said = output.decode(errors="replace").strip().splitlines()[-_LINES_SHOWN:]
        raise BenchFailed(f"{words[0]}: {' '.join(said) or error}") from error
    return done.stdout.decode(errors="replace")


def wait_for_line(process: subprocess.Popen[bytes], prefix: bytes, timeout_s: float) -> str:
    """Return what follows `prefix` on the first line of output that begins with it."""
    assert process.stdout is not None
    descriptor, seen, deadline = process.stdout.fileno(), b"", time.monotonic() + timeout_s
    while True:
        readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 65_536) if readable else b""
        if not chunk:
            raise BenchFailed(f"process {process.args!r} did not say {prefix!r}")
        seen += chunk
        for line in seen.splitlines(keepends=True):
            if line.startswith(prefix) and line.endswith(b"\n"):
                return line.removeprefix(prefix).strip().decode()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise BenchFailed(f"not within {timeout_s:g} s: {what}")
        time.sleep(POLL_S)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, all threads, user and system."""
    fields = _stat(pid)
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S


def start_ticks(pid: int) -> int:
    """Return when a process was started; with its pid it says which process this is."""
    return int(_stat(pid)[_START])


def memory_mb(pid: int) -> dict[str, float]:
    """Return resident memory (RSS) and the share that is its own (PSS), in MB of 2^20 bytes."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, _ = line.split()
        found[name.rstrip(":").lower()] = int(value) / 1024
    return {"rss": found["rss"], "pss": found["pss"]}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: int) -> list[bytes]:
    content = Path(f"/proc/{pid}/stat").read_bytes()
    return content[content.rindex(b")") + 2 :].split()
