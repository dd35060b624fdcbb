"""How does a test hold up one thread of an engine, as a slow disk would?

A signal stops a whole process; a tracer stops one thread. The caller's own thread is the tracer,
and the threads go on when it ends or lets go.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.contract.engine_lab import miss

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WAIT_FOR_THREADS = 0x40000000  # __WALL
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


#: A thread gives itself its name, after the engine serves already.
_NAMED_WITHIN_S = 10.0
_LOOK_AGAIN_S = 0.01


def _called(pid: int, names: Collection[str]) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(task.name) for task in tasks if (task / "comm").read_text().strip() in names]


@contextlib.contextmanager
def frozen(pid: int, names: Collection[str]) -> Iterator[None]:
    """Hold up the threads of a process that have one of these names."""
    deadline_s = time.monotonic() + _NAMED_WITHIN_S
    while not (threads := _called(pid, names)):
        assert time.monotonic() < deadline_s, f"no thread of {pid} is called {names}"
        time.sleep(_LOOK_AGAIN_S)
    for thread in threads:
        if _trace(_SEIZE, thread) != 0:
            miss(f"cannot trace a thread here: {os.strerror(ctypes.get_errno())}")
        assert _trace(_INTERRUPT, thread) == 0
        os.waitpid(thread, _WAIT_FOR_THREADS)
    try:
        yield
    finally:
        for thread in threads:
            _trace(_DETACH, thread)


def _trace(request: int, thread: int) -> int:
    return int(_libc.ptrace(request, thread, None, None))
