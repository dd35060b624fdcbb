"""Who stops the service when the test cannot? A small process between the two.

`python -m cachewright.testing.guardian STATE_DIR REMOVE STOP_TIMEOUT_S COMMAND...` runs COMMAND and
watches its own standard input, whose other end is held by the test's process. When that end is
closed - by the test, or by the kernel because the test's process has ended, however it ended - the
guardian stops the command, kills what still lives from STATE_DIR, removes REMOVE (a folder, or
empty for none), and exits. So there is one way to stop, and kill -9 of a test takes it too.
Standard library only; single-threaded.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from cachewright.testing import leftovers

#: After SIGKILL a process ends as soon as the kernel has freed its memory.
_REAP_TIMEOUT_S = 10.0


class _AskedToStop(Exception):
    """SIGTERM for the guardian itself means what the end of its input means."""


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the input does; leave nothing; return its exit code."""
    state_dir, remove, stop_timeout_s, *command = arguments
    for ignored in (signal.SIGINT, signal.SIGHUP):
        # A handler, not SIG_IGN: that would be inherited by the command and its engines.
        signal.signal(ignored, lambda *_: None)
    signal.signal(signal.SIGTERM, _stop_once)
    process: subprocess.Popen[bytes] | None = None
    try:
        with contextlib.suppress(_AskedToStop):
            if remove:
                Path(remove).mkdir(mode=0o700)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
            _wait_for_either_end(process)
    finally:
        if process is not None:
            _stop(process, float(stop_timeout_s))
        leftovers.kill_processes_of(Path(state_dir))
        if remove:
            shutil.rmtree(remove, ignore_errors=True)
    return 0 if process is None else process.returncode


def _stop_once(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise _AskedToStop


def _wait_for_either_end(process: subprocess.Popen[bytes]) -> None:
    """Return when the command has ended or the other end of our input is closed."""
    descriptor = os.pidfd_open(process.pid)
    try:
        select.select([sys.stdin.fileno(), descriptor], [], [])
    finally:
        os.close(descriptor)


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_REAP_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
