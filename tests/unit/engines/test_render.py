"""Which settings an engine starts with, and what a launch cannot change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewright.engines.render import render_files
from cachewright.engines.text import UnusableLaunch, quoted
from cachewright.model.commands import Launch, Peer
from cachewright.model.engines import EngineName
from cachewright.model.parameters import ENGINE_SETTINGS
from cachewright.model.slots import split_evenly
from cachewright.model.status import Role

LAUNCH = Launch(
    key="g.n",
    engine=EngineName.VALKEY,
    engine_version="9.1",
    address="127.0.1.2",
    port=6379,
    maxmemory_bytes=1048576,
    maxclients=100,
    settings=(("maxmemory-policy", "volatile-lru"), ("notify-keyspace-events", "")),
    admin_password="admin",
    replication_password="replication",
)
CLUSTERED = replace(
    LAUNCH,
    engine_id="a" * 40,
    peers=(
        Peer(
            engine_id="a" * 40,
            address=LAUNCH.address,
            port=LAUNCH.port,
            role=Role.PRIMARY,
            primary_engine_id=None,
            slots=split_evenly(1)[0],
            epoch=1,
        ),
    ),
)


def config_of(launch: Launch) -> dict[str, str]:
    lines = render_files(launch)["engine.conf"].decode("ascii").splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs), "a setting is written twice"
    return {name: value.removeprefix('"').removesuffix('"') for name, value in pairs}


def test_files_of_both_modes() -> None:
    assert set(render_files(LAUNCH)) == {"engine.conf", "users.acl"}
    assert set(render_files(CLUSTERED)) == {"engine.conf", "users.acl", "nodes.conf"}


def test_safety_is_in_the_configuration() -> None:
    config = config_of(LAUNCH)
    expected = {
        "bind": "127.0.1.2",
        "bind-source-addr": "127.0.1.2",
        "port": "6379",
        "aclfile": "users.acl",
        "save": "",
        "shutdown-on-sigterm": "nosave now force",
        "shutdown-on-sigint": "nosave now force",
        "enable-debug-command": "no",
        "enable-module-command": "no",
        "enable-protected-configs": "no",
        "repl-diskless-sync-delay": "0",
        "repl-diskless-load": "on-empty-db",
        "maxmemory": "1048576",
        "maxclients": "100",
        "maxmemory-policy": "volatile-lru",
        "notify-keyspace-events": "",
        "io-threads": "1",
    }
    assert {name: config.get(name) for name in expected} == expected
    assert not any(name.startswith("cluster-") for name in config)
    assert "admin" not in config.values()


def test_cluster_mode_adds_its_own() -> None:
    config = config_of(
        replace(CLUSTERED, port=60000, peers=(replace(CLUSTERED.peers[0], port=60000),))
    )
    expected = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-announce-ip": "127.0.1.2",
        "cluster-port": "50000",
        "cluster-node-timeout": "15000",
        "cluster-allow-replica-migration": "no",
        "cluster-config-save-behavior": "best-effort",
    }
    assert {
        name: value for name, value in config.items() if name.startswith("cluster-")
    } == expected


@pytest.mark.parametrize(
    ("engine", "version", "present", "absent"),
    [
        (
            EngineName.REDIS,
            "7.0",
            {"masteruser", "masterauth", "sanitize-dump-payload"},
            {"primaryauth", "dual-channel-replication-enabled", "hide-user-data-from-log"},
        ),
        (
            EngineName.VALKEY,
            "8.0",
            {"primaryuser", "primaryauth", "dual-channel-replication-enabled",
             "sanitize-dump-payload", "hide-user-data-from-log"},
            {"masterauth", "cluster-config-save-behavior"},
        ),
        (
            EngineName.VALKEY,
            "9.1",
            {"primaryauth", "dual-channel-replication-enabled", "cluster-config-save-behavior"},
            {"masterauth", "sanitize-dump-payload"},
        ),
    ],
)  # fmt: skip
def test_versions_differ_in_rows(
    engine: EngineName, version: str, present: set[str], absent: set[str]
) -> None:
    names = set(config_of(replace(CLUSTERED, engine=engine, engine_version=version)))
    assert present <= names
    assert not absent & names


@pytest.mark.parametrize(
    "setting",
    [
        "dir", "save", "include", "loadmodule", "rename-command", "user", "requirepass", "bind",
        "aclfile", "enable-debug-command", "unixsocket", "", "maxmemory", "MAXMEMORY-POLICY",
        "maxmemory-policy\nsave 1 1\n#", "maxmemory-policy ", "# comment",
    ],
)  # fmt: skip
def test_a_launch_may_set_parameters_only(setting: str) -> None:
    with pytest.raises(UnusableLaunch):
        render_files(replace(LAUNCH, settings=((setting, "1"),)))


def test_no_parameter_overlaps_with_what_is_fixed() -> None:
    fixed = set(config_of(replace(CLUSTERED, settings=())))
    assert fixed & ENGINE_SETTINGS == {"io-threads"}


def test_a_parameter_is_set_once_and_may_replace_a_default() -> None:
    twice = (("timeout", "0"), ("timeout", "20"))
    with pytest.raises(UnusableLaunch, match="twice"):
        render_files(replace(LAUNCH, settings=twice))
    assert config_of(replace(LAUNCH, settings=(("io-threads", "4"),)))["io-threads"] == "4"
    with pytest.raises(UnusableLaunch, match="twice"):
        render_files(replace(LAUNCH, settings=(("io-threads", "4"), ("io-threads", "2"))))


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "localhost"}, {"address": "127.1"}, {"address": "127.0.0.1 0.0.0.0"},
        {"address": "-127.0.0.1"}, {"address": "*"}, {"address": ""}, {"address": "fe80::1%eth0"},
        {"address": "127.0.0.1\n"}, {"address": "\uff1127.0.0.1"}, {"port": 0}, {"port": 65536},
        {"maxmemory_bytes": 0}, {"maxmemory_bytes": -1}, {"maxclients": 0},
        {"replication_password": "a\r\nb"}, {"admin_password": ""},
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UnusableLaunch):
        render_files(replace(LAUNCH, **changes))  # type: ignore[arg-type] # names fields of it


def test_an_error_does_not_repeat_a_secret() -> None:
    with pytest.raises(UnusableLaunch) as refused:
        render_files(replace(LAUNCH, replication_password="hunter2\n"))
    assert "hunter2" not in str(refused.value)
    assert "replication_password" in str(refused.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", '""'),
        ("plain words", '"plain words"'),
        ('"', r'"\x22"'),
        ("\\", r'"\x5c"'),
        ("#'$", '"#\'$"'),
        ("é", r'"\xc3\xa9"'),
    ],
)
def test_quoting(value: str, expected: str) -> None:
    assert quoted("value", value) == expected
