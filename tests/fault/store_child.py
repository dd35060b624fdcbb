"""What do the processes do that the store's fault tests kill or starve?

Run as a program: `store_child.py numbers FILE` writes numbered transactions until it is killed;
`store_child.py starve FILE rlimit|filler` fills the disk, checks what must hold while it is full,
makes room and checks that writing goes on; `store_child.py open FILE` opens the store as a user
without privileges and prints the reason why it cannot.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from cachewright.store.base import Compare, Delete, Operation, Put, Reason, StoreUnavailable
from cachewright.store.sqlite import SqliteStore

#: Concurrent writers, so that a kill meets group commits.
WRITERS = 4
#: Log entries that each writer keeps; older ones are deleted, so that the store stays small.
KEPT = 200
#: Bounds the wait of the whole program, should its parent be gone.
LIFETIME_S = 60.0
#: Writes after which a disk of 1 MiB must be full, at 16 KiB each.
WRITES_MAX = 200
NOBODY = 65534


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def write_numbers(path: Path) -> None:
    """Write `a` and `b` together with a log entry per number, and say what was acknowledged."""
    say("opening")
    store = await SqliteStore.open(path)

    async def follow() -> None:
        async for change in store.watch("", after_revision=store.revision()):
            say("seen", change.revision)

    async def write(writer: int) -> None:
        entry = store.get(f"{writer}/a")
        number, expected = (int(entry.value), entry.mod_revision) if entry else (0, 0)
        while True:
            number += 1
            value = str(number).encode()
            operations: list[Operation] = [
                Put(key=f"{writer}/a", value=value),
                Put(key=f"{writer}/log/{number}", value=value),
                Delete(key=f"{writer}/log/{number - KEPT}"),
                Put(key=f"{writer}/b", value=value),
            ]
            compare = Compare(key=f"{writer}/a", mod_revision=expected)
            expected = await store.transact([compare], operations)
            say("acknowledged", writer, number, expected)

    async with asyncio.timeout(LIFETIME_S):
        await asyncio.gather(follow(), *(write(writer) for writer in range(WRITERS)))


async def starve(path: Path, way: str) -> None:
    """Run out of disk, look, make room, go on."""
    filler = path.parent / "filler"
    if way == "filler":
        filler.write_bytes(bytes(256 * 1024))
    store = await SqliteStore.open(path)
    await store.transact([], [Put(key="kept", value=b"before")])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    if way == "rlimit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, unlimited[1]))

    acknowledged: list[int] = []
    refusal: StoreUnavailable | None = None
    for number in range(WRITES_MAX):
        try:
            await store.transact([], [Put(key=f"k{number:03}", value=bytes(16 * 1024))])
        except StoreUnavailable as error:
            refusal = error
            break
        acknowledged.append(number)
    assert refusal is not None, "the disk was never full"
    expected_reason = Reason.DISK_FULL if way == "filler" else Reason.INPUT_OUTPUT
    assert refusal.reason in {Reason.DISK_FULL, expected_reason}, refusal

    revision = 1 + len(acknowledged)
    assert store.revision() == revision
    assert [entry.key for entry in store.list("k0")] == [f"k{n:03}" for n in acknowledged]
    assert store.get(f"k{len(acknowledged):03}") is None
    results = await asyncio.gather(
        *(store.transact([], [Put(key="kept", value=bytes(64 * 1024))]) for _ in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(result, StoreUnavailable) for result in results), results
    assert store.revision() == revision

    await store.close()
    store = await SqliteStore.open(path)  # a restart must not need space, either
    assert store.revision() == revision
    assert len(store.list("k")) == 1 + len(acknowledged)

    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    filler.unlink(missing_ok=True)
    assert await store.transact([], [Put(key="kept", value=b"after")]) == revision + 1
    contents = store.list("")
    await store.close()
    store = await SqliteStore.open(path)
    assert store.list("") == contents
    assert store.revision() == revision + 1
    await store.close()
    say("survived", refusal.reason.name, len(acknowledged))


async def open_unprivileged(path: Path) -> None:
    """Say why the store cannot be opened."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        store = await SqliteStore.open(path)
    except StoreUnavailable as error:
        say(error.reason.name)
    else:
        await store.close()
        say("opened")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["numbers", file]:
            asyncio.run(write_numbers(Path(file)))
        case ["starve", file, way]:
            asyncio.run(starve(Path(file), way))
        case ["open", file]:
            asyncio.run(open_unprivileged(Path(file)))
        case _:
            sys.exit("usage: see the first lines of this file")
