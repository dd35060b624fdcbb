"""What does every build do with append-only files? What `agent.append_only` rests on."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from cachewright.agent import append_only
from tests.contract.engine_lab import Client, Engine, Lab, wait_until
from tests.contract.frozen_threads import frozen

COUNT = 200
KEPT = (("appendonly", "yes"),)
#: Who flushes the file in the background, as Redis and as Valkey call it.
FLUSHERS = ("bio_aof_fsync", "bio_aof")


def write(client: Client, start: int) -> None:
    for number in range(start, start + COUNT):
        assert client("SET", f"key:{number}", "x" * 100) == b"OK"


def buffered_bytes(engine: Engine) -> int:
    """Return how much of what was acknowledged is still in the engine's memory alone."""
    said = engine.administer("INFO", "persistence")
    assert isinstance(said, bytes)
    return int(said.partition(b"aof_buffer_length:")[2].split()[0])


def kill(engine: Engine) -> None:
    """End the process once its file has all that was acknowledged; see the last test."""
    wait_until(lambda: buffered_bytes(engine), lambda count: count == 0)
    assert engine.process is not None
    engine.process.kill()
    engine.wait()


def count_after_start(engine: Engine, *, loads_saved_data: bool = False) -> object:
    engine.start(loads_saved_data=loads_saved_data)
    wait_until(lambda: engine.observe().is_loading, lambda is_loading: not is_loading)
    return engine.administer("DBSIZE")


@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_a_snapshot_becomes_the_first_part_of_a_file_and_is_ignored_otherwise(
    lab: Lab, cluster_enabled: bool
) -> None:
    engine = lab.cluster(1, 0)[0] if cluster_enabled else lab.engine()
    engine.start()
    engine.admit()
    if cluster_enabled:
        wait_until(lambda: engine.observe().cluster, lambda said: said is not None and said.is_ok)
    client = engine.client()
    write(client, 0)
    engine.shutdown(saves=True)

    engine.launch = replace(engine.launch, settings=KEPT)
    assert count_after_start(engine, loads_saved_data=True) == 0  # the trap
    kill(engine)
    append_only.give_up(engine.folder)
    append_only.begin_with(engine.folder, engine.adapter.snapshot_name)
    assert count_after_start(engine, loads_saved_data=True) == COUNT
    engine.admit()
    if cluster_enabled:
        wait_until(lambda: engine.observe().cluster, lambda said: said is not None and said.is_ok)
    write(engine.client(), COUNT)
    kill(engine)
    assert count_after_start(engine) == 2 * COUNT


def test_a_file_survives_the_death_of_its_engine_and_a_torn_end(lab: Lab) -> None:
    engine = lab.engine(settings=KEPT)
    engine.start()
    engine.admit()
    write(engine.client(), 0)
    kill(engine)
    (part,) = (engine.folder / append_only.FOLDER_NAME).glob("*.incr.aof")
    content = part.read_bytes()
    part.write_bytes(content[:-50])  # as a loss of power leaves it
    assert count_after_start(engine) == COUNT - 1


def test_turned_on_while_it_runs_a_file_has_a_manifest_only_once_it_is_whole(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    write(engine.client(), 0)
    engine.administer("CONFIG", "SET", "rdb-key-save-delay", "2000")
    engine.administer("CONFIG", "SET", "appendonly", "yes")
    manifest = engine.folder / append_only.FOLDER_NAME / "appendonly.aof.manifest"
    assert not manifest.exists()
    wait_until(manifest.exists, bool)
    kill(engine)
    engine.launch = replace(engine.launch, settings=KEPT)
    assert count_after_start(engine) == COUNT


def test_after_a_file_was_removed_it_can_be_begun_again(lab: Lab) -> None:
    engine = lab.started(settings=KEPT)
    engine.admit()
    write(engine.client(), 0)
    engine.administer("CONFIG", "SET", "appendonly", "no")
    append_only.give_up(engine.folder)
    write(engine.client(), COUNT)
    assert engine.administer("CONFIG", "SET", "appendonly", "yes") == b"OK"
    manifest = engine.folder / append_only.FOLDER_NAME / "appendonly.aof.manifest"
    wait_until(manifest.exists, bool)
    kill(engine)
    assert count_after_start(engine) == 2 * COUNT


@pytest.mark.parametrize(("how", "is_kept"), [("always", True), ("no", True), ("everysec", False)])
def test_with_everysec_a_slow_disk_keeps_acknowledged_writes_in_memory(
    lab: Lab, how: str, is_kept: bool
) -> None:
    """While a flush of `everysec` runs, the engine does not write to the file, up to 2 s.

    It flushes in the background once a second and fears to be held up by it. So kill -9 loses what
    was acknowledged meanwhile; with the other two ways it loses nothing.
    """
    engine = lab.started(settings=(*KEPT, ("appendfsync", how)))
    engine.admit()
    client = engine.client()
    assert engine.process is not None
    (part,) = (engine.folder / append_only.FOLDER_NAME).glob("*.incr.aof")

    def is_in_file(name: str) -> bool:
        assert client("SET", name, "x") == b"OK"
        return name.encode() in part.read_bytes()

    with frozen(engine.process.pid, FLUSHERS):
        deadline_s = time.monotonic() + (2.0 if is_kept else 20.0)
        names = iter(f"name-{number}" for number in range(10_000))
        while (found := is_in_file(next(names))) and time.monotonic() < deadline_s:
            time.sleep(0.01)
    assert found is is_kept
