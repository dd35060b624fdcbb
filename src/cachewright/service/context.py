"""What does a use case need to do its work, and how is a change made durable?

Every function of this room takes a `Service`. A change is a function that reads, decides and
returns a `ChangeSet`; `change` commits it and, when somebody else was faster, decides again on
what is there now. Nothing here knows a rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachewright.kit import failpoints
from cachewright.kit.clock import Clock
from cachewright.model.arns import Arns
from cachewright.model.errors import ClientFault
from cachewright.model.facts import Observed
from cachewright.model.settings import Settings
from cachewright.rpc.agent import EngineOffer
from cachewright.store.base import Conflict
from cachewright.store.records import ChangeSet, Records

T = TypeVar("T")

#: Times a change is decided anew. Among callers that change one group at once, each round one
#: succeeds, so this many may do so without anybody being turned away.
_ATTEMPTS_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Where use cases read, what they may spend, and whom they tell."""

    records: Records
    settings: Settings
    clock: Clock
    #: The engine lines that can run here, now or after an installation.
    offers: Callable[[], tuple[EngineOffer, ...]]
    #: Addresses of the pool (or ports of the shared address) that no group holds.
    address_capacity: Callable[[], int]
    #: Bytes that the engines of the group with this uid used when they last said so, by node id.
    usage: Callable[[str], Mapping[str, int]]
    #: Ask the engines of the group with this uid now; `usage` is what they say, too, afterwards.
    look: Callable[[str], Awaitable[Observed]]
    #: Tell the loop that the group with this uid has changed.
    wake: Callable[[str], None]

    @property
    def arns(self) -> Arns:
        """The names of this region's and account's resources."""
        return Arns(region=self.settings.region, account_id=self.settings.account_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision(Generic[T]):
    """A change that keeps the rules."""

    #: The group that the loop shall look at, `None` where no group changes.
    uid: str | None
    changes: ChangeSet
    #: What the caller gets to see once it is durable.
    result: T
    #: Further groups that the loop shall look at.
    others: tuple[str, ...] = ()


async def change(service: Service, decide: Callable[[], Decision[T]]) -> T:
    """Commit what `decide` decides and return its result.

    `decide` reads and validates without waiting, so it may run again after a lost race: it then
    sees the winner's work and may well refuse.
    """
    for _ in range(_ATTEMPTS_MAX):
        decision = decide()
        try:
            await service.records.commit(decision.changes)
        except Conflict:
            continue
        finally:
            # Also when the outcome is unknown or nobody waits for it: looking costs nothing.
            if decision.uid is not None:
                service.wake(decision.uid)
            for uid in decision.others:
                service.wake(uid)
        failpoints.passing("service.after_commit")
        return decision.result
    raise ClientFault("Throttling", "Rate exceeded: too many callers change this resource at once")
