"""How are the slots of Valkey and Redis weighed, moved and closed, in the engines' words?

`CLUSTER MIGRATESLOTS` where there is one (Valkey 9.0), `MIGRATE` in all versions. What `MIGRATE`
sends comes in as a user of its own that may do nothing else (`let_in`): commands with its password
may be seen by clients that monitor, and by ending that user everything ends that was sent and not
read yet.

Source: cluster_migrateslots.c, cluster_legacy.c and cluster.c of Valkey 9.1 and 8.0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from cachewright.engines import cluster_view, resp, slot_scripts
from cachewright.engines.slot_replies import bytes_of, int_of, list_of, parse_jobs
from cachewright.engines.slots import (
    CopyBatch,
    CopyOutcome,
    CopyWay,
    Export,
    Given,
    GiveOutcome,
    GiveWay,
    MemoryUse,
)
from cachewright.engines.text import check_address, check_port
from cachewright.model.slots import SLOT_COUNT, SlotRanges

#: Questions in one write. Each takes an engine less than a microsecond, some a few; no client is
#: kept waiting longer than 2 ms.
_AT_ONCE = 512
#: Names of keys in one answer.
_KEYS_AT_ONCE = 4096
#: What may be written and not sent yet when clients' writes are made to wait for the hand-over, so
#: long as that takes. The default of 0 is never reached under steady writes.
_UNSENT_BYTES_MAX = 4 * 1024 * 1024
#: Ended exports that an engine remembers. By default a thousand, each in every answer.
_EXPORTS_KEPT = 50
_KEYSPACE = re.compile(rb"^db([0-9]+):keys=([0-9]+)", re.MULTILINE)
_DATASET = re.compile(rb"^used_memory_dataset:([0-9]+)", re.MULTILINE)
_REPLICAS = re.compile(rb"^connected_slaves:([0-9]+)", re.MULTILINE)
_ONLINE = re.compile(rb"^slave[0-9]+:.*\bstate=online\b", re.MULTILINE)
#: In one step, for in between two the other engine may be granted the slots.
_CANCEL_UNLESS_GRANTED = """#!lua flags=no-writes
for _, job in ipairs(server.call('CLUSTER', 'GETSLOTMIGRATIONS')) do
    for index = 1, #job, 2 do
        if job[index] == 'state' and job[index + 1] == 'failover-granted' then return 0 end
    end
