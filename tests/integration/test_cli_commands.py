"""People and programs see a real service through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachewright import testing
from cachewright.cli import app

NAME = "scores"


@pytest.fixture(scope="module")
def service() -> Iterator[testing.Service]:
    """A service with one group of two shards."""
    with testing.service() as running:
        running.create_replication_group(
            NAME, shards=2, replicas=1, ReplicationGroupDescription="[bold]of the game"
        )
        yield running


def run(service: testing.Service, *arguments: str) -> Result:
    cli = app.command_line(further=(), open_service=testing.service)
    return CliRunner().invoke(cli, [*arguments, "--state-dir", str(service.state_dir)])


def document(service: testing.Service, *arguments: str) -> Any:
    result = run(service, *arguments, "--output", "json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_ls_lists_groups(service: testing.Service) -> None:
    (group,) = document(service, "ls")["groups"]
    assert group["name"] == NAME
    assert group["status"] == "available"
    assert (group["shards"], group["nodes"]) == (2, 4)
    assert group["cluster_enabled"] is True
    text = run(service, "ls").stdout
    assert NAME in text
    assert group["endpoint"] in text


def test_show_gives_every_node_with_its_role_and_address(service: testing.Service) -> None:
    group = document(service, "show", NAME)
    assert [shard["slots"] for shard in group["shards"]] == ["0-8191", "8192-16383"]
    nodes = [node for shard in group["shards"] for node in shard["nodes"]]
    assert sorted(node["role"] for node in nodes) == ["primary", "primary", "replica", "replica"]
    assert len({node["address"] for node in nodes}) == 4
    assert all(node["engine_version"].startswith("9.1.") for node in nodes)
    described = service.client().describe_replication_groups(ReplicationGroupId=NAME)
    endpoint = described["ReplicationGroups"][0]["ConfigurationEndpoint"]
    assert group["endpoints"]["configuration"] == f"{endpoint['Address']}:{endpoint['Port']}"
    assert any(NAME in event["message"] for event in group["events"])
    text = run(service, "show", NAME).stdout
    for node in nodes:
        assert f"{node['address']}:{node['port']}" in text
    # Texts of people are never read as markup.
    assert "[bold]of the game" in text


def test_explain_of_a_group_at_rest_has_no_steps(service: testing.Service) -> None:
    explanation = document(service, "explain", NAME)
    assert explanation["steps"] == []
    assert explanation["look_again_s"] > 0
    assert "Nothing is to be done now." in run(service, "explain", NAME).stdout


def test_engines_lists_the_embedded_one(service: testing.Service) -> None:
    engines = document(service, "engines", "list")["engines"]
    embedded = [e for e in engines if (e["engine"], e["api_version"]) == ("valkey", "9.1")]
    assert [engine["is_installed"] for engine in embedded] == [True]
    assert "valkey" in run(service, "engines", "list").stdout


def test_installing_an_engine_that_nobody_has_names_what_there_is(
    service: testing.Service,
) -> None:
    result = run(service, "engines", "install", "valkey", "1.0")
    assert result.exit_code == 1
    assert "9.1" in result.stderr


@pytest.mark.parametrize("command", ["show", "explain"])
def test_an_unknown_group_points_to_ls(service: testing.Service, command: str) -> None:
    result = run(service, command, "nobody")
    assert result.exit_code == 1
    assert "nobody" in result.stderr
    assert "`cachewright ls`" in result.stderr
    assert result.stdout == ""


def test_a_name_with_strange_letters_is_only_a_name_that_is_not_there(
    service: testing.Service,
) -> None:
    for name in ("../engines", "a/b", "a?b=c", "ü\n"):
        assert run(service, "show", name).exit_code == 1


def test_wrong_credentials_are_explained(
    service: testing.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEWRIGHT_ACCESS_KEY_ID", service.credentials.access_key_id)
    monkeypatch.setenv("CACHEWRIGHT_SECRET_ACCESS_KEY", "wrong")
    result = run(service, "ls")
    assert result.exit_code == 1
    assert "refused the credentials" in result.stderr
    assert "wrong" not in result.stderr


def test_the_real_program_prints_plain_lines_into_a_pipe(service: testing.Service) -> None:
    argv = [
        sys.executable,
        "-m",
        "cachewright",
        "show",
        NAME,
        "--state-dir",
        str(service.state_dir),
    ]
    environment = os.environ | {"COLUMNS": "40"}
    ran = subprocess.run(argv, capture_output=True, check=True, env=environment)
    assert b"\x1b" not in ran.stdout
    # A pipe has no width: no row is broken.
    assert (
        sum(b":6379  " in line and NAME.encode() in line for line in ran.stdout.splitlines()) == 4
    )


@pytest.mark.parametrize(("variables", "has_colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_it_says_no(
    service: testing.Service, variables: dict[str, str], has_colour: bool
) -> None:
    argv = [sys.executable, "-m", "cachewright", "ls", "--state-dir", str(service.state_dir)]
    kept = {name: v for name, v in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    ours, theirs = os.openpty()
    try:
        environment = kept | {"TERM": "xterm-256color"} | variables
        subprocess.run(argv, stdout=theirs, check=True, env=environment)
        shown = os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\x1b[32mavailable" in shown) is has_colour
    assert b"available" in shown


def test_a_service_that_has_stopped_is_none(tmp_path: Path) -> None:
    with testing.service(state_dir=tmp_path / "state") as running:
        assert document(running, "ls") == {"groups": []}
        assert "There is no group and no cluster" in run(running, "ls").stdout
    result = run(running, "ls")
    assert result.exit_code == 1
    assert "start one with `cachewright up`" in result.stderr
