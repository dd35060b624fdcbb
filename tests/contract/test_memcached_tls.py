"""A memcached that is started with TLS speaks nothing else, with the certificate it was given."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.agent.certificates import Authority
from cachewright.engines import home
from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.resp import EngineUnreachable
from cachewright.model.builds import Build
from tests.contract.engine_lab import CALL_TIMEOUT_S, miss
from tests.contract.memcached_lab import VERSIONS, Engine, Lab, build_named


@pytest.fixture(params=VERSIONS)
def build(request: pytest.FixtureRequest) -> Build:
    found = build_named(request.param)
    return found if isinstance(found, Build) else miss(found)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def started(lab: Lab, build: Build) -> tuple[Engine, ssl.SSLContext]:
    engine = lab.engine(build, transit_encryption=True)
    issued = Authority(lab.folder).issue(engine.launch.key, engine.launch.address)
    (engine.home.folder / home.CERTIFICATE_NAME).write_bytes(issued.certificate)
    (engine.home.folder / home.KEY_NAME).write_bytes(issued.key)
    engine.start()
    trusting = ssl.create_default_context(cadata=issued.authority.decode())
    engine.observe(trusting)
    return engine, trusting


def test_it_serves_over_tls_and_nothing_in_the_clear(lab: Lab, build: Build) -> None:
    engine, trusting = started(lab, build)
    fact = engine.observe(trusting)
    assert (fact.version, fact.bind) == (build.version, (engine.launch.address,))
    where = (engine.launch.address, engine.launch.port)
    with (
        socket.create_connection(where, CALL_TIMEOUT_S) as plain,
        trusting.wrap_socket(plain, server_hostname=where[0]) as secure,
    ):
        secure.sendall(b"set k 0 0 1\r\nv\r\n")
        assert secure.recv(100) == b"STORED\r\n"
        assert secure.version() == "TLSv1.3"
    with socket.create_connection(where, CALL_TIMEOUT_S) as plain:
        plain.sendall(b"get k\r\n")
        try:
            said = plain.recv(100)
        except ConnectionResetError:
            said = b""
        assert b"VALUE" not in said
        assert b"END" not in said


def test_who_was_signed_by_somebody_else_is_not_believed(lab: Lab, build: Build) -> None:
    engine, _ = started(lab, build)
    other = lab.folder / "other"
    other.mkdir()
    stranger = ssl.create_default_context(cadata=Authority(other).certificate().decode())
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cadata=Authority(lab.folder).certificate().decode())
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    for distrusting, words in (
        (stranger, "certificate verify failed"),
        (old, "cannot connect"),
        (None, "the engine closed the connection"),
    ):
        with pytest.raises(EngineUnreachable, match=words):
            asyncio.run(
                MemcachedAdapter().connect(
                    engine.launch.address,
                    engine.launch.port,
                    "",
                    timeout_s=CALL_TIMEOUT_S,
                    tls=distrusting,
                )
            )
