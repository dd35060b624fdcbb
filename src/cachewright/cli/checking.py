"""What happens in a check? Clients use everything that a group holds until something is over.

What it is that goes on meanwhile is none of our business: a command of the caller's, or whatever
somebody else does. Imported when a check runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachewright.checker import judge, lanes, strays, summary, traffic
from cachewright.checker.clients import Kind, Target
from cachewright.checker.judge import Verdict
from cachewright.checker.pipes import Place
from cachewright.checker.summary import Summary, Totals
from cachewright.checker.traffic import Traffic
from cachewright.cli import answers, calls, watching
from cachewright.cli.failures import Failed
from cachewright.cli.interrupts import Interrupted
from cachewright.model.checks import TEXT_CHARS_MAX, CheckFigures

#: A key in each slot is written as fast as one client after the other answers: some seconds.
_SPREAD_TIMEOUT_S = 120.0
#: Who has not had any answer by then is not served.
_FIRST_ANSWER_TIMEOUT_S = 20.0
#: So that there is something to compare with.
_BEFORE_S = 0.5
#: What comes after a change, such as nodes that are stopped, may disturb clients as well.
_AFTER_S = 2.0
_LOOK_AGAIN_S = 0.2
_SHOW_EVERY_S = 1.0
#: What has moved away is removed by then, and counted where it is not.
_TIDIED_TIMEOUT_S = 10.0
#: A service that was killed is back by then, where somebody starts it again.
_AWAY_TIMEOUT_S = 30.0
#: A command that is told to end does so, or is ended.
_END_TIMEOUT_S = 10.0
#: Keys that a report names where they could not be removed.
_NAMED_MAX = 5
#: Our own program, in a command.
OURSELVES = "cachewright"
_SECRET = re.compile(r"password|secret|token", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is to be done."""

    #: What runs meanwhile, word by word; nothing for empty.
    command: tuple[str, ...]
    #: The folder of the service: `cachewright` in the command means the same one.
    state_dir: Path
    #: How long clients are watched at most.
    seconds: float
    kind: Kind
    requests_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsReport:
    """How requests of one kind went."""

    answered: int
    #: Failed for their caller, after all that the client tried.
    failed: int
    per_second: float
    #: In the whole second with the fewest answers.
    lowest_per_second: float
    #: The longest time that a client was without an answer.
    longest_gap_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check came to: the document of `--output json`."""

    #: No request failed, nothing was lost, doubled or wrong, and the command worked.
    ok: bool
    name: str
    #: Name and version of the client.
    client: str
    #: What ran meanwhile, and with which code it ended; `None` where nothing ran.
    during: str | None
    exit_code: int | None
    #: The command has ended, and the group was available again; without a command always so.
    is_over: bool
    #: How long clients were watched.
    seconds: float
    #: Keys that were written and read: one in each slot, or some where there are no slots.
    keys: int
    #: To how many of them something was added while the command ran.
    keys_written: int
    writes: RequestsReport
    reads: RequestsReport
    #: Acknowledged writes that are gone; `None` where somebody could not look.
    lost: int | None
    #: Writes that are there twice.
    doubled: int
    #: What is there and nobody wrote.
    foreign: int
    #: Reads that lacked what had been acknowledged before.
    wrong_reads: int
    #: Keys, whosesoever, that lie in the end on a node that does not own their slot, where no
    #: client finds them; `None` where nobody looked: there are no slots, or some still move.
    strays: int | None
    #: The clients were served in the end.
    is_served: bool
    #: Texts of failures, each once.
    errors: tuple[str, ...]
    #: Between two requests of a client: no gap is known more precisely.
    pace_ms: float
    #: How long this program was kept from running at the longest: gaps as short may be its own.
    own_pause_ms: float
    #: Keys that could not be removed: how many, and some of them.
    left: int
    left_keys: tuple[str, ...]


#: Shows how writes and reads went so far.
Show = Callable[[RequestsReport, RequestsReport], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How that ended during which clients were watched."""

    #: Of the command; `None` where there was none, or where it was ended.
    exit_code: int | None
    #: In time: the command has ended, and the group is available.
    is_over: bool


