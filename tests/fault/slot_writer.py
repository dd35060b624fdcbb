"""A process that writes as a cluster client does, and knows what was acknowledged.

`slot_writer.py SEED[,SEED...] KEYS BATCH [RATE]` sets each of the keys `w0` ... again and again to
growing numbers, BATCH at a time and at most RATE a second, follows `MOVED` and `ASK`, and tries
again whatever failed. A line of input ends it; then it prints a JSON object with, for each key, the
number that was acknowledged last and the one that was sent last, and what clients felt.
"""

from __future__ import annotations

import collections
import json
import select
import socket
import sys
import time

import hiredis
from valkey.crc import key_slot

PORT = 6379
TIMEOUT_S = 20.0


class Engine:
    """A connection to one engine."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_connection((address, PORT), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def ask(self, commands: list[tuple[str, ...]]) -> list[object]:
        self.socket.sendall(b"".join(hiredis.pack_command(one) for one in commands))  # type: ignore[arg-type]
        replies: list[object] = []
        while len(replies) < len(commands):
            reply = self.reader.gets()
            if reply is False:
                data = self.socket.recv(262_144)
                if not data:
                    raise ConnectionError("closed")
                self.reader.feed(data)
            else:
                replies.append(reply)
        return replies


class Writer:
    """All keys, who has them, and what was acknowledged."""

    def __init__(self, seeds: list[str], keys: int) -> None:
        self.seeds = seeds
        self.keys = [f"w{number}" for number in range(keys)]
        self.slots = {key: key_slot(key.encode()) for key in self.keys}
        self.owners: dict[int, str] = {}
        self.engines: dict[str, Engine] = {}
        self.acknowledged = dict.fromkeys(self.keys, 0)
        self.sent = dict.fromkeys(self.keys, 0)
        self.errors: collections.Counter[str] = collections.Counter()
        self.longest_s = 0.0
        self.writes = 0

    def learn(self) -> None:
        for seed in self.seeds:
            try:
                (said,) = self.ask(seed, [("CLUSTER", "SLOTS")])
            except OSError:
                continue
            if not isinstance(said, list) or not said:
                continue
            for first, last, primary, *_ in said:
                for slot in range(first, last + 1):
                    self.owners[slot] = primary[0].decode()
            return

    def ask(self, address: str, commands: list[tuple[str, ...]]) -> list[object]:
        engine = self.engines.get(address)
        if engine is None:
            engine = self.engines[address] = Engine(address)
        try:
            return engine.ask(commands)
        except OSError:
            self.engines.pop(address).socket.close()
            raise

    def write(self, batch: list[str]) -> None:
        for key in batch:
            self.sent[key] += 1
        began_s = time.monotonic()
        left = batch
        while left:
            by_owner: dict[str, list[str]] = {}
            for key in left:
                by_owner.setdefault(self.owners[self.slots[key]], []).append(key)
            left = [key for owner, keys in by_owner.items() for key in self.write_to(owner, keys)]
            if left:
                time.sleep(0.005)
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)

    def write_to(self, address: str, keys: list[str], *, asks: bool = False) -> list[str]:
        """Write to one engine; return the keys that are not written yet."""
        commands: list[tuple[str, ...]] = []
        for key in keys:
            if asks:
                commands.append(("ASKING",))
            commands.append(("SET", key, str(self.sent[key]) + "x" * 100))
        try:
            replies = self.ask(address, commands)
        except OSError as error:
            self.errors[type(error).__name__] += 1
            time.sleep(0.02)
            self.learn()
            return keys
        left: list[str] = []
        elsewhere: dict[str, list[str]] = {}
        for key, reply in zip(keys, replies[1::2] if asks else replies, strict=True):
            if reply == b"OK":
                self.acknowledged[key] = self.sent[key]
                self.writes += 1
                continue
            code, _, rest = str(reply).partition(" ")
            self.errors[code] += 1
            target = rest.rpartition(" ")[2].rpartition(":")[0]
            if code == "ASK":
                elsewhere.setdefault(target, []).append(key)
                continue
            if code == "MOVED":
                self.owners[self.slots[key]] = target
            left.append(key)
        for target, some in elsewhere.items():
            left += self.write_to(target, some, asks=True)
        return left


def main(seeds: list[str], keys: int, batch: int, rate: int) -> None:
    writer = Writer(seeds, keys)
    writer.learn()
    writer.write(writer.keys)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    writer.errors.clear()
    writer.longest_s = 0.0
    writer.writes = 0
    began_s, first = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        writer.write([writer.keys[(first + number) % keys] for number in range(batch)])
        first += batch
        if rate:
            time.sleep(max(0.0, began_s + writer.writes / rate - time.monotonic()))
    took_s = time.monotonic() - began_s
    report = {
        "acknowledged": writer.acknowledged,
        "sent": writer.sent,
        "errors": writer.errors,
        "longest_ms": writer.longest_s * 1000,
        "rate": writer.writes / took_s,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(
        sys.argv[1].split(","),
        int(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]) if len(sys.argv) > 4 else 0,
    )
