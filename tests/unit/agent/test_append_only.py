"""When does an append-only file count, and when has an engine given it up?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cachewright.agent import append_only
from cachewright.agent.folder import Record
from cachewright.agent.machine import State
from cachewright.model.facts import RefusedSetting
from tests.fault.agent_world import launch_of


def record_of(*settings: tuple[str, str]) -> Record:
    launch = dataclasses.replace(launch_of(address="127.0.0.1"), settings=settings)
    return Record(state=State.STOPPED, launch=launch)


def test_a_file_counts_only_for_a_run_that_kept_it(tmp_path: Path) -> None:
    kept, given_up = record_of(("appendonly", "yes")), record_of(("appendonly", "no"))
    assert not append_only.lies_in(tmp_path, kept)
    (tmp_path / "dump.rdb").write_bytes(b"REDIS")
    append_only.begin_with(tmp_path, "dump.rdb")
    assert append_only.lies_in(tmp_path, kept)
    never_admitted = dataclasses.replace(kept, had_copy=False)
    for record in (given_up, never_admitted, record_of(), Record(state=State.STOPPED)):
        assert not append_only.lies_in(tmp_path, record)
    assert (tmp_path / "dump.rdb").read_bytes() == b"REDIS"
    append_only.give_up(tmp_path)
    append_only.give_up(tmp_path)
    assert not append_only.lies_in(tmp_path, kept)


@pytest.mark.parametrize(
    ("parts", "is_behind"),
    [
        ((), False),
        (("appendonly.aof.1.incr.aof",), False),
        # A base that is done, and not in the manifest yet, takes nothing from the file.
        (("appendonly.aof.1.incr.aof", "appendonly.aof.2.base.rdb"), False),
        (("appendonly.aof.1.incr.aof", "temp-appendonly.aof.incr"), True),
        (("appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"), True),
    ],
)
def test_a_file_is_behind_where_parts_of_it_are_not_named_yet(
    tmp_path: Path, parts: tuple[str, ...], is_behind: bool
) -> None:
    place = tmp_path / append_only.FOLDER_NAME
    place.mkdir()
    manifest = "file appendonly.aof.1.base.rdb seq 1 type b\n"
    manifest += "file appendonly.aof.1.incr.aof seq 1 type i\n"
    (place / "appendonly.aof.manifest").write_text(manifest)
    for name in parts:
        (place / name).touch()
    assert append_only.is_behind(tmp_path) is is_behind
    (place / "appendonly.aof.manifest").unlink()
    assert append_only.is_behind(tmp_path) is any("incr" in name for name in parts)


@pytest.mark.parametrize(
    ("changes", "refused", "is_given_up"),
    [
        ({"appendonly": "no"}, (), True),
        ({"appendonly": "yes"}, (), False),
        ({"appendfsync": "no"}, (), False),
        ({"appendonly": "no"}, ("appendonly",), False),
        ({"appendonly": "no"}, ("timeout",), True),
    ],
)
def test_a_file_is_given_up_when_the_engine_does_so(
    changes: dict[str, str], refused: tuple[str, ...], is_given_up: bool
) -> None:
    said = [RefusedSetting(name=name, value="no", reason="ERR") for name in refused]
    assert append_only.is_given_up(changes, said) is is_given_up
