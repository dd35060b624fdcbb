"""Does the folder of a node hold an append-only file that may be loaded, and how does it get one?

The file is the engine's: a folder with a manifest, which names its parts. It counts for as long as
the engine was told to keep it; one that was given up is removed at once, for what it says was
overwritten since. One of an engine that started empty and was never admitted says nothing of its
shard, and does not count. Whether it is loaded is decided elsewhere: every start throws it away
unless the launch wants it.

An engine that keeps such a file loads nothing else, and starts empty where there is none. So a
snapshot that is to be loaded becomes the first part of a new file (tried with Redis 7.0 and Valkey
8.0, 8.1 and 9.1: the first part of a rewritten file has the same format).

A replica that has copied everything keeps the file from before until a new one is written, which
another process of the engine does; what comes meanwhile goes to a part that no manifest names yet
(`openNewIncrAofForAppend` of aof.c: all builds). Such a file has less than its engine had.

What was acknowledged may be missing in the file of a killed process: with `appendfsync everysec`
the engines write nothing to it while a flush runs in the background, for two seconds at most.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cachewright.agent.folder import Record
from cachewright.kit import files
from cachewright.model.commands import Launch
from cachewright.model.facts import RefusedSetting

#: The engines' defaults, which nothing here changes.
FOLDER_NAME = "appendonlydir"
_MANIFEST_NAME = "appendonly.aof.manifest"
_BASE_NAME = "appendonly.aof.1.base.rdb"
_MANIFEST = f"file {_BASE_NAME} seq 1 type b\n"
_SETTING = "appendonly"


def keeps(launch: Launch) -> bool:
    """Tell whether an engine that is launched like this keeps a file."""
    return dict(launch.settings).get(_SETTING) == "yes"


def lies_in(folder: Path, record: Record) -> bool:
    """Tell whether the run that the record speaks of has kept a file, as far as it got."""
    launch = record.launch
    if launch is None or not keeps(launch) or not record.had_copy:
        return False
    return (folder / FOLDER_NAME / _MANIFEST_NAME).is_file()


def is_behind(folder: Path) -> bool:
    """Tell whether the engine is, or was, writing the file anew: what would be loaded is older."""
    place = folder / FOLDER_NAME
    parts = {part.name for part in place.glob("*.incr*")}
    if not parts:
        return False
    try:
        lines = (place / _MANIFEST_NAME).read_text(encoding="ascii").splitlines()
    except OSError:
        return True  # nobody shall count on it
    named = {line.split()[1] for line in lines if line.startswith("file ")}
    return not parts <= named


def loading(launch: Launch) -> Launch:
    """Return `launch` as it is started: who loads the file keeps it, until told otherwise."""
    if not launch.loads_append_only_file:
        return launch
    settings = dict(launch.settings) | {_SETTING: "yes"}
    return dataclasses.replace(launch, settings=tuple(sorted(settings.items())))


def begin_with(folder: Path, snapshot_name: str) -> None:
    """Make a snapshot in the folder the first part of a file; the snapshot stays."""
    place = folder / FOLDER_NAME
    place.mkdir(mode=files.PRIVATE_FOLDER)
    os.link(folder / snapshot_name, place / _BASE_NAME)
    files.write_private(place / _MANIFEST_NAME, _MANIFEST.encode())


def is_begun(taken: Mapping[str, str]) -> bool:
    """Tell whether an engine has been told to keep a file from now on."""
    return taken.get(_SETTING) == "yes"


def is_given_up(changes: Mapping[str, str], refused: Sequence[RefusedSetting]) -> bool:
    """Tell whether an engine has been told to keep its file no longer, and does so."""
    return changes.get(_SETTING) == "no" and all(one.name != _SETTING for one in refused)


def give_up(folder: Path) -> None:
    """Remove the file of an engine that does not keep it any more."""
    place = folder / FOLDER_NAME
    if place.exists():
        shutil.rmtree(place)
