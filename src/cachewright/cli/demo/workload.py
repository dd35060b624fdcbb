"""What do the demo's workers send, and what must the engines hold afterwards?

Two workloads. A leaderboard: sorted sets `board:N` in which players collect points (ZINCRBY), ask
for their rank (ZREVRANK) and for the top ten (ZREVRANGE). A session store: hashes `session:W-N`
that are written (HSET), counted up (HINCRBY), given a time to live (EXPIRE) and read (HGETALL).

A request is a `Batch`: a pipeline of commands to what is one shard at first, packed once and sent
many times, so that the engines are the bottleneck and not Python. Every batch knows its effect, and
the effect of a whole run is effect x number of executions: that is what the engines are compared
with. No two workers write the same player or session. Pure: no I/O, the random numbers come from a
seed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cachewright.checker import keys
from cachewright.checker.pipes import Command, packed

LEADERBOARD, SESSIONS = "leaderboard", "sessions"
KINDS = (LEADERBOARD, SESSIONS)

#: Commands of one request. At 100 the kernel's share of the cost is small, and one request still
#: takes well under a millisecond.
PIPELINE = 100
BOARDS = tuple(f"board:{number}" for number in range(24))
TOP = 10
#: Players of one worker on one board: about 1 MB for all boards of two workers.
PLAYERS = 500
POINTS_MAX = 100
#: Sessions of one worker: about 1 MB for two workers.
SESSION_COUNT = 3_000
#: As long as a visit to a shop: longer than any run, so that nothing expires before it is checked.
SESSION_TTL_S = 1_800
#: Different leaderboard requests of one worker for each shard.
_BATCHES_PER_SHARD = 40
_RANKS_PER_BATCH = 10
#: HSET, HINCRBY, EXPIRE, HGETALL.
_COMMANDS_PER_SESSION = 4

#: (player, points), best first.
Top = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One request: a pipeline of `PIPELINE` commands."""

    kind: str
    commands: tuple[Command, ...]
    #: (board, player, points) that one execution adds.
    points: tuple[tuple[str, str, int], ...] = ()
    #: Sessions that one execution visits, each once.
    visits: tuple[str, ...] = ()


def session_fields(session: str) -> dict[str, str]:
    """Return what a session holds besides its number of visits."""
    return {"user": f"user of {session}", "cart": "3 apples, 1 pear", "theme": "dark"}


def make_batches(worker: int, shard_of: Callable[[str], str]) -> dict[str, tuple[Batch, ...]]:
    """Return the requests of one worker by kind; `shard_of` names the shard of a key now."""
    generator = random.Random(worker)  # noqa: S311 a workload that can be repeated, not a secret
    sessions = [f"session:{worker}-{number}" for number in range(SESSION_COUNT)]
    return {
        LEADERBOARD: tuple(
            _leaderboard_batch(worker, boards, generator)
            for boards in _by_shard(BOARDS, shard_of)
            for _ in range(_BATCHES_PER_SHARD)
        ),
        SESSIONS: tuple(
            _session_batch(part)
            for found in _by_shard(sessions, shard_of)
            for part in _parts(found, PIPELINE // _COMMANDS_PER_SESSION)
        ),
    }


def top_of_boards(executions: Iterable[tuple[Batch, int]]) -> dict[str, Top]:
    """Return the ten best of every board after these numbers of executions."""
    scores: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for batch, count in executions:
        for board, player, points in batch.points if count else ():
            scores[board][player] += points * count
    return {board: best(found.items()) for board, found in scores.items()}


def best(scores: Iterable[tuple[str, int]]) -> Top:
    """Return the ten best as ZREVRANGE orders them: by score, then by name, both downwards."""
    return tuple(sorted(scores, key=lambda item: (item[1], item[0]), reverse=True)[:TOP])


def merged(tops: Iterable[Mapping[str, Top]]) -> dict[str, Top]:
    """Return the ten best of every board over all workers (whose players are different ones)."""
    together: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for worker in tops:
        for board, top in worker.items():
            together[board].extend(top)
    return {board: best(found) for board, found in together.items()}


def visits_of_sessions(executions: Iterable[tuple[Batch, int]]) -> dict[str, int]:
    """Return how often each session was visited; sessions without a visit do not exist."""
    return {session: count for batch, count in executions if count for session in batch.visits}


def _leaderboard_batch(worker: int, boards: Sequence[str], generator: random.Random) -> Batch:
    points = tuple(
        (
            generator.choice(boards),
            f"player-{worker}-{generator.randrange(PLAYERS):03}",
            generator.randint(1, POINTS_MAX),
        )
        for _ in range(PIPELINE - _RANKS_PER_BATCH - 1)
    )
    commands: list[tuple[str | int, ...]] = [
        ("ZINCRBY", board, number, player) for board, player, number in points
    ]
    commands += [("ZREVRANK", board, player) for board, player, _ in points[:_RANKS_PER_BATCH]]
    commands.append(("ZREVRANGE", generator.choice(boards), 0, TOP - 1, "WITHSCORES"))
    return Batch(kind=LEADERBOARD, commands=_pack(commands), points=points)


def _session_batch(sessions: Sequence[str]) -> Batch:
    commands: list[tuple[str | int, ...]] = []
    for session in sessions:
        fields = (part for field in session_fields(session).items() for part in field)
        commands.append(("HSET", session, *fields))
        commands.append(("HINCRBY", session, "visits", 1))
        commands.append(("EXPIRE", session, SESSION_TTL_S))
        commands.append(("HGETALL", session))
    return Batch(kind=SESSIONS, commands=_pack(commands), visits=tuple(sessions))


def _pack(commands: Sequence[tuple[str | int, ...]]) -> tuple[Command, ...]:
    if len(commands) != PIPELINE:
        raise ValueError(f"{len(commands)} commands are no pipeline of {PIPELINE}")
    return tuple(Command(keys.slot_of(str(words[1])), packed(words)) for words in commands)


def _by_shard(names: Iterable[str], shard_of: Callable[[str], str]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[shard_of(name)].append(name)
    return [found[shard] for shard in sorted(found)]


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut `items` into parts of exactly `size`; a shorter rest is left out."""
    return [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
