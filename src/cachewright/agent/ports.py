"""Which ports of the shared address belong to this state folder, and to nobody else here?

The answer for `--addresses ports`, beside `pool` for loopback addresses: a block of ports, claimed
through an abstract Unix socket that dies with its process, and remembered in the folder, so that
nodes keep their ports. A block in which anybody listens is passed over.

Called once, by the composition root. Which node gets which port is not decided here.
"""

from __future__ import annotations

import json
import socket
import zlib
from pathlib import Path

from cachewright.kit import files
from cachewright.model.errors import Terminal

#: Above the well-known ports, and with the cluster bus (10,000 higher) below 32,768, where the
#: kernel takes ports for outgoing connections.
FIRST_PORT = 10_000
#: As many nodes as the largest group has.
PORTS_PER_BLOCK = 500
BLOCKS = 20
_CLUSTER_BUS_OFFSET = 10_000
_CLAIM_NAME = "cachewright.ports."
_FILE = "ports.json"


class PortsClaim:
    """The ports `first` to `last`, ours until `release` or our death."""

    def __init__(self, first: int, claim: socket.socket) -> None:
        self.first = first
        self.last = first + PORTS_PER_BLOCK - 1
        self._claim = claim

    def release(self) -> None:
        """Let others have the block, as far as nobody listens there."""
        self._claim.close()


def claim_ports(state_dir: Path, address: str) -> PortsClaim:
    """Claim the block that the folder had before, else a free one on `address`; remember it.

    Raises:
        Terminal: none is free, or another process has the remembered one.
    """
    file = state_dir / _FILE
    remembered = _read(file)
    if remembered is not None:
        claim = _try_claim(remembered)
        if claim is None:
            raise Terminal(
                f"the ports from {remembered} on, of this folder, are claimed by another process",
                hint="stop the other `cachewright up`",
            )
        return claim
    start = zlib.crc32(str(state_dir.resolve()).encode())
    for index in range(BLOCKS):
        first = FIRST_PORT + (start + index) % BLOCKS * PORTS_PER_BLOCK
        claim = _try_claim(first)
        if claim is None:
            continue
        if _is_free(address, first):
            files.write_atomic(file, json.dumps({"first": first}).encode())
            return claim
        claim.release()
    raise Terminal(
        f"no {PORTS_PER_BLOCK} ports in a row are free on {address}",
        hint="stop a program that listens between "
        f"{FIRST_PORT} and {FIRST_PORT + BLOCKS * PORTS_PER_BLOCK}, or use --addresses loopback",
    )


def _try_claim(first: int) -> PortsClaim | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0{_CLAIM_NAME}{first}")
    except OSError:
        claim.close()
        return None
    return PortsClaim(first, claim)


def _is_free(address: str, first: int) -> bool:
    for port in range(first, first + PORTS_PER_BLOCK):
        for wanted in (port, port + _CLUSTER_BUS_OFFSET):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind((address, wanted))
                except OSError:
                    return False
    return True


def _read(file: Path) -> int | None:
    """Return the remembered first port; a file that makes no sense is as good as none."""
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    first = content.get("first") if isinstance(content, dict) else None
    return first if isinstance(first, int) else None
