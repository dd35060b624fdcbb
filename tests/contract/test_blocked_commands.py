"""Commands that `rename-commands` blocks are closed to clients, at a start and at run time."""

from __future__ import annotations

import hiredis

from cachewright.engines.adapter import AdminConnection
from cachewright.model.parameters import RENAME_COMMANDS
from cachewright.model.parameters.blocking import BLOCKABLE
from tests.contract.engine_lab import Client, Engine, Lab


def is_closed(client: Client, *command: str) -> bool:
    reply = client(*command)
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM")


def test_every_engine_has_every_command_that_can_be_blocked(admitted: Engine) -> None:
    async def unknown(admin: AdminConnection) -> list[str]:
        names = sorted(BLOCKABLE)
        replies = await admin.pipeline([("COMMAND", "INFO", name) for name in names])
        return [name for name, reply in zip(names, replies, strict=True) if reply == [None]]

    assert admitted.call(unknown) == []


def test_what_is_blocked_can_change_under_a_client(lab: Lab) -> None:
    engine = lab.started(settings=((RENAME_COMMANDS, "flushall blocked keys blocked"),))
    engine.admit()
    client = engine.client()

    def closed() -> list[bool]:
        commands = (("FLUSHALL",), ("KEYS", "*"), ("DBSIZE",), ("CONFIG", "GET", "*"))
        return [is_closed(client, *command) for command in commands]

    async def block(admin: AdminConnection, value: str) -> None:
        settings = {RENAME_COMMANDS: value, "timeout": "0"}
        assert await engine.adapter.configure(admin, settings) == ()

    assert closed() == [True, True, False, True]
    engine.call(lambda admin: block(admin, "keys blocked dbsize blocked"))
    assert closed() == [False, True, True, True]
    engine.call(lambda admin: block(admin, ""))
    assert closed() == [False, False, False, True]
    assert engine.observe().is_held is False


def test_a_held_engine_stays_held(lab: Lab) -> None:
    engine = lab.started()

    async def block(admin: AdminConnection) -> None:
        assert await engine.adapter.configure(admin, {RENAME_COMMANDS: "keys blocked"}) == ()

    engine.call(block)
    assert engine.observe().is_held
    engine.admit()
    assert is_closed(engine.client(), "KEYS", "*")


def test_everything_that_can_be_blocked_can_be_at_once(lab: Lab) -> None:
    everything = " ".join(f"{command} blocked" for command in sorted(BLOCKABLE))
    engine = lab.started(settings=((RENAME_COMMANDS, everything),))
    engine.admit()
    client = engine.client()
    assert client("PING") == b"PONG"
    assert is_closed(client, "GET", "k")
