"""What may never happen? The laws, checked on the true state of the simulated engines.

The invariants of `plan` look at what was reported; these look at what is. The judge also keeps the
trace that leads to a violation. It moves nothing.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable
from dataclasses import dataclass, field

from cachewright.model.facts import SilenceCause
from cachewright.model.status import Role
from tests.simulation.engine import Engine
from tests.simulation.history import Copy, depth_of, has_all_of

#: How long a process must have hung before a command may end it, seconds by cause: a little less
#: than the patience of plan/suspicion.py, whose numbers these are on purpose not.
PATIENCE_S = {
    SilenceCause.STOPPED: 1.9,
    SilenceCause.UNTOLD: 2.9,
    SilenceCause.WORKING: 14.0,
    SilenceCause.DISK: 14.0,
    SilenceCause.SCRIPT: 28.0,
    SilenceCause.REFUSING: float("inf"),
    SilenceCause.STARVED: float("inf"),
}
#: The only copy may be ended after this long, seconds: nobody can have it anyway.
PATIENCE_WITH_THE_LAST_S = 58.0
#: Engines tell each other of a new epoch within, seconds.
EPOCH_SPREADS_S = 0.0005
#: Whoever acts may know nothing of the last moments, seconds: a little more than the age of
#: knowledge (control/execute.py) after which nobody may act upon it.
KNOWLEDGE_S = 10.5
#: Whoever looks at a shard with a silent node may hear so late that it answers again, seconds.
WAKES_UNSEEN_S = 1.1
#: A node that ends soon after each start is started no more often within a minute: it comes back
#: at once twice, then after 5, 10, 20 seconds. Some more, as others may have ended it as well.
STARTS_MAX, STARTS_WITHIN_S = 9, 60.0
#: A primary is written down as one within, seconds: the longest absence of a controller, and more.
KNOWN_S = 1_000.0
#: Happenings kept for the report of a violation.
TRACE_MAX = 400


class Violation(AssertionError):
    """A law was broken; `str()` says which, with the trace that led there."""


@dataclass(slots=True)
class _Vacancy:
    """A shard whose primary has ended or was demoted, and who has what of its data."""

    last: Engine
    #: What the last primary had acknowledged: it must be kept where that one lives on.
    had: Copy
    holders: list[tuple[Engine, Copy]]
    since_s: float


@dataclass(slots=True)
class Judge:
    """Watches the engines, and remembers what led to a violation."""

    trace: collections.deque[str] = field(
        default_factory=lambda: collections.deque(maxlen=TRACE_MAX)
    )
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    violations: list[str] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    #: By shard.
    _vacant: dict[str, _Vacancy] = field(default_factory=dict)
    #: What lies on disk of the nodes of a shard whose last engine has ended, by shard and key.
    _files: dict[str, dict[str, Copy]] = field(default_factory=dict)
    #: Groups whose nodes may end, because somebody deletes them.
    deleted: set[str] = field(default_factory=set)
    _taken_over_s: dict[str, float] = field(default_factory=dict)
    #: When processes of a node began of late, by key.
    _began_s: dict[str, collections.deque[float]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Remember something that happened."""
        self.trace.append(f"{asyncio.get_running_loop().time():12.3f} {text}")

    def count(self, name: str) -> None:
        """Count something, for the figures of a run."""
        self.counts[name] += 1

    def blame(self, text: str) -> None:
        """A law was broken."""
        self.note(f"VIOLATION {text}")
        self.violations.append(text)
        self.failed.set()

    def check(self) -> None:
        """Raise `Violation` if a law was broken."""
        if self.violations:
            lines = "\n".join(self.trace)
            raise Violation(f"{self.violations[0]}\n{lines}")

    def look(self, engines: Iterable[Engine]) -> None:
        """Law 1: at most one node of a shard can take writes, now or when it wakes."""
        writers = [engine.key for engine in engines if engine.is_writable()]
        if len(writers) > 1:
            self.blame(f"law 1: {' and '.join(writers)} can both be written to")

    def begins(self, engine: Engine) -> None:
        """A process begins; a node that flaps is not started for ever."""
        recent = collections.deque[float](maxlen=STARTS_MAX)
        began_s = self._began_s.setdefault(engine.key, recent)
        if len(began_s) == STARTS_MAX and engine.started_s - began_s[0] < STARTS_WITHIN_S:
            self.blame(f"{engine.key} is started {STARTS_MAX + 1} times within a minute")
        began_s.append(engine.started_s)

    def clock_is_stepped(self) -> None:
        """Whoever remembers ends by the clock may have forgotten them."""
        self._began_s.clear()

    def promoted(self, engine: Engine, others: Iterable[Engine]) -> None:
        """Laws 3 and 4: a command makes a replica the primary of a shard."""
        for other in others:
            if other.is_writable():
                self.blame(f"law 3: {engine.key} is promoted while {other.key} can be written to")

    def takes_over(self, engine: Engine, now_s: float) -> None:
        """Law 6: takeovers of one group happen one after the other, or their epochs collide."""
        before_s = self._taken_over_s.get(engine.uid, -1.0)
        if now_s - before_s < EPOCH_SPREADS_S:
            self.blame(f"law 6: {engine.key} takes over while another shard of its group does")
        self._taken_over_s[engine.uid] = now_s

    def lost(self, primary: Engine, synced: Iterable[Engine]) -> None:
        """A primary has ended or was demoted; its `synced` replicas must not be forgotten."""
        holders = [(replica, replica.copy) for replica in synced if not replica.is_held]
        since_s = primary.ended_s = asyncio.get_running_loop().time()
        self._vacant[primary.shard] = _Vacancy(primary, primary.copy, holders, since_s)

    def fenced(self, engine: Engine, now_s: float, asked_s: float) -> None:
        """A command ends a process because it does not answer; it may wake on the way."""
        self.note(f"{engine.key} is fenced")
        hang, until_s = engine.hang, now_s
        if hang is None and asked_s < engine.woke_s + WAKES_UNSEEN_S:
            hang, until_s = engine.last_hang, engine.woke_s
        if hang is None:
            self.blame(f"{engine.key} is fenced, although it does not hang")
            return
        hung_s = until_s - hang.since_s
        if hung_s < PATIENCE_S[hang.cause]:
            self.blame(f"{engine.key} is fenced after {hung_s:.1f} s ({hang.cause.value})")
        self.ended_by_command(engine, now_s, asked_s)

    def ended_by_command(self, engine: Engine, now_s: float, asked_s: float) -> None:
        """Law 5: no command ends a node that alone has what a lost primary had acknowledged.

        `asked_s`: when the command was given; it may cross the end of the primary on the way.
        """
        vacancy = self._vacant.get(engine.shard)
        if vacancy is None or engine.uid in self.deleted or engine.is_held:
            return
        if asked_s - vacancy.since_s < KNOWLEDGE_S:
            return
        kept = [(vacancy.last, vacancy.had), *vacancy.holders]
        mine = max((depth_of(copy) for holder, copy in kept if holder is engine), default=0)
        others = [depth_of(c) for holder, c in kept if holder.is_alive and holder is not engine]
        hung_s = 0.0 if engine.hang is None else now_s - engine.hang.since_s
        if mine > max(others, default=0) and hung_s < PATIENCE_WITH_THE_LAST_S:
            self.blame(f"law 5: {engine.key} is ended, which alone has {mine} writes")

    def acts(self, what: str, age_s: float) -> None:
        """A controller gives a command, `age_s` after the host has last told it of the group."""
        if age_s > KNOWLEDGE_S:
            self.blame(f"law 6: {what} rests on what was true {age_s:.0f} s ago")

    def reigns(self, engine: Engine, *, is_promoted: bool) -> None:
        """A node takes the writes of a shard from now on: it must have what must not be lost.

        Whoever is promoted was a replica before, and goes before what lies on disk.
        """
        self.count("primaries")
        engine.reigns_from_s = asyncio.get_running_loop().time()
        self.note(f"{engine.key} is the primary, with {depth_of(engine.copy)} writes")
        vacancy = self._vacant.pop(engine.shard, None)
        files = self._files.pop(engine.shard, {})
        if vacancy is None:
            return
        kept = [(vacancy.last, vacancy.had), *vacancy.holders]
        alive = [(holder, copy) for holder, copy in kept if holder.is_alive]
        for holder, copy in alive:
            if not has_all_of(engine.copy, copy):
                self.blame(
                    f"law 4: {engine.key} became primary with {depth_of(engine.copy)} writes, "
                    f"while {holder.key} has {depth_of(copy)}"
                )
        if not alive and not is_promoted:
            self._check_files(engine, vacancy.last, files)

    def _check_files(self, engine: Engine, last: Engine, files: dict[str, Copy]) -> None:
        mine = files.get(last.key)
        # Whoever was primary for a moment only may have ended before that was written down.
        is_known = last.ended_s - last.reigns_from_s > KNOWN_S
        if is_known and mine is not None and not has_all_of(engine.copy, mine):
            self.blame(
                f"law 5: {engine.key} became primary with {depth_of(engine.copy)} writes, while "
                f"the file of the last primary {last.key} has {depth_of(mine)}"
            )
        elif engine.copy is None and any(copy is not None for copy in files.values()):
            self.blame(f"law 5: {engine.key} became an empty primary while {list(files)} have data")

    def keeps_file(self, engine: Engine, copy: Copy) -> None:
        """A process has ended and left what it had on disk."""
        if engine.role is Role.PRIMARY or copy is not None:
            self._files.setdefault(engine.shard, {})[engine.key] = copy

    def loses_file(self, shard: str, key: str) -> None:
        """Something that nobody is to blame for took a file away."""
        self._files.get(shard, {}).pop(key, None)

    def empties(self, shard: str) -> None:
        """All that a shard had is elsewhere."""
        self._vacant.pop(shard, None)
        self._files.pop(shard, None)

    def forget(self, uid: str) -> None:
        """A group is gone."""
        self.deleted.discard(uid)
        self._taken_over_s.pop(uid, None)
        self._began_s = {k: v for k, v in self._began_s.items() if k.partition(".")[0] != uid}
        self._vacant = {s: v for s, v in self._vacant.items() if s.partition("/")[0] != uid}
        self._files = {s: v for s, v in self._files.items() if s.partition("/")[0] != uid}
