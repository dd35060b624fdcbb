"""How does one scenario run, and what is said when a judge fires?

A case is a cell with a seed. It runs in a folder of its own, leaves nothing, and says how it can
be repeated.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests import service_kit as kit
from tests.fault.scenarios import judges, table
from tests.fault.scenarios.records import Record
from tests.fault.scenarios.scene import WHOLE_WITHIN_S, Scene


class Broken(AssertionError):
    """A judge has fired, or the scenario did not come to its end."""


def replay_command(name: str, seed: int) -> str:
    """Return the command line that repeats a case."""
    return f'make chaos ARGS="--only {name} --seed {seed}"'


def run(name: str, seed: int) -> Record:
    """Run one case and return what was seen; `Broken` says what was wrong and how to repeat it."""
    found = table.cell(name)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, kit.up(Path(folder)) as service:
        scene = Scene(service, found.shape, table.expected(found), seed)
        try:
            record = _play(scene, found)
            said = judges.verdict(record)
            if said:
                raise Broken("\n".join([*said, *_story(record)]))
        except AssertionError as error:
            log = "\n".join(service.output.splitlines()[-40:])
            raise Broken(f"{replay_command(name, seed)}\n{error}\n{log}") from error
        finally:
            scene.close()
    return record


def _play(scene: Scene, found: table.Cell) -> Record:
    operation = found.operation
    operation.make(scene)
    if not operation.is_create:
        scene.begin()
        operation.begin(scene)
    scene.wait(*operation.after_s)
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
    statuses: list[str] = []
    for answer in record.answers:
        text = f"{answer.status or 'no answer'}"
        if not statuses or not statuses[-1].endswith(text):
            statuses.append(f"{answer.sent_s - record.struck_s:+.2f} {text}")
    return [*lines, "statuses: " + ", ".join(statuses)]


def timed(name: str, seed: int) -> tuple[Record, float]:
    """Run a case and return with it how long it took, seconds."""
    begun_s = time.monotonic()
    return run(name, seed), time.monotonic() - begun_s


__all__ = ["WHOLE_WITHIN_S", "Broken", "replay_command", "run", "timed"]
