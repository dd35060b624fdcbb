"""What a launch says arrives in every engine as it is: passwords with any characters, defaults."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewright.engines.adapter import (
    AdminConnection,
)
from cachewright.model.node_types import node_type_of
from cachewright.model.parameters import FOREIGN_SETTINGS, settings_of
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
