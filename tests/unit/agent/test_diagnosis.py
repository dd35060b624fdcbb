"""Does a look at a real process tell what it does?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.agent import diagnosis
from cachewright.agent.diagnosis import NO_WAIT, Sample, cause_of
from cachewright.model.facts import SilenceCause

PATIENCE_S = 10.0
STAT = b"7 (a (b) c) R 1 7 7 0 -1 4194304 1 0 0 0 150 25 0 0 20 0 1 0 99 1 1 1"


@contextlib.contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program, *arguments]) as started:
        try:
            yield started
        finally:
            started.kill()


def seen(pid: int, wanted: SilenceCause) -> SilenceCause:
    """Look until the cause is the wanted one, or time is up; return the last."""
    deadline_s = time.monotonic() + PATIENCE_S
    before, before_s = diagnosis.take_sample(pid), time.monotonic()
    while True:
        time.sleep(0.2)
        now, now_s = diagnosis.take_sample(pid), time.monotonic()
        assert now is not None
        found = cause_of(before, now, now_s - before_s)
        if found is wanted or now_s > deadline_s:
            return found
        before, before_s = now, now_s


def test_one_that_sleeps_tells_nothing() -> None:
    with running("import time; time.sleep(60)") as started:
        assert seen(started.pid, SilenceCause.UNTOLD) is SilenceCause.UNTOLD


def test_one_that_computes_works() -> None:
    with running("while True: pass") as started:
        found = seen(started.pid, SilenceCause.WORKING)
        # Where a dozen others compute as well it hardly gets a turn.
        assert found in {SilenceCause.WORKING, SilenceCause.STARVED}


def test_one_that_was_stopped_shows_at_the_first_look() -> None:
    with running("while True: pass") as started:
        assert not diagnosis.is_stopped(started.pid)
        os.kill(started.pid, signal.SIGSTOP)
        assert seen(started.pid, SilenceCause.STOPPED) is SilenceCause.STOPPED
        assert diagnosis.is_stopped(started.pid)
        now = diagnosis.take_sample(started.pid)
        assert now is not None
        assert cause_of(None, now, 0.5) is SilenceCause.STOPPED


def test_one_that_cannot_be_interrupted_waits_for_a_disk(tmp_path: Path) -> None:
    """A parent waits like that until its child has begun another program, here for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = (
        "import os, sys; os.posix_spawn('/bin/true', ['true'], {},"
        " file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])"
    )
    with running(program, str(fifo)) as started:
        try:
            assert seen(started.pid, SilenceCause.DISK) is SilenceCause.DISK
        finally:
            os.close(os.open(fifo, os.O_WRONLY))  # the child goes on, and so ends


def test_nobody_is_seen_where_nobody_is() -> None:
    with running("pass") as started:
        started.wait()
    assert diagnosis.take_sample(started.pid) is None
    assert not diagnosis.is_stopped(started.pid)


def test_the_files_of_the_kernel_are_read_as_they_are() -> None:
    sample = diagnosis.parse_sample(STAT, b"5000 2500000000 7\n", b"do_epoll_wait")
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert sample == Sample(state="R", ran_s=175 * tick_s, waited_s=2.5, waits_in="do_epoll_wait")
    assert diagnosis.parse_sample(STAT, b"", b"").waited_s == 0.0  # no such file


def sample(state: str, ran_s: float = 0.0, waited_s: float = 0.0, waits_in: str = "") -> Sample:
    return Sample(state=state, ran_s=ran_s, waited_s=waited_s, waits_in=waits_in)


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (sample("T", ran_s=0.5), SilenceCause.STOPPED),
        (sample("t"), SilenceCause.STOPPED),
        (sample("D", ran_s=0.4), SilenceCause.DISK),
        (sample("S", waits_in="jbd2_log_wait_commit"), SilenceCause.DISK),
        (sample("S", waits_in="do_epoll_wait"), SilenceCause.UNTOLD),
        (sample("S", ran_s=0.02), SilenceCause.UNTOLD),
        (sample("S", ran_s=0.06), SilenceCause.WORKING),
        (sample("R", ran_s=0.5), SilenceCause.WORKING),
        # It shares its processor with another one, and gets on.
        (sample("R", ran_s=0.24, waited_s=0.26), SilenceCause.WORKING),
        (sample("R", ran_s=0.05, waited_s=0.45), SilenceCause.STARVED),
        (sample("S", ran_s=0.05, waited_s=0.45), SilenceCause.STARVED),
        # It had no turn at all.
        (sample("R"), SilenceCause.STARVED),
    ],
)
def test_half_a_second_means(now: Sample, cause: SilenceCause) -> None:
    assert cause_of(sample("S"), now, 0.5) is cause


def test_the_most_patient_of_the_last_looks_counts() -> None:
    wait = NO_WAIT.after(0.5, SilenceCause.WORKING)
    for _ in range(3):
        wait = wait.after(0.5, SilenceCause.STOPPED)
        assert wait.silence().cause is SilenceCause.WORKING
    wait = wait.after(0.5, SilenceCause.STOPPED)
    assert wait.silence().cause is SilenceCause.STOPPED
    assert (wait.seconds, wait.probes) == (2.5, 5)
    assert wait.after(0.5, SilenceCause.STARVED).silence().cause is SilenceCause.STARVED


def test_every_cause_has_its_patience() -> None:
    assert set(diagnosis.BY_PATIENCE) == set(SilenceCause)
