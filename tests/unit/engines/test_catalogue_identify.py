"""Executables are asked who they are, once, and cannot hang or flood the one who asks."""

from __future__ import annotations

import os
import selectors
from pathlib import Path

import pytest

from cachewright.engines import bounded, identify
from cachewright.model.engines import EngineName

VALKEY = "Valkey server v=9.9.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"


def program(path: Path, script: str) -> Path:
    """Write an executable that stands in for an engine."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_valkey_is_known_by_its_answer_and_not_by_its_name(tmp_path: Path) -> None:
    path = program(
        tmp_path / "redis-server",
        f'[ "$1" = --version ] && echo "{VALKEY}" || echo "# Failed to configure TLS."',
    )
    assert identify.identify(path) == identify.Identity(
        engine=EngineName.VALKEY, version="9.9.1", has_tls=True, allocator="jemalloc-5.3.0"
    )


def test_valkey_that_expects_tls_as_a_module_has_none(tmp_path: Path) -> None:
    path = program(
        tmp_path / "valkey-server",
        f'[ "$1" = --version ] && echo "{VALKEY}" || echo "# Failed finding TLS support."',
    )
    identity = identify.identify(path)
    assert identity is not None
    assert not identity.has_tls


@pytest.mark.parametrize("has_tls", [True, False])
def test_memcached_is_asked_in_its_own_way(tmp_path: Path, has_tls: bool) -> None:
    usage = "-Z, --enable-ssl" if has_tls else "-v, --verbose"
    path = program(
        tmp_path / "memcached", f'[ "$1" = -V ] && echo memcached 1.6.9 || echo "{usage}"'
    )
    assert identify.identify(path) == identify.Identity(
        engine=EngineName.MEMCACHED, version="1.6.9", has_tls=has_tls, allocator="libc"
    )


@pytest.mark.parametrize("name", ["valkey-server", "memcached"])
@pytest.mark.parametrize("script", ["echo hello", "exit 3", "head -c 1000 /dev/urandom"])
def test_other_programs_are_no_engines(tmp_path: Path, name: str, script: str) -> None:
    assert identify.identify(program(tmp_path / name, script)) is None


def test_answer_is_kept_on_disk_until_the_file_changes(tmp_path: Path) -> None:
    count = tmp_path / "count"
    path = program(tmp_path / "memcached", f"echo x >>{count}; echo memcached 1.6.9")
    kept = tmp_path / "new" / "identities.json"
    for _ in range(2):
        assert identify.Identities(kept).of(path) is not None
    asked = count.read_text()
    program(path, f"echo x >>{count}; echo memcached 1.6.10")
    identity = identify.Identities(kept).of(path)
    assert identity is not None
    assert identity.version == "1.6.10"
    assert count.read_text() == asked * 2


def test_that_a_program_is_no_engine_is_kept_too(tmp_path: Path) -> None:
    count = tmp_path / "count"
    path = program(tmp_path / "memcached", f"echo x >>{count}; echo hello")
    for _ in range(3):
        assert identify.Identities(tmp_path / "identities.json").of(path) is None
    assert count.read_text() == "x\n"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"/x": {"mtime_ns": "no"}}', b"\xff"])
def test_damaged_memory_is_begun_again(tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "identities.json"
    kept.write_bytes(content)
    path = program(tmp_path / "memcached", "echo memcached 1.6.9")
    assert identify.Identities(kept).of(path) is not None


def test_memory_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = program(tmp_path / "memcached", "echo memcached 1.6.9")
    assert identify.Identities(tmp_path / "file" / "identities.json").of(path) is not None


def test_vanished_and_unstartable_programs_are_none_and_not_remembered(tmp_path: Path) -> None:
    identities = identify.Identities(tmp_path / "identities.json")
    path = tmp_path / "memcached"
    assert identities.of(path) is None
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    assert identities.of(path) is None
    assert identities.of(program(path, "echo memcached 1.6.9")) is not None


def test_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    path = program(tmp_path / "hangs", f"sleep 60 >{fifo} & wait")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Its child has opened the pipe by then, also on a busy machine.
        with pytest.raises(bounded.RanAway, match="not done after 2 s"):
            bounded.run([str(path)], timeout_s=2.0)
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            assert selector.select(5)
        assert os.read(reader, 1) == b""  # the end of the pipe: nobody holds it any more
    finally:
        os.close(reader)


def test_program_that_floods_is_killed() -> None:
    with pytest.raises(bounded.RanAway, match="said more than"):
        bounded.run(["yes"], timeout_s=10)


def test_loader_overrides_do_not_reach_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    assert "LD_LIBRARY_PATH" not in bounded.run(["env"], timeout_s=5).stdout
