"""Does a newer build on the host reach every node of a group, without a loss, when it is applied?

The newer build is the one from the wheel under another version: what it calls itself is all that
tells two patches of one line apart here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cachewright.engines.embedded import embedded_server
from tests.service_kit import (
    Up,
    connect,
    create_available,
    nodes,
    primary_endpoint,
    up,
    wait_status,
    wait_until,
)

OLD, NEW = b"9.1.2", b"9.1.3"
UPDATE = "elasticache-valkey-9-1-3"
KEYS = 200

#: A maintenance window that happens to be open would apply the update before the test does.
BY_HAND: dict[str, Any] = {"AutoMinorVersionUpgrade": False}


def add_newer_build(folder: Path) -> None:
    embedded = embedded_server()
    assert embedded is not None
    content = embedded.read_bytes()
    assert OLD in content
    server = folder / "valkey-server"
    server.write_bytes(content.replace(OLD, NEW))
    server.chmod(0o755)


def updates(service: Up) -> list[dict[str, Any]]:
    answer = service.api.describe_update_actions(
        ServiceUpdateName=UPDATE, ShowNodeLevelUpdateStatus=True
    )
    return list(answer["UpdateActions"])


def versions(service: Up, group_id: str) -> set[str]:
    found = set()
    for endpoint in nodes(service.api, group_id).values():
        with connect(endpoint) as client:
            found.add(client.info("server")["valkey_version"])
    return found


def environment(folder: Path) -> dict[str, str]:
    """Return one with no build but the one in the wheel, and the one that comes."""
    path = folder / "bin"
    path.mkdir()
    return {
        "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
        "CACHEWRIGHT_ENGINES_DIR": str(folder / "engines"),
    }


def is_settled(action: dict[str, Any]) -> bool:
    return action["UpdateActionStatus"] in {"stopped", "complete"}


def test_an_applied_update_restarts_every_node_onto_the_newer_build(tmp_path: Path) -> None:
    with up(tmp_path, **environment(tmp_path)) as service:
        group = create_available(service.api, "demo", replicas=1, **BY_HAND)
        with connect(primary_endpoint(group)) as client:
            for number in range(KEYS):
                client.set(f"k{number}", number)
            client.wait(1, 10_000)
        assert versions(service, "demo") == {"9.1.2"}
        assert service.api.describe_service_updates()["ServiceUpdates"] == []

        service.kill()
        add_newer_build(tmp_path / "bin")
        service.start()
        (action,) = wait_until("an update", lambda: updates(service))
        assert (action["UpdateActionStatus"], action["NodesUpdated"]) == ("not-applied", "0/2")
        wait_status(service.api, "demo", "available")
        done = service.api.batch_apply_update_action(
            ServiceUpdateName=UPDATE, ReplicationGroupIds=["demo"]
        )
        assert [each["UpdateActionStatus"] for each in done["ProcessedUpdateActions"]] == [
            "waiting-to-start"
        ]
        wait_until(
            "complete",
            lambda: updates(service)[0],
            is_it=lambda seen: seen["UpdateActionStatus"] == "complete",
        )
        wait_status(service.api, "demo", "available")
        assert versions(service, "demo") == {"9.1.3"}
        (group,) = service.api.describe_replication_groups()["ReplicationGroups"]
        with connect(primary_endpoint(group)) as client:
            assert [client.get(f"k{number}") for number in range(KEYS)] == [
                str(number) for number in range(KEYS)
            ]
        assert updates(service)[0]["NodesUpdated"] == "2/2"


def test_a_stopped_update_can_be_applied_again_and_a_node_alone_keeps_its_data(
    tmp_path: Path,
) -> None:
    request = {"ServiceUpdateName": UPDATE, "ReplicationGroupIds": ["demo"]}
    with up(tmp_path, **environment(tmp_path)) as service:
        create_available(service.api, "demo", shards=1, replicas=2, **BY_HAND)
        group = create_available(service.api, "alone", **BY_HAND)
        with connect(primary_endpoint(group)) as client:
            client.set("kept", "yes")
        service.kill()
        add_newer_build(tmp_path / "bin")
        service.start()
        wait_until("two updates", lambda: updates(service), is_it=lambda seen: len(seen) == 2)
        for group_id in ("demo", "alone"):
            wait_status(service.api, group_id, "available")

        service.api.batch_apply_update_action(**request)
        stopped = service.api.batch_stop_update_action(**request)
        assert stopped["UnprocessedUpdateActions"] == []

        def action() -> dict[str, Any]:
            (found,) = (each for each in updates(service) if each["ReplicationGroupId"] == "demo")
            return found

        seen = wait_until("stopped", action, is_it=is_settled)
        done = int(seen["NodesUpdated"].split("/")[0])
        assert seen["UpdateActionStatus"] == ("complete" if done == 3 else "stopped")
        wait_status(service.api, "demo", "available")
        both = {**request, "ReplicationGroupIds": ["demo", "alone"]}
        applied = service.api.batch_apply_update_action(**both)
        assert "alone" in [each["ReplicationGroupId"] for each in applied["ProcessedUpdateActions"]]
        wait_until(
            "complete",
            lambda: updates(service),
            is_it=lambda found: {each["UpdateActionStatus"] for each in found} == {"complete"},
        )
        for group_id in ("demo", "alone"):
            wait_status(service.api, group_id, "available")
            assert versions(service, group_id) == {"9.1.3"}
        with connect(primary_endpoint(group)) as client:
            assert client.get("kept") == "yes"
