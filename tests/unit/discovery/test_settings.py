"""Is the file of a configuration endpoint read, and refused where it makes no sense?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cachewright.discovery.answers import Member
from cachewright.discovery.settings import Settings, Tls, Unusable, read_settings
from cachewright.engines import discovery
from cachewright.engines.text import UnusableLaunch
from cachewright.model import commands
from tests.integration.discovery_world import endpoint_launch, member

_GOOD: dict[str, Any] = {
    "listen": ["127.0.0.2", 11211],
    "config_version": 3,
    "members": [{"name": "a.example", "address": "127.0.0.3", "port": 11211}],
    "tls": None,
}


def read(folder: Path, content: object) -> Settings:
    file = folder / "discovery.json"
    file.write_text(json.dumps(content))
    return read_settings(file)


def test_a_good_file(tmp_path: Path) -> None:
    assert read(tmp_path, _GOOD) == Settings(
        listen=("127.0.0.2", 11211),
        config_version=3,
        members=(Member(name="a.example", address="127.0.0.3", port=11211),),
    )
    tls = {"certificate": "c.pem", "key": "k.pem", "authority": "a.pem"}
    assert read(tmp_path, _GOOD | {"tls": tls}).tls == Tls(**tls)


def test_what_the_adapter_writes_is_what_is_read(tmp_path: Path) -> None:
    launch = endpoint_launch(member("127.0.0.9"), member("127.0.0.8"), version=7)
    file = tmp_path / "discovery.json"
    file.write_bytes(discovery.DiscoveryAdapter().files(launch)["discovery.json"])
    settings = read_settings(file)
    assert settings.listen == (launch.address, launch.port)
    assert settings.config_version == 7
    assert [one.name for one in settings.members] == ["127.0.0.9", "127.0.0.8"]
    assert not any(secret in file.read_text() for secret in ("p" * 64, "r" * 64))


@pytest.mark.parametrize(
    "change",
    [
        {"listen": ["127.0.0.2", 0]},
        {"listen": ["127.0.0.2", 65536]},
        {"listen": ["127.0.0.2", "11211"]},
        {"listen": ["localhost", 11211]},
        {"listen": ["127.0.0.2"]},
        {"listen": None},
        {"config_version": 0},
        {"config_version": "3"},
        {"config_version": True},
        {"members": None},
        {"members": ["127.0.0.3"]},
        {"members": [{"name": "a", "address": "127.0.0.3"}]},
        {"members": [{"name": "a|b", "address": "127.0.0.3", "port": 1}]},
        {"members": [{"name": "a b", "address": "127.0.0.3", "port": 1}]},
        {"members": [{"name": "a\nb", "address": "127.0.0.3", "port": 1}]},
        {"members": [{"name": "", "address": "127.0.0.3", "port": 1}]},
        {"members": [{"name": 5, "address": "127.0.0.3", "port": 1}]},
        {"members": [{"name": "a", "address": "::1", "port": 1}]},
        {"members": [{"name": "a", "address": 5, "port": 1}]},
        {"tls": {"certificate": "c.pem"}},
        {"tls": "yes"},
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(Unusable):
        read(tmp_path, _GOOD | change)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"listen": 1}', "\xff"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "discovery.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(Unusable):
        read_settings(file)
    with pytest.raises(Unusable):
        read_settings(tmp_path / "missing.json")


@pytest.mark.parametrize(
    "bad",
    [
        commands.Member(name="a|b", address="127.0.0.3", port=1),
        commands.Member(name="a b", address="127.0.0.3", port=1),
        commands.Member(name="n\u00f6de", address="127.0.0.3", port=1),
        commands.Member(name="", address="127.0.0.3", port=1),
        commands.Member(name="a", address="a", port=1),
        commands.Member(name="a", address="127.0.0.3", port=0),
    ],
)
def test_the_adapter_writes_no_member_that_clients_could_not_read(bad: commands.Member) -> None:
    with pytest.raises(UnusableLaunch):
        discovery.DiscoveryAdapter().files(endpoint_launch(bad))
