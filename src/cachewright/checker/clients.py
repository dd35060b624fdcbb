"""How do people connect? Stock clients (valkey-py) with their own way of retrying, and no other.

Only a client that has crossed out every node that it knew is thrown away for a new one, as people
do. The package is an optional one: it is imported when somebody connects.
"""

from __future__ import annotations

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

    def unlink(self, key: str) -> object:
        """Remove a key."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a group is reached; makes valkey-py's clients."""

    host: str
    port: int
    #: Cluster mode is enabled, and this is its configuration endpoint.
    is_cluster: bool

    def connect(self) -> Client:
        """Return a new client."""
        import valkey  # noqa: PLC0415 only who checks pays for it

        # Its methods are typed for the synchronous and the asynchronous client at once.
        kind: Any = valkey.ValkeyCluster if self.is_cluster else valkey.Valkey
        client: Client = kind(host=self.host, port=self.port, socket_timeout=SOCKET_TIMEOUT_S)
        return client

    def failures(self) -> tuple[type[Exception], ...]:
        """Return what these clients raise when a request failed."""
        from valkey import exceptions  # noqa: PLC0415 only who checks pays for it

        # The last one is no `ValkeyError`: "no node to be reached", a slot that nobody has.
        return exceptions.ValkeyError, OSError, exceptions.ValkeyClusterException

    def is_worn_out(self, error: Exception) -> bool:
        """Tell whether a client has crossed out every node that it knew."""
        from valkey import exceptions  # noqa: PLC0415 only who checks pays for it

        return isinstance(error, exceptions.ValkeyClusterException)
