"""What do clients of a group see? One writer for each shard, with numbered values.

Stock clients with their own retries write to the group's endpoints. A number that was
acknowledged is remembered; whether it is still there is asked at the end.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

import valkey
from valkey.exceptions import ValkeyClusterException, ValkeyError

from tests import service_kit as kit
from tests.fault.scenarios.shapes import Shape, key_of

_PACE_S = 0.004
_TIMEOUT_S = 2.0
_JOIN_TIMEOUT_S = 30.0


class Writer:
    """Writes to one shard for as long as it is in its block."""

    def __init__(self, group: dict[str, Any], shape: Shape, shard_id: str) -> None:
        self.shard_id = shard_id
        self.key = key_of(shard_id, shape, "written")
        self._group = group
        self._shape = shape
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer {shard_id}", daemon=True)
        #: Each acknowledged number with the moment of the answer.
        self.acknowledged: list[tuple[int, float]] = []
        #: What was refused, with its moment.
        self.refused: list[tuple[str, float]] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._halt.set()
        self._thread.join(_JOIN_TIMEOUT_S)

    def stop(self) -> None:
        """End it, and fail if it failed."""
        self.__exit__(None, None, None)
        if self.failure is not None:
            raise self.failure

    def wait_for_acks(self, count: int, timeout_s: float) -> None:
        """Return when so many more writes were acknowledged."""
        wanted = len(self.acknowledged) + count
        kit.wait_until(
            f"{count} writes to shard {self.shard_id}, last refusals {self.refused[-2:]}",
            lambda: len(self.acknowledged),
            is_it=lambda seen: seen >= wanted,
            timeout_s=timeout_s,
        )

    def client(self) -> Any:
        """Return a new client of the group, as people make one."""
        options: dict[str, Any] = {"decode_responses": True, "socket_timeout": _TIMEOUT_S}
        if self._shape.is_cluster:
            host, port = kit.place(self._group["ConfigurationEndpoint"])
            return valkey.ValkeyCluster(host=host, port=port, **options)
        host, port = kit.primary_endpoint(self._group)
        return valkey.Valkey(host=host, port=port, **options)

    def _run(self) -> None:
        number = 0
        client: Any = None
        try:
            while not self._halt.wait(_PACE_S):
                number += 1
                try:
                    client = client or self.client()
                    client.rpush(self.key, number)
                except (ValkeyError, ValkeyClusterException, OSError, AttributeError) as error:
                    # The last one is what an ASK to a node without slots comes to (redis-py 4015).
                    self.refused.append((repr(error)[:200], time.monotonic()))
                    if isinstance(error, ValkeyClusterException) and client is not None:
                        # It has crossed out every node that it knew and would stay so until one
                        # of them is back: people make a new client.
                        client.close()
                        client = None
                    continue
                self.acknowledged.append((number, time.monotonic()))
        except BaseException as error:  # noqa: BLE001 `stop` raises it where it is seen
            self.failure = error
        finally:
            if client is not None:
                client.close()


def missing(writer: Writer) -> list[int]:
    """Return the acknowledged numbers that the shard does not hold any more."""
    client = writer.client()
    try:
        held = {int(text) for text in client.lrange(writer.key, 0, -1)}
    finally:
        client.close()
    return [number for number, _ in writer.acknowledged if number not in held]
