"""What did the API say, and when? Every answer of describe during a scenario, with its time.

The service may be dead or frozen while it is asked: no answer is an answer too and is kept as
one. Nothing is judged here.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests import service_kit as kit
from tests.fault.scenarios.shapes import GROUP

#: How often, seconds; members only every so many times.
_EVERY_S = 0.06
_MEMBERS_EVERY = 4
_TIMEOUT_S = 2.0
_JOIN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said of the group, between two moments."""

    sent_s: float
    received_s: float
    #: "gone" when it is not found, "" when the API did not answer.
    status: str
    #: The role of each member, where the API says it.
    roles: dict[str, str] = field(default_factory=dict)
    #: The status of each cache cluster; empty when they were not asked for.
    members: dict[str, str] = field(default_factory=dict)


class Watcher(threading.Thread):
    """Describes the group until it is stopped."""

    def __init__(self, service: kit.Up) -> None:
        super().__init__(name="watcher", daemon=True)
        self._service = service
        self._halt = threading.Event()
        self._url = ""
        self._client: Any = None
        self.answers: list[Answer] = []
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """End it, and fail if it failed."""
        self._halt.set()
        self.join(_JOIN_TIMEOUT_S)
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        """Ask until the end."""
        try:
            count = 0
            while not self._halt.wait(_EVERY_S):
                self.answers.append(self._ask(with_members=count % _MEMBERS_EVERY == 0))
                count += 1
        except BaseException as error:  # noqa: BLE001 `stop` raises it where it is seen
            self.failure = error
        finally:
            self._close()

    def _ask(self, *, with_members: bool) -> Answer:
        sent_s = time.monotonic()
        try:
            client = self._api()
            group = kit.describe(client, GROUP)
            members = _members(client) if with_members and group is not None else {}
        except (BotoCoreError, ClientError, OSError, ValueError):
            return Answer(sent_s, time.monotonic(), "")
        received_s = time.monotonic()
        if group is None:
            return Answer(sent_s, received_s, "gone")
        roles = {
            member["CacheClusterId"]: member["CurrentRole"]
            for node_group in group.get("NodeGroups", ())
            for member in node_group.get("NodeGroupMembers", ())
            if "CurrentRole" in member
        }
        return Answer(sent_s, received_s, str(group["Status"]), roles, members)

    def _api(self) -> Any:
        """Return a client of the run that was ready last."""
        if self._client is None or self._url != self._service.url:
            self._close()
            self._url = self._service.url
            pair = json.loads((self._service.state_dir / "credentials.json").read_bytes())
            self._client = boto3.session.Session().client(
                "elasticache",
                endpoint_url=self._url,
                region_name="us-east-1",
                aws_access_key_id=pair["access_key_id"],
                aws_secret_access_key=pair["secret_access_key"],
                config=Config(
                    proxies={},
                    retries={"total_max_attempts": 1},
                    connect_timeout=_TIMEOUT_S,
                    read_timeout=_TIMEOUT_S,
                ),
            )
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _members(client: Any) -> dict[str, str]:
    answer = client.describe_cache_clusters()
    return {
        cluster["CacheClusterId"]: str(cluster["CacheClusterStatus"])
        for cluster in answer["CacheClusters"]
        if cluster["CacheClusterId"].startswith(f"{GROUP}-")
    }
