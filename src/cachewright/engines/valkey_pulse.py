"""How is a Valkey or Redis asked whether it still comes round to answering?

With `PING`, which its event loop answers. An error is an answer too: an engine that loads its data
or has lost its primary says so. Only `BUSY` means that it does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from cachewright.engines import resp
from cachewright.engines.home import PingAnswer

_PING = (("PING",),)
_MEANINGS = {"BUSY": PingAnswer.BUSY, "NOPERM": PingAnswer.REFUSED}


class ValkeyPinger:
    """Pings, for all versions of Valkey and Redis."""

    def ping(self, admin: resp.AdminConnection, answered: Callable[[PingAnswer], None]) -> None:
        """Send a `PING`; `answered` gets what its reply means."""
        admin.send(_PING, lambda said: answered(_meaning(said)))


def _meaning(said: list[resp.Reply] | resp.EngineUnreachable) -> PingAnswer:
    if isinstance(said, resp.EngineUnreachable):
        return PingAnswer.LOST
    (reply,) = said
    if isinstance(reply, resp.EngineRefused):
        return _MEANINGS.get(reply.code, PingAnswer.ALIVE)
    return PingAnswer.ALIVE
