"""What is typed is understood or refused with a sentence that names the way out."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from cachewright.agent import pool
from cachewright.entry import credentials, server
from cachewright.entry.failures import BadSetting
from cachewright.entry.settings import Options, check_identity, parse_listen, parse_pool
from cachewright.entry.settings import read as read_settings
from cachewright.model.settings import Addressing, Settings


def options(tmp_path: Path, **changes: object) -> Options:
    given: dict[str, object] = {
        "listen": "127.0.0.1:0",
        "state_dir": tmp_path,
        "address_pool": None,
        "addresses": "loopback",
        "region": "us-east-1",
        "account_id": "000000000000",
        "dev": False,
        "max_nodes": 300,
        "max_nodes_per_group": 90,
        "quota": (),
        "notify_url": (),
        "leave_running": False,
        "verbose": False,
    }
    return Options(**(given | changes))  # type: ignore[arg-type] # named as the fields


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:4510", ("::1", 4510)),
        ("127.9.9.9:80", ("127.9.9.9", 80)),
    ],
)
def test_a_listen_address_is_understood(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "4510", "localhost:4510", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1"]
)
def test_a_wrong_listen_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadSetting, match=r"127\.0\.0\.1"):
        parse_listen(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "127.0.0.0/8", "127.80.0.1/20", "x", "127.80.0.0/33"]
)
def test_a_pool_outside_of_what_is_ours_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="--address-pool"):
        parse_pool(text)


@pytest.mark.parametrize(
    ("region", "account_id"),
    [("mars", "000000000000"), ("us-east-1", "1"), ("us-east-1\n", "0" * 12)],
)
def test_what_could_not_stand_in_an_arn_is_refused(region: str, account_id: str) -> None:
    with pytest.raises(BadSetting):
        check_identity(region, account_id)


def test_the_test_pair_is_for_loopback_addresses_only(tmp_path: Path) -> None:
    assert read_settings(options(tmp_path, dev=True)).is_dev
    with pytest.raises(BadSetting, match="loopback"):
        read_settings(options(tmp_path, dev=True, listen="192.0.2.1:0"))


def test_quotas_and_webhooks_are_settings(tmp_path: Path) -> None:
    given = options(
        tmp_path,
        max_nodes=7,
        max_nodes_per_group=6,
        quota=("subnet-groups=1",),
        notify_url=("http://127.0.0.1:1/",),
    )
    settings = read_settings(given)
    limits = settings.limits
    found = (limits.nodes_per_region, limits.nodes_per_cluster, limits.subnet_groups)
    assert found == (7, 6, 1)
    assert [webhook.url for webhook in settings.webhooks] == ["http://127.0.0.1:1/"]


def test_credentials_are_made_once_and_kept_for_their_owner(tmp_path: Path) -> None:
    first = credentials.root_credentials(tmp_path, {})
    path = tmp_path / "credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert credentials.root_credentials(tmp_path, {}) == first
    assert first.secret_access_key.reveal() == json.loads(path.read_bytes())["secret_access_key"]
    assert first.secret_access_key.reveal() not in repr(first)


def test_credentials_of_the_environment_are_not_written_down(tmp_path: Path) -> None:
    environment = {"CACHEWRIGHT_ACCESS_KEY_ID": "me", "CACHEWRIGHT_SECRET_ACCESS_KEY": "mine"}
    found = credentials.root_credentials(tmp_path, environment)
    assert (found.access_key_id, found.is_from_environment) == ("me", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["CACHEWRIGHT_ACCESS_KEY_ID", "CACHEWRIGHT_SECRET_ACCESS_KEY"])
def test_half_a_pair_of_credentials_is_refused(tmp_path: Path, missing: str) -> None:
    environment = {"CACHEWRIGHT_ACCESS_KEY_ID": "me", "CACHEWRIGHT_SECRET_ACCESS_KEY": "mine"}
    del environment[missing]
    with pytest.raises(BadSetting, match=missing):
        credentials.root_credentials(tmp_path, environment)


def test_damaged_credentials_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(BadSetting, match="remove it"):
        credentials.root_credentials(tmp_path, {})


def test_nodes_differ_by_port_where_there_is_one_address_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems whose loopback interface has 127.0.0.1 alone."""
    monkeypatch.setattr(pool, "loopback_available", lambda address: address == "127.0.0.1")
    said: list[str] = []
    settings = server.addressable(Settings(state_dir=tmp_path), said.append)
    assert settings.addressing is Addressing.PORTS
    assert said
    wanted = Settings(state_dir=tmp_path, address_pool=ipaddress.IPv4Network("127.80.0.0/24"))
    with pytest.raises(server.CannotStart, match="--address-pool"):
        server.addressable(wanted, said.append)
