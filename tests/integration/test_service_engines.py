"""The engine that was asked for is the engine that runs, set up and closed as the API promises.

Versions that are not here are installed while the create waits; the shared cache of builds of this
user is used where it does not matter, so that most tests download nothing.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey
from botocore.exceptions import ClientError

from cachewright import testing
from cachewright.engines.catalogue import APT_FOLDER
from cachewright.engines.debian import usable_archive
from tests import service_kit as kit

#: A download and an unpacking may come in between.
_INSTALL_S = 100.0


@pytest.fixture(scope="module")
def group(api: Any) -> Iterator[dict[str, Any]]:
    """Give one group in cluster mode for all tests that only look."""
    yield kit.create_available(api, "looked-at", shards=2, replicas=1)
    kit.delete(api, "looked-at")


@pytest.fixture
def offered(api: Any) -> set[tuple[str, str]]:
    versions = api.describe_cache_engine_versions()["CacheEngineVersions"]
    return {(v["Engine"], v["EngineVersion"]) for v in versions}


@pytest.mark.parametrize("line", ["redis 7.0", "valkey 8.0", "valkey 8.1", "valkey 9.1"])
@pytest.mark.parametrize("shards", [0, 1])
def test_what_was_asked_for_runs(
    api: Any, group_id: str, offered: set[tuple[str, str]], line: str, shards: int
) -> None:
    engine, version = line.split()
    if (engine, version) not in offered:
        pytest.skip(f"{engine} {version} cannot be had on this machine")
    kit.create(api, group_id, shards=shards, replicas=1, Engine=engine, EngineVersion=version)
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    shown = kit.describe(api, group_id)
    assert shown is not None
    assert shown["Engine"] == engine
    described = api.describe_cache_engine_versions(Engine=engine, EngineVersion=version)
    (seen,) = described["CacheEngineVersions"]
    for node_id, endpoint in kit.nodes(api, group_id).items():
        with kit.connect(endpoint) as client:
            said = client.info("server")
        # Valkey says a Redis version too; Redis never says a Valkey version.
        assert ("valkey_version" in said) == (engine == "valkey")
        full = said.get("valkey_version") or said["redis_version"]
        cluster = api.describe_cache_clusters(CacheClusterId=node_id)["CacheClusters"][0]
        assert cluster["EngineVersion"] == full
        assert cluster["Engine"] == engine
        assert full.startswith(f"{version}.")
        assert seen["CacheEngineVersionDescription"].endswith(full)


def test_a_version_that_nobody_has_names_what_there_is(
    api: Any, offered: set[tuple[str, str]]
) -> None:
    for asked in ("7.4", "99.1", "7.4.1", "9", "latest"):
        with pytest.raises(ClientError) as caught:
            kit.create(api, "nobody", EngineVersion=asked)
        error = caught.value.response["Error"]
        assert error["Code"] in {"InvalidParameterCombination", "InvalidParameterValue"}
        assert all(f"{engine} {version}" in error["Message"] for engine, version in offered)
    assert kit.status(api, "nobody") == "gone"


@pytest.fixture(scope="module")
def without_builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Up]:
    """Give a service that has to install every engine but the embedded one."""
    if usable_archive(APT_FOLDER) is None:
        pytest.skip("this machine cannot install from a Debian archive")
    folder = tmp_path_factory.mktemp("without")
    with kit.up(folder, CACHEWRIGHT_ENGINES_DIR=str(folder / "engines")) as service:
        yield service


def test_a_version_that_is_not_here_is_installed_and_told(without_builds: kit.Up) -> None:
    """Many wait for it; a failover of another group does not."""
    api = without_builds.api
    kit.create_available(api, "other", replicas=1, EngineVersion="9.1")
    names = [f"fetched-{number}" for number in range(17)]
    for name in names:
        kit.create(api, name, EngineVersion="8.1")
    kit.wait_event(api, names[0], "Installing valkey 8.1")
    kit.wait_status(api, "other", "available")
    without_builds.engines()["other-001"].kill()
    kit.wait_event(api, "other", "Failover from primary node other-001")
    assert [kit.status(api, name) for name in names] == ["creating"] * len(names)
    kit.wait_status(api, names[0], "available", timeout_s=_INSTALL_S)
    (endpoint,) = kit.nodes(api, names[0]).values()
    with kit.connect(endpoint) as client:
        assert client.info("server")["valkey_version"].startswith("8.1.")


def test_a_delete_does_not_wait_for_an_install(without_builds: kit.Up) -> None:
    api = without_builds.api
    kit.create(api, "given-up", EngineVersion="8.0")
    kit.create(api, "waiting", EngineVersion="8.0")
    kit.wait_event(api, "given-up", "Installing valkey 8.0")
    kit.delete(api, "given-up")
    assert kit.status(api, "waiting") == "creating"
    kit.delete(api, "waiting")


def test_where_nothing_can_be_installed_the_failure_says_why(tmp_path: Path) -> None:
    """The folder for builds is not writable: a file is in its place."""
    if usable_archive(APT_FOLDER) is None:
        pytest.skip("this machine cannot install from a Debian archive")
    place = tmp_path / "engines"
    place.write_text("not a folder")
    with kit.up(tmp_path, CACHEWRIGHT_ENGINES_DIR=str(place)) as service:
        kit.create_available(service.api, "embedded", EngineVersion="9.1")
        kit.create(service.api, "fetched", EngineVersion="8.1")
        kit.wait_status(service.api, "fetched", "create-failed")
        (said,) = [
            t for t in kit.messages(service.api, "fetched") if t.startswith("Failed to create")
        ]
        assert "8.1" in said
        assert str(place) in said
        kit.delete(service.api, "fetched")
        assert kit.status(service.api, "embedded") == "available"


_CLOSED = (
    "ACL SETUSER default off", "ACL DELUSER default", "ACL LOAD", "ACL SAVE", "BGREWRITEAOF",
    "BGSAVE", "SAVE", "CONFIG GET *", "CONFIG SET maxmemory 1", "CONFIG RESETSTAT",
    "DEBUG JMAP", "MIGRATE h 1 k 0 1", "MODULE LIST", "PSYNC ? -1", "REPLICAOF NO ONE",
    "SHUTDOWN", "SLAVEOF NO ONE", "SYNC", "FAILOVER", "CLUSTER ADDSLOTS 1",
    "CLUSTER DELSLOTS 1", "CLUSTER FAILOVER FORCE", "CLUSTER FLUSHSLOTS", "CLUSTER FORGET x",
    "CLUSTER LINKS", "CLUSTER MEET 127.0.0.1 6379", "CLUSTER REPLICATE x", "CLUSTER RESET",
    "CLUSTER SETSLOT 1 STABLE", "CLUSTER BUMPEPOCH", "CLUSTER SAVECONFIG",
    "CLUSTER SET-CONFIG-EPOCH 5", "SCRIPT DEBUG YES",
)  # fmt: skip
_OPEN = (
    "INFO", "CLIENT LIST", "SLOWLOG GET", "MEMORY STATS", "ACL WHOAMI", "CLUSTER NODES",
    "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID", "LATENCY LATEST", "SCRIPT FLUSH", "WAIT 0 1",
    "CLIENT NO-EVICT ON", "FLUSHALL", "DBSIZE",
)  # fmt: skip


def test_closed_commands_are_closed_and_others_are_open(group: dict[str, Any]) -> None:
    with kit.connect(kit.place(group["ConfigurationEndpoint"])) as client:
        for command in _CLOSED:
            with pytest.raises(valkey.exceptions.ResponseError, match=r"permission|not allowed"):
                client.execute_command(*command.split())
            in_a_script = f"return redis.call({','.join(map(repr, command.split()))})"
            with pytest.raises(valkey.exceptions.ResponseError):
                client.eval(in_a_script, 0)
        for command in _OPEN:
            assert client.execute_command(*command.split()) is not None


def test_settings_follow_the_node_type_and_the_defaults(
    service: testing.Service, api: Any, group: dict[str, Any], group_id: str
) -> None:
    kit.create_available(api, group_id, CacheNodeType="cache.m7g.large")
    expected = {group["MemberClusters"][0]: 536_870_912, f"{group_id}-001": 6_854_542_746}
    for node_id, memory_bytes in expected.items():
        with kit.admin(service.state_dir, node_id) as client:
            found = client.config_get("*")
        assert int(found["maxmemory"]) == memory_bytes * 75 // 100
        assert found["maxmemory-policy"] == "volatile-lru"
        assert (found["save"], found["appendonly"]) == ("", "no")
        assert found["timeout"] == "0"
        assert found["tcp-keepalive"] == "300"
    with kit.admin(service.state_dir, group["MemberClusters"][0]) as client:
        assert client.config_get("cluster-node-timeout") == {"cluster-node-timeout": "15000"}
        assert client.config_get("cluster-enabled") == {"cluster-enabled": "yes"}


def test_files_are_for_their_owner_and_passwords_for_nobody(
    service: testing.Service, group: dict[str, Any]
) -> None:
    for path in service.state_dir.rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode & ~allowed == 0, f"{path} has mode {mode:o}"
    assert stat.S_IMODE(service.state_dir.stat().st_mode) == 0o700
    secrets = {service.credentials.secret_access_key}
    for node_id in group["MemberClusters"]:
        secrets |= kit.passwords(service.state_dir, node_id)
    assert len(secrets) == 3
    for pid in service.processes():
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        assert not [secret for secret in secrets if secret in argv + environment]
    for log in service.state_dir.rglob("*.log"):
        said = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in said]


def test_a_service_says_no_secret(tmp_path: Path) -> None:
    """Also where it says a lot, and when an engine fails."""
    with kit.up(tmp_path, "--verbose") as service:
        kit.create_available(service.api, "told", shards=1, replicas=1)
        secrets = kit.passwords(service.state_dir, "told-0001-001")
        content = (service.state_dir / "credentials.json").read_text()
        secrets.add(json.loads(content)["secret_access_key"])
        service.engines()["told-0001-002"].kill()
        kit.wait_until(
            "recovery",
            lambda: kit.messages(service.api, "told-0001-002"),
            is_it=lambda told: any("Finished" in text for text in told),
        )
        assert service.stop() == 0
        assert "event=" in service.output
        assert not [secret for secret in secrets if secret in service.output]


def test_the_service_and_its_engines_listen_on_loopback_alone(service: testing.Service) -> None:
    own = {str(pid) for pid in service.processes()}
    inodes = set()
    for pid in own:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                name = os.readlink(entry)  # noqa: PTH115 not the name of a file
            except OSError:
                continue
            if name.startswith("socket:["):
                inodes.add(name[8:-1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    lines += Path("/proc/net/tcp6").read_text().splitlines()[1:]
    listening = [line.split() for line in lines if line.split()[3] == "0A"]
    addresses = {fields[1].partition(":")[0] for fields in listening if fields[9] in inodes}
    assert addresses
    assert all(len(address) == 8 and address.endswith("7F") for address in addresses)
