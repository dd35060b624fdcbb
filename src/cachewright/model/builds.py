"""Which engine programs can a host run, and which could it fetch? Plain facts, no behaviour.

Made by `engines.catalogue`, read by whoever chooses or starts an engine. Nothing here looks at
the disk: a `Build` says what was true when it was identified.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cachewright.model import engines, errors


class BuildSource(enum.Enum):
    """How a build came to this host."""

    #: The Python package that ships one `valkey-server` binary.
    EMBEDDED = "embedded"
    #: Installed by the owner of the host, found on `PATH`.
    PATH = "path"
    #: Unpacked from the distribution's signed packages into the private folder.
    DEBIAN = "debian"


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One engine program on this host."""

    engine: engines.EngineName
    #: As the program says it, for example "9.1.2".
    version: str
    source: BuildSource
    #: Path of the server's executable.
    server: str
    #: Whether the server can serve TLS.
    has_tls: bool
    #: "jemalloc-5.3.0" or "libc", as the program says it.
    allocator: str
    #: Path of `valkey-cli` or `redis-cli`; `None` where the build has none.
    cli: str | None
    #: Path of `valkey-benchmark` or `redis-benchmark`; `None` where the build has none.
    benchmark: str | None

    @property
    def api_version(self) -> str:
        """What the API calls `EngineVersion`."""
        return engines.api_version_of(self.engine, self.version)


class OfferState(enum.Enum):
    """Whether an engine version can run now."""

    INSTALLED = "installed"
    #: Not here; `Catalogue.install` can fetch it.
    INSTALLABLE = "installable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An engine version that can run on this host, now or after an install."""

    engine: engines.EngineName
    api_version: str
    #: Full version; `None` until it is installed.
    version: str | None
    state: OfferState
    source: BuildSource


class InstallProblem(enum.Enum):
    """Why a build could not be fetched, for callers that choose by it."""

    NOT_OFFERED = "not-offered"
    NO_APT = "no-apt"
    NO_NETWORK = "no-network"
    DISK_FULL = "disk-full"
    BAD_SIGNATURE = "bad-signature"
    NOT_IN_SUITE = "not-in-suite"
    TOO_SLOW = "too-slow"
    BROKEN = "broken"


class InstallFailed(errors.Terminal):
    """A build could not be brought to this host; nothing was changed."""

    def __init__(
        self,
        *,
        engine: engines.EngineName,
        version: str,
        problem: InstallProblem,
        reason: str,
        hint: str,
    ) -> None:
        super().__init__(f"cannot install {engine.value} {version}: {reason}", hint=hint)
        self.engine = engine
        #: As asked for: what the API calls `EngineVersion`.
        self.version = version
        self.problem = problem
        self.reason = reason
