"""Which engine is this executable, in which version, and can it do TLS?

The program itself is asked (never its file name: a `redis-server` may be a link to Valkey) with
a deadline, and the answer is kept on disk under path, modification time and size, so that a
start of the service runs nothing. Without a writable folder it works too, only slower.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cachewright.engines import bounded
from cachewright.kit import files
from cachewright.model.engines import EngineName

#: An engine says its version in about 10 ms; 5 s leaves room for a loaded machine.
ANSWER_TIMEOUT_S = 5.0

_VERSION_LINE = re.compile(r"^(Valkey|Redis) server v=(\d+\.\d+\.\d+)\b.*\bmalloc=(\S+)", re.M)
_MEMCACHED_LINE = re.compile(r"^memcached (\d+\.\d+\.\d+)", re.M)
#: Said by Valkey and Redis when TLS is built in and asked for without a certificate.
_TLS_WITHOUT_CERTIFICATE = "Failed to configure TLS"
_MEMCACHED_TLS_OPTION = "--enable-ssl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What an engine's executable says about itself."""

    engine: EngineName
    version: str
    has_tls: bool
    allocator: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remembered:
    mtime_ns: int
    size: int
    #: `None`: the program ran and is no engine.
    identity: Identity | None


def identify(path: Path) -> Identity | None:
    """Ask the program at `path` who it is; `None` when it is no engine.

    Raises:
        OSError: it cannot be started.
        bounded.RanAway: it did not answer in time.
    """
    if path.name.startswith("memcached"):
        return _identify_memcached(path)
    said = bounded.run([str(path), "--version"], timeout_s=ANSWER_TIMEOUT_S).stdout
    match = _VERSION_LINE.search(said)
    if match is None:
        return None
    return Identity(
        engine=EngineName(match[1].lower()),
        version=match[2],
        has_tls=_asked_for_tls(path),
        allocator=match[3],
    )


def _asked_for_tls(path: Path) -> bool:
    """Start the server with a TLS port and no certificate: it ends before it listens.

    The reason that it gives tells a build with TLS from one without. The configuration words
    alone do not: a build that expects TLS as a module knows them too (Valkey 9.1).
    """
    said = bounded.run(
        [str(path), "--port", "0", "--tls-port", "1", "--bind", "127.0.0.1"],
        timeout_s=ANSWER_TIMEOUT_S,
    )
    return _TLS_WITHOUT_CERTIFICATE in said.stdout


def _identify_memcached(path: Path) -> Identity | None:
    match = _MEMCACHED_LINE.search(
        bounded.run([str(path), "-V"], timeout_s=ANSWER_TIMEOUT_S).stdout
    )
    if match is None:
        return None
    usage = bounded.run([str(path), "-h"], timeout_s=ANSWER_TIMEOUT_S).stdout
    return Identity(
        engine=EngineName.MEMCACHED,
        version=match[1],
        has_tls=_MEMCACHED_TLS_OPTION in usage,
        allocator="libc",  # slabs of its own on top of the C library's malloc
    )


class Identities:
    """Answers of `identify`, each asked once for a file that does not change."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._known: dict[str, _Remembered] | None = None

    def of(self, path: Path) -> Identity | None:
        """Return who the executable at `path` is; `None` when it is gone or no engine."""
        try:
            facts = path.stat()
        except OSError:
            return None
        with self._guard:
            known = self._load()
            found = known.get(str(path))
            if found and (found.mtime_ns, found.size) == (facts.st_mtime_ns, facts.st_size):
                return found.identity
            try:
                identity = identify(path)
            except (OSError, bounded.RanAway):
                return None  # not remembered: the next look may find it healthy
            known[str(path)] = _Remembered(
                mtime_ns=facts.st_mtime_ns, size=facts.st_size, identity=identity
            )
            self._save()
            return identity

    def _load(self) -> dict[str, _Remembered]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, msgspec.DecodeError):
                content = self._file.read_bytes()
                self._known = msgspec.json.decode(content, type=dict[str, _Remembered])
        return self._known

    def _save(self) -> None:
        """Keep what is known of files that exist; where it cannot be kept, looking costs more."""
        known = {path: seen for path, seen in self._load().items() if Path(path).exists()}
        with contextlib.suppress(OSError):
            files.make_private_folder(self._file.parent)
            files.write_atomic(self._file, msgspec.json.encode(known))
