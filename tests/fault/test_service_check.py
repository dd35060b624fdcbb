"""A check tells what clients saw, also of the death of the service that it asks."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from tests import service_kit as kit

NAME = "pair"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path, "--address-pool", kit.free_pool(28)) as running:
        kit.create_available(running.api, NAME, replicas=1)
        yield running


@contextlib.contextmanager
def checking(service: kit.Up, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Check during a command that takes a while; clients are at work already."""
    argv = [sys.executable, "-m", "cachewright", "check", NAME, "--output", "json", *options]
    argv += ["--during", "sleep 2", "--state-dir", str(service.state_dir)]
    group = kit.describe(service.api, NAME)
    assert group is not None
    host, port = kit.primary_endpoint(group)
    client: Any = valkey.Valkey(host=host, port=port)
    with (
        contextlib.closing(client),
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program,
    ):
        try:
            kit.wait_until("keys", lambda: client.dbsize() == 256)
            yield program
        finally:
            program.kill()


@pytest.mark.slow(20)
def test_clients_of_a_service_that_dies_and_comes_back_notice_nothing(service: kit.Up) -> None:
    """At another address even: what is looked at is the group."""
    with checking(service) as program:
        service.kill()
        service.start()
        stdout, stderr = program.communicate(timeout=kit.PATIENCE_S)
    report = json.loads(stdout)
    assert (program.returncode, report["ok"], report["is_over"]) == (0, True, True), stderr
    shown = [sys.executable, "-m", "cachewright", "show", NAME, "--output", "json"]
    shown += ["--state-dir", str(service.state_dir)]
    kept = json.loads(subprocess.run(shown, capture_output=True, check=True, timeout=60).stdout)
    assert [check["during"] for check in kept["checks"]] == ["sleep 2"]


def test_what_clients_saw_is_told_although_nobody_keeps_it(service: kit.Up) -> None:
    with checking(service, "--seconds", "4") as program:
        service.kill()
        stdout, stderr = program.communicate(timeout=kit.PATIENCE_S)
    report = json.loads(stdout)
    # The engines serve on.
    assert report["writes"]["failed"] + report["reads"]["failed"] == 0
    assert (program.returncode, report["ok"], report["is_over"]) == (1, False, False)
    assert "start one with `cachewright up`" in stderr
