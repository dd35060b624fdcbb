"""Which loopback addresses belong to this state folder, and to nobody else on this machine?

A pool is a block of 127.0.0.0/8. It is claimed through an abstract Unix socket, which the kernel
gives to one process of a network namespace and takes back when that process dies. A block in
which anybody listens is not taken either: engines outlive a server that was killed. The block of
a folder is remembered there, so that addresses stay what they were.

Called once, by the composition root. Which node gets which address is not decided here.

Source: unix(7) (abstract sockets), proc(5) (`/proc/net/unix`, `/proc/net/tcp`).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from cachewright.agent import disk
from cachewright.kit import files
from cachewright.model.errors import Terminal

#: Where pools are found that nobody chose: far from 127.0.0.0/16, which other programs use.
SEARCHED = IPv4Network("127.64.0.0/10")
#: 4,096 addresses: 300 nodes with three endpoints each fit ten times. Gives 1,024 blocks.
BLOCK_PREFIX = 20
_LOOPBACK = IPv4Network("127.0.0.0/8")
_CLAIM_NAME = "cachewright.pool."
_FILE = "pool.json"
_UNIX_SOCKETS = Path("/proc/net/unix")
_TCP_SOCKETS = Path("/proc/net/tcp")
_LISTENING = "0A"
_OTHER_POOL = "choose another with --address-pool, or let one be found in a new state folder"


class PoolClaim:
    """A block of addresses that is ours until `release` or our death; keep it, or it is lost."""

    def __init__(self, network: IPv4Network, claim: socket.socket) -> None:
        self.network = network
        self._claim = claim

    def release(self) -> None:
        """Let others have the block, as far as nobody listens there."""
        self._claim.close()


def loopback_available(address: str) -> bool:
    """Tell whether a program can listen on `address` here; not so on other systems than Linux."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def claim_pool(state_dir: Path, wanted: IPv4Network | None) -> PoolClaim:
    """Claim `wanted`, else the block that the folder had before, else a free one; remember it.

    Raises:
        Terminal: it cannot be had; says who holds it and what to do.
    """
    file = state_dir / _FILE
    try:
        remembered = _read(file)
        network = wanted or remembered
        if network is None:
            claim = claim_free(state_dir)
        else:
            claim = _claim_exactly(network, is_known=network == remembered)
        if claim.network != remembered:
            _remember(file, claim)
    except OSError as error:
        text = f"cannot keep an address pool in {state_dir}: {disk.explain(error)}"
        raise Terminal(text, hint="choose another folder with --state-dir") from error
    return claim


def claim_free(state_dir: Path) -> PoolClaim:
    """Claim the first free block of those that `blocks_for` gives, without remembering it."""
    listeners = tuple(_listeners())
    for network in blocks_for(state_dir):
        if any(address in network for address, _ in listeners):
            continue
        claim = _try_claim(network)
        if isinstance(claim, PoolClaim):
            return claim
    raise Terminal(f"no block of {SEARCHED} is free", hint="choose a pool with --address-pool")


def _claim_exactly(network: IPv4Network, *, is_known: bool) -> PoolClaim:
    if not network.subnet_of(_LOOPBACK):
        raise Terminal(f"{network} is not inside {_LOOPBACK}", hint=_OTHER_POOL)
    for address, port in () if is_known else _listeners():
        if address in network:
            text = f"address pool {network} is in use: a program listens on {address}:{port}"
            raise Terminal(text, hint=_OTHER_POOL)
    claim = _try_claim(network)
    if isinstance(claim, PoolClaim):
        return claim
    whose = "the address pool of this folder," if is_known else "address pool"
    text = f"{whose} {network}, overlaps with {claim}, which another `cachewright up` has claimed"
    raise Terminal(text, hint=f"stop that one, or {_OTHER_POOL}")


def blocks_for(state_dir: Path) -> Iterator[IPv4Network]:
    """Yield every block once, starting at one that depends on the folder's path."""
    blocks = 1 << (BLOCK_PREFIX - SEARCHED.prefixlen)
    digest = hashlib.sha256(str(state_dir.resolve()).encode()).digest()
    first = int.from_bytes(digest[:4]) % blocks
    for index in itertools.chain(range(first, blocks), range(first)):
        base = int(SEARCHED.network_address) + (index << (32 - BLOCK_PREFIX))
        yield IPv4Network((base, BLOCK_PREFIX))


def _try_claim(network: IPv4Network) -> PoolClaim | IPv4Network:
    """Claim a block; return the network of another claim that is in the way.

    First the claim, then the look at the others: of two that overlap, at least one sees the other.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0{_CLAIM_NAME}{network}")
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return network
    for other in _claimed():
        if other != network and other.overlaps(network):
            claim.close()
            return other
    return PoolClaim(network, claim)


def _claimed() -> Iterator[IPv4Network]:
    marker = f" @{_CLAIM_NAME}"
    for line in _UNIX_SOCKETS.read_text(errors="replace").splitlines():
        _, found, name = line.partition(marker)
        if found and (network := _parse(name)) is not None:
            yield network


def _listeners() -> Iterator[tuple[IPv4Address, int]]:
    """Yield every IPv4 address and port on which any program of this machine listens."""
    for line in _TCP_SOCKETS.read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == _LISTENING:
            address, _, port = local.partition(":")
            # The kernel prints the address as a number in the byte order of this machine.
            packed = int(address, 16).to_bytes(4, sys.byteorder)
            yield IPv4Address(packed), int(port, 16)


def _parse(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text)
    except ValueError:
        return None


def _read(file: Path) -> IPv4Network | None:
    """Return the remembered block; a file that makes no sense is as good as none."""
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    text = content.get("network") if isinstance(content, dict) else None
    return _parse(text) if isinstance(text, str) else None


def _remember(file: Path, claim: PoolClaim) -> None:
    """Write the block down, or give it back."""
    try:
        files.write_atomic(file, json.dumps({"network": str(claim.network)}).encode())
    except BaseException:
        claim.release()
        raise
