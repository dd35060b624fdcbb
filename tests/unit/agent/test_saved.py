"""Is a snapshot believed exactly when a graceful stop has left it?"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cachewright.agent.saved import FRESH_S_MAX, NOTE_NAME, SavedData
from cachewright.model.status import Role

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
SNAPSHOT = "dump.rdb"


def save(folder: Path, content: str) -> None:
    """Write a snapshot as engines do: beside, then renamed."""
    (folder / "temp.rdb").write_text(content)
    (folder / "temp.rdb").rename(folder / SNAPSHOT)


def ordered(folder: Path) -> SavedData:
    saved = SavedData(folder, SNAPSHOT)
    saved.expect(role=Role.PRIMARY, now=NOW)
    return saved


def stopped(folder: Path, content: str = "data") -> SavedData:
    saved = ordered(folder)
    save(folder, content)
    assert saved.confirm()
    return saved


def test_a_snapshot_without_a_note_is_of_any_age(tmp_path: Path) -> None:
    save(tmp_path, "data")
    saved = SavedData(tmp_path, SNAPSHOT)
    assert not saved.is_whole()
    assert not saved.recover()
    assert not saved.confirm()


def test_a_saving_stop_leaves_whole_data(tmp_path: Path) -> None:
    saved = ordered(tmp_path)
    save(tmp_path, "data")
    assert not saved.is_whole()
    assert saved.confirm()
    assert saved.is_whole()
    assert saved.confirm()
    assert saved.recover()
    assert (tmp_path / NOTE_NAME).stat().st_mode & 0o777 == 0o600


def test_an_engine_that_ended_without_saving_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path, "of any age")
    saved = ordered(tmp_path)
    assert not saved.confirm()
    assert not saved.is_whole()
    assert not (tmp_path / NOTE_NAME).exists()


def test_a_snapshot_that_was_changed_is_not_whole(tmp_path: Path) -> None:
    saved = stopped(tmp_path)
    save(tmp_path, "DATA")
    assert not saved.is_whole()


def test_a_link_is_no_snapshot(tmp_path: Path) -> None:
    saved = ordered(tmp_path)
    save(tmp_path, "data")
    (tmp_path / SNAPSHOT).rename(tmp_path / "elsewhere")
    (tmp_path / SNAPSHOT).symlink_to("elsewhere")
    assert not saved.confirm()


def test_an_engine_that_ends_while_loading_leaves_what_it_loaded(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert ordered(tmp_path).confirm()


def test_a_stop_that_was_refused_loses_nothing(tmp_path: Path) -> None:
    saved = stopped(tmp_path)
    saved.expect(role=Role.PRIMARY, now=NOW)
    assert not saved.is_whole()
    saved.abandon()
    assert saved.is_whole()


def test_a_stop_that_was_refused_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    saved = ordered(tmp_path)
    saved.abandon()
    save(tmp_path, "later")
    assert not saved.recover()


def test_a_note_without_a_broken_off_stop_is_left_alone(tmp_path: Path) -> None:
    saved = stopped(tmp_path)
    saved.abandon()
    assert saved.is_whole()


def test_after_our_death_a_fresh_snapshot_counts(tmp_path: Path) -> None:
    saved = ordered(tmp_path)
    save(tmp_path, "data")
    assert saved.recover()
    assert saved.is_whole()


def test_after_our_death_a_snapshot_of_another_time_does_not_count(tmp_path: Path) -> None:
    for distance_s in (-10, FRESH_S_MAX + 10):
        saved = ordered(tmp_path)
        save(tmp_path, f"{distance_s}")
        then = (tmp_path / NOTE_NAME).stat().st_mtime + distance_s
        os.utime(tmp_path / SNAPSHOT, (then, then))
        assert not saved.recover()
        assert not saved.is_whole()


def test_what_was_discarded_is_never_loaded(tmp_path: Path) -> None:
    saved = stopped(tmp_path)
    saved.discard()
    saved.discard()
    assert not saved.is_whole()
    assert not list(tmp_path.iterdir())


def test_discarding_leaves_a_snapshot_that_is_not_ours(tmp_path: Path) -> None:
    """A replica keeps the set that it is receiving in the same file."""
    save(tmp_path, "being received")
    SavedData(tmp_path, SNAPSHOT).discard()
    assert (tmp_path / SNAPSHOT).exists()


def test_a_note_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    saved = stopped(tmp_path)
    (tmp_path / NOTE_NAME).write_text("{")
    assert not saved.is_whole()
