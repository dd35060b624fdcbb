"""Where may the process of a node keep things, and what can only some engines do?

`Home` is what an agent gives a process. `ItemKeeper` is for engines that can hand the items in
their memory to the process that comes after them, through a file in memory; `RoleChanger` for
those that replicate, `ClusterMember` for those that know each other, `Pinger` for those whose
silence means something. An engine that cannot do it
has none.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cachewright.model.builds import Build
from cachewright.model.commands import Launch
from cachewright.model.facts import RefusedSetting
from cachewright.model.slots import SlotRanges
from cachewright.model.status import Role

#: In the folder of a node that speaks TLS: its certificate, the key of that, and who signed it.
CERTIFICATE_NAME = "node.crt"
KEY_NAME = "node.key"
AUTHORITY_NAME = "ca.crt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """The places of one process."""

    #: The node's folder, which is the working directory.
    folder: Path
    #: A folder in memory for the items of an engine that can keep them; `None` for none.
    items: Path | None = None
    #: The file with the map of the cluster (`ClusterMember.map_name`); `None`: in the folder.
    map_file: Path | None = None


#: A connection of the engine's own kind.
Admin_contra = TypeVar("Admin_contra", contravariant=True)


class ItemKeeper(Protocol[Admin_contra]):
    """How an engine hands its items to the next process of its node."""

    #: The file of items in `Home.items`.
    items_name: str
    #: The file beside it that a stop leaves when it keeps the items; without it they are lost.
    state_name: str
    #: Makes the engine end and keep its items.
    stop_signal: signal.Signals

    def size_bytes(self, launch: Launch) -> int:
        """Return how large the file of items is."""

    def layout(self, build: Build, launch: Launch) -> Mapping[str, str]:
        """Return what must be the same, by name, for one process to go on with another's items."""

    def grows(self, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
        """Tell whether a layout is another one only in that it has more memory."""

    def grown(self, state: bytes, launch: Launch) -> bytes | None:
        """Return the file of `state_name` for a process with more memory; `None`: there is none."""

    async def quiet(self, admin: Admin_contra) -> None:
        """Make the engine end what it does by itself and what a stop would have to wait for."""

    def ready_at_s(self, state_changed_s: float) -> float:
        """Return the earliest time, in seconds of the epoch, at which the items can be taken.

        `state_changed_s` is when the file of `state_name` was written.
        """

    def refusal(self, said: Sequence[str]) -> str:
        """Return why the engine did not take the items, from what it said; empty if it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleSeen:
    """What an engine says of its role, and nothing else: it is asked every few milliseconds."""

    role: Role
    #: What it has written to its replicas, or applied of its primary's.
    offset: int
    #: On a replica: whom it follows.
    primary: tuple[str, int] | None = None
    #: On a replica: the first sync is over and the connection is up.
    is_linked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What an engine runs with once it was told its launch again."""

    #: What it takes for data, which it was not told; `None`: it does not say.
    maxmemory_bytes: int | None = None
    refused: tuple[RefusedSetting, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSeen:
    """A connection of a client that sends commands, as the engine sees it."""

    #: No other connection of this process had it or will have it.
    client_id: int
    #: The engine's descriptor, and the other end of it: a descriptor is used again.
    descriptor: int
    place: tuple[str, int]
    #: Nothing is half done on it: no command, answer or transaction.
    is_whole: bool
    #: It waits for something that may never happen, such as an element of a list.
    is_blocked: bool


class RoleChanger(Protocol[Admin_contra]):
    """How roles change hands while both engines live."""

    async def seen(self, admin: Admin_contra) -> RoleSeen:
        """Return the role of an engine now."""

    async def pause_writes(self, admin: Admin_contra, pause_ms: int) -> int:
        """Let writes wait, at most `pause_ms`; return the offset after the last one before."""

    async def resume_writes(self, admin: Admin_contra) -> None:
        """Let the writes that wait go on, whoever made them wait."""

    async def step_down(self, admin: Admin_contra, address: str, port: int) -> int:
        """Make a primary a replica of the engine at this address; return the offset it has then.

        Replicas of its own stay connected to it, and so do subscribers; the connections of clients
        that send commands are closed in the same moment.
        """

    async def clients(self, admin: Admin_contra) -> tuple[ClientSeen, ...]:
        """Return who is connected, but for subscribers and our own."""

    async def begin_hand_over(self, admin: Admin_contra) -> None:
        """Cluster mode: let this replica take over from its living primary; only begins it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a primary owns, and the epoch: where two own a slot, it is of the higher one."""

    epoch: int
    slots: SlotRanges


@dataclass(frozen=True, kw_only=True, slots=True)
class BusView:
    """What one node of a cluster says of its connections with the others, by engine ids."""

    #: To whom it has one; it is among them itself.
    linked_ids: frozenset[str]
    #: Who owns slots, and so could vote.
    owner_ids: frozenset[str]


class ClusterMember(Protocol[Admin_contra]):
    """How a member of a cluster comes to know others, and who owns what; and forgets them."""

    #: The file in which the engine keeps what it knows of the cluster.
    map_name: str

    def own_slots(self, content: bytes) -> SlotRanges | None:
        """Return what the writer of `map_name` owned by its own word; `None` if it says nothing."""

    def reopened(self, fresh: bytes, before: bytes | None) -> bytes:
        """Return the map to start on, with the moves of slots that were open by the one before."""

    async def lead(self, admin: Admin_contra) -> None:
        """Make a primary of a node that owns nothing and was started; of another one, nothing."""

    async def introduce(self, admin: Admin_contra, others: Sequence[tuple[str, int]]) -> None:
        """Meet the nodes at these addresses and ports; only begins it."""

    async def forget(self, admin: Admin_contra, engine_ids: Sequence[str]) -> None:
        """Strike nodes off; who is not known is forgotten already."""

    async def claim(
        self, admin: Admin_contra, slots: Sequence[int], own_id: str, other_id: str
    ) -> None:
        """Make this node own slots, and let all others know, whoever they think owns them.

        `other_id`: of some other primary; empty where there is none.
        """

    async def disclaim(self, admin: Admin_contra, slots: Sequence[int]) -> None:
        """Let a node know no owner of slots."""

    async def own_claim(self, admin: Admin_contra) -> Claim | None:
        """Return what a primary owns; `None` for a replica."""

    async def followed_claim(self, admin: Admin_contra) -> Claim | None:
        """Return what a replica would take over; `None` for a primary."""

    async def bus_view(self, admin: Admin_contra) -> BusView:
        """Return with whom it is connected now."""


class PingAnswer(enum.Enum):
    """What became of a ping."""

    #: The engine comes round to answering, whatever it says.
    ALIVE = "alive"
    #: It runs a script or a function, and answers that.
    BUSY = "busy"
    #: It does not let us in any more.
    REFUSED = "refused"
    #: The connection has ended.
    LOST = "lost"


class Pinger(Protocol[Admin_contra]):
    """How an engine is asked whether it still comes round to answering."""

    def ping(self, admin: Admin_contra, answered: Callable[[PingAnswer], None]) -> None:
        """Ask, and have `answered` called once, whenever that is; there is no deadline.

        Raises:
            EngineUnreachable: the connection is closed; `answered` is not called.
        """
