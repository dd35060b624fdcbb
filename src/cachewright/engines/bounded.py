"""How is a foreign program run so that it can neither hang, flood nor outlive us?

Used by the files that look for and install engine builds. Every run has a deadline and a limit
of output, its own process group (which is killed whole), no standard input, and messages in the
language that the callers can read. Who waits for a thread that runs programs can end them all
through `stop_request`. Not for engines that shall stay: those belong to the agent.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

#: No program asked here says more than about 100 kB (`apt-cache show` of a dozen packages).
OUTPUT_BYTES_MAX = 4 * 1024 * 1024
_CHUNK_BYTES = 65536
#: How often a run looks whether it shall stop, seconds: soon enough for a person's Ctrl-C.
_STOP_LOOK_S = 0.1

#: Set in a context, the event ends every run of that context (threads of `asyncio.to_thread` have
#: a copy of their caller's).
stop_request: ContextVar[threading.Event | None] = ContextVar("stop_request", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a program said before it ended by itself."""

    returncode: int
    stdout: str
    stderr: str


class RanAway(Exception):
    """The program passed its deadline or its limit of output, or was to stop, and was killed."""


def run(argv: Sequence[str], *, timeout_s: float, cwd: Path = Path("/")) -> Finished:
    """Run `argv` to its end; raise `RanAway` when killed, `OSError` when it cannot start."""
    deadline = time.monotonic() + timeout_s
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=plain_environment(),
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = _read_both(process, deadline)
            process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise RanAway(f"{Path(argv[0]).name} was not done after {timeout_s:g} s") from None
        finally:
            if process.returncode is None:  # not reaped, so the group's id is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)


def plain_environment() -> dict[str, str]:
    """Return our environment with English messages and without loader overrides.

    `LD_*` meant for this process could make a program load libraries of another libc.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    return kept | {"LC_ALL": "C", "LANGUAGE": ""}


def _read_both(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, str]:
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    said = {stream.fileno(): bytearray() for stream in streams}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(min(_STOP_LOOK_S, max(0.0, deadline - time.monotonic())))
            if time.monotonic() > deadline:
                raise TimeoutError
            if (stop := stop_request.get()) is not None and stop.is_set():
                raise RanAway(f"{process.args!r} was stopped")
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK_BYTES)
                said[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(said[key.fd]) > OUTPUT_BYTES_MAX:
                    raise RanAway(f"{process.args!r} said more than {OUTPUT_BYTES_MAX} bytes")
    stdout, stderr = (bytes(part).decode(errors="replace") for part in said.values())
    return stdout, stderr
