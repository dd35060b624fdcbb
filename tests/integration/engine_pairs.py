"""Which engines does a test have that plays with slots by hand? Two primaries and nobody else."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import valkey

from cachewright.engines import embedded
from tests import service_kit as kit

#: The first slot of the second one.
HALF = 8_192


class Node:
    """One engine of a cluster of two."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        program = embedded.embedded_server()
        assert program is not None
        options = f"--bind {address} --port {kit.PORT} --cluster-enabled yes"
        options += f" --bind-source-addr {address} --cluster-announce-ip {address} --save"
        folder.mkdir()
        self.process = subprocess.Popen(
            [str(program), *options.split(), ""], cwd=folder, stdout=subprocess.DEVNULL
        )
        kit.wait_until("the engine listens", self._listens)
        self.admin: Any = valkey.Valkey(host=address, port=kit.PORT, socket_timeout=5.0)
        self.node_id = self.ask("CLUSTER", "MYID").decode()

    def ask(self, *words: object) -> Any:
        return self.admin.execute_command(*words)

    def hang_up(self) -> None:
        """End all connections but ours."""
        other: Any = valkey.Valkey(host=self.address, port=kit.PORT)
        with contextlib.closing(other):
            other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def close(self) -> None:
        self.admin.close()
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, kit.PORT), 1.0):
            return True
        return False


@contextlib.contextmanager
def two_primaries(folder: Path) -> Iterator[tuple[Node, Node]]:
    """Two primaries with half of the slots each."""
    block = f"127.{16 + secrets.randbelow(32)}.{secrets.randbelow(256)}"
    with contextlib.ExitStack() as held:
        nodes = []
        for number in (1, 2):
            node = Node(f"{block}.{number}", folder / f"{number}")
            held.callback(node.close)
            nodes.append(node)
        one, two = nodes
        one.ask("CLUSTER", "ADDSLOTSRANGE", 0, HALF - 1)
        two.ask("CLUSTER", "ADDSLOTSRANGE", HALF, 16_383)
        two.ask("CLUSTER", "SET-CONFIG-EPOCH", 2)
        one.ask("CLUSTER", "MEET", two.address, kit.PORT)
        for node in nodes:
            kit.wait_until(
                "the cluster is whole",
                lambda node=node: node.ask("CLUSTER INFO")["cluster_state"],  # type: ignore[misc]
                is_it=lambda state: state == "ok",
            )
        yield one, two
