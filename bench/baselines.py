"""How do the servers that we are measured against get here and start?

MiniStack and moto's server are installed with pip, in pinned versions (`baselines.txt`), into a
private environment in the user's cache folder, never into the project's own. Where that is not
possible the figures that need them are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes, world
from bench.processes import BenchFailed
from bench.world import START_TIMEOUT_S, World, say

_PINS = Path(__file__).with_name("baselines.txt")
#: Downloads about 60 MB.
_INSTALL_TIMEOUT_S = 600.0
KEY_ID, SECRET = "test", "test"


class NoBaseline(Exception):
    """The rival cannot run here; `str()` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """How one of the other servers is started."""

    name: str
    argv: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Return the pinned versions by name."""
    lines = _PINS.read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    return {name.partition("[")[0]: version for name, version in pins}


def ministack(port: int) -> Rival:
    """MiniStack, as its users start it, but on loopback only and without a line per request."""
    return Rival(
        name=f"MiniStack {versions()['ministack']}",
        argv=("python", "-m", "ministack"),
        health="/_ministack/health",
        environment={"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"},
    )


def moto(port: int) -> Rival:
    """The server of moto, on loopback only."""
    return Rival(
        name=f"moto server {versions()['moto']}",
        argv=("python", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        health="/moto-api/data.json",
    )


class RunningRival:
    """A rival that answers."""

    def __init__(self, rival: Rival, process: subprocess.Popen[bytes], port: int) -> None:
        self.name, self.pid, self.url = rival.name, process.pid, f"http://127.0.0.1:{port}"
        self.ready_s = 0.0


@contextlib.contextmanager
def running(within: World, rival: Rival, port: int) -> Iterator[RunningRival]:
    """Run a rival for the block; knows how long it took until it answered."""
    binaries = _environment()
    folder = within.fresh_folder()
    argv = [str(binaries / rival.argv[0]), *rival.argv[1:]]
    begin_s = time.monotonic()
    process = processes.spawn(
        argv,
        folder=folder,
        output=folder / "log",
        environment={**world.environment(within), **rival.environment},
    )
    try:
        found = RunningRival(rival, process, port)
        processes.wait_until(
            lambda: _answers(process, found.url + rival.health), rival.name, START_TIMEOUT_S
        )
        found.ready_s = time.monotonic() - begin_s
        yield found
    finally:
        processes.stop(process)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise BenchFailed(f"{process.args!r} ended with {process.returncode}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=START_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def _environment() -> Path:
    """Return the folder of the environment's programs; make it where it is missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "cachewright" / "bench-venv"
    stamp = folder / ".installed"
    wanted = _PINS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        say(f"installing the baselines into {folder} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
        try:
            for argv in (
                (sys.executable, "-m", "venv", folder),
                (*pip, "--disable-pip-version-check", "-r", _PINS),
            ):
                processes.run_to_end(argv, timeout_s=_INSTALL_TIMEOUT_S)
        except BenchFailed as error:
            raise NoBaseline(f"cannot install the baselines: {error}") from error
        stamp.write_text(wanted, encoding="utf-8")
    return folder / "bin"
