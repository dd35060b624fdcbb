"""Who listens, and who hears that the list has changed? The endpoint as one process.

Told by signals alone, for clients must not be able to change anything: SIGHUP reads the file
anew, SIGTERM ends. What happens is said on standard output, a line each time.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from cachewright.discovery.answers import Answers, Member
from cachewright.discovery.relay import ClientSide
from cachewright.discovery.settings import Settings, Tls, Unusable, read_settings

if TYPE_CHECKING:
    from ssl import SSLContext

#: Clients at once. Discovery needs few; each that also uses a node costs two open files.
CONNECTIONS_MAX = 10_000
#: Files that are open without any client, with room to spare.
_OWN_FILES = 32
#: As many as may knock between two looks; the kernel caps it.
_BACKLOG = 4096
_HANDSHAKE_TIMEOUT_S = 10.0


class Endpoint:
    """The list as it is now, and the connections that are open."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._clients: set[ClientSide] = set()
        self._connections_max = _connections_max()
        self._use(read_settings(file))
        tls = self._settings.tls
        self._client_tls = None if tls is None else _context_for_clients(tls)
        self._node_tls = None if tls is None else _context_for_nodes(tls)

    @property
    def answers(self) -> Answers:
        """The answers for the list of nodes."""
        return self._answers

    @property
    def members(self) -> tuple[Member, ...]:
        """The nodes in the order of their names: all clients are passed on to the same one."""
        return self._members

    @property
    def node_tls(self) -> SSLContext | None:
        """How TLS is spoken with nodes, if it is."""
        return self._node_tls

    def take(self, client: ClientSide) -> bool:
        """Count a connection; refuse it if there are too many."""
        if len(self._clients) >= self._connections_max:
            return False
        self._clients.add(client)
        return True

    def release(self, client: ClientSide) -> None:
        """Count a connection no more."""
        self._clients.discard(client)

    async def serve(self) -> None:
        """Listen until SIGTERM."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._read_anew)
        address, port = self._settings.listen
        server = await loop.create_server(
            lambda: ClientSide(self),
            address,
            port,
            backlog=_BACKLOG,
            ssl=self._client_tls,
            ssl_handshake_timeout=None if self._client_tls is None else _HANDSHAKE_TIMEOUT_S,
        )
        _say(f"listening on {address}:{port}, at most {self._connections_max} connections")
        await ended.wait()
        server.close()

    def _read_anew(self) -> None:
        try:
            self._use(read_settings(self._file))
        except Unusable as unusable:
            _say(f"the list stays as it was: {unusable}")

    def _use(self, settings: Settings) -> None:
        ordered = sorted(settings.members, key=lambda member: member.name)
        self._settings = settings
        self._members = tuple(ordered)
        self._answers = Answers(settings.config_version, ordered)
        _say(f"version {settings.config_version}: {len(ordered)} nodes")


def _connections_max() -> int:
    """Return how many clients there may be so that open files always suffice."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, (soft - _OWN_FILES) // 2))


def _context_for_clients(tls: Tls) -> SSLContext:
    import ssl  # noqa: PLC0415 1 MB and 10 ms that few endpoints need

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _context_for_nodes(tls: Tls) -> SSLContext:
    import ssl  # noqa: PLC0415 as above

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nodes are reached by address; who signed is what counts
    context.load_verify_locations(tls.authority)
    return context


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 standard output is this process's log
