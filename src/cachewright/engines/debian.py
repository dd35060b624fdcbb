"""Which engine versions can be fetched from which Debian suite, and how is one installed?

One row per engine version names the suite that carries it; `install` turns a row into a folder
under `FOLDER/debian` that holds the programs and every library that they need. The order makes
it safe to be killed at any moment: all work happens in a scratch folder on the same disk, the
programs are run once there, and a rename is the last step. One install of a row at a time, by a
lock that the kernel drops with the process; another waits and finds the result.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cachewright.engines import apt, sources, unpack
from cachewright.engines.apt import CannotProvide, Package
from cachewright.kit import files
from cachewright.model.builds import InstallProblem
from cachewright.model.engines import EngineName, api_version_of, line_of, version_key

#: Another process may be at any step, each of which has a deadline of its own.
LOCK_WAIT_S = apt.UPDATE_TIMEOUT_S + apt.DOWNLOAD_TIMEOUT_S + 120.0
_LOCK_POLL_S = 0.1
#: An install from the biggest suite uses 127 MB at its peak and keeps 22.
FREE_BYTES_MIN = 200 * 1024 * 1024
#: Depth of the dependencies: 4 today.
_ROUNDS_MAX = 12
#: Libraries by Debian's naming. Other dependencies (users, service files) are for services.
_IS_LIBRARY = re.compile(r"lib[a-z0-9]|zlib1g$|lua-")
#: Named like libraries, needed by none of the engines: character set tables and old ciphers.
_LEFT_OUT = frozenset({"libc-gconv-modules-extra", "libc-bin", "libc-l10n", "libpam-runtime"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One engine version and where it is."""

    engine: EngineName
    api_version: str
    #: The suite that carries it, then the suites that its libraries come from.
    suites: tuple[str, ...]
    packages: tuple[str, ...]
    #: Executables to keep; the first is the server.
    programs: tuple[str, ...]
    reason: str
    #: The suite goes on: later versions of the same minor may be asked for.
    moves: bool = False


def _valkey(api_version: str, *suites: str, reason: str) -> Row:
    return Row(
        engine=EngineName.VALKEY,
        api_version=api_version,
        suites=suites,
        packages=("valkey-server", "valkey-tools"),
        programs=("valkey-server", "valkey-cli", "valkey-benchmark"),
        reason=reason,
    )


def _memcached(version: str, suite: str, *, reason: str, moves: bool = False) -> Row:
    return Row(
        engine=EngineName.MEMCACHED,
        api_version=version,
        suites=(suite,),
        packages=("memcached",),
        programs=("memcached",),
        reason=reason,
        moves=moves,
    )


ROWS: tuple[Row, ...] = (
    _valkey("9.1", "sid", reason="no released suite carries 9.x yet"),
    _valkey("8.1", "trixie", reason="the version of Debian 13"),
    _valkey("8.0", "bookworm-backports", "bookworm", reason="only ever a backport to Debian 12"),
    Row(
        engine=EngineName.REDIS,
        api_version="7.0",
        suites=("bookworm",),
        packages=("redis-server", "redis-tools"),
        programs=("redis-server", "redis-cli", "redis-benchmark"),
        reason="the version of Debian 12; ElastiCache's 7.1 speaks the same protocol",
    ),
    _memcached("1.6.45", "forky", reason="the next release of Debian, as of today", moves=True),
    _memcached("1.6.38", "trixie", reason="the version of Debian 13"),
    _memcached("1.6.18", "bookworm", reason="the version of Debian 12"),
)


def row_of(engine: EngineName, api_version: str) -> Row | None:
    """Return the row of an engine version; `None` when no suite carries it."""
    for row in ROWS:
        if row.engine is engine and row.api_version == api_version:
            return row
    for row in ROWS:
        if row.engine is engine and row.moves and _is_later(engine, api_version, row.api_version):
            return dataclasses.replace(row, api_version=api_version)
    return None


def _is_later(engine: EngineName, version: str, than: str) -> bool:
    """Tell whether a suite that carried `than` may carry `version` by now."""
    if line_of(engine, version) is None:
        return False
    asked, known = version_key(version), version_key(than)
    return asked[:-1] == known[:-1] and asked > known


def usable_archive(apt_folder: Path) -> sources.Source | None:
    """Return the archive to install from; `None` where it or a program for it is missing."""
    has_programs = all(shutil.which(program) for program in apt.PROGRAMS)
    if not has_programs or unpack.patchelf() is None:
        return None
    return sources.debian_archive(apt_folder)


def installed_servers(folder: Path) -> tuple[Path, ...]:
    """Return the servers of the finished installs under `folder`."""
    servers = {row.programs[0] for row in ROWS}
    found = (folder / "debian").glob("*/bin/*")
    return tuple(sorted(path for path in found if path.name in servers))


