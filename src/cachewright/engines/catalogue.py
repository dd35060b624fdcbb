"""Which engine builds can run on this host, and how do they get here?

Called by the agent to choose a program, by the service (through facts) to say what may be asked
for, by the command line to list and install. Blocking, and safe to call from several threads and
processes: run it in a thread. Looking costs a few `stat` calls once every build was identified.
It installs only when told to and never changes the system: everything it writes is in one folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from cachewright.engines import debian, embedded, identify
from cachewright.engines.apt import CannotProvide
from cachewright.model.builds import (
    Build,
    BuildSource,
    InstallFailed,
    InstallProblem,
    Offer,
    OfferState,
)
from cachewright.model.engines import EngineName, line_of, version_key

#: Where apt's sources are on every Debian.
APT_FOLDER = Path("/etc/apt")

#: The tools that belong to a server, by the engine.
_CLI_NAMES = {EngineName.VALKEY: ("valkey-cli",), EngineName.REDIS: ("redis-cli",)}
_BENCHMARK_NAMES = {
    EngineName.VALKEY: ("valkey-benchmark",),
    EngineName.REDIS: ("redis-benchmark",),
}
#: Between builds that are equal otherwise: one that no system upgrade replaces under our feet.
_SOURCE_RANK = {BuildSource.EMBEDDED: 0, BuildSource.PATH: 1, BuildSource.DEBIAN: 2}


def default_folder(environment: Mapping[str, str]) -> Path:
    """Return where builds are kept: `CACHEWRIGHT_ENGINES_DIR`, or the user's cache folder."""
    if chosen := environment.get("CACHEWRIGHT_ENGINES_DIR"):
        return Path(chosen).absolute()
    caches = environment.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says to ignore a relative path.
    base = Path(caches) if Path(caches).is_absolute() else Path.home() / ".cache"
    return base / "cachewright" / "engines"


def in_silence(_: str) -> None:
    """Take a line of progress and show it to nobody."""


