"""What happens in one scenario? A real service, one group, its writers, and everybody who looks.

`Scene` is what operations and faults act on. It knows who the primaries are from direct looks,
ends only processes of its own service, and undoes what faults leave behind.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from tests import service_kit as kit
from tests.fault.scenarios import ending
from tests.fault.scenarios.probes import EVERY_S, Prober
from tests.fault.scenarios.records import Expected, Record, Told, Written
from tests.fault.scenarios.shapes import (
    ENDPOINT,
    GROUP,
    Shape,
    endpoint_targets,
    places,
    shard_of,
    targets,
    targets_of_all_keys,
)
from tests.fault.scenarios.watching import Watcher
from tests.fault.scenarios.writers import Writer, missing

T = TypeVar("T")

#: A group that was struck is whole again within this, seconds; a node that ended again and again
#: waits up to a minute for its next start.
WHOLE_WITHIN_S = 45.0
#: Whoever is struck has had this many writes before, and after.
_WRITES = 20
_WRITES_WITHIN_S = 30.0
_LOOK_S = 0.05
_AIM_EVERY_S = 0.1
#: How often a server dies at a failpoint at most.
LIVES_MAX = 5


class Scene:
    """One scenario while it runs."""

    def __init__(self, service: kit.Up, shape: Shape, expected: Expected, seed: int) -> None:
        self.service = service
        self.shape = shape
        self.expected = expected
        self.seed = seed
        self.dice = random.Random(seed)  # noqa: S311 chooses moments and victims, not secrets
        #: Where the server dies again and again, and how often it has; nowhere when empty.
        self.failpoint = ""
        self.deaths = 0
        #: How many nodes and shards there shall be in the end.
        self.nodes_wanted = shape.nodes
        self.shards_wanted = max(1, shape.shards)
        #: Slots go from shard to shard: every node is asked for the keys of all shards.
        self.moves_slots = False
        #: How long the group may take to be whole, seconds.
        self.whole_within_s = WHOLE_WITHIN_S
        #: The shards that give slots away, and those that get some.
        self.givers: tuple[str, ...] = ()
        self.takers: tuple[str, ...] = ()
        self.struck_s = time.monotonic()
        self.lifted_s = self.struck_s
        self.struck_shards: set[str] = set()
        #: How much longer the fault took than it was to, on a machine that is busy, seconds.
        self.overrun_s = 0.0
        #: Nothing is going on: there has to be somebody to strike.
        self.is_at_rest = False
        #: The group is to be gone in the end.
        self.is_deleted = False
        #: What is asked of the group's engine, where it is not the usual one.
        self.engine: dict[str, str] = {}
        #: Who was asked to be the primary.
        self.wished_primary = ""
        self.passwords: set[str] = set()
        self.places: set[tuple[str, int]] = set()
        self.writers: list[Writer] = []
        self._prober = Prober(is_cluster=shape.is_cluster)
        self._watcher = Watcher(service)
        self._held = contextlib.ExitStack()
        self._frozen: list[kit.Engine] = []

    # What operations and faults use

    @property
    def api(self) -> Any:
        """The API of the service as it runs now."""
        return self.service.api

    def ask(self, call: Callable[[Any], T]) -> T | None:
        """Call the API; a server that dies of it is started and asked again.

        What nobody got an answer to may have been accepted: then it is refused the second time.
        """
        is_repeated = False
        while True:
            try:
                return call(self.api)
            except BotoCoreError:
                if not self.failpoint:
                    raise
                self.revive()
                is_repeated = True
            except ClientError:
                if not is_repeated:
                    raise
                return None

    def revive(self) -> None:
        """Start a server that has died; at its failpoint it dies again, one pass later."""
        self.service.wait_end()
        while self.deaths < LIVES_MAX:
            self.deaths += 1
            self.service.launch(CACHEWRIGHT_FAILPOINTS=f"{self.failpoint}=kill:{self.deaths}")
            if self.service.wait_ready():
                return
        self.service.start()

    def create(self, **more: object) -> None:
        """Ask for the group."""
        shape: dict[str, Any] = {"shards": self.shape.shards, "replicas": self.shape.replicas}
        kit.create(self.api, GROUP, **shape | self.engine | more)

    def begin(self) -> None:
        """Look at the group and write to it, once it is there and whole."""
        kit.wait_status(self.api, GROUP, "available", timeout_s=WHOLE_WITHIN_S)
        self.wait_whole()
        group = kit.describe(self.api, GROUP)
        assert group is not None
        self._watcher.start()
        self.look()
        self._prober.aim(endpoint_targets(group, self.shape))
        self.writers = [Writer(group, self.shape, shard) for shard in self.shape.shard_ids]
        for writer in self.writers:
            self._held.enter_context(writer)
        self.wait_for_writes()
        self._wait_for_copies()

    def look(self) -> None:
        """Aim at every node that there is by now."""
        aim_at = targets_of_all_keys if self.moves_slots else targets
        self._prober.aim(aim_at(self.service.state_dir, self.shape))
        self._prober.every_s = EVERY_S * (2 * self.shape.shards if self.moves_slots else 1)
        if not self._prober.is_alive():
            self._prober.start()

    def wait_for_writes(self) -> None:
        """Return when every shard has taken some more writes."""
        for writer in self.writers:
            writer.wait_for_acks(_WRITES, _WRITES_WITHIN_S)

    def _wait_for_copies(self) -> None:
        """Return when every node holds something: some engines send a second after the sync."""

        def look() -> set[str]:
            seen = [look for looks in self._prober.looks.values() for look in list(looks)]
            return {found.node_id for found in seen if found.number > 0} - {ENDPOINT}

        kit.wait_until(
            "every node holds a number",
            look,
            is_it=lambda found: len(found) >= self.nodes_wanted,
            timeout_s=_WRITES_WITHIN_S,
        )

    def strike(self) -> None:
        """Write down that the fault begins now."""
        self.struck_s = self.lifted_s = time.monotonic()

    def lift(self) -> None:
        """Write down that the fault is over."""
        self.lifted_s = time.monotonic()

    def engines(self, shard_id: str | None = None) -> dict[str, kit.Engine]:
        """Return the engines of the group that run now, of one shard or of all, by node id."""
        return {
            node_id: engine
            for node_id, engine in self.service.engines().items()
            if node_id.startswith(f"{GROUP}-") and shard_id in {None, shard_of(node_id, self.shape)}
        }

    def primary(self, shard_id: str) -> kit.Engine | None:
        """Return the engine that took the last write of a shard, `None` when it has ended.

        Where slots move it is the one that has the keys which were the shard's.
        """
        running = self.engines(None if self.moves_slots else shard_id)
        for look in reversed(self._prober.looks.get(shard_id, ())):
            if look.is_accepted:
                found = [engine for engine in running.values() if engine.pid == look.pid]
                return found[0] if found else None
        # Nobody took a write yet: of a fresh shard the first node is the primary.
        running = self.engines(shard_id)
        return running.get(min(running)) if running else None

    def replicas(self, shard_id: str) -> list[kit.Engine]:
        """Return the engines of a shard that are not its primary, in the order of their ids."""
        primary = self.primary(shard_id)
        return [e for _, e in sorted(self.engines(shard_id).items()) if e != primary]

    def primary_by_its_word(self, shard_id: str) -> kit.Engine | None:
        """Return the engine of a shard that says that it is the primary."""
        running = self.engines(shard_id)
        for node_id, place in places(self.service.state_dir):
            said = kit.reachable(place, ending.role) if node_id in running else ""
            if said == "master":
                return running[node_id]
        return None

    def a_shard(self) -> str:
        """Choose a shard and write down that it is struck."""
        shard_id = self.dice.choice(self.shape.shard_ids)
        self.struck_shards.add(shard_id)
        return shard_id

    def freeze(self, engine: kit.Engine) -> None:
        """Stop an engine; if it lives at the end it is woken."""
        engine.kill(signal.SIGSTOP)
        self._frozen.append(engine)

    def wait(self, low_s: float, high_s: float) -> None:
        """Let some time pass, chosen by the seed: moments are what scenarios differ by."""
        until_s = time.monotonic() + self.dice.uniform(low_s, high_s)
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _AIM_EVERY_S))
            if self._prober.is_alive():
                # Nodes come meanwhile.
                self.look()

    def later(self, undo: Callable[[], object]) -> None:
        """Call something when the scene ends, whatever happened."""
        self._held.callback(undo)

    # How it ends

    def wait_whole(self) -> None:
        """Wait until every node is there, in sync and called available."""

        def look() -> str:
            self.look()
            return ending.what_is_missing(
                self.api,
                self.service,
                self.shape,
                nodes_wanted=self.nodes_wanted,
                shards_wanted=self.shards_wanted,
            )

        try:
            kit.wait_until(
                "the group is whole",
                look,
                is_it=lambda missing: not missing,
                timeout_s=self.whole_within_s,
                every_s=_LOOK_S * 2,
            )
        except AssertionError as error:
            told = "\n".join(kit.messages(self.api)[-12:])
            raise AssertionError(f"{error}\nlast events:\n{told}") from None

    def remember(self) -> None:
        """Note secrets and places of nodes while they are there, for what is asked at the end."""
        self.passwords |= ending.passwords(self.service.state_dir)
        self.places |= {place for _, place in places(self.service.state_dir)}

    def finish(self) -> Record:
        """Wait until all is well again, ask the last questions, and delete the group."""
        findings: list[str] = []
        if not self.is_deleted:
            self.wait_whole()
            self.wait_for_writes()
        self.remember()
        # The end of writers and lookers, and whatever faults left behind.
        self._watcher.stop() if self._watcher.is_alive() else None
        for writer in self.writers:
            writer.stop()
        self._prober.stop() if self._prober.is_alive() else None
        written = {
            writer.shard_id: Written(
                acknowledged=tuple(writer.acknowledged),
                missing=() if self.is_deleted else tuple(missing(writer)),
                refused=tuple(writer.refused),
            )
            for writer in self.writers
        }
        if not self.is_deleted:
            findings += ending.different_copies(self.service.state_dir, self.shape)
        events = self._events()
        findings += ending.told_secrets(self.service, self.passwords, events)
        findings += self._delete()
        return Record(
            shape=self.shape,
            expected=self.expected,
            struck_s=self.struck_s,
            lifted_s=self.lifted_s,
            struck_shards=tuple(sorted(self.struck_shards)),
            looks=self._prober.looks,
            ended_s=self._prober.ended_s,
            answers=tuple(self._watcher.answers),
            events=events,
            written=written,
            findings=tuple(findings),
            late_s=self._prober.late_s + self.overrun_s,
            shards_max=max(self.shape.shards, self.shards_wanted),
        )

    def _events(self) -> tuple[Told, ...]:
        pages = self.api.get_paginator("describe_events").paginate(Duration=60)
        events = [event for page in pages for event in page["Events"]]
        return tuple(
            Told(
                source_type=event["SourceType"],
                source_id=event["SourceIdentifier"],
                message=event["Message"],
            )
            for event in reversed(events)
            if event["SourceIdentifier"].startswith(GROUP)
        )

    def _delete(self) -> list[str]:
        """Delete the group, if nobody has, and return what is left of it (law 7)."""
        if not self.is_deleted:
            self.api.delete_replication_group(ReplicationGroupId=GROUP)
        kit.wait_status(self.api, GROUP, "gone", timeout_s=WHOLE_WITHIN_S)
        return ending.what_is_left(self.service.state_dir, self.places)

    def close(self) -> None:
        """End everything that the scene began; wake what still sleeps."""
        for engine in self._frozen:
            engine.kill(signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            self.service.process.send_signal(signal.SIGCONT)
        for thread in (self._watcher, self._prober):
            if thread.is_alive():
                thread.stop()
        self._held.close()
