"""How do the roles of two living Valkey or Redis engines change hands?

Single acts in the engines' words; their order, and what is checked between them, is the agent's.
"""

from __future__ import annotations

from cachewright.engines import acl, resp
from cachewright.engines.home import RoleSeen
from cachewright.engines.text import check_address, check_port
from cachewright.model.status import Role

_PRIMARY = b"master"
_CONNECTED = b"connected"
_OFFSET = b"\nmaster_repl_offset:"


class ValkeyRoles:
    """Changes of roles, for all versions of Valkey and Redis."""

    async def seen(self, admin: resp.AdminConnection) -> RoleSeen:
        """Return what `ROLE` says."""
        reply = await admin.command("ROLE")
        match reply:
            case [b"master", int(offset), _]:
                return RoleSeen(role=Role.PRIMARY, offset=offset)
            case [b"slave", bytes(address), int(port), bytes(state), int(offset)]:
                return RoleSeen(
                    role=Role.REPLICA,
                    offset=offset,
                    primary=(address.decode(), port),
                    is_linked=state == _CONNECTED,
                )
        raise resp.EngineUnreachable("what answers there is not such an engine")

    async def pause_writes(self, admin: resp.AdminConnection, pause_ms: int) -> int:
        """Pause writes, expiry and eviction; both commands are carried out back to back."""
        paused, info = await admin.pipeline(
            [("CLIENT", "PAUSE", pause_ms, "WRITE"), ("INFO", "replication")]
        )
        resp.reply_or_raise(paused)
        return _offset(info)

    async def resume_writes(self, admin: resp.AdminConnection) -> None:
        """End a pause; nothing happens where there is none."""
        await admin.command("CLIENT", "UNPAUSE")

    async def step_down(self, admin: resp.AdminConnection, address: str, port: int) -> int:
        """Follow another engine, and close its clients, none of which has a word in between.

        Subscribers stay, and so do the administrator's connections.
        """
        target = (check_address("address", address), check_port("port", port))
        told, info, _ = await admin.pipeline(
            [
                ("REPLICAOF", *target),
                ("INFO", "replication"),
                ("CLIENT", "KILL", "TYPE", "normal", "USER", acl.PUBLIC_USER),
            ]
        )
        resp.reply_or_raise(told)
        return _offset(info)

    async def begin_hand_over(self, admin: resp.AdminConnection) -> None:
        """Begin the engines' own coordinated failover."""
        await admin.command("CLUSTER", "FAILOVER")


def _offset(info: resp.Reply) -> int:
    said = resp.reply_or_raise(info)
    if not isinstance(said, bytes) or _OFFSET not in said:
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return int(said.partition(_OFFSET)[2].split(None, 1)[0])
