"""Where does a scenario happen? Services whose disk, engine or clock belongs to them alone.

A small disk is a tmpfs in a mount namespace, so the whole scenario runs in a child that lives in
one. An engine of its own is a copy of an installed one. A clock of its own is the system's plus
what a file says (`stepped/sitecustomize.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cachewright.engines.catalogue import default_folder
from tests import service_kit as kit

ROOT = Path(__file__).parents[3]
#: Six nodes, the store, and room for an append-only file; the rest is filled in a moment.
_SMALL_MB = 192
_CASE_TIMEOUT_S = 150.0
_STEPPED = Path(__file__).with_name("stepped")
_CLOCK = "CHAOS_CLOCK_FILE"
#: A line that no other build on the host answers for, and how its folder is called.
OWN_ENGINE, OWN_VERSION = "redis", "7.0"
#: In the child that runs on a small disk: its folder.
_INSIDE = "CHAOS_SMALL_DISK"


class NotHere(Exception):
    """This machine has not what the scenario needs."""


@contextlib.contextmanager
def plain() -> Iterator[kit.Up]:
    """Run a service in a folder of its own."""
    with _folder() as folder, kit.up(folder) as service:
        yield service


@contextlib.contextmanager
def with_own_engine() -> Iterator[kit.Up]:
    """Run a service that has a copy of one engine, and no way to install another."""
    found = sorted((default_folder(os.environ) / "debian").glob(f"{OWN_ENGINE}-{OWN_VERSION}.*"))
    if not found:
        raise NotHere(f"no {OWN_ENGINE} {OWN_VERSION} was installed for tests")
    with _folder() as folder:
        shutil.copytree(found[-1], folder / "engines" / "debian" / found[-1].name)
        (folder / "programs").mkdir()
        environment = {
            "CACHEWRIGHT_ENGINES_DIR": str(folder / "engines"),
            "PATH": str(folder / "programs"),
        }
        with kit.up(folder, **environment) as service:
            yield service


def program_of(service: kit.Up) -> Path:
    """Return the program of the engine that a service has for itself."""
    folder = service.state_dir.parent / "engines" / "debian"
    return next(folder.glob(f"{OWN_ENGINE}-*/bin/{OWN_ENGINE}-server"))


@contextlib.contextmanager
def with_own_clock() -> Iterator[kit.Up]:
    """Run a service whose wall clock can be stepped."""
    with _folder() as folder:
        file = folder / "clock"
        file.write_text("0")
        environment = {"PYTHONPATH": str(_STEPPED), _CLOCK: str(file)}
        with kit.prepared(folder) as service:
            service.environment |= environment
            service.start()
            yield service


def step(service: kit.Up, seconds: float) -> None:
    """Set by how much a service's clock differs from the system's."""
    file = service.state_dir.parent / "clock"
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)


@contextlib.contextmanager
def on_small_disk() -> Iterator[kit.Up]:
    """Run a service on the small disk that this process was started on."""
    with kit.up(Path(os.environ[_INSIDE])) as service:
        yield service


def is_inside() -> bool:
    """Tell whether this process has a small disk."""
    return _INSIDE in os.environ


def run_inside(name: str, seed: int) -> subprocess.CompletedProcess[str]:
    """Run a case in a child that has a small disk, and return how it ended."""
    with _folder() as folder:
        mount = f"mount -t tmpfs -o size={_SMALL_MB}m,mode=700 tmpfs {folder}"
        private = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
        can_mount = (
            shutil.which("unshare") is not None
            and not subprocess.run(
                [*private, "sh", "-c", mount], capture_output=True, timeout=10, check=False
            ).returncode
        )
        if not can_mount:
            raise NotHere("this machine does not let us mount a small file system")
        command = [sys.executable, "-m", "tests.fault.scenarios", "--only", name]
        program = f'{mount} && exec "$@"'
        return subprocess.run(
            [*private, "sh", "-c", program, "sh", *command, "--seed", str(seed)],
            capture_output=True,
            text=True,
            timeout=_CASE_TIMEOUT_S,
            check=False,
            cwd=ROOT,
            env=dict(os.environ) | {_INSIDE: str(folder)},
        )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        yield Path(folder)