def run(group: answers.Group, wish: Wish, show: Show) -> Report:
    """Watch clients of a group and return what they saw; `Failed` says why they could not be."""
    target = watching.target_of(group, wish.kind)
    chosen = lanes.over_everything(
        secrets.token_hex(4), is_cluster=target.is_cluster, requests_per_s=wish.requests_per_s
    )
    try:
        with traffic.running(target, chosen) as running:
            _wait_until_spread(running, target, group.name)
            since_s = time.monotonic()
            time.sleep(_BEFORE_S)
            ending = _watch(group.name, wish, _Looker(running, since_s, show))
            history = running.finish()
        left_behind = _strays(wish, target, group.name)
    except traffic.CheckFailed as error:
        raise Failed(f"the clients of the check cannot go on ({error})") from error
    verdict = judge.judge(history, since_s)
    seen = summary.summarize(history, verdict, since_s)
    return report_of(group.name, wish, verdict, seen, ending, left_behind=left_behind)


def report_of(
    name: str,
    wish: Wish,
    verdict: Verdict,
    seen: Summary,
    ending: Ending,
    *,
    left_behind: int | None,
) -> Report:
    """Return what was seen as people and programs are shown it."""
    is_well = is_good(verdict, seen) and not left_behind
    return Report(
        ok=is_well and ending.is_over and not ending.exit_code,
        name=name,
        client=wish.kind.described(),
        during=shown_command(wish.command) if wish.command else None,
        exit_code=ending.exit_code,
        is_over=ending.is_over,
        seconds=round(seen.seconds, 3),
        keys=seen.keys,
        keys_written=seen.keys_written,
        writes=_requests(seen.writes),
        reads=_requests(seen.reads),
        lost=verdict.lost,
        doubled=seen.doubled,
        foreign=seen.foreign,
        wrong_reads=seen.wrong_reads,
        strays=left_behind,
        is_served=verdict.is_served,
        errors=seen.errors,
        pace_ms=watching.milliseconds(max(lane.pace_s for lane in verdict.lanes)),
        own_pause_ms=watching.milliseconds(verdict.own_pause_s),
        left=len(verdict.left_keys),
        left_keys=verdict.left_keys[:_NAMED_MAX],
    )


def is_good(verdict: Verdict, seen: Summary) -> bool:
    """Tell whether clients had nothing to complain of."""
    wrong = verdict.failed + seen.doubled + seen.foreign + seen.wrong_reads
    return not wrong and verdict.keeps_everything and verdict.is_served


def figures_of(report: Report) -> CheckFigures:
    """Return what is kept of a report."""
    kinds = (report.writes, report.reads)
    return CheckFigures(
        is_good=report.ok,
        client=report.client,
        during=(report.during or "")[:TEXT_CHARS_MAX],
        seconds=report.seconds,
        requests=sum(kind.answered for kind in kinds),
        failed=sum(kind.failed for kind in kinds),
        wrong_reads=report.wrong_reads,
        lost=report.lost,
        doubled=report.doubled + report.foreign + (report.strays or 0),
        longest_gap_ms=max(kind.longest_gap_ms for kind in kinds),
        per_second=sum(kind.per_second for kind in kinds),
        lowest_per_second=sum(kind.lowest_per_second for kind in kinds),
    )


def shown_command(words: Sequence[str]) -> str:
    """Return a command as it may be shown and kept: without what is said to be a secret."""
    shown: list[str] = []
    is_secret = False
    for word in words:
        name, equals, _ = word.partition("=")
        if is_secret:
            shown.append("***")
        elif equals and _SECRET.search(name):
            shown.append(f"{name}=***")
        else:
            shown.append(word)
        is_secret = word.startswith("-") and not equals and bool(_SECRET.search(word))
    return shlex.join(shown)


