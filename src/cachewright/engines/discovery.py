"""How is the process of a configuration endpoint prepared and watched?

To an agent it is one more engine: it has a folder, files, a command line and an address, and is
observed by what it answers there. It holds no data, so nobody is held back from it, nothing is
saved, and no command of replication or settings has a meaning for it. It has no administrator: it
is asked what every client may ask, and told by its file and a signal.

The process itself is the package `cachewright.discovery`, which is started and never imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from cachewright.engines import resp
from cachewright.engines.home import AUTHORITY_NAME, CERTIFICATE_NAME, KEY_NAME, Home, Restored
from cachewright.engines.text import UnusableLaunch, check_address, check_port
from cachewright.model.builds import Build, BuildSource
from cachewright.model.commands import Launch, Member, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact, RefusedSetting
from cachewright.model.status import Role

SETTINGS_NAME = "discovery.json"
_MODULE = "cachewright.discovery"
_QUESTION = b"config get cluster\r\n"
_END = b"\n\r\nEND\r\n"
#: Names in its folder, which is its working directory.
_TLS = {"certificate": CERTIFICATE_NAME, "key": KEY_NAME, "authority": AUTHORITY_NAME}
#: Bytes of an answer with room to spare: 60 nodes have 3 kB.
_ANSWER_MAX = 65_536


def own_build() -> Build:
    """Return what runs it: the interpreter that runs us."""
    return Build(
        engine=EngineName.MEMCACHED,
        version=".".join(str(part) for part in sys.version_info[:3]),
        source=BuildSource.EMBEDDED,
        server=sys.executable,
        has_tls=True,
        allocator="libc",
        cli=None,
        benchmark=None,
    )


class DiscoveryConnection:
    """A connection to the endpoint; one question at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float
    ) -> None:
        self.timeout_s = timeout_s
        self._reader = reader
        self._writer = writer
        self._asking = asyncio.Lock()

    @property
    def is_closed(self) -> bool:
        """Whether no further call can be made."""
        return self._writer.is_closing()

    @property
    def address(self) -> str:
        """The address that it is connected to."""
        address: str = self._writer.get_extra_info("peername")[0]
        return address

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def ask_version(self) -> int:
        """Return the version of the list that the endpoint tells clients."""
        async with self._asking:
            try:
                async with asyncio.timeout(self.timeout_s):
                    self._writer.write(_QUESTION)
                    answer = await self._reader.readuntil(_END)
                return int(answer.split(b"\n", 2)[1])
            except TimeoutError:
                reason = f"no answer within {self.timeout_s:g} s"
            except (OSError, asyncio.IncompleteReadError):
                reason = "the endpoint closed the connection"
            except (asyncio.LimitOverrunError, ValueError, IndexError):
                reason = "what answers there is no configuration endpoint"
            # An answer may still come, and would be taken for that to another question.
            self.close()
            raise resp.EngineUnreachable(reason)


class DiscoveryAdapter:
    """The adapter for the configuration endpoint of a Memcached cluster."""

    #: The process has no log of its own: all it says goes to its standard output.
    log_name = "discovery.log"
    #: There is never one.
    snapshot_name = "discovery.snapshot"
    items = None
    roles = None
    cluster = None
    slots = None
    #: Nobody takes over from it, so it is only looked at.
    pinger = None

    def files(self, launch: Launch) -> dict[str, bytes]:
        """Return the one file that says where to listen and what to tell clients."""
        if launch.config_version < 1:
            raise UnusableLaunch("config_version is not a version")
        content = {
            "listen": [check_address("address", launch.address), check_port("port", launch.port)],
            "config_version": launch.config_version,
            "members": [_member(member) for member in launch.members],
            "tls": _TLS if launch.transit_encryption else None,
        }
        return {SETTINGS_NAME: json.dumps(content, indent=1).encode()}

    def argv(self, build: Build, launch: Launch, home: Home) -> tuple[str, ...]:
        """Return the command line; the file's full path shows people whose endpoint it is.

        Isolated (`-I`): neither the environment nor the folder decides what is imported.
        """
        return (build.server, "-I", "-m", _MODULE, str(home.folder / SETTINGS_NAME))

    def unusable(self, launch: Launch) -> tuple[RefusedSetting, ...]:
        """Return nothing: it has no settings."""
        return ()

    async def connect(
        self,
        address: str,
        port: int,
        password: str,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        folder: Path | None = None,
    ) -> DiscoveryConnection:
        """Connect as any client does."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=tls, limit=_ANSWER_MAX
                )
        except TimeoutError:
            raise resp.EngineUnreachable(f"no connection within {timeout_s:g} s") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise resp.EngineUnreachable(f"cannot connect: {reason}") from error
        return DiscoveryConnection(reader, writer, timeout_s)

    async def observe(self, admin: DiscoveryConnection) -> EngineFact:
        """Return the version of the list that clients are told."""
        return EngineFact(
            version="",
            role=Role.PRIMARY,
            is_held=False,
            is_loading=False,
            used_memory_bytes=0,
            bind=(admin.address,),
            config_version=await admin.ask_version(),
        )

    async def admit(
        self, admin: DiscoveryConnection, bind: tuple[str, ...], launch: Launch
    ) -> None:
        """Do nothing: it serves from its start."""

    async def hold(self, admin: DiscoveryConnection) -> NoReturn:
        """Refuse: there is nothing to keep anybody from."""
        _refuse()

    async def bind(self, admin: DiscoveryConnection, bind: tuple[str, ...]) -> NoReturn:
        """Refuse: it has the one address that it was started with."""
        _refuse()

    async def follow(self, admin: DiscoveryConnection, address: str, port: int) -> NoReturn:
        """Refuse: there is nothing to replicate."""
        _refuse()

    async def promote(self, admin: DiscoveryConnection, how: Promotion) -> NoReturn:
        """Refuse: there are no roles."""
        _refuse()

    async def configure(
        self, admin: DiscoveryConnection, settings: Mapping[str, str]
    ) -> tuple[RefusedSetting, ...]:
        """Refuse: it has no settings."""
        _refuse()

    async def restore(self, admin: DiscoveryConnection, launch: Launch) -> Restored:
        """Do nothing: it has no settings."""
        return Restored()

    async def close_writers(self, admin: DiscoveryConnection) -> NoReturn:
        """Refuse: it is no replica."""
        _refuse()

    async def shutdown(
        self, admin: DiscoveryConnection, *, saves: bool, timeout_s: float
    ) -> NoReturn:
        """Refuse: clients must not be able to end it, so nobody can on a connection."""
        _refuse()


def _refuse() -> NoReturn:
    raise resp.EngineRefused("a configuration endpoint only tells clients of nodes")


def _member(member: Member) -> dict[str, object]:
    for letter in member.name:
        if not (letter.isascii() and (letter.isalnum() or letter in "._-")):
            raise UnusableLaunch("the name of a member is no name of a host")
    if not member.name:
        raise UnusableLaunch("the name of a member is empty")
    return {
        "name": member.name,
        "address": check_address("the address of a member", member.address),
        "port": check_port("the port of a member", member.port),
    }
