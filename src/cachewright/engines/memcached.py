"""How does Memcached do it: start, observe, end?

Its nodes know nothing of each other and have no administrator: nobody is held out, nothing is
followed or promoted, and settings are flags. What does not exist is a `Bug` when it is asked for.
Decides nothing, keeps no state.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from cachewright.engines import memcached_admin, memcached_flags
from cachewright.engines.home import Home, Restored
from cachewright.engines.memcached_admin import MemcachedConnection
from cachewright.engines.memcached_items import MemcachedItems
from cachewright.engines.resp import EngineRefused, EngineUnreachable
from cachewright.model import errors
from cachewright.model.builds import Build
from cachewright.model.commands import Launch, Promotion
from cachewright.model.facts import EngineFact, RefusedSetting
from cachewright.model.status import Role

#: What the agent calls the memory for items.
_MEMORY = "maxmemory"


class MemcachedAdapter:
    """The adapter for Memcached 1.6."""

    #: It has no log of its own: all it says goes to its standard output and error.
    log_name = "engine.log"
    #: There is none: what is kept are items in memory.
    snapshot_name = "engine.snapshot"
    items = MemcachedItems()
    roles = None
    cluster = None
    slots = None
    #: Nobody takes over from it, so it is only looked at.
    pinger = None

    def files(self, launch: Launch) -> dict[str, bytes]:
        """Return no file: the command line has everything. It is checked here all the same."""
        tuple(memcached_flags.render_flags(launch))
        return {}

    def argv(self, build: Build, launch: Launch, home: Home) -> tuple[str, ...]:
        """Return the command line."""
        kept = () if home.items is None else memcached_flags.items_argv(home.items)
        return (build.server, *memcached_flags.render_flags(launch), *kept)

    def unusable(self, launch: Launch) -> tuple[RefusedSetting, ...]:
        """Return the settings that this version has no flag for."""
        return memcached_flags.refused(launch)

    async def connect(
        self,
        address: str,
        port: int,
        password: str,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        folder: Path | None = None,
    ) -> MemcachedConnection:
        """Connect as any client does, and see that it is a memcached which answers.

        The kernel takes connections for a process that does nothing yet.
        """
        opened = await memcached_admin.open_connection(address, port, tls=tls, timeout_s=timeout_s)
        try:
            said = await opened.stats("settings")
        except BaseException:
            opened.close()
            raise
        opened.bind = _bind(said)
        return opened

    async def observe(self, admin: MemcachedConnection) -> EngineFact:
        """Return what it says of itself, in one round trip; everybody may use it at any time."""
        said = await admin.stats()
        try:
            return EngineFact(
                version=said["version"],
                role=Role.PRIMARY,
                is_held=False,
                is_loading=False,
                used_memory_bytes=int(said["bytes"]),
                bind=admin.bind or (),
            )
        except (KeyError, ValueError):
            raise EngineUnreachable("what answers there is no memcached") from None

    async def admit(
        self, admin: MemcachedConnection, bind: tuple[str, ...], launch: Launch
    ) -> None:
        """Do nothing: it serves from its start."""
        await self.bind(admin, bind)

    async def hold(self, admin: MemcachedConnection) -> NoReturn:
        """Refuse: nobody can be kept out."""
        _refuse("hold")

    async def bind(self, admin: MemcachedConnection, bind: tuple[str, ...]) -> None:
        """Do nothing: it listens on the one address that it was started with."""
        if set(bind) != set(admin.bind or ()):
            _refuse("listen elsewhere")

    async def follow(self, admin: MemcachedConnection, address: str, port: int) -> NoReturn:
        """Refuse: there are no replicas."""
        _refuse("follow")

    async def promote(self, admin: MemcachedConnection, how: Promotion) -> NoReturn:
        """Refuse: there are no roles."""
        _refuse("be promoted")

    async def configure(
        self, admin: MemcachedConnection, settings: Mapping[str, str]
    ) -> tuple[RefusedSetting, ...]:
        """Take more memory where it is not mapped from a file; all else are flags."""
        refused: list[RefusedSetting] = []
        for name, value in settings.items():
            reason = "memcached takes it when it starts"
            if name == _MEMORY:
                reason = await _limit_memory(admin, int(value))
            if reason:
                refused.append(RefusedSetting(name=name, value=value, reason=reason))
        return tuple(refused)

    async def restore(self, admin: MemcachedConnection, launch: Launch) -> Restored:
        """Let it move pages again as its flags say: a stop that was cut has ended that."""
        eagerness = memcached_flags.page_mover(launch)
        if eagerness:
            await admin.say(f"slabs automove {eagerness}")
        return Restored()

    async def close_writers(self, admin: MemcachedConnection) -> NoReturn:
        """Refuse: no node of it is a replica."""
        _refuse("be a replica")

    async def shutdown(
        self, admin: MemcachedConnection, *, saves: bool, timeout_s: float
    ) -> NoReturn:
        """Refuse: no client may end it, so nobody can on a connection. Signals end it."""
        raise EngineRefused("memcached ends by a signal")


async def _limit_memory(admin: MemcachedConnection, memory_bytes: int) -> str:
    """Return why the engine does not take it, else ""."""
    try:
        said = await admin.say(f"cache_memlimit {memory_bytes >> 20:d}")
    except EngineRefused as refused:
        return str(refused)
    return "" if said == "OK" else said


def _bind(said: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses out of `stats settings`; IPv6 ones have brackets there."""
    return tuple(part.strip("[]") for part in said.get("inter", "").split(",") if part)


def _refuse(what: str) -> NoReturn:
    raise errors.Bug(f"a node of Memcached cannot {what}")
