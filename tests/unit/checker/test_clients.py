"""Each kind of client says what it is called and what its failures are."""

from __future__ import annotations

import contextlib
import socket

import pytest

from cachewright.checker.clients import Kind, Target

KINDS = [
    pytest.param(kind, marks=() if kind.is_here() else pytest.mark.skip(f"no {kind.package} here"))
    for kind in Kind
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_clients_says_its_version_and_its_failures(kind: Kind) -> None:
    assert kind.described().startswith(f"{kind.value} ")
    target = Target(host="127.0.0.1", port=1, is_cluster=True, kind=kind)
    failures = target.failures()
    with pytest.raises(failures) as caught:
        target.connect()
    # Nobody was found: no use in going on with this one.
    assert target.is_worn_out(caught.value)


@pytest.mark.parametrize("kind", [Kind.VALKEY_PY, Kind.REDIS_PY])
def test_a_client_that_connects_later_is_not_worn_out_by_a_refusal(kind: Kind) -> None:
    alone = Target(host="127.0.0.1", port=1, is_cluster=False, kind=kind)
    client = alone.connect()
    with pytest.raises(alone.failures()) as caught:
        client.rpush("key", 1)
    assert not alone.is_worn_out(caught.value)
    client.close()


@pytest.mark.parametrize("kind", [Kind.VALKEY_PY, Kind.REDIS_PY])
@pytest.mark.parametrize("error", [ConnectionResetError(), AttributeError(), KeyError("7")])
def test_what_a_client_did_not_think_of_is_a_failed_request(kind: Kind, error: Exception) -> None:
    target = Target(host="127.0.0.1", port=1, is_cluster=True, kind=kind)
    assert isinstance(error, target.failures())
    assert not target.is_worn_out(error)


def ask(target: Target) -> None:
    with contextlib.closing(target.connect()) as client:
        client.rpush("key", 1)


@pytest.mark.parametrize("kind", [one for one in KINDS if one.values[0] is not Kind.REDIS_PY])
def test_who_never_answers_fails_a_request(kind: Kind) -> None:
    """The kernel takes the connection, and nobody reads from it (redis-py tries ten times)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        target = Target(host=host, port=port, is_cluster=False, kind=kind)
        with pytest.raises(target.failures(), match=r"(?i)time"):
            ask(target)
