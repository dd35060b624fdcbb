"""People see what the service said, as it said it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cachewright.cli import answers, checking, drilling, tables
from cachewright.cli.watching import RequestsSeen, ShardSeen


def printed(view: RenderableType, *, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=160, force_terminal=terminal, markup=False, highlight=False
    )
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def node(node_id: str, role: str | None, address: str | None) -> answers.Node:
    return answers.Node(
        node_id=node_id,
        role=role,
        status="available" if address else "creating",
        address=address,
        port=6379 if address else None,
        zone="us-east-1a",
        engine_version="9.1.2" if address else None,
    )


GROUP = answers.Group(
    name="scores",
    status="creating",
    reason="waiting for [scores-0001-002] to be in sync",
    description="of the game",
    engine="valkey",
    engine_version="9.1",
    node_type="cache.t4g.small",
    cluster_enabled=True,
    endpoints=answers.Endpoints(configuration="127.64.0.9:6379"),
    shards=(
        answers.Shard(
            shard_id="0001",
            slots="0-16383",
            nodes=(
                node("scores-0001-001", "primary", "127.64.0.1"),
                node("scores-0001-002", None, None),
            ),
        ),
    ),
    events=(
        answers.Event(
            at="2026-01-02T03:04:05.678+00:00",
            source_type="replication-group",
            source_id="scores",
            message="Replication group scores created",
        ),
    ),
    created_at="2026-01-02T03:04:05+00:00",
)


def test_a_group_shows_its_topology_endpoints_reason_and_events() -> None:
    text = printed(tables.group_view(GROUP))
    for expected in (
        "scores  creating  waiting for [scores-0001-002] to be in sync",
        "valkey 9.1 (runs 9.1.2) on cache.t4g.small, cluster mode",
        "configuration endpoint  127.64.0.9:6379",
        "0001",
        "0-16383",
        "127.64.0.1:6379",
        "2026-01-02 03:04:05",
        "Replication group scores created",
    ):
        assert expected in text
    unknown = next(
        line for line in text.splitlines() if "scores-0001-002 " in line and "us-" in line
    )
    assert "unknown" in unknown
    assert "None" not in text


def test_many_ranges_of_slots_are_counted_and_few_are_shown() -> None:
    assert tables.slots_text("") == "-"
    few = "0-0,2-2,4-9,11-12,14-16383"
    assert tables.slots_text(few) == few
    assert tables.slots_text(f"{few},1-1") == "0-0,2-2,4-9,11-12,... (16,381 in 6 ranges)"


def test_a_pipe_gets_no_control_codes_and_a_terminal_gets_colours() -> None:
    assert "\x1b" not in printed(tables.group_view(GROUP))
    assert "\x1b[" in printed(tables.group_view(GROUP), terminal=True)


def test_an_explanation_gives_each_step_with_its_reason() -> None:
    explanation = answers.Explanation(
        name="scores",
        status="creating",
        reason="",
        steps=(answers.Step(command="StartNode", node_id="scores-001", reason="it is absent"),),
        look_again_s=0.1,
    )
    text = printed(tables.explanation_view(explanation))
    assert "StartNode" in text
    assert "scores-001" in text
    assert "it is absent" in text
    assert "The next look is in 0.1 s" in text


def test_an_explanation_without_steps_says_so() -> None:
    explanation = answers.Explanation(
        name="scores", status="available", reason="", steps=(), look_again_s=5.0
    )
    assert "Nothing is to be done now." in printed(tables.explanation_view(explanation))


def test_engines_tell_what_is_here_from_what_could_be() -> None:
    engines = (
        answers.Engine(
            engine="valkey",
            api_version="9.1",
            version="9.1.2",
            is_installed=True,
            source="embedded",
        ),
        answers.Engine(
            engine="redis", api_version="7.0", version=None, is_installed=False, source="debian"
        ),
    )
    lines = printed(tables.engines_table(engines)).splitlines()
    assert any("9.1.2" in line and "installed" in line for line in lines)
    assert any("redis" in line and "installable" in line for line in lines)


def seen(shard_id: str, *, lost: int | None, failed: int = 0, gap_ms: float = 4.0) -> ShardSeen:
    requests = RequestsSeen(answered=1_234, failed=failed, longest_gap_ms=gap_ms, slowest_ms=2.0)
    return ShardSeen(
        shard_id=shard_id,
        is_struck=failed > 0,
        pace_ms=4.0,
        writes=requests,
        reads=requests,
        lost=lost,
        doubled=0,
        wrong_reads=0,
        errors=(),
    )


def report(*, lost: int | None = 0, gap_ms: float = 38.4, **changed: object) -> drilling.Report:
    made = drilling.Report(
        ok=True,
        name="scores",
        shard_id="0002",
        node_id="scores-0002-001",
        at="2026-01-01T00:00:00Z",
        primary="scores-0002-002",
        whole_after_s=2.9,
        seconds=3.0,
        accepts_loss=False,
        shards=(seen("0001", lost=0), seen("0002", lost=lost, failed=2, gap_ms=gap_ms)),
        own_pause_ms=0.0,
        left_keys=(),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def test_a_drill_tells_what_clients_of_the_struck_shard_saw() -> None:
    text = printed(tables.drill_view(report()))
    assert "0002 *" in text
    assert "0001 *" not in text
    for expected in (
        "1,234",
        "38 ms",
        "scores-0002-001, the primary of shard 0002, was ended;",
        "; scores-0002-002 is the primary now.",
        "no acknowledged write for 38 ms; 4 of their requests failed",
        "Every node served again after 2.9 s.",
        "No acknowledged write was lost.",
    ):
        assert expected in text
    assert "busy" not in text
    assert "asked every" not in text


def test_a_drill_says_how_often_other_shards_were_asked() -> None:
    quiet = replace(seen("0001", lost=0), pace_ms=60.0)
    text = printed(tables.drill_view(report(shards=(quiet, seen("0002", lost=0, failed=1)))))
    assert "The clients of the other shards asked every 60 ms" in text


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"primary": None}, "it has no primary yet"),
        ({"whole_after_s": None}, "Not every node serves after 3 s: `cachewright explain scores`"),
        ({"own_pause_ms": 20.0}, "did not get to run for 20 ms"),
        ({"lost": 12, "accepts_loss": True}, "12 acknowledged writes were lost, which was accept"),
        ({"lost": None, "ok": False}, "unknown"),
        ({"gap_ms": 25_000.0}, "no acknowledged write for 25.0 s"),
    ],
)
def test_a_drill_that_went_otherwise_says_so(changed: dict[str, Any], expected: str) -> None:
    text = printed(tables.drill_view(report(**changed)))
    assert expected in text
    assert ("No acknowledged write was lost" in text) is ("lost" not in changed)


def test_while_clients_work_nobody_knows_what_is_lost() -> None:
    assert "LOST" in printed(tables.clients_table([seen("0001", lost=None)]))
    live = printed(tables.clients_table([seen("0001", lost=None)], is_over=False))
    assert "LOST" not in live
    assert "unknown" not in live


KEPT = answers.Check(
    at="2026-01-02T03:04:05.678+00:00",
    is_good=True,
    client="valkey-py 6.2.0",
    during="cachewright scale scores --shards 5",
    seconds=12.4,
    requests=24_800,
    failed=0,
    wrong_reads=0,
    lost=0,
    doubled=0,
    longest_gap_ms=41.6,
    per_second=2_000.0,
    lowest_per_second=1_950.0,
)


def test_what_clients_saw_is_shown_with_the_group() -> None:
    assert "CHECK" not in printed(tables.group_view(GROUP))
    bad = replace(KEPT, is_good=False, during="", failed=3, wrong_reads=1, doubled=1, lost=None)
    text = printed(tables.group_view(replace(GROUP, checks=(KEPT, bad))))
    good_row, bad_row = text.splitlines()[-2:]
    assert good_row.split("  ")[0] == "2026-01-02 03:04:05"
    assert "served" in good_row
    assert "24,800" in good_row
    assert "42 ms" in good_row
    assert good_row.rstrip().endswith("cachewright scale scores --shards 5")
    assert "not well" in bad_row
    assert "unknown" in bad_row
    assert bad_row.rstrip().endswith("12 s")


REQUESTS = checking.RequestsReport(
    answered=12_400, failed=0, per_second=1_000.0, lowest_per_second=950.0, longest_gap_ms=41.6
)
CHECK = checking.Report(
    ok=True,
    name="scores",
    client="valkey-py 6.2.0",
    during="cachewright scale scores --shards 5",
    exit_code=0,
    is_over=True,
    seconds=12.4,
    keys=16_384,
    keys_written=11_000,
    writes=REQUESTS,
    reads=replace(REQUESTS, answered=12_399),
    lost=0,
    doubled=0,
    foreign=0,
    wrong_reads=0,
    strays=0,
    is_served=True,
    errors=(),
    pace_ms=8.0,
    own_pause_ms=3.0,
    left=0,
    left_keys=(),
)


def test_a_check_is_told_in_figures_and_words() -> None:
    text = printed(tables.check_view(CHECK))
    assert "scores, 12.4 s with valkey-py 6.2.0, during `cachewright scale" in text
    assert "12,399" in text
    assert "Lists in each slot: 16,384 written before, 11,000 of them meanwhile" in text
    assert "Keys of anybody where no client finds them: 0." in text
    assert "No request failed, and nothing is lost, doubled or wrong." in text
    assert "did not get to run" not in text


def test_a_check_that_found_something_does_not_say_that_all_is_well() -> None:
    found = replace(CHECK, ok=False, lost=None, errors=("TryAgainError: x",), own_pause_ms=30.0)
    text = printed(tables.check_view(replace(found, keys=256, during=None, strays=None)))
    assert "where no client" not in text
    assert "gone: unknown" in text
    assert "Failed: TryAgainError: x" in text
    assert "Lists 256 in all" in text
    assert "did not get to run for 30 ms" in text
    assert "No request failed" not in text
