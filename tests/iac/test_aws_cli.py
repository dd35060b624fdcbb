"""Does the AWS CLI drive the API as it drives ElastiCache? The examples, with its four waiters."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cachewright import testing
from tests import service_kit
from tests.iac import iac_kit

#: Six waits of one or two looks, 15 s each, two at a time; and thirty starts of the CLI.
pytestmark = [pytest.mark.slow(65), pytest.mark.timeout(300)]

EXAMPLES = iac_kit.EXAMPLES / "aws-cli"


class Cli:
    """The AWS CLI of this environment, on a service."""

    def __init__(self, service: testing.Service, home: Path) -> None:
        tools = Path(sys.executable).parent
        known = iac_kit.environment_of(service, home)
        self._environment = known | {
            "AWS_PAGER": "",
            "PATH": f"{tools}:{known['PATH']}",
        }
        self._home = home

    def run(self, script: Path) -> None:
        iac_kit.run([script], folder=self._home, environment=self._environment)

    def ask(self, *words: str, expects: int = 0) -> Any:
        said = iac_kit.run(
            ["aws", "elasticache", *words, "--output", "json"],
            folder=self._home,
            environment=self._environment,
            expects=[expects],
        )
        return said if expects else json.loads(said)


def test_the_scripts_create_change_and_delete(service: testing.Service, tmp_path: Path) -> None:
    at_rest = iac_kit.processes_at_rest(service)
    cli = Cli(service, tmp_path)
    cli.run(EXAMPLES / "create.sh")
    group = cli.ask("describe-replication-groups")["ReplicationGroups"][0]
    endpoint = service_kit.primary_endpoint(group)
    with service_kit.connect(endpoint) as client:
        client.set("kept", "yes")
    assert _policy(endpoint) == "allkeys-lru"
    assert len(iac_kit.discovered_nodes(_configuration_endpoint(cli))) == 2

    cli.run(EXAMPLES / "change.sh")
    changed = cli.ask("describe-replication-groups")["ReplicationGroups"][0]
    assert changed["Description"] == "Scores of both games"
    assert changed["SnapshotWindow"] == "04:00-05:00"
    assert changed["PendingModifiedValues"] == {}
    assert _policy(endpoint) == "allkeys-lfu"
    assert len(iac_kit.discovered_nodes(_configuration_endpoint(cli))) == 3
    with service_kit.connect(endpoint) as client:
        assert client.get("kept") == "yes"
    cluster = cli.ask("describe-cache-clusters", "--cache-cluster-id", "cli-pages")
    tags = cli.ask("list-tags-for-resource", "--resource-name", cluster["CacheClusters"][0]["ARN"])
    assert tags == {"TagList": [{"Key": "team", "Value": "blue"}]}

    cli.run(EXAMPLES / "delete.sh")
    assert iac_kit.left_behind(service.client()) == []
    service_kit.wait_until("no process is left", lambda: set(service.processes()) == at_rest)


def test_an_error_is_shown_with_its_code(service: testing.Service, tmp_path: Path) -> None:
    said = Cli(service, tmp_path).ask(
        "describe-cache-clusters", "--cache-cluster-id", "nobody", expects=255
    )
    assert "(CacheClusterNotFound)" in said


def _policy(endpoint: tuple[str, int]) -> str:
    with service_kit.connect(endpoint) as client:
        return str(client.info("memory")["maxmemory_policy"])


def _configuration_endpoint(cli: Cli) -> tuple[str, int]:
    shown = cli.ask("describe-cache-clusters", "--cache-cluster-id", "cli-pages")
    return service_kit.place(shown["CacheClusters"][0]["ConfigurationEndpoint"])