end
server.call('CLUSTER', 'CANCELSLOTMIGRATIONS')
return 1
"""
_ALL_ASSIGNED = b"cluster_slots_assigned:%d\r\n" % SLOT_COUNT
_NO_EXPORTS = "No migrations ongoing"
#: A target of `MIGRATE` answered with an error, which follows.
_STILL_HELD = "while I still hold keys"
#: What an import may do: RESTORE-ASKING is the one command that `MIGRATE` sends beside these.
_MOVER_RULES = ("resetchannels", "~*", "-@all", "+restore-asking", "+select")
_OUTCOMES = {
    "IOERR": CopyOutcome.LOST,
    "BUSYKEY": CopyOutcome.TAKEN,
    "WRONGPASS": CopyOutcome.SHUT_OUT,
    "NOPERM": CopyOutcome.SHUT_OUT,
    "NOAUTH": CopyOutcome.SHUT_OUT,
}
#: A library, or a function of another one, has the name of one that is to be loaded.
_THERE_ALREADY = "already exists"
#: The answers of an engine that does not have a key of an open slot, or of one it does not own.
_ELSEWHERE = frozenset({"ASK", "MOVED"})
#: The giving engine's answer must come when its own patience is over, and what it does after that.
_COPY_MARGIN_S = 5.0
#: What a step takes beside its two waits for others.
_GIVE_MARGIN_S = 5.0


class ValkeySlots:
    """Slots, for all versions of Valkey and Redis."""

    async def ping(self, admin: resp.AdminConnection) -> None:
        """Return when the engine has come round to answering."""
        await admin.command("PING")

    async def view(self, admin: resp.AdminConnection) -> cluster_view.View:
        """Return what the node says of its cluster."""
        return cluster_view.parse_view(bytes_of(await admin.command("CLUSTER", "NODES")))

    async def epoch(self, admin: resp.AdminConnection, engine_id: str) -> int:
        """Return the config epoch of a node, as far as this one knows; -1 if it does not."""
        return cluster_view.parse_epoch(
            bytes_of(await admin.command("CLUSTER", "NODES")), engine_id
        )

    async def unowned(self, admin: resp.AdminConnection) -> frozenset[int]:
        """Return the slots that nobody owns, as far as the node knows."""
        if _ALL_ASSIGNED in bytes_of(await admin.command("CLUSTER", "INFO")):
            return frozenset()
        return cluster_view.parse_unowned(bytes_of(await admin.command("CLUSTER", "NODES")))

    # Looking

    async def counts(self, admin: resp.AdminConnection, slots: Sequence[int]) -> list[int]:
        """Return how many keys the node holds of each slot, whoever owns it."""
        replies = await _ask(admin, [("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])
        return [int_of(reply) for reply in replies]

    async def keys(
        self, admin: resp.AdminConnection, slots: Sequence[int], limit: int
    ) -> list[list[bytes]]:
        """Return up to `limit` keys of each slot."""
        questions = [("CLUSTER", "GETKEYSINSLOT", slot, limit) for slot in slots]
        return [
            [bytes_of(key) for key in list_of(reply)]
            for reply in await _ask(admin, questions, at_once=max(1, _KEYS_AT_ONCE // limit))
        ]

    async def sizes(
        self, admin: resp.AdminConnection, keys: Sequence[bytes], *, is_owner: bool = True
    ) -> list[int]:
        """Return the bytes that each key takes with its value; 0 for one that is not there."""
        replies = await _ask_keys(admin, ("MEMORY", "USAGE"), keys, is_owner=is_owner)
        return [0 if reply is None else int_of(reply) for reply in replies]

    async def dumps(
        self, admin: resp.AdminConnection, keys: Sequence[bytes], *, is_owner: bool = True
    ) -> list[bytes | None]:
        """Return each value as it would be sent to another engine; see `sizes`."""
        replies = await _ask_keys(admin, ("DUMP",), keys, is_owner=is_owner)
        return [None if reply is None else bytes_of(reply) for reply in replies]

    async def scan(
        self, admin: resp.AdminConnection, cursor: int, count: int
    ) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and about `count` keys of all slots."""
        reply = list_of(await admin.command("SCAN", cursor, "COUNT", count))
        return int(bytes_of(reply[0])), [bytes_of(key) for key in list_of(reply[1])]

    async def slot_of(self, admin: resp.AdminConnection, key: bytes) -> int:
        """Return the slot of a key."""
        return int_of(await admin.command("CLUSTER", "KEYSLOT", key))

    async def memory(self, admin: resp.AdminConnection) -> MemoryUse:
        """Return what the data takes."""
        info = bytes_of(await admin.command("INFO", "memory", "keyspace"))
        dataset = _DATASET.search(info)
        found = _KEYSPACE.findall(info)
        return MemoryUse(
            dataset_bytes=int(dataset[1]) if dataset else 0,
            keys=sum(int(keys) for _, keys in found),
            databases=tuple(int(number) for number, _ in found),
        )

    async def has_databases(self, admin: resp.AdminConnection) -> bool:
        """Tell whether there can be keys in other databases than the first (Valkey 9)."""
        found = list_of(await admin.command("CONFIG", "GET", "cluster-databases"))
        return bool(found) and int(bytes_of(found[1])) > 1

    async def functions(self, admin: resp.AdminConnection) -> bytes:
        """Return all functions that were loaded."""
        return bytes_of(await admin.command("FUNCTION", "DUMP"))

    async def add_functions(self, admin: resp.AdminConnection, content: bytes) -> None:
        """Load functions, unless some of them are there already: then nothing changes."""
        try:
            await admin.command("FUNCTION", "RESTORE", content)
        except resp.EngineRefused as error:
            if _THERE_ALREADY not in str(error):
                raise

    async def select(self, admin: resp.AdminConnection, database: int) -> None:
        """Let later calls on this connection be about a database."""
        await admin.command("SELECT", database)

    # Moves of the engine's own

    async def prepare_exports(self, admin: resp.AdminConnection) -> None:
        """Let exports end under writes that do not cease."""
        await admin.command(
            "CONFIG", "SET", "slot-migration-max-failover-repl-bytes", _UNSENT_BYTES_MAX,
            "cluster-slot-migration-log-max-len", _EXPORTS_KEPT,
        )  # fmt: skip

    async def begin_export(self, admin: resp.AdminConnection, slots: SlotRanges, to_id: str) -> str:
        """Begin to move whole slots; return the name of the export."""
        bounds = [bound for part in slots for bound in (part.first, part.last)]
        begun, listed = await admin.pipeline(
            [
                ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *bounds, "NODE", to_id),
                ("CLUSTER", "GETSLOTMIGRATIONS"),
            ]
        )
        resp.reply_or_raise(begun)
        for job in parse_jobs(resp.reply_or_raise(listed)):
            if job.is_export and job.export.slots == slots and job.export.to_id == to_id:
                return job.export.name
        raise resp.EngineUnreachable("the engine does not know a move that it has begun")

    async def exports(self, admin: resp.AdminConnection) -> tuple[Export, ...]:
        """Return exports that go on or ended lately, the newest first."""
        jobs = parse_jobs(await admin.command("CLUSTER", "GETSLOTMIGRATIONS"))
        return tuple(job.export for job in jobs if job.is_export)

    async def said_of(self, admin: resp.AdminConnection, name: str) -> str:
        """Return what the engine, on either side, says of an export; empty if nothing."""
        jobs = parse_jobs(await admin.command("CLUSTER", "GETSLOTMIGRATIONS"))
        return next((job.export.said for job in jobs if job.export.name == name), "")

    async def cancel_exports(self, admin: resp.AdminConnection, *, is_granted_too: bool) -> bool:
        """Cancel all exports; false, and none, if one was granted and `is_granted_too` is not."""
        try:
            if is_granted_too:
                await admin.command("CLUSTER", "CANCELSLOTMIGRATIONS")
                return True
            return await admin.command("EVAL_RO", _CANCEL_UNLESS_GRANTED, 0) == 1
        except resp.EngineRefused as refused:
            if _NO_EXPORTS in str(refused):
                return True
            raise

    # Moves key by key

    async def open_imports(
        self, admin: resp.AdminConnection, slots: Sequence[int], from_id: str
    ) -> None:
        """Let keys of slots that another one owns come in.

        An engine takes nothing for a slot of which it knows no owner, and learns of none while the
        slot is open: that can be after its own or the owner's failover.
        """
        info = bytes_of(await admin.command("CLUSTER", "INFO"))
        if _ALL_ASSIGNED not in info:
            await _ask(admin, [("CLUSTER", "SETSLOT", slot, "NODE", from_id) for slot in slots])
        await _ask(admin, [("CLUSTER", "SETSLOT", slot, "IMPORTING", from_id) for slot in slots])

    async def open_exports(
        self, admin: resp.AdminConnection, slots: Sequence[int], to_id: str
    ) -> None:
        """Send clients that ask for keys which are not here on to another one."""
        await _ask(admin, [("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id) for slot in slots])

    async def assign(
        self, admin: resp.AdminConnection, slots: Sequence[int], to_id: str
    ) -> tuple[int, ...]:
        """Make a node own slots, in the eyes of this one; return those of which it has keys yet."""
        held: list[int] = []
        if not slots:
            return ()
        replies = await admin.pipeline(
            [("CLUSTER", "SETSLOT", slot, "NODE", to_id) for slot in slots]
        )
        for slot, reply in zip(slots, replies, strict=True):
            if isinstance(reply, resp.EngineRefused) and _STILL_HELD in str(reply):
                held.append(slot)
            else:
                resp.reply_or_raise(reply)
        return tuple(held)

    async def close_slots(self, admin: resp.AdminConnection, slots: Sequence[int]) -> None:
        """End what was opened, whoever owns the slots."""
        await _ask(admin, [("CLUSTER", "SETSLOT", slot, "STABLE") for slot in slots])

    async def let_in(self, admin: resp.AdminConnection, user: str, password: str) -> None:
        """Let keys come in under this name, and nobody who came under it before."""
        digest = hashlib.sha256(password.encode()).hexdigest()
        await _ask(
            admin,
            [
                ("ACL", "DELUSER", user),
                ("ACL", "SETUSER", user, "on", f"#{digest}", *_MOVER_RULES),
            ],
        )

    async def shut_out(self, admin: resp.AdminConnection, user: str) -> None:
        """Let nothing come in under this name, not even what was sent already."""
        await admin.command("ACL", "DELUSER", user)

    async def copy(
        self, admin: resp.AdminConnection, batches: Sequence[CopyBatch], way: CopyWay
    ) -> list[CopyOutcome]:
        """Move keys, batch by batch; each is answered for.

        Raises:
            EngineRefused: an engine does not do it, in its words, such as for want of memory.
        """
        timeout_s = _COPY_MARGIN_S + way.patience_ms * len(batches) / 1000
        replies = await admin.pipeline(_migrations(batches, way), timeout_s=timeout_s)
        return [_outcome(reply) for reply in replies]

    async def replicas_awaited(self, admin: resp.AdminConnection) -> int | None:
        """Return how many replicas Valkey waits for when a slot is opened, closed or assigned.

        `None`: it is Redis, which never does.
        """
        info = bytes_of(await admin.command("INFO", "server", "replication"))
        found = _REPLICAS.search(info)
        return int(found[1]) if found and b"valkey_version:" in info else None

    async def replicas_online(self, admin: resp.AdminConnection) -> int:
        """Return how many replicas follow the node and have had their first copy."""
        return len(_ONLINE.findall(bytes_of(await admin.command("INFO", "replication"))))

    async def replicate(self, admin: resp.AdminConnection, replicas: int, patience_ms: int) -> bool:
        """Wait until so many replicas have all that is here now; false if that takes too long.

        `WAIT` is about what was there at the end of the command before it on this connection.
        """
        words: list[tuple[resp.Argument, ...]] = [("PING",), ("WAIT", replicas, patience_ms)]
        _, reached = await admin.pipeline(words)
        return int_of(resp.reply_or_raise(reached)) >= replicas

    async def give(self, admin: resp.AdminConnection, ways: Sequence[GiveWay]) -> list[Given]:
        """Let small slots get another owner, with all their keys, while no client is served.

        Where they have no owner for a moment, clients are paused behind the last step.
        """
        commands: list[tuple[resp.Argument, ...]] = [_giving(way) for way in ways]
        if pause_ms := max(way.pause_ms for way in ways):
            commands.append(("CLIENT", "PAUSE", pause_ms, "ALL"))
        patience_ms = sum(2 * way.copy.patience_ms for way in ways)
        replies = await admin.pipeline(
            commands, timeout_s=_GIVE_MARGIN_S + (patience_ms + pause_ms) / 1000
        )
        said = [list_of(resp.reply_or_raise(reply)) for reply in replies[: len(ways)]]
        return [
            Given(outcome=GiveOutcome(bytes_of(outcome).decode()), said=bytes_of(why).decode())
            for outcome, why in said
        ]

    async def drop(self, admin: resp.AdminConnection, keys: Sequence[bytes]) -> None:
        """Delete keys of slots that are open here, whoever owns them."""
        await _ask(admin, [words for key in keys for words in (("ASKING",), ("UNLINK", key))])


async def _ask(
    admin: resp.AdminConnection,
    questions: Sequence[Sequence[resp.Argument]],
    *,
    at_once: int = _AT_ONCE,
) -> list[resp.Reply]:
    """Send commands, some in each write; raise the first refusal."""
    replies: list[resp.Reply] = []
    for first in range(0, len(questions), at_once):
        replies += await admin.pipeline(questions[first : first + at_once])
    return [resp.reply_or_raise(reply) for reply in replies]


async def _ask_keys(
    admin: resp.AdminConnection, question: tuple[str, ...], keys: Sequence[bytes], *, is_owner: bool
) -> list[resp.Reply]:
    """Ask the same of each key; `None` where the engine does not have it."""
    answers: list[resp.Reply] = []
    for first in range(0, len(keys), _AT_ONCE):
        questions: list[tuple[resp.Argument, ...]] = []
        for key in keys[first : first + _AT_ONCE]:
            if not is_owner:
                questions.append(("ASKING",))
            questions.append((*question, key))
        replies = await admin.pipeline(questions)
        answers += map(_found, replies if is_owner else replies[1::2])
    return answers


def _migrations(batches: Sequence[CopyBatch], way: CopyWay) -> list[tuple[resp.Argument, ...]]:
    address, port = check_address("address", way.address), check_port("port", way.port)
    to = ("MIGRATE", address, port, "", way.database, way.patience_ms)
    login = ("AUTH2", way.user, way.password, "KEYS")
    return [
        (*to, *(("REPLACE",) if batch.replaces else ()), *login, *batch.keys) for batch in batches
    ]


def _giving(way: GiveWay) -> tuple[resp.Argument, ...]:
    copy = way.copy
    how = (
        *(way.to_id, way.marker, copy.user),
        *(check_address("address", copy.address), check_port("port", copy.port)),
        *(check_address("address", way.gate_address), check_port("port", way.gate_port)),
        *(copy.patience_ms, int(way.awaits_replicas), way.bytes_max, way.keys_max, copy.password),
    )
    return ("EVAL", slot_scripts.GIVE, 0, " ".join(map(str, how)), *way.slots)


def _found(reply: resp.Reply) -> resp.Reply:
    if isinstance(reply, resp.EngineRefused) and reply.code in _ELSEWHERE:
        return None
    return resp.reply_or_raise(reply)


def _outcome(reply: resp.Reply) -> CopyOutcome:
    if not isinstance(reply, resp.EngineRefused):
        return CopyOutcome.MOVED
    words = str(reply)
    for code, outcome in _OUTCOMES.items():
        if code in words:
            return outcome
    raise reply
