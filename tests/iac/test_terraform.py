"""Does Terraform drive the API as it drives ElastiCache? The examples of this repository, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright import testing
from tests import service_kit
from tests.iac import iac_kit, terraform_kit
from tests.iac.terraform_kit import Terraform

pytestmark = [
    pytest.mark.skipif(
        terraform_kit.why_not() is not None, reason=terraform_kit.why_not() or "it can be used"
    ),
    pytest.mark.slow(180),
    # Three times the provider's own 30 s, and eight starts of a provider of 700 MB.
    pytest.mark.timeout(600),
]

CHANGED = {
    "description": "Sessions of both shops",
    "team": "blue",
    "maintenance_window": "tue:22:00-tue:23:30",
    "snapshot_window": "04:30-06:00",
    "memcached_nodes": 3,
    # Larger nodes, a replica more and a shard more.
    "node_type": "cache.t4g.medium",
    "session_nodes": 3,
    "board_shards": 3,
    # Automatic failover and Multi-AZ, in one call.
    "multi_az": True,
    # Another value for one parameter, none for the other, and one that ElastiCache has fixed.
    "session_parameters": {"maxmemory-policy": "allkeys-lfu", "appendonly": "yes"},
    "security_group_ids": ["sg-0000000b", "sg-0000000c"],
}


def _serves(endpoints: dict[str, str]) -> tuple[int, str, int]:
    """Use every endpoint that a configuration puts out.

    Returns how many nodes the Memcached one tells of, what `sessions` does when it is full, and
    how many shards `board` has.
    """
    policy = ""
    for name in ("jobs", "sessions"):
        with service_kit.connect((endpoints[name], service_kit.PORT)) as client:
            client.set("who", name)
            assert client.get("who") == name
            policy = str(client.info("memory")["maxmemory_policy"])
    with service_kit.connect((endpoints["sessions_readers"], service_kit.PORT)) as client:
        assert client.ping()
    with service_kit.connect((endpoints["board"], service_kit.PORT)) as client:
        shards = int(client.cluster("info")["cluster_size"])
    host, _, port = endpoints["pages"].partition(":")
    return len(iac_kit.discovered_nodes((host, int(port)))), policy, shards


def test_everything_applies_changes_imports_and_goes_without_drift(
    service: testing.Service, tmp_path: Path
) -> None:
    at_rest = iac_kit.processes_at_rest(service)
    terraform = Terraform(
        iac_kit.EXAMPLES / "terraform" / "complete",
        tmp_path,
        iac_kit.environment_of(service, tmp_path),
    )
    assert " 0 changed, 0 destroyed" in terraform.apply()
    assert terraform.plan() == ""
    before = terraform.resources()
    assert _serves(terraform.output("endpoints")) == (2, "volatile-lru", 2)

    terraform.set(**CHANGED)
    said = terraform.apply()
    assert f" 0 added, {len(before)} changed, 0 destroyed" in said
    assert terraform.plan() == ""
    assert terraform.resources() == before
    assert _serves(terraform.output("endpoints")) == (3, "allkeys-lfu", 3)

    terraform.forget()
    api, events = service.client(), iac_kit.events(service.client())
    said = terraform.import_all(before)
    assert f" {len(before)} imported, 0 added, " in said
    # What an import changes are arguments of the provider alone: nothing changed on this side.
    assert iac_kit.events(api) == events
    assert terraform.plan() == ""

    terraform.destroy()
    assert iac_kit.left_behind(api) == []
    service_kit.wait_until("no process is left", lambda: frozenset(service.processes()) == at_rest)
