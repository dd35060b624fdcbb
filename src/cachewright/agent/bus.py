"""How do the words of an election reach other engines at once? By turning Nagle's algorithm off.

Engines speak on their cluster bus in small messages, and leave the sockets as they are: the second
of two messages waits for the acknowledgement of the first, which the other kernel puts off by 40 ms
(an election asks for votes, then says who has won; a handover is three messages). So right before
roles change, the links of the engine that is to take over get `TCP_NODELAY`, through copies of its
descriptors. Whatever the kernel does not allow is left as it is: it only costs that time.

Changes nothing but this option of these sockets. Source: pidfd_getfd(2), tcp(7).
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
from collections.abc import Set
from pathlib import Path

from cachewright.agent.process import Process
from cachewright.engines.nodes_conf import bus_port
from cachewright.model.commands import Launch

_log = logging.getLogger(__name__)

_PIDFD_GETFD = 438
#: Descriptors of an engine that are looked at, a few microseconds each. One with more has many
#: clients, which may not wait for the search.
_DESCRIPTORS_MAX = 2_000
_libc = ctypes.CDLL(None, use_errno=True)


def quicken(running: Process, launch: Launch, *others: tuple[str, int]) -> int:
    """Let the links of an engine to its peers send at once; return how many could be had.

    `others`: addresses and ports of peers that it may not have known when it was launched.
    """
    places = [*((peer.address, peer.port) for peer in launch.peers), *others]
    peers = {(address, bus_port(port)) for address, port in places}
    count = 0
    try:
        for number in _sockets(running.identity.pid):
            count += _quicken_one(running.pidfd, number, peers)
    except OSError as error:
        _log.info("event=bus_not_quickened key=%s reason=%s", launch.key, error)
    return count


def _quicken_one(pidfd: int, number: int, peers: Set[tuple[str, int]]) -> bool:
    link = socket_of(pidfd, number)
    if link is None:
        return False
    with link:
        if peer_of(link) not in peers:
            return False
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True


def socket_of(pidfd: int, number: int) -> socket.socket | None:
    """Return a socket of another process as one of ours; `None` where it is none any more.

    Raises:
        OSError: the kernel does not let us.
    """
    try:
        copy = _copy(pidfd, number)
    except OSError as error:
        if error.errno == errno.EBADF:
            return None  # closed meanwhile
        raise
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)  # something else by now
        return None


def _sockets(pid: int) -> list[int]:
    paths = list((Path("/proc") / str(pid) / "fd").iterdir())
    if len(paths) > _DESCRIPTORS_MAX:
        return []
    return [int(path.name) for path in paths if _is_socket(path)]


def _is_socket(path: Path) -> bool:
    try:
        return str(path.readlink()).startswith("socket:")
    except FileNotFoundError:
        return False  # closed meanwhile


def _copy(pidfd: int, number: int) -> int:
    """Return a descriptor of another process as one of ours."""
    copy = int(_libc.syscall(_PIDFD_GETFD, pidfd, number, 0))
    if copy < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return copy


def peer_of(link: socket.socket) -> tuple[str, int] | None:
    """Return address and port of the other end; `None` where there is none of that kind."""
    if link.family != socket.AF_INET:
        return None
    try:
        address, port = link.getpeername()[:2]
    except OSError:
        return None  # it listens, or has lost its peer
    return str(address), int(port)
