"""What can be asked of engines whose slots are weighed and moved? The `SlotKeeper` protocol.

Single acts, each on a connection of the administrator. Their order, what is checked between them,
and what a failure means is the agent's.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cachewright.engines.cluster_view import View
from cachewright.engines.home import Admin_contra
from cachewright.model.slots import SlotRanges


class ExportState(enum.Enum):
    """How far a move of the engine's own has come, as the giving engine says."""

    #: It has not begun to send, or sends what was there when it began.
    SENDING = "sending"
    #: What was there is at the other one, which gets what is written meanwhile.
    FOLLOWING = "following"
    #: Clients' writes wait, so that the other one can have everything.
    PAUSED = "paused"
    #: The other one may own the slots from now on, whether we hear of it or not.
    GRANTED = "granted"
    DONE = "done"
    #: It failed, or was cancelled; nothing has changed.
    FAILED = "failed"


#: States in which the engine does nothing for a move any more.
ENDED = frozenset({ExportState.DONE, ExportState.FAILED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A move of the engine's own, from the engine that gives."""

    #: Its name is drawn anew for each.
    name: str
    to_id: str
    slots: SlotRanges
    state: ExportState
    #: The state in the engine's own words, and why it failed.
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryUse:
    """What an engine's data takes, without the overhead of the process."""

    dataset_bytes: int
    #: In all databases.
    keys: int
    #: Numbers of the databases that hold keys.
    databases: tuple[int, ...]

    def key_bytes(self, counts: Sequence[int]) -> int:
        """Return what a key takes with its value, on average, at most.

        `counts`: how many keys some slots held a moment ago. Somebody may have deleted them since,
        and what is left then would seem to take all that there is.
        """
        return self.dataset_bytes // max(1, self.keys, sum(counts))


class CopyOutcome(enum.Enum):
    """What became of keys that were to be copied."""

    #: They are at the other one alone, or were not there.
    MOVED = "moved"
    #: The other one has some of them already; those are still here as well.
    TAKEN = "taken"
    #: No answer of the other one: nobody knows which of them it has.
    LOST = "lost"
    #: The other one does not know who we are.
    SHUT_OUT = "shut-out"


class GiveOutcome(enum.Enum):
    """What became of slots that were to get another owner in one step."""

    #: They have it, and no key is here.
    GIVEN = "given"
    #: Nothing has changed here; the other one may have copies of some keys.
    KEPT = "kept"
    #: The same, because the other one has no memory for them.
    FULL = "full"
    #: Something that it says of them is not sent yet; nothing has changed.
    BUSY = "busy"
    #: They hold too much for it; nothing has changed.
    LARGE = "large"
    #: All keys are at the other one, and clients are sent on; it may own them or not yet.
    CUT = "cut"
    #: They are not of this engine, or it does not know the other one. Nothing has changed.
    STRANGE = "strange"


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The end of one such step."""

    outcome: GiveOutcome
    #: Why, in words of the engines.
    said: str


class SlotKeeper(Protocol[Admin_contra]):
    """How slots are looked into, opened, moved and closed."""

    async def ping(self, admin: Admin_contra) -> None:
        """Return when the engine has come round to answering."""

    async def view(self, admin: Admin_contra) -> View:
        """Return what the node says of its cluster."""

    async def epoch(self, admin: Admin_contra, engine_id: str) -> int:
        """Return the config epoch of a node, as far as this one knows; -1 if it does not."""

    async def unowned(self, admin: Admin_contra) -> frozenset[int]:
        """Return the slots that nobody owns, as far as the node knows."""

    # Looking

    async def counts(self, admin: Admin_contra, slots: Sequence[int]) -> list[int]:
        """Return how many keys the node holds of each slot, whoever owns it."""

    async def keys(
        self, admin: Admin_contra, slots: Sequence[int], limit: int
    ) -> list[list[bytes]]:
        """Return up to `limit` keys of each slot."""

    async def sizes(
        self, admin: Admin_contra, keys: Sequence[bytes], *, is_owner: bool = True
    ) -> list[int]:
        """Return the bytes that each key takes with its value; 0 for one that is not there.

        Without `is_owner`: of slots that another node owns, and that are open here.
        """

    async def dumps(
        self, admin: Admin_contra, keys: Sequence[bytes], *, is_owner: bool = True
    ) -> list[bytes | None]:
        """Return each value as it would be sent to another engine; see `sizes`."""

    async def scan(self, admin: Admin_contra, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and about `count` keys of all slots."""

    async def slot_of(self, admin: Admin_contra, key: bytes) -> int:
        """Return the slot of a key."""

    async def memory(self, admin: Admin_contra) -> MemoryUse:
        """Return what the data takes."""

    async def has_databases(self, admin: Admin_contra) -> bool:
        """Tell whether there can be keys in other databases than the first."""

    async def select(self, admin: Admin_contra, database: int) -> None:
        """Let later calls on this connection be about a database."""

    # Functions, which belong to nodes and not to slots

    async def functions(self, admin: Admin_contra) -> bytes:
        """Return all functions that were loaded, as `add_functions` takes them."""

    async def add_functions(self, admin: Admin_contra, content: bytes) -> None:
        """Load functions, unless some of them are there already: then nothing changes."""

    # Moves of the engine's own

    async def prepare_exports(self, admin: Admin_contra) -> None:
        """Let exports end under writes that do not cease."""

    async def begin_export(self, admin: Admin_contra, slots: SlotRanges, to_id: str) -> str:
        """Begin to move whole slots; return the name of the export."""

    async def exports(self, admin: Admin_contra) -> tuple[Export, ...]:
        """Return exports that go on or ended lately, the newest first."""

    async def said_of(self, admin: Admin_contra, name: str) -> str:
        """Return what the engine, on either side, says of an export; empty if nothing."""

    async def cancel_exports(self, admin: Admin_contra, *, is_granted_too: bool) -> bool:
        """Cancel all exports; false, and none, if one was granted and `is_granted_too` is not."""

    # Moves key by key

    async def open_imports(self, admin: Admin_contra, slots: Sequence[int], from_id: str) -> None:
        """Let keys of slots that another one owns come in."""

    async def open_exports(self, admin: Admin_contra, slots: Sequence[int], to_id: str) -> None:
        """Send clients that ask for keys which are not here on to another one."""

    async def assign(
        self, admin: Admin_contra, slots: Sequence[int], to_id: str
    ) -> tuple[int, ...]:
        """Make a node own slots, in the eyes of this one; return those of which it has keys yet."""

    async def close_slots(self, admin: Admin_contra, slots: Sequence[int]) -> None:
        """End what was opened, whoever owns the slots."""

    async def let_in(self, admin: Admin_contra, user: str, password: str) -> None:
        """Let keys come in under this name, and nobody who came under it before."""

    async def shut_out(self, admin: Admin_contra, user: str) -> None:
        """Let nothing come in under this name, not even what was sent already."""

    async def copy(
        self,
        admin: Admin_contra,
        batches: Sequence[CopyBatch],
        way: CopyWay,
    ) -> list[CopyOutcome]:
        """Move keys, batch by batch; each is answered for.

        Raises:
            EngineRefused: an engine does not do it, in its words, such as for want of memory.
        """

    async def replicas_awaited(self, admin: Admin_contra) -> int | None:
        """Return how many replicas it waits for when a slot is opened, closed or assigned.

        `None`: it is an engine that never does.
        """

    async def replicas_online(self, admin: Admin_contra) -> int:
        """Return how many replicas follow the node and have had their first copy."""

    async def replicate(self, admin: Admin_contra, replicas: int, patience_ms: int) -> bool:
        """Wait until so many replicas have all that is here now; false if that takes too long."""

    async def give(self, admin: Admin_contra, ways: Sequence[GiveWay]) -> list[Given]:
        """Let small slots get another owner, with all their keys, while no client is served.

        One step after the other, and nobody comes in between.
        """

    async def drop(self, admin: Admin_contra, keys: Sequence[bytes]) -> None:
        """Delete keys of slots that are open here, whoever owns them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyWay:
    """Where keys go, and as whom."""

    address: str
    port: int
    user: str
    password: str
    database: int = 0
    #: How long the giving engine, which does nothing else meanwhile, waits for the other one.
    patience_ms: int = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyBatch:
    """Keys of one slot that go together."""

    keys: tuple[bytes, ...]
    #: What the other one has of them is older.
    replaces: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GiveWay:
    """Which slots go where in one step, and who says when they are there."""

    slots: Sequence[int]
    copy: CopyWay
    to_id: str
    #: A listener that answers when the slots have their new owner.
    gate_address: str
    gate_port: int
    #: A key that is sent there. Its slot is one of those that go.
    marker: str
    #: Whether that engine is one that waits for replicas, and hears by gossip who owns the slots;
    #: and how long clients are paused for that, behind the last step.
    awaits_replicas: bool
    pause_ms: int
    #: More than that is too much.
    bytes_max: int
    keys_max: int
