"""The command line teaches, refuses wrong use with 2, and says what to do after a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from cachewright.cli import app, calls, options
from cachewright.cli.failures import Failed


def no_service() -> NoReturn:
    raise AssertionError("nothing may be started")


cli = app.command_line(further=[click.Command("further")], open_service=no_service)


@pytest.mark.parametrize(
    "name",
    [
        "ls",
        "show",
        "explain",
        "scale",
        "upgrade",
        "check",
        "drill",
        "engines",
        "ca",
        "demo",
    ],
)
def test_every_command_teaches_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    examples = result.output.partition("Example:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"    cachewright {name}") for line in examples)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["ls", "--output", "xml"],
        ["nonsense"],
        ["drill"],
        ["drill", "x", "--seconds", "0"],
        ["check"],
        ["check", "x", "--seconds", "0"],
        ["check", "x", "--rate", "1"],
        ["check", "x", "--client", "telnet"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--workers", "0"], ["--workers", "x"]])
def test_the_demo_refuses_limits_without_starting_anything(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["demo", *arguments]).exit_code == 2


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for expected in (
        "further",
        "ls",
        "show",
        "explain",
        "check",
        "drill",
        "engines",
        "ca ",
        "demo",
        "Exit codes: 0",
    ):
        assert expected in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        ["show", "x"],
        ["explain", "x"],
        ["drill", "x"],
        ["check", "x"],
        ["engines", "list"],
        ["engines", "install", "a", "1"],
    ],
)
@pytest.mark.parametrize("output", [options.TEXT, options.JSON])
def test_without_a_service_every_command_says_how_to_start_one(
    arguments: list[str], output: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli, [*arguments, "--state-dir", str(tmp_path), "--output", output])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"no service runs for {tmp_path}: start one with `cachewright up`" in result.stderr


def test_a_service_that_was_killed_counts_as_none(tmp_path: Path) -> None:
    """Its file is still there; its process is not."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    document = {"url": "http://127.0.0.1:1", "pid": process.pid, "region": "us-east-1"}
    (tmp_path / "server.json").write_text(json.dumps(document))
    with pytest.raises(Failed, match="no service runs"):
        calls.find_service(tmp_path)


def test_credentials_come_from_the_folder_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "region": "eu-west-1"}
    (tmp_path / "server.json").write_text(json.dumps(document))
    with pytest.raises(Failed, match="no credentials"):
        calls.find_service(tmp_path)
    (tmp_path / "credentials.json").write_text(
        json.dumps({"access_key_id": "AKKEPT", "secret_access_key": "kept"})
    )
    kept = calls.find_service(tmp_path)
    assert (kept.access_key_id, kept.region) == ("AKKEPT", "eu-west-1")
    monkeypatch.setenv("CACHEWRIGHT_ACCESS_KEY_ID", "AKGIVEN")
    monkeypatch.setenv("CACHEWRIGHT_SECRET_ACCESS_KEY", "given")
    given = calls.find_service(tmp_path)
    assert (given.access_key_id, given.secret.reveal()) == ("AKGIVEN", "given")
    assert "given" not in repr(given)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{")
    with pytest.raises(Failed, match=r"server\.json cannot be read"):
        calls.find_service(tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CACHEWRIGHT_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, "/a"),
        ({"XDG_STATE_HOME": "/b"}, "/b/cachewright"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/cachewright"),
    ],
)
def test_the_state_folder_follows_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CACHEWRIGHT_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert options.default_state_dir() == Path(expected)


def test_the_start_of_the_command_line_imports_nothing_heavy() -> None:
    """`--help` and `up` must not pay for tables, SDKs or signers."""
    program = (
        "import sys, cachewright.cli.app;"
        "print(sorted({'rich', 'botocore', 'boto3', 'valkey', 'msgspec'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_ca_prints_what_lies_in_the_folder_and_says_what_is_wrong(tmp_path: Path) -> None:
    arguments = ["ca", "--state-dir", str(tmp_path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert result.output == (tmp_path / "ca.pem").read_text()
    assert result.output.startswith("-----BEGIN CERTIFICATE-----")
    (tmp_path / "ca.key").write_text("nothing")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "ca.key is no private key" in result.output
    result = CliRunner().invoke(cli, ["ca", "--state-dir", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "start one with `cachewright up`" in result.output
    assert not (tmp_path / "nowhere").exists()
