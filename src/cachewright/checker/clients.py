"""How do people connect? Stock clients with their own way of retrying, and no other.

Only a client that has crossed out every node that it knew is thrown away for a new one, as people
do. The packages are optional ones: they are imported when somebody connects.
"""

from __future__ import annotations

import enum
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: What a careful user tells a client: a frozen engine never answers.
SOCKET_TIMEOUT_S = 1.0


class Client(Protocol):
    """What a check asks of a client."""

    def rpush(self, key: str, number: int) -> object:
        """Append a number to a list."""

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        """Return a part of a list."""

    def lists(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return whole lists, asked for at once."""

    def unlink(self, keys: Sequence[str]) -> object:
        """Remove keys."""

    def close(self) -> None:
        """Hang up."""


class Clients(Protocol):
    """A kind of clients, and where they connect to."""

    def connect(self) -> Client:
        """Return a new client."""

    def failures(self) -> tuple[type[Exception], ...]:
        """Return what clients raise when a request failed."""

    def is_worn_out(self, error: Exception) -> bool:
        """Tell whether a client that raised this may never find its way back."""


class Kind(enum.Enum):
    """A client that people use, by the name that they know it by."""

    VALKEY_PY = "valkey-py"
    REDIS_PY = "redis-py"
    VALKEY_GLIDE = "valkey-glide"

    @property
    def module(self) -> str:
        """How it is imported."""
        return _PACKAGES[self][0]

    @property
    def package(self) -> str:
        """How it is installed."""
        return _PACKAGES[self][1]

    def is_here(self) -> bool:
        """Tell whether it is installed."""
        return importlib.util.find_spec(self.module) is not None

    def described(self) -> str:
        """Return its name and version; it has to be here."""
        return f"{self.value} {importlib.metadata.version(self.package)}"


_PACKAGES = {
    Kind.VALKEY_PY: ("valkey", "valkey"),
    Kind.REDIS_PY: ("redis", "redis"),
    Kind.VALKEY_GLIDE: ("glide_sync", "valkey-glide-sync"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a group is reached; makes clients."""

    host: str
    port: int
    #: Cluster mode is enabled, and this is its configuration endpoint.
    is_cluster: bool
    kind: Kind = Kind.VALKEY_PY

    def connect(self) -> Client:
        """Return a new client."""
        module: Any = importlib.import_module(self.kind.module)
        if self.kind is Kind.VALKEY_GLIDE:
            return _glide(module, self)
        name = self._family + ("Cluster" if self.is_cluster else "")
        # Its methods are typed for the synchronous and the asynchronous client at once.
        make: Any = getattr(module, name)
        return _Stock(make(host=self.host, port=self.port, socket_timeout=SOCKET_TIMEOUT_S))

    def failures(self) -> tuple[type[Exception], ...]:
        """Return what these clients raise when a request failed."""
        if self.kind is Kind.VALKEY_GLIDE:
            return (self._exception("GlideError"),)
        # The second one is none of the first: "no node to be reached", a slot that nobody has.
        # The last ones are what callers get where a client did not think of something, such as an
        # ASK that leads to a node without slots (redis-py, issue 4015).
        known = (self._exception("Error"), self._exception("ClusterException"))
        return (*known, OSError, AttributeError, LookupError)

    def is_worn_out(self, error: Exception) -> bool:
        """Tell whether a client has crossed out every node that it knew."""
        is_glide = self.kind is Kind.VALKEY_GLIDE
        return isinstance(
            error, self._exception("ClosingError" if is_glide else "ClusterException")
        )

    @property
    def _family(self) -> str:
        """How valkey-py and redis-py call their classes: both have the same ones."""
        return self.kind.module.capitalize()

    def _exception(self, name: str) -> type[Exception]:
        if self.kind is Kind.VALKEY_GLIDE:
            where, full_name = self.kind.module, name
        else:
            where, full_name = f"{self.kind.module}.exceptions", self._family + name
        found: type[Exception] = getattr(importlib.import_module(where), full_name)
        return found


class _Stock:
    """A client of valkey-py or redis-py: both have the same words."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def rpush(self, key: str, number: int) -> object:
        answer: object = self._client.rpush(key, number)
        return answer

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        found: list[bytes] = self._client.lrange(key, first, last)
        return found

    def lists(self, keys: Sequence[str]) -> list[list[bytes]]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.lrange(key, 0, -1)
        found: list[list[bytes]] = pipeline.execute()
        return found

    def unlink(self, keys: Sequence[str]) -> object:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        answer: object = pipeline.execute()
        return answer

    def close(self) -> None:
        self._client.close()


def _glide(module: Any, target: Target) -> Client:
    """Return a client of valkey-glide, which keeps a connection to each node by itself."""
    # It would warn on standard output, where our answers are.
    module.Logger.set_logger_config(module.LogLevel.OFF)
    cluster = "Cluster" if target.is_cluster else ""
    options = getattr(module, f"Glide{cluster}ClientConfiguration")(
        addresses=[module.NodeAddress(target.host, target.port)],
        request_timeout=round(1000 * SOCKET_TIMEOUT_S),
    )
    client = getattr(module, f"Glide{cluster}Client").create(options)
    return _Glide(client, getattr(module, f"{cluster}Batch"))


class _Glide:
    """A client of valkey-glide."""

    def __init__(self, client: Any, batch: Callable[..., Any]) -> None:
        self._client, self._batch = client, batch

    def rpush(self, key: str, number: int) -> object:
        answer: object = self._client.rpush(key, [str(number)])
        return answer

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        found: list[bytes] = self._client.lrange(key, first, last)
        return found

    def lists(self, keys: Sequence[str]) -> list[list[bytes]]:
        batch = self._batch(is_atomic=False)
        for key in keys:
            batch.lrange(key, 0, -1)
        found: list[list[bytes]] = self._client.exec(batch, raise_on_error=True)
        return found

    def unlink(self, keys: Sequence[str]) -> object:
        batch = self._batch(is_atomic=False)
        for key in keys:
            batch.unlink([key])
        answer: object = self._client.exec(batch, raise_on_error=True)
        return answer

    def close(self) -> None:
        self._client.close()