class _Looker:
    """Shows what clients saw so far, not more often than people can read."""

    def __init__(self, running: Traffic, since_s: float, show: Show) -> None:
        self._running, self._since_s, self._show = running, since_s, show
        self._next_s = since_s

    def look(self) -> None:
        if time.monotonic() >= self._next_s:
            history = self._running.so_far()
            verdict = judge.judge(history, self._since_s)
            seen = summary.summarize(history, verdict, self._since_s)
            self._show(_requests(seen.writes), _requests(seen.reads))
            self._next_s = time.monotonic() + _SHOW_EVERY_S


def _wait_until_spread(running: Traffic, target: Target, name: str) -> None:
    is_spread = running.wait_until_spread(_FIRST_ANSWER_TIMEOUT_S)
    found = judge.judge(running.so_far(), 0.0)
    if not is_spread and all(lane.writes.answered for lane in found.lanes):
        is_spread = running.wait_until_spread(_SPREAD_TIMEOUT_S)
        found = judge.judge(running.so_far(), 0.0)
    if not is_spread:
        errors = "; ".join(dict.fromkeys(error for lane in found.lanes for error in lane.errors))
        raise Failed(
            f"clients are not served at {target.host}:{target.port} ({errors})",
            hint=f"see `cachewright show {name}`",
        )


def _strays(wish: Wish, target: Target, name: str) -> int | None:
    """Return how many keys lie where no client finds them, where that can be said."""
    settled = _Settled(wish.state_dir, name)
    if not target.is_cluster or not settled.is_available():
        return None
    return strays.count(Place(target.host, target.port), timeout_s=_TIDIED_TIMEOUT_S)


def _watch(name: str, wish: Wish, looker: _Looker) -> Ending:
    deadline = time.monotonic() + wish.seconds
    if not wish.command:
        # Who says no end ends it by a signal.
        with contextlib.suppress(Interrupted):
            _wait(lambda: False, deadline, looker)
        return Ending(exit_code=None, is_over=True)
    with _running(wish) as process:
        if not _wait(lambda: process.poll() is not None, deadline, looker):
            return Ending(exit_code=None, is_over=False)
    settled = _Settled(wish.state_dir, name)
    _wait(lambda: settled.is_available() or settled.is_away_for_good(), deadline, looker)
    _wait(lambda: False, min(deadline, time.monotonic() + _AFTER_S), looker)
    return Ending(exit_code=process.returncode, is_over=settled.was_available)


class _Settled:
    """Is a group available again? The service that knows it may be what was done something to."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._state_dir, self._name = state_dir, name
        self._told_s = time.monotonic()
        #: At the last look.
        self.was_available = False

    def is_available(self) -> bool:
        """Look at the group; nobody knows it to be available where nobody answers."""
        try:
            # One that was started again may listen somewhere else.
            group = calls.find_service(self._state_dir).group(self._name)
            self.was_available = group.status == "available"
        except Failed:
            self.was_available = False
        else:
            self._told_s = time.monotonic()
        return self.was_available

    def is_away_for_good(self) -> bool:
        """Tell whether for too long nobody has said anything of the group."""
        return time.monotonic() - self._told_s >= _AWAY_TIMEOUT_S


def _wait(is_over: Callable[[], bool], deadline: float, looker: _Looker) -> bool:
    while not is_over():
        looker.look()
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


@contextlib.contextmanager
def _running(wish: Wish) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the block; what it says goes to standard error, beside our document."""
    program, *rest = wish.command
    # Whoever has not put it on the path has it all the same: it runs.
    argv = [sys.executable, "-m", program, *rest] if program == OURSELVES else wish.command
    environment = os.environ | {"CACHEWRIGHT_STATE_DIR": str(wish.state_dir)}
    try:
        process = subprocess.Popen(argv, stdout=sys.stderr, env=environment)
    except OSError as error:
        raise Failed(f"{program} cannot be run ({error})") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _requests(totals: Totals) -> RequestsReport:
    return RequestsReport(
        answered=totals.answered,
        failed=totals.failed,
        per_second=round(totals.per_second, 1),
        lowest_per_second=round(totals.lowest_per_second, 1),
        longest_gap_ms=watching.milliseconds(totals.longest_gap_s),
    )