@contextmanager
def exclusively(row: Row, folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that installs `row` into `folder`, waiting for another if need be."""
    files.make_private_folder(folder)
    deadline = time.monotonic() + LOCK_WAIT_S
    with ExitStack() as held:
        is_waiting = False
        while True:
            try:
                held.enter_context(files.locked(folder / f".{_name(row)}.lock"))
                break
            except files.AlreadyLocked as error:
                if time.monotonic() > deadline:
                    hint = f"process {error.holder} holds {error.path}: end it and try again"
                    raise CannotProvide(InstallProblem.TOO_SLOW, str(error), hint) from error
            if not is_waiting:
                progress("waiting for an install that is under way")
                is_waiting = True
            time.sleep(_LOCK_POLL_S)
        yield


def install(
    row: Row, folder: Path, archive: sources.Source, progress: Callable[[str], None]
) -> Path:
    """Fetch `row` and return the path of its server; the caller is inside `exclusively`."""
    scratch = folder / f".{_name(row)}.new"
    _remove(scratch)  # of an install that was killed
    try:
        _check_space(folder)
        scratch.mkdir(mode=files.PRIVATE_FOLDER)
        return _install(row, folder, scratch, archive, progress)
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        _remove(scratch)


def _install(
    row: Row,
    folder: Path,
    scratch: Path,
    archive: sources.Source,
    progress: Callable[[str], None],
) -> Path:
    progress(f"reading the package list of {row.suites[0]}")
    packages_of = apt.PrivateApt(scratch / "apt", archive, row.suites)
    packages_of.update()
    packages = resolve(row, packages_of.show)
    version = engine_version(row, packages[row.packages[0]])

    size_mb = sum(package.size_bytes for package in packages.values()) / 1e6
    progress(f"fetching {row.engine.value} {version}: {len(packages)} packages, {size_mb:.1f} MB")
    (scratch / "archives").mkdir()
    archives = packages_of.download(tuple(packages.values()), scratch / "archives")

    progress("unpacking")
    home = folder / "debian" / f"{row.engine.value}-{version}"
    unpack.unpack(archives, scratch / "root")
    unpack.assemble(scratch / "root", scratch / "build", home=home, programs=row.programs)
    _write_origin(scratch / "build", row, packages)

    progress("checking")
    unpack.check(scratch / "build", row.programs)
    home.parent.mkdir(exist_ok=True)
    _remove(home)  # it exists only where it has stopped working: moved, or damaged
    (scratch / "build").rename(home)
    files.sync_folder(home.parent)
    return home / "bin" / row.programs[0]


def resolve(row: Row, show: Callable[[Sequence[str]], dict[str, Package]]) -> dict[str, Package]:
    """Return the packages of `row` and, followed through their dependencies, their libraries."""
    chosen: dict[str, Package] = {}
    asked: set[str] = set()
    wanted = set(row.packages)
    for _ in range(_ROUNDS_MAX):
        if not wanted:
            break
        asked |= wanted
        found = show(sorted(wanted))
        chosen |= found
        choices = {choice for package in found.values() for choice in package.depends}
        names = {name for choice in choices for name in choice if _is_wanted(name)}
        wanted = names - asked
    missing = [name for name in row.packages if name not in chosen]
    if missing:
        raise CannotProvide(
            InstallProblem.NOT_IN_SUITE,
            f"{row.suites[0]} has no package {missing[0]}",
            "the mirror in this host's apt sources does not carry it",
        )
    return chosen


def _is_wanted(name: str) -> bool:
    return _IS_LIBRARY.match(name) is not None and name not in _LEFT_OUT


def engine_version(row: Row, package: Package) -> str:
    """Return "7.0.15" for "5:7.0.15-1~deb12u6", refusing what a suite has moved on to."""
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", package.version)
    if match is None or api_version_of(row.engine, match[1]) != row.api_version:
        hint = "choose a version that `cachewright engines list` shows as installed"
        if match is not None and row.moves:
            hint = f"ask for {row.engine.value} {api_version_of(row.engine, match[1])}"
        raise CannotProvide(
            InstallProblem.NOT_IN_SUITE,
            f"{row.suites[0]} now carries {package.name} {package.version}",
            hint,
        )
    return match[1]


def _write_origin(build: Path, row: Row, packages: dict[str, Package]) -> None:
    """Leave a note of what the folder was made from, for people and for bug reports."""
    lines = [f"{package.name} {package.version}" for _, package in sorted(packages.items())]
    note = "\n".join([f"suites {' '.join(row.suites)}", *lines, ""])
    (build / "origin.txt").write_text(note)


def cannot_write(error: OSError) -> CannotProvide:
    """Say what an error of the operating system means for an install."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space or set CACHEWRIGHT_ENGINES_DIR to another disk"
        return CannotProvide(InstallProblem.DISK_FULL, str(error), hint)
    return CannotProvide(
        InstallProblem.BROKEN,
        str(error),
        "set CACHEWRIGHT_ENGINES_DIR to a folder that can be written and executed from",
    )


def _check_space(folder: Path) -> None:
    if shutil.disk_usage(folder).free < FREE_BYTES_MIN:
        reason = f"less than {FREE_BYTES_MIN >> 20} MiB are free"
        raise OSError(errno.ENOSPC, reason, str(folder))


def _name(row: Row) -> str:
    return f"{row.engine.value}-{row.api_version}"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
