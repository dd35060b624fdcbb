"""The workload knows its own effect: what it packs and what it expects are the same thing."""

from __future__ import annotations

import hiredis
import pytest
from valkey.crc import key_slot

from cachewright.cli.demo import workload


def shard_of(key: str) -> str:
    return f"shard-{sum(key.encode()) % 3}"


def commands_of(batch: workload.Batch) -> list[list[str]]:
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(b"".join(command.packed for command in batch.commands))
    commands = []
    while (command := reader.gets()) is not False:
        commands.append(command)
    return commands


@pytest.mark.parametrize("kind", workload.KINDS)
def test_every_request_is_a_full_pipeline_to_the_shard_of_its_keys(kind: str) -> None:
    for batch in workload.make_batches(0, shard_of)[kind]:
        commands = commands_of(batch)
        assert len(commands) == workload.PIPELINE
        assert len({shard_of(command[1]) for command in commands}) == 1
        slots = [key_slot(command[1].encode()) for command in commands]
        assert [command.slot for command in batch.commands] == slots


def test_the_points_of_a_request_are_those_that_it_packs() -> None:
    for batch in workload.make_batches(1, shard_of)[workload.LEADERBOARD]:
        packed = [(c[1], c[3], int(c[2])) for c in commands_of(batch) if c[0] == "ZINCRBY"]
        assert tuple(packed) == batch.points


def test_every_visit_of_a_session_is_one_increment_and_one_time_to_live() -> None:
    for batch in workload.make_batches(1, shard_of)[workload.SESSIONS]:
        commands = commands_of(batch)
        for verb in ("HSET", "HINCRBY", "EXPIRE", "HGETALL"):
            assert tuple(c[1] for c in commands if c[0] == verb) == batch.visits


def test_workers_never_share_a_player_or_a_session() -> None:
    """Otherwise the sums of two workers could not be compared with the engines."""
    owned = []
    for worker in (0, 1):
        batches = workload.make_batches(worker, shard_of)
        players = {p for b in batches[workload.LEADERBOARD] for _, p, _ in b.points}
        sessions = {s for b in batches[workload.SESSIONS] for s in b.visits}
        owned.append(players | sessions)
    assert owned[0].isdisjoint(owned[1])
    assert min(map(len, owned)) > 1_000


def test_the_top_ten_counts_executions_and_breaks_ties_as_the_engine_does() -> None:
    first = workload.Batch(kind="leaderboard", commands=(), points=(("b", "x", 5), ("b", "y", 10)))
    never = workload.Batch(kind="leaderboard", commands=(), points=(("b", "z", 99),))
    assert workload.top_of_boards([(first, 2), (never, 0)]) == {"b": (("y", 20), ("x", 10))}
    assert workload.best([("a", 1), ("c", 1), ("b", 1)]) == (("c", 1), ("b", 1), ("a", 1))


def test_the_merged_top_ten_is_the_top_ten_of_all_players() -> None:
    one = {"b": tuple((f"one-{n}", 100 - n) for n in range(10))}
    two = {"b": tuple((f"two-{n}", 95 - n) for n in range(10)), "c": (("two-0", 1),)}
    merged = workload.merged([one, two])
    everybody = sorted((*one["b"], *two["b"]), key=lambda item: (item[1], item[0]), reverse=True)
    assert merged == {"b": tuple(everybody[:10]), "c": (("two-0", 1),)}


def test_sessions_that_were_never_visited_are_not_expected() -> None:
    seen = workload.Batch(kind="sessions", commands=(), visits=("s1", "s2"))
    unseen = workload.Batch(kind="sessions", commands=(), visits=("s3",))
    assert workload.visits_of_sessions([(seen, 4), (unseen, 0)]) == {"s1": 4, "s2": 4}
