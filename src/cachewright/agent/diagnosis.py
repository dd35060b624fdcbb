"""Why does a process that lives not answer? What its host can see of it, and what that means.

Looked at is its first thread, which is the one that answers in all engines that are pinged. A
pause of a moment must not hide what goes on: an engine that works hard sleeps now and then, and one
that was stopped a moment ago has done nothing wrong yet. So of the last few looks the one counts
that asks for most patience. Reads `/proc`; decides nothing about the process.

Source: proc(5) (`/proc/PID/stat`, `wchan`), sched-stats (`/proc/PID/schedstat`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cachewright.model.facts import Silence, SilenceCause

_PROC = Path("/proc")
#: Positions in /proc/PID/stat after the command's name: fields 3, 14 and 15 of proc(5).
_STATE_FIELD = 3 - 3
_USER_FIELD = 14 - 3
_SYSTEM_FIELD = 15 - 3
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STOPPED = frozenset("Tt")
_RUNNABLE = "R"
_WAITS_FOR_DISK = "D"
#: Parts of the names of kernel functions in which one waits for a disk and can be interrupted.
_DISK_WAITS = ("fsync", "sync_file", "jbd2", "writeback", "balance_dirty", "request_wait_answer")
#: What share of the time says that a process worked, that it waited for a processor, that it got
#: hardly any.
_WORKED, _WAITED, _HARDLY = 0.1, 0.5, 0.25
#: Looks that count together, two seconds.
_LOOKS = 4

#: From the cause that asks for least patience to the one that asks for most.
BY_PATIENCE = (
    SilenceCause.STOPPED,
    SilenceCause.UNTOLD,
    SilenceCause.DISK,
    SilenceCause.WORKING,
    SilenceCause.SCRIPT,
    SilenceCause.STARVED,
    SilenceCause.REFUSING,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What `/proc` says of a thread at one moment."""

    #: One letter, see proc(5).
    state: str
    #: How long it has run, and how long it has waited for a processor, both since its start.
    ran_s: float
    waited_s: float
    #: The kernel function in which it waits; "0" or empty where that is not told.
    waits_in: str = ""


def parse_sample(stat: bytes, schedstat: bytes, wchan: bytes) -> Sample:
    """Parse the files of a thread; where the kernel keeps no `schedstat`, it says zeros."""
    fields = stat[stat.rindex(b")") + 2 :].split()
    waited = schedstat.split()
    return Sample(
        state=fields[_STATE_FIELD].decode(),
        ran_s=(int(fields[_USER_FIELD]) + int(fields[_SYSTEM_FIELD])) * _TICK_S,
        waited_s=int(waited[1]) / 1e9 if len(waited) > 1 else 0.0,
        waits_in=wchan.decode(errors="replace"),
    )


def take_sample(pid: int) -> Sample | None:
    """Look at the first thread of a process; `None` when it is gone."""
    thread = _PROC / str(pid) / "task" / str(pid)
    try:
        stat = (thread / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_sample(stat, _read(thread / "schedstat"), _read(thread / "wchan"))


def is_stopped(pid: int) -> bool:
    """Tell whether a process cannot answer now, because it was stopped."""
    sample = take_sample(pid)
    return sample is not None and sample.state in _STOPPED


def cause_of(before: Sample | None, now: Sample, elapsed_s: float) -> SilenceCause:
    """Return what kept a thread from answering between two looks; the first tells less."""
    if now.state in _STOPPED:
        return SilenceCause.STOPPED
    if now.state == _WAITS_FOR_DISK or any(part in now.waits_in for part in _DISK_WAITS):
        return SilenceCause.DISK
    if before is None or elapsed_s <= 0:
        return SilenceCause.UNTOLD
    ran = (now.ran_s - before.ran_s) / elapsed_s
    waited = (now.waited_s - before.waited_s) / elapsed_s
    # A wait is written down when it is over: who got no turn at all has done neither.
    got_no_turn = now.state == _RUNNABLE and ran + waited < _HARDLY
    if got_no_turn or (waited >= _WAITED and ran < _HARDLY):
        return SilenceCause.STARVED
    return SilenceCause.WORKING if ran >= _WORKED else SilenceCause.UNTOLD


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """How long an answer has been waited for, and what stood in its way at the last looks."""

    seconds: float = 0.0
    probes: int = 0
    causes: tuple[SilenceCause, ...] = ()

    def after(self, seconds: float, cause: SilenceCause) -> Wait:
        """Return the wait after one more look in vain."""
        return Wait(
            seconds=self.seconds + seconds,
            probes=self.probes + 1,
            causes=(*self.causes, cause)[-_LOOKS:],
        )

    def silence(self) -> Silence:
        """Return it as a fact."""
        cause = max(self.causes, key=BY_PATIENCE.index)
        return Silence(seconds=self.seconds, probes=self.probes, cause=cause)


NO_WAIT = Wait()


def _read(path: Path) -> bytes:
    """Return what a file says that not every kernel has, or shows to everybody."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
