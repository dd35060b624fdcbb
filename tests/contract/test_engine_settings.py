"""What a launch says arrives in every engine as it is: passwords with any characters, defaults."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewright.engines import acl
from cachewright.engines.adapter import AdminConnection, Restored
from cachewright.model.node_types import node_type_of
from cachewright.model.parameters import FOREIGN_SETTINGS, is_immediate, settings_of
from tests.contract.engine_lab import (
    Lab,
)


@pytest.mark.parametrize(
    "password",
    ['a"b', "a\\b", "a\\nb", "#a b", "é💾", "'", "$HOME", "\\x41", '"', "a" * 500, " a "],
)
def test_any_password_arrives_as_it_is(lab: Lab, password: str) -> None:
    engine = lab.started(replication_password=password, admin_password=password)
    for setting in ("masterauth", "maxmemory"):
        reply = engine.administer("CONFIG", "GET", setting)
        expected = password.encode() if setting == "masterauth" else b"67108864"
        assert reply == [setting.encode(), expected]


@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_default_parameters_arrive_as_they_are(lab: Lab, cluster_enabled: bool) -> None:
    node_type = node_type_of("cache.t4g.micro")
    assert node_type is not None
    settings = settings_of(lab.build.engine, lab.build.api_version, node_type, cluster_enabled, {})
    of_engine = [(name, value) for name, value in settings if name not in FOREIGN_SETTINGS]
    engine = lab.cluster(1, 0)[0] if cluster_enabled else lab.engine()
    engine.launch = replace(engine.launch, settings=settings)
    engine.start()

    async def read(admin: AdminConnection) -> dict[str, str]:
        replies = await admin.pipeline([("CONFIG", "GET", name) for name, _ in of_engine])
        pairs = [reply for reply in replies if isinstance(reply, list) and reply]
        return {str(name, "ascii"): str(value, "ascii") for name, value in pairs}  # type: ignore[arg-type] # bytes

    seen = engine.call(read)
    assert seen == {n: v.replace("replica ", "slave ") for n, v in of_engine}


@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_whatever_was_set_for_a_while_is_taken_back(lab: Lab, cluster_enabled: bool) -> None:
    """All that can be told at once, whatever the version; nothing of it is refused."""
    node_type = node_type_of("cache.t4g.micro")
    assert node_type is not None
    line = (lab.build.engine, lab.build.api_version)
    settings = settings_of(*line, node_type, cluster_enabled, {})
    engine = lab.cluster(1, 0)[0] if cluster_enabled else lab.engine()
    engine.launch = replace(engine.launch, settings=settings)
    engine.start()
    asked = tuple(n for n, _ in settings if n not in FOREIGN_SETTINGS and is_immediate(*line, n))

    async def work(admin: AdminConnection) -> None:
        before = await admin.command("CONFIG", "GET", *asked)
        await admin.command("CONFIG", "SET", "timeout", "77", "maxclients", "99")
        await admin.command("ACL", "SETUSER", f"{acl.MOVER_PREFIX}1", "on")
        await admin.command("CONFIG", "SET", "maxmemory", "96mb")
        restored = await engine.adapter.restore(admin, engine.launch)
        assert restored == Restored(maxmemory_bytes=96 << 20)
        assert await admin.command("CONFIG", "GET", *asked) == before
        assert await admin.command("CONFIG", "GET", "maxclients") == [b"maxclients", b"1000"]
        users = await admin.command("ACL", "USERS")
        assert isinstance(users, list)
        assert len(users) == 3

    engine.call(work)
