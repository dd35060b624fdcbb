"""What can a controller ask of a host? The `Agent` protocol: commands down, facts up.

On one machine the agent is an object in the same process; on a fleet the same protocol goes over
the network. An agent decides nothing. It may be slow or silent: callers give every call a
deadline, and read silence as `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cachewright.model.commands import HostCommand
from cachewright.model.engines import EngineName
from cachewright.model.facts import NodeFact


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOffer:
    """One engine line that this host can run, now or after an installation."""

    engine: EngineName
    #: What the API calls `EngineVersion`.
    api_version: str
    #: Full version; for a line that is not installed yet, the version that an installation
    #: would most likely bring, or `None`.
    version: str | None
    is_installed: bool
    #: Where it comes from: "embedded", "path" or "debian".
    source: str


class CommandFailed(Exception):
    """A command did not do what it says; nothing is half done that a second try would harm.

    `str()` is one sentence for people, with the engine's last log lines where they help.
    """


class StaleEpoch(CommandFailed):
    """The command comes from a controller that has been replaced (safety law 6)."""


class Agent(Protocol):
    """One host."""

    @property
    def host(self) -> str:
        """The name of the host, for placement."""

    async def observe(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return what is known of each node. Never raises for a node: silence is `Unknown`."""

    async def glance(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return each node's process as the kernel says it now, its engine as it last answered.

        No engine is asked, so it costs microseconds a node; an engine that was silent at the last
        look, or is now (`NodeFact.silence`), is `Unknown`. Ends that nobody has told of yet are
        told first (`on_exit`).
        """

    async def execute(self, command: HostCommand, *, epoch: int) -> None:
        """Carry out one command; raise `CommandFailed` when it did not work.

        Raise `StaleEpoch` if a command with a higher epoch has been seen.
        """

    def on_exit(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` in the event loop whenever the process of a node has ended."""

    def on_silence(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` in the event loop when a living node stops answering its host.

        It is called again at each probe in vain, twice a second, and once when the node answers
        again; never for nodes that nobody could succeed (Memcached).
        """

    def offers(self) -> tuple[EngineOffer, ...]:
        """Return the engine lines of this host, quickly and without running anything."""

    async def install(self, engine: EngineName, api_version: str) -> EngineOffer:
        """Bring a build of this line onto the host; raise `CommandFailed` with the reason."""
