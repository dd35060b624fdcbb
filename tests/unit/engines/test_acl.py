"""Who is on, who is off, and what each may do, as it is written into `users.acl`."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cachewright.engines.acl import closed_commands, render_users
from cachewright.engines.text import UnusableLaunch
from cachewright.model.commands import Launch
from cachewright.model.engines import ENGINE_LINES, EngineName, capabilities_of

LAUNCH = Launch(
    key="g.n",
    engine=EngineName.VALKEY,
    engine_version="9.1",
    address="127.0.1.2",
    port=6379,
    maxmemory_bytes=1,
    maxclients=1,
    settings=(),
    admin_password="the administrator's",
    replication_password="the replicas'",
)


def users_of(launch: Launch) -> dict[str, list[str]]:
    lines = [line.split(" ") for line in render_users(launch).decode().splitlines()]
    assert {line[0] for line in lines} == {"user"}
    return {line[1]: line[2:] for line in lines}


def test_only_the_administrator_is_on() -> None:
    users = users_of(LAUNCH)
    assert {name: words[0] for name, words in users.items()} == {
        "default": "off",
        "cachewright-replication": "off",
        "cachewright-admin": "on",
    }


def test_passwords_are_written_as_hashes() -> None:
    content = render_users(LAUNCH).decode()
    users = users_of(LAUNCH)
    for name, password in (
        ("cachewright-admin", LAUNCH.admin_password),
        ("cachewright-replication", LAUNCH.replication_password),
    ):
        assert password not in content
        assert "#" + hashlib.sha256(password.encode()).hexdigest() in users[name]
    assert not any(word.startswith((">", "nopass")) for word in users["cachewright-admin"])


def test_replication_starts_from_nothing() -> None:
    words = users_of(replace(LAUNCH, engine_version="8.1"))["cachewright-replication"]
    assert words[2:] == [
        *("resetkeys", "resetchannels", "-@all"),
        *("+ping", "+psync", "+replconf", "+sync"),
    ]


def test_moving_slots_need_more_than_replication() -> None:
    """The keys arrive at their target as commands, from this user."""
    words = users_of(LAUNCH)["cachewright-replication"]
    assert {"~*", "+@write", "-migrate", "+cluster|syncslots"} <= set(words)
    assert "+@all" not in words


@pytest.mark.parametrize(
    "line", ENGINE_LINES, ids=lambda line: f"{line.engine.value}-{line.api_version}"
)
def test_every_closed_command_is_taken_from_clients(line) -> None:  # type: ignore[no-untyped-def] # a row
    launch = replace(LAUNCH, engine=line.engine, engine_version=line.api_version)
    closed = closed_commands(capabilities_of(line.engine, line.api_version))
    words = users_of(launch)["default"]
    assert words[words.index("+@all") + 1 :] == [f"-{command}" for command in closed]


@pytest.mark.parametrize(
    "password", ["", "a\nuser evil on nopass ~* +@all", "\x00", "\x7f", "\ud800"]
)
def test_a_password_that_no_client_could_send_is_refused(password: str) -> None:
    for changed in (
        replace(LAUNCH, admin_password=password),
        replace(LAUNCH, replication_password=password),
    ):
        with pytest.raises(UnusableLaunch) as refused:
            render_users(changed)
        assert not password or password not in str(refused.value)