class Catalogue:
    """The builds of this host and the ones it could fetch."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        search_path: str | None = None,
        apt_folder: Path = APT_FOLDER,
    ) -> None:
        self._folder = folder or default_folder(os.environ)
        self._search_path = os.environ.get("PATH", "") if search_path is None else search_path
        self._apt_folder = apt_folder
        self._identities = identify.Identities(self._folder / "identities.json")

    def builds(self) -> tuple[Build, ...]:
        """Return every build that is here and answers."""
        candidates = [(path, BuildSource.DEBIAN) for path in debian.installed_servers(self._folder)]
        candidates += [
            (path, BuildSource.PATH) for path in embedded.servers_on_path(self._search_path)
        ]
        if (wheel := embedded.embedded_server()) is not None:
            candidates.append((wheel, BuildSource.EMBEDDED))
        found = (self._build(path, source) for path, source in candidates)
        return tuple(build for build in found if build is not None)

    def best(self, engine: EngineName, api_version: str) -> Build | None:
        """Return the build to run for an engine version: TLS, then jemalloc, then the newest.

        jemalloc gave up to twice the throughput of the C library's malloc with the same version.
        """
        builds = [
            build
            for build in self.builds()
            if build.engine is engine and build.api_version == api_version
        ]
        return max(builds, key=_preference, default=None)

    def offers(self) -> tuple[Offer, ...]:
        """Return what can run here, now or after an install, by engine and version.

        Builds on `PATH` in versions that ElastiCache does not have (Redis 8) are not offered.
        """
        best: dict[tuple[EngineName, str, BuildSource], Build] = {}
        for build in sorted(self.builds(), key=_preference):
            if _is_elasticache_version(build.engine, build.api_version):
                best[build.engine, build.api_version, build.source] = build
        offers = [
            _offer(engine, api_version, source, build.version)
            for (engine, api_version, source), build in best.items()
        ]
        if debian.usable_archive(self._apt_folder) is not None:
            offers += [
                _offer(row.engine, row.api_version, BuildSource.DEBIAN, None)
                for row in debian.ROWS
                if (row.engine, row.api_version, BuildSource.DEBIAN) not in best
            ]
        return tuple(
            sorted(
                offers,
                key=lambda offer: (
                    offer.engine.value,
                    version_key(offer.api_version),
                    -_SOURCE_RANK[offer.source],
                ),
            )
        )

    def install(
        self,
        engine: EngineName,
        api_version: str,
        progress: Callable[[str], None] = in_silence,
    ) -> Build:
        """Bring the distribution's build of an engine version here, unless it is here already.

        Raises:
            InstallFailed: with the problem, its reason and what to do; nothing was changed.
        """
        try:
            return self._install(engine, api_version, progress)
        except CannotProvide as error:
            raise InstallFailed(
                engine=engine,
                version=api_version,
                problem=error.problem,
                reason=error.reason,
                hint=error.hint,
            ) from error

    def provide(
        self,
        engine: EngineName,
        api_version: str,
        progress: Callable[[str], None] = in_silence,
    ) -> Build:
        """Return the best build of an engine version, installing one when there is none."""
        return self.best(engine, api_version) or self.install(engine, api_version, progress)

    def _install(
        self, engine: EngineName, api_version: str, progress: Callable[[str], None]
    ) -> Build:
        row = debian.row_of(engine, api_version)
        if row is None:
            offered = ", ".join(f"{row.engine.value} {row.api_version}" for row in debian.ROWS)
            raise CannotProvide(
                InstallProblem.NOT_OFFERED, "no source carries it", f"there is {offered}"
            )
        try:
            with debian.exclusively(row, self._folder, progress):
                if (build := self._installed(row)) is not None:
                    return build
                archive = debian.usable_archive(self._apt_folder)
                if archive is None:
                    raise _no_apt()
                server = debian.install(row, self._folder, archive, progress)
                if (build := self._installed(row)) is not None:
                    return build
                shutil.rmtree(server.parent.parent)
        except OSError as error:
            raise debian.cannot_write(error) from error
        raise CannotProvide(
            InstallProblem.BROKEN,
            "the unpacked program does not answer",
            "is the folder on a disk that is mounted noexec?",
        )

    def _installed(self, row: debian.Row) -> Build | None:
        for path in debian.installed_servers(self._folder):
            build = self._build(path, BuildSource.DEBIAN)
            if build and build.engine is row.engine and build.api_version == row.api_version:
                return build
        return None

    def _build(self, path: Path, source: BuildSource) -> Build | None:
        identity = self._identities.of(path)
        if identity is None:
            return None
        return Build(
            engine=identity.engine,
            version=identity.version,
            source=source,
            server=str(path),
            has_tls=identity.has_tls,
            allocator=identity.allocator,
            cli=embedded.tool_beside(path, *_CLI_NAMES.get(identity.engine, ())),
            benchmark=embedded.tool_beside(path, *_BENCHMARK_NAMES.get(identity.engine, ())),
        )


def _preference(build: Build) -> tuple[bool, bool, tuple[int, ...], int]:
    is_jemalloc = build.allocator.startswith("jemalloc")
    rank = _SOURCE_RANK[build.source]
    return build.has_tls, is_jemalloc, version_key(build.version), rank


def _is_elasticache_version(engine: EngineName, api_version: str) -> bool:
    return line_of(engine, api_version) is not None


def _offer(engine: EngineName, api_version: str, source: BuildSource, version: str | None) -> Offer:
    return Offer(
        engine=engine,
        api_version=api_version,
        version=version,
        state=OfferState.INSTALLABLE if version is None else OfferState.INSTALLED,
        source=source,
    )


def _no_apt() -> CannotProvide:
    return CannotProvide(
        InstallProblem.NO_APT,
        "this host has no apt with a Debian archive in its sources",
        "install the engine with the host's own package manager: builds on PATH are used too",
    )
