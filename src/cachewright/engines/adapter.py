"""What can be asked of any engine? The `EngineAdapter` protocol, and which adapter is whose.

The agent calls it and decides when; an adapter knows how its engine does it and decides nothing.
Acts are idempotent. Every call has a deadline (that of the connection unless it names its own) and
ends in a result, `EngineUnreachable` (no answer: no proof of anything) or `EngineRefused` (the
engine's own words). The process itself - starting, killing, proving its end - is the agent's.

An agent starts an engine like this: write `files` with mode 0600 into the node's folder of mode
0700, remove `snapshot_name` from it unless `launch.loads_saved_data` (an engine loads what is
there), run `argv` with the folder as working directory and umask 0o077, and keep what it says on
standard output and error: before it has read its configuration it says nothing elsewhere.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cachewright.engines.discovery import DiscoveryAdapter
from cachewright.engines.home import (
    Claim,
    ClusterMember,
    Home,
    ItemKeeper,
    PingAnswer,
    Pinger,
    Restored,
    RoleChanger,
    RoleSeen,
)
from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.resp import (
    AdminConnection,
    EngineClosed,
    EngineRefused,
    EngineSilent,
    EngineUnreachable,
)
from cachewright.engines.slots import SlotKeeper
from cachewright.engines.text import UnusableLaunch
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.model import errors
from cachewright.model.builds import Build
from cachewright.model.commands import Launch, Part, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact, RefusedSetting

__all__ = [
    "AdminConnection",
    "Claim",
    "ClusterMember",
    "Connection",
    "EngineAdapter",
    "EngineClosed",
    "EngineRefused",
    "EngineSilent",
    "EngineUnreachable",
    "Home",
    "ItemKeeper",
    "PingAnswer",
    "Pinger",
    "Restored",
    "RoleChanger",
    "RoleSeen",
    "SlotKeeper",
    "UnusableLaunch",
    "adapter_of",
]


class Connection(Protocol):
    """A connection of the administrator, whatever is spoken on it."""

    @property
    def is_closed(self) -> bool:
        """Whether no further call can be made."""

    def close(self) -> None:
        """Close the connection; calls that wait fail with `EngineUnreachable`."""


Admin = TypeVar("Admin", bound=Connection)


class EngineAdapter(Protocol[Admin]):
    """How one kind of engine is prepared, watched and told what to do, on its own connections."""

    #: Name of the engine's log in the node's folder.
    log_name: str
    #: Name of the snapshot that a saving `shutdown` leaves in the node's folder.
    snapshot_name: str

    @property
    def items(self) -> ItemKeeper[Admin] | None:
        """How its items are kept while its process is replaced; `None` where nothing is."""

    @property
    def roles(self) -> RoleChanger[Admin] | None:
        """How its role changes hands; `None` where there are none."""

    @property
    def cluster(self) -> ClusterMember[Admin] | None:
        """How it joins others; `None` where engines know nothing of each other."""

    @property
    def slots(self) -> SlotKeeper[Admin] | None:
        """How its slots are weighed and moved; `None` where there are none."""

    @property
    def pinger(self) -> Pinger[Admin] | None:
        """How it is asked whether it still answers; `None` where that changes nothing."""

    def files(self, launch: Launch) -> dict[str, bytes]:
        """Return the files that the engine needs to start, held, by name.

        Raises:
            UnusableLaunch: a value cannot be written into a configuration safely.
        """

    def argv(self, build: Build, launch: Launch, home: Home) -> tuple[str, ...]:
        """Return the command line; it holds no secret."""

    def unusable(self, launch: Launch) -> tuple[RefusedSetting, ...]:
        """Return the settings that the engine starts without, because its version has none such."""

    async def connect(
        self,
        address: str,
        port: int,
        password: str,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        folder: Path | None = None,
    ) -> Admin:
        """Connect as the administrator; `timeout_s` becomes the deadline of later calls.

        `folder`: that of the node, where it is of this host. An engine whose port is closed until
        it is admitted is reached through its folder alone.
        """

    async def observe(self, admin: Admin) -> EngineFact:
        """Return what the engine says of itself, in one round trip."""

    async def admit(self, admin: Admin, bind: tuple[str, ...], launch: Launch) -> None:
        """Let clients and replicas in as `launch` allows, then listen on exactly `bind`."""

    async def hold(self, admin: Admin) -> None:
        """Shut clients and replicas out, those that are connected too."""

    async def bind(self, admin: Admin, bind: tuple[str, ...]) -> None:
        """Listen on exactly `bind`; connections that exist stay."""

    async def follow(self, admin: Admin, address: str, port: int) -> None:
        """Replicate from the primary at this address (cluster mode disabled only)."""

    async def promote(self, admin: Admin, how: Promotion) -> None:
        """Make a replica a primary; one that is a primary already is left alone."""

    async def configure(
        self, admin: Admin, settings: Mapping[str, str]
    ) -> tuple[RefusedSetting, ...]:
        """Set these at run time; return what the engine did not take, which stays as it was."""

    async def restore(self, admin: Admin, launch: Launch) -> Restored:
        """Take back whatever was set for a while: it runs with what `launch` says.

        As far as it can be told while it runs. Its memory is not: less would cost it keys.
        """

    async def close_writers(self, admin: Admin) -> int:
        """Close the clients that wrote to this replica since the last call; return how many.

        The agent calls it for replicas whose setting `close-on-replica-write` is yes.
        """

    async def shutdown(self, admin: Admin, *, saves: bool, timeout_s: float) -> None:
        """End the engine, with a snapshot in `snapshot_name` if it `saves`.

        Returns when the engine has closed the connection; that its process has ended, and that it
        did so by itself, is for the agent to see. The connection must not be shared: a deadline
        of another call on it would end this one.

        Raises:
            EngineRefused: it could not save; it lives on and serves.
            EngineUnreachable: no end within `timeout_s`; it may still save and end later.
        """


def adapter_of(launch: Launch) -> EngineAdapter[Any]:
    """Return the adapter for what is launched."""
    if launch.part is Part.DISCOVERY:
        return DiscoveryAdapter()
    if launch.engine in (EngineName.VALKEY, EngineName.REDIS):
        return ValkeyAdapter()
    if launch.engine is EngineName.MEMCACHED:
        return MemcachedAdapter()
    raise errors.Bug(f"no adapter for {launch.engine.value}")
