"""Whatever happens to the process of a test, its service ends, and only its service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachewright.testing import leftovers

#: A service that ends when it is asked to, after it said that it runs.
_POLITE = "import signal, sys; print('up', flush=True); signal.pause()"
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _POLITE
_DEADLINE_S = 20.0


def wait_until(what: str, predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not predicate():
        assert time.monotonic() < deadline, f"not within {_DEADLINE_S} s: {what}"
        time.sleep(0.01)


def guardian_argv(folder: Path, program: str, *, stop_timeout_s: float = 10.0) -> list[str]:
    """The program is named cachewright by its last argument, as a real service is."""
    guardian = [sys.executable, "-m", "cachewright.testing.guardian"]
    state_dir = folder / "state"
    command = [sys.executable, "-c", program, "cachewright", str(state_dir)]
    return [*guardian, str(state_dir), str(folder), str(stop_timeout_s), *command]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    assert leftovers.kill_processes_of(tmp_path / "run" / "state") == ()


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_the_end_of_input_stops_the_service_and_removes_the_folder(folder: Path) -> None:
    with start(guardian_argv(folder, _POLITE)) as guardian:
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(leftovers.processes_of(folder / "state")) == 2
        guardian.communicate(timeout=_DEADLINE_S)
    assert not folder.exists()
    assert leftovers.processes_of(folder / "state") == ()


def test_a_service_that_ignores_sigterm_is_killed(folder: Path) -> None:
    with start(guardian_argv(folder, _STUBBORN, stop_timeout_s=0.1)) as guardian:
        guardian.communicate(timeout=_DEADLINE_S)
        assert guardian.returncode == 256 - signal.SIGKILL
    assert leftovers.processes_of(folder / "state") == ()


def test_kill_of_the_owner_stops_the_service(folder: Path) -> None:
    """The kernel closes the owner's end of the pipe, however the owner dies."""
    program = (
        "import subprocess, sys\n"
        "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "p.wait()"
    )
    argv = [sys.executable, "-c", program, *guardian_argv(folder, _POLITE)]
    with start(argv) as owner:
        owner.kill()
    wait_until("no process is left", lambda: leftovers.processes_of(folder / "state") == ())
    assert not folder.exists()


def test_signals_of_the_terminal_do_not_reach_the_service(folder: Path) -> None:
    """Ctrl-C is for the owner, who decides; SIGTERM means what the end of input means."""
    with start(guardian_argv(folder, _POLITE)) as guardian:
        guardian.send_signal(signal.SIGINT)
        guardian.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            guardian.wait(0.3)
        guardian.send_signal(signal.SIGTERM)
        guardian.wait(_DEADLINE_S)
    assert not folder.exists()


def test_the_end_of_the_service_ends_the_guardian(folder: Path) -> None:
    with start(guardian_argv(folder, "print('up'); raise SystemExit(7)")) as guardian:
        assert guardian.wait(_DEADLINE_S) == 7
    assert not folder.exists()


def test_what_the_service_left_in_its_folder_is_killed(folder: Path) -> None:
    """A process in another session, as engines are, which ignores everything but SIGKILL."""
    child = f"import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_POLITE}"
    program = (
        "import os, subprocess, sys\n"
        "os.makedirs(sys.argv[-1])\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, 'cachewright'],"
        " cwd=sys.argv[-1], start_new_session=True)\n"
        "import signal; signal.pause()"
    )
    with start(guardian_argv(folder, program)) as guardian:
        assert len(leftovers.processes_of(folder / "state")) == 3
        guardian.communicate(timeout=_DEADLINE_S)
    assert leftovers.processes_of(folder / "state") == ()


def test_a_shell_or_an_editor_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    """People look into the folder of a service; that must not cost them their editor."""
    folder, beside = tmp_path / "cachewright-1", tmp_path / "cachewright-12"
    folder.mkdir()
    editor = [sys.executable, "-c", _POLITE, str(folder / "log")]
    neighbour = [sys.executable, "-c", _POLITE, "cachewright", str(beside)]
    bystanders = [subprocess.Popen(argv, cwd=folder) for argv in (["sleep", "60"], editor)]
    bystanders.append(subprocess.Popen(neighbour))
    try:
        assert leftovers.kill_processes_of(folder) == ()
        assert [process.poll() for process in bystanders] == [None, None, None]
    finally:
        for process in bystanders:
            process.kill()
            process.wait()


def test_an_engine_is_known_by_the_name_it_was_started_with(tmp_path: Path) -> None:
    """Distributions ship the server as a link to a file of another name."""
    server = tmp_path / "redis-server"
    server.symlink_to(shutil.which("sleep") or "sleep")
    with subprocess.Popen([str(server), "60"], cwd=tmp_path) as engine:
        wait_until("it runs", lambda: leftovers.processes_of(tmp_path) == (engine.pid,))
        assert leftovers.kill_processes_of(tmp_path) == ()
        assert engine.wait(_DEADLINE_S) == -signal.SIGKILL


def test_who_asks_is_not_counted(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from cachewright.testing import leftovers\n"
        "print(os.getpid() in leftovers.processes_of(pathlib.Path(sys.argv[1])))"
    )
    argv = [sys.executable, "-c", program, str(tmp_path), "cachewright"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "False\n"
    assert os.getpid() not in leftovers.processes_of(Path("/"))
