"""Which processes live from a state folder, and how do they end for certain?

The last resort behind every stop. A process belongs to a state folder when it is an engine or the
service (never an editor or a shell that happens to be there) and works in the folder or names it
on its command line. Signals go through a pidfd opened before the check, so that a pid which is
used again is never hit. Linux only; sees processes of the same user. Imports little.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cachewright.kit import shared_memory

#: A killed process is gone as soon as the kernel has freed its memory; 10 s is far beyond that.
KILL_TIMEOUT_S = 10.0
#: The service may start an engine while it is killed; the next round finds it.
_ROUNDS_MAX = 3
_ENGINES = frozenset({"valkey-server", "redis-server", "memcached"})
_SERVICE = "cachewright"
#: The folder of the nodes in a state folder.
_NODES = "nodes"


def processes_of(state_dir: Path) -> tuple[int, ...]:
    """Return the pids that live from `state_dir`, without the process that asks."""
    return tuple(pid for pid in _pids() if pid != os.getpid() and _belongs(pid, state_dir))


def kill_processes_of(state_dir: Path) -> tuple[int, ...]:
    """Kill every process that lives from `state_dir`, and free the memory that they shared.

    Returns:
        Those that survive, normally none.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    for _ in range(_ROUNDS_MAX):
        found = processes_of(state_dir)
        if not found:
            shared_memory.remove(state_dir / _NODES)
            return ()
        for pid in found:
            _kill(pid, state_dir, deadline)
    return processes_of(state_dir)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal())


def _belongs(pid: int, state_dir: Path) -> bool:
    # What cannot be read has ended or is somebody else's.
    with contextlib.suppress(OSError):
        process = Path(f"/proc/{pid}")
        argv = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
        if _is_under(str((process / "cwd").readlink()), state_dir):
            return _is_service(argv) or _is_engine(process)
        return _is_service(argv) and any(_is_under(word, state_dir) for word in argv)
    return False


def _is_service(argv: Sequence[str]) -> bool:
    """Tell whether these are the arguments of our program or of one of its modules."""
    return any(Path(word).name == _SERVICE or word.startswith(f"{_SERVICE}.") for word in argv)


def _is_engine(process: Path) -> bool:
    # Under another name of the same file (distributions link the server to a tool) only the name
    # of the process says what it is.
    name = (process / "comm").read_text(errors="replace").strip()
    return name in _ENGINES or (process / "exe").readlink().name in _ENGINES


def _is_under(path: str, state_dir: Path) -> bool:
    return path == str(state_dir) or path.startswith(f"{state_dir}/")


def _kill(pid: int, state_dir: Path, deadline: float) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(pid)
        try:
            if _belongs(pid, state_dir):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)
