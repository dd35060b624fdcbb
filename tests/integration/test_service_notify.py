"""Does a webhook learn what happens to real engines?"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service_kit import create, up, wait_until

TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"


class Server(http.server.ThreadingHTTPServer):
    """Keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.documents: list[dict[str, Any]] = []

    def messages(self) -> list[tuple[str, str]]:
        """Return (name, about what) of every message, in order."""
        return [
            pair for document in self.documents for pair in json.loads(document["Message"]).items()
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.documents.append(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_learns_of_the_life_of_a_group_across_a_kill(
    tmp_path: Path, webhook: Server
) -> None:
    url = f"http://127.0.0.1:{webhook.server_port}/events"
    with up(tmp_path, "--notify-url", url) as service:
        create(service.api, "loud", NotificationTopicArn=TOPIC)
        create(service.api, "quiet")
        created = ("ElastiCache:CreateReplicationGroupComplete", "loud")
        wait_until("created", lambda: created in webhook.messages())
        assert ("ElastiCache:CacheClusterProvisioningComplete", "loud-001") in webhook.messages()

        service.engines()["loud-001"].kill()
        replaced = ("ElastiCache:CacheNodeReplaceComplete", "loud-001")
        wait_until("recovered", lambda: replaced in webhook.messages())
        wait_until(
            "available",
            lambda: service.api.describe_replication_groups()["ReplicationGroups"],
            is_it=lambda groups: {group["Status"] for group in groups} == {"available"},
        )
        service.kill()
        before = len(webhook.documents)
        service.start()
        for group_id in ("loud", "quiet"):
            service.api.delete_replication_group(ReplicationGroupId=group_id)
        deleted = ("ElastiCache:DeleteCacheClusterComplete", "loud-001")
        wait_until("deleted", lambda: deleted in webhook.messages())
        wait_until("nothing runs", lambda: not service.engines())
        ids = [document["MessageId"] for document in webhook.documents]
        # The last message before the kill may come again; nothing else does.
        assert len(set(ids[:before])) == before
        assert len(ids) - len(set(ids)) <= 1
        assert {about.partition("-")[0] for _, about in webhook.messages()} == {"loud"}
