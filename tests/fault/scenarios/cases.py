"""How does one scenario run, and what is said when a judge fires?

A case is a cell with a seed. It runs in a folder of its own, leaves nothing, and says how it can
be repeated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests import service_kit as kit
from tests.fault.scenarios import caches, ground, judges, table
from tests.fault.scenarios.faults import Need
from tests.fault.scenarios.records import Record
from tests.fault.scenarios.scene import Scene

_GROUNDS = {
    Need.NOTHING: ground.plain,
    Need.SMALL_DISK: ground.on_small_disk,
    Need.OWN_ENGINE: ground.with_own_engine,
    Need.OWN_CLOCK: ground.with_own_clock,
}
_REFUSALS_SHOWN = 4
#: All slots of a shard, key by key, on a machine that has other things to do.
_COPIED_WITHIN_S = 180.0
#: Of what the service said, when a case is broken.
_LOG_LINES = 40


class Broken(AssertionError):
    """A judge has fired, or the scenario did not come to its end."""


def replay_command(name: str, seed: int) -> str:
    """Return the command line that repeats a case."""
    return f'make chaos ARGS="--only {name} --seed {seed}"'


def names() -> Iterator[str]:
    """Yield the name of every cell of both tables."""
    yield from (found.name for found in table.cells())
    yield from caches.names()


def run(name: str, seed: int) -> str:
    """Run one case and return what was written; `Broken` says what was wrong and how to repeat it.

    Raises:
        Broken: a judge fired, or the scenario did not come to its end.
        ground.NotHere: this machine has not what the scenario needs.
    """
    if name.startswith(caches.SHAPE):
        return _run_cache(name, seed)
    found = table.cell(name)
    if found.fault.needs is Need.SMALL_DISK and not ground.is_inside():
        return _run_inside(name, seed)
    with _GROUNDS[found.fault.needs]() as service:
        scene = Scene(service, found.shape, table.expected(found), seed)
        scene.moves_slots = found.operation.moves_slots
        if found.operation.copies_keys:
            scene.whole_within_s = _COPIED_WITHIN_S
        if found.fault.needs is Need.OWN_ENGINE:
            scene.engine = {"Engine": ground.OWN_ENGINE, "EngineVersion": ground.OWN_VERSION}
        with _explained(name, seed, service), contextlib.closing(scene):
            return _judged(_play(scene, found))


def _run_cache(name: str, seed: int) -> str:
    with ground.plain() as service, _explained(name, seed, service):
        return caches.play(service, name, seed)


@contextlib.contextmanager
def _explained(name: str, seed: int, service: kit.Up) -> Iterator[None]:
    """Say how to repeat a case that is broken in the block, and what the service said last."""
    try:
        yield
    except Exception as error:
        log = "\n".join(service.output.splitlines()[-_LOG_LINES:])
        said = str(error) if isinstance(error, AssertionError) else repr(error)
        raise Broken(f"{replay_command(name, seed)}\n{said}\n{log}") from error


def _run_inside(name: str, seed: int) -> str:
    result = ground.run_inside(name, seed)
    if result.returncode:
        raise Broken(f"{replay_command(name, seed)}\n{result.stdout}{result.stderr}")
    return result.stdout.splitlines()[0].partition(": ")[2]


def _judged(record: Record) -> str:
    said = judges.verdict(record)
    assert not said, "\n".join([*said, *_story(record)])
    writes = sum(len(written.acknowledged) for written in record.written.values())
    missing = sum(len(written.missing) for written in record.written.values())
    return f"{writes} writes, {missing} gone with all copies"


def _play(scene: Scene, found: table.Cell) -> Record:
    operation = found.operation
    operation.make(scene)
    if not operation.is_create:
        scene.begin()
        found.fault.prepare(scene)
        operation.begin(scene)
    scene.wait(*operation.after_s)
    scene.is_at_rest = operation.is_at_rest
    scene.strike()
    lift = found.fault.strike(scene)
    scene.wait(*found.fault.lasts_s)
    if lift is not None:
        lift()
    scene.lift()
    if operation.is_create:
        scene.begin()
    if not operation.is_delete:
        operation.check(scene)
    return scene.finish()


def _story(record: Record) -> list[str]:
    """Return what happened, for people: events and who took writes."""
    lines = ["events:", *(f"  {e.source_id}: {e.message}" for e in record.events)]
    for shard_id in record.shape.shard_ids:
        lines.append(f"writers of shard {shard_id}, seconds from the fault:")
        for reign in judges.reigns(record, shard_id):
            first_s = reign.first.received_s - record.struck_s
            last_s = reign.last.received_s - record.struck_s
            ended_s = record.ended_s.get(reign.pid)
            end = "" if ended_s is None else f", ended at {ended_s - record.struck_s:+.3f}"
            lines.append(f"  {reign.node_id} {reign.pid}: {first_s:+.3f} to {last_s:+.3f}{end}")
    for shard_id, written in record.written.items():
        for text, at_s in written.refused[:_REFUSALS_SHOWN]:
            lines.append(f"  shard {shard_id} refused at {at_s - record.struck_s:+.3f}: {text}")
    statuses: list[str] = []
    for answer in record.answers:
        text = f"{answer.status or 'no answer'}"
        if not statuses or not statuses[-1].endswith(text):
            statuses.append(f"{answer.sent_s - record.struck_s:+.2f} {text}")
    return [*lines, "statuses: " + ", ".join(statuses)]
