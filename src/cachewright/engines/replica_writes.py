"""Which clients wrote to a replica, and how are they disconnected? `close-on-replica-write`.

The engines answer `READONLY` and keep the connection; ElastiCache closes it, so that clients which
hold on to a node that lost its role look for the primary. Here the engine's own count of such
answers is looked at, and only when it has risen are clients listed: those whose last command
writes are closed. A client that reads between two looks is not found before its next write.

What the count was is kept on the connection of the administrator: a rise during a change of the
connection is missed, which the next write makes good.
"""

from __future__ import annotations

import re

from cachewright.engines.resp import AdminConnection, Reply, reply_or_raise

#: With more clients than this a list of them would hold the engine up for milliseconds: then none
#: is closed. 10,000 lines are 3 MB.
CLIENTS_MAX = 10_000
#: Closed in one look; the others are found in the next.
_CLOSED_MAX = 1_000

_REFUSED_WRITES = re.compile(rb"^errorstat_READONLY:count=(\d+)", re.MULTILINE)
_CLIENTS = re.compile(rb"^connected_clients:(\d+)", re.MULTILINE)
_CLIENT = re.compile(rb"^id=(\d+) .*? cmd=(\S+)", re.MULTILINE)


async def close_writers(admin: AdminConnection) -> int:
    """Close the clients that wrote to this replica since the last call; return how many.

    Raises:
        EngineRefused: it cannot say, such as `BUSY` during a slow script.
    """
    info = _text(await admin.command("INFO", "clients", "errorstats"))
    before, admin.refused_writes = admin.refused_writes, _number(_REFUSED_WRITES, info)
    if before is None or admin.refused_writes <= before:
        return 0
    if _number(_CLIENTS, info) > CLIENTS_MAX:
        return 0
    commands, clients = await admin.pipeline(
        [("ACL", "CAT", "write"), ("CLIENT", "LIST", "TYPE", "normal")]
    )
    writing = reply_or_raise(commands)
    assert isinstance(writing, list)
    names = {name for name in writing if isinstance(name, bytes)}
    found = _CLIENT.findall(_text(reply_or_raise(clients)))
    guilty = [client_id for client_id, command in found if command in names][:_CLOSED_MAX]
    if not guilty:
        return 0
    replies = await admin.pipeline([("CLIENT", "KILL", "ID", client_id) for client_id in guilty])
    return sum(reply for reply in replies if isinstance(reply, int))


def _text(reply: Reply) -> bytes:
    assert isinstance(reply, bytes)
    return reply


def _number(line: re.Pattern[bytes], info: bytes) -> int:
    found = line.search(info)
    return int(found[1]) if found else 0
