"""Does every state folder get addresses of its own, the same ones again, and never another's?"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from cachewright.agent import pool
from cachewright.agent.pool import claim_pool
from cachewright.model.errors import Terminal

HOLDER = """
import sys
from pathlib import Path
from cachewright.agent import pool
claim = pool.claim_free(Path(sys.argv[1]))
print(claim.network, flush=True)
sys.stdin.read()
claim.release()
"""


@pytest.fixture
def wanted() -> IPv4Network:
    """Return a block, amid others, that no other test has and that nobody finds by itself."""
    return IPv4Network(f"127.{248 + secrets.randbelow(7)}.{secrets.randbelow(16) * 16}.0/20")


def holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def network_of(child: subprocess.Popen[str]) -> IPv4Network:
    assert child.stdout is not None
    return IPv4Network(child.stdout.readline().strip())


@contextlib.contextmanager
def listening(network: IPv4Network) -> Iterator[None]:
    with socket.create_server((str(network[7]), 0)):
        yield


def test_a_folder_keeps_its_block(tmp_path: Path) -> None:
    first = claim_pool(tmp_path, None)
    assert first.network.subnet_of(pool.SEARCHED)
    assert first.network.prefixlen == pool.BLOCK_PREFIX
    first.release()
    with listening(first.network):  # an engine of the server before
        again = claim_pool(tmp_path, None)
    assert again.network == first.network
    again.release()


def test_the_block_is_remembered_privately(tmp_path: Path) -> None:
    claim = claim_pool(tmp_path, None)
    claim.release()
    remembered = tmp_path / "pool.json"
    assert json.loads(remembered.read_text()) == {"network": str(claim.network)}
    assert remembered.stat().st_mode & 0o777 == 0o600


def test_two_processes_that_claim_at_once_get_different_blocks(tmp_path: Path) -> None:
    """Both search from the same block, for the path of their folder is the same."""
    with holder(tmp_path) as one, holder(tmp_path) as two:
        assert not network_of(one).overlaps(network_of(two))


def test_the_block_of_a_process_that_was_killed_is_free_again(tmp_path: Path) -> None:
    with holder(tmp_path) as child:
        network = network_of(child)
        (tmp_path / "pool.json").write_text(json.dumps({"network": str(network)}))
        with pytest.raises(Terminal, match=f"pool of this folder, {network}, overlaps"):
            claim_pool(tmp_path, None)
        child.kill()
        child.wait()
    claim = claim_pool(tmp_path, None)
    assert claim.network == network
    claim.release()


def test_a_block_where_somebody_listens_is_passed_over(tmp_path: Path) -> None:
    claim = claim_pool(tmp_path, None)
    claim.release()
    (tmp_path / "pool.json").unlink()  # now the listener is nobody's that we know
    with listening(claim.network):
        other = claim_pool(tmp_path, None)
    assert not other.network.overlaps(claim.network)
    other.release()


def test_a_pool_that_was_asked_for_is_claimed_and_remembered(
    tmp_path: Path, wanted: IPv4Network
) -> None:
    claim_pool(tmp_path, wanted).release()
    claim = claim_pool(tmp_path, None)
    assert claim.network == wanted
    claim.release()


@pytest.mark.parametrize("prefix", [18, 20, 24])
def test_pools_that_overlap_exclude_each_other(
    tmp_path: Path, wanted: IPv4Network, prefix: int
) -> None:
    held = claim_pool(tmp_path, wanted)
    other = IPv4Network((int(wanted.network_address), prefix), strict=False)
    (tmp_path / "other").mkdir()
    with pytest.raises(Terminal, match=rf"{other}, overlaps with {wanted}.*--address-pool"):
        claim_pool(tmp_path / "other", other)
    assert not (tmp_path / "other/pool.json").exists()
    held.release()
    claim_pool(tmp_path / "other", other).release()


def test_a_pool_with_somebody_elses_listener_is_refused(
    tmp_path: Path, wanted: IPv4Network
) -> None:
    with listening(wanted), pytest.raises(Terminal, match=f"listens on {wanted[7]}:.*--address-p"):
        claim_pool(tmp_path, wanted)
    claim = claim_pool(tmp_path, wanted)
    claim.release()
    with listening(wanted):  # now an engine of this folder
        claim_pool(tmp_path, wanted).release()


def test_only_loopback_is_a_pool(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="not inside 127"):
        claim_pool(tmp_path, IPv4Network("10.0.0.0/24"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"network": 7}', '{"network": "x"}'])
def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "pool.json").write_text(content)
    claim = claim_pool(tmp_path, None)
    claim.release()
    assert json.loads((tmp_path / "pool.json").read_text()) == {"network": str(claim.network)}


def test_a_claim_that_cannot_be_remembered_is_given_back(
    tmp_path: Path, wanted: IPv4Network
) -> None:
    with pytest.raises(Terminal, match=rf"cannot keep an address pool in {tmp_path}/gone: "):
        claim_pool(tmp_path / "gone", wanted)
    claim_pool(tmp_path, wanted).release()


def test_a_memory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "pool.json").mkdir()
    with pytest.raises(Terminal, match=r"pool\.json: Is a directory"):
        claim_pool(tmp_path, None)


def test_loopback_addresses_are_available_here_and_foreign_ones_are_not() -> None:
    assert pool.loopback_available("127.99.98.97")
    assert not pool.loopback_available("192.0.2.1")  # TEST-NET-1 is on no host
