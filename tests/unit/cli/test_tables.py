"""People see what the service said, as it said it."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from cachewright.cli import answers, tables


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
