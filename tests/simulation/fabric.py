"""What do engines do to each other? Links, syncs, votes and the engines' own election.

All living engines of the simulated host, and everything that happens between them without anybody's
command. The judge is told whenever a primary ends, comes, or two could be there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

from cachewright.model.facts import ClusterFact, SilenceCause
from cachewright.model.status import Role
from tests.simulation.engine import Engine, Hang, Tie
from tests.simulation.history import are_strangers, depth_of, has_all_of
from tests.simulation.judge import Judge
from tests.simulation.slots import Slots, known_to, open_slots_of

#: `CLUSTER_WRITABLE_DELAY` of the engines, seconds.
_WRITABLE_DELAY_S = 2.0
#: `cluster-node-timeout` as we set it, seconds; the engines' own election follows some seconds on.
_NODE_TIMEOUT_S = 15.0
_ELECTION_S = (15.5, 21.0)
#: A lost election is not repeated before, seconds.
_LOST_VOTE_S = 60.0
#: From the vote until the replica is a primary, seconds.
_VOTE_S = (0.001, 0.006)
#: Between two attempts to reach a primary, seconds.
_RECONNECT_S = (0.05, 1.0)
_FULL_SYNC_S = (0.02, 1.5)
_PARTIAL_SYNC_S = (0.001, 0.01)


class Fabric:
    """The living engines of one host."""

    def __init__(self, random: Random, judge: Judge) -> None:
        self._random = random
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        #: By key.
        self.living: dict[str, Engine] = {}
        #: Highest epoch that the engines of a group have seen.
        self._epochs: dict[str, int] = {}
        self._voting: set[str] = set()
        #: Since when the primary of a shard is gone or hangs, for the engines' own election.
        self._lost_since_s: dict[str, float] = {}
        self._replication_ids = 0
        self.slots = Slots(judge)

    @property
    def now_s(self) -> float:
        """The virtual time."""
        return self._loop.time()

    def of_group(self, uid: str) -> Iterator[Engine]:
        """Yield the living engines of a group."""
        return (engine for engine in self.living.values() if engine.uid == uid)

    def of_shard(self, shard: str) -> Iterator[Engine]:
        """Yield the living engines of a shard."""
        return (engine for engine in self.living.values() if engine.shard == shard)

    def owner(self, shard: str) -> Engine | None:
        """Return the living primary of a shard, by the newest claim."""
        primaries = [
            e for e in self.of_shard(shard) if e.role is Role.PRIMARY and e.superseded_by is None
        ]
        return max(primaries, key=lambda engine: engine.epoch, default=None)

    def new_replication_id(self) -> str:
        """Return the id of a new lineage."""
        self._replication_ids += 1
        return f"{self._replication_ids:040x}"

    # Lives

    def begin(self, engine: Engine) -> None:
        """Let a process begin; in cluster mode it learns who owns its slots."""
        self.living[engine.key] = engine
        epochs = [self._epochs.get(engine.uid, 0), *(peer.epoch for peer in engine.launch.peers)]
        self._epochs[engine.uid] = max(epochs)
        engine.known = frozenset(peer.engine_id for peer in engine.launch.peers)
        rival = next(
            (e for e in self.of_shard(engine.shard) if e is not engine and e.role is Role.PRIMARY),
            None,
        )
        if engine.is_cluster and engine.role is Role.PRIMARY and rival is not None:
            if engine.epoch > rival.epoch:
                self.follow(rival, engine.own)
            else:
                self.follow(engine, rival.own)
        elif engine.is_cluster and engine.role is Role.PRIMARY:
            mine = (p.slots for p in engine.launch.peers if p.engine_id == engine.launch.engine_id)
            self.slots.begin(engine, next(mine))
        elif engine.role is Role.REPLICA:
            self._connect_soon(engine)
        self._judge.look(self.of_shard(engine.shard))

    def end(self, engine: Engine) -> None:
        """Let a process end at once."""
        if not engine.is_alive:
            return
        followers = [e for e in self.living.values() if e.source is engine]
        for follower in followers:
            follower.settle(self.now_s)
        if engine.is_writable():
            self._judge.lost(engine, [f for f in followers if f.tie is Tie.UP])
        engine.is_alive = False
        del self.living[engine.key]
        engine.cut(self.now_s)
        for follower in followers:
            follower.cut(self.now_s)
            self._connect_soon(follower)
        if engine.role is Role.PRIMARY:
            self._await_election(engine)

    def hang(self, engine: Engine, cause: SilenceCause) -> None:
        """Let a process hang: it applies nothing more until it wakes."""
        engine.settle(self.now_s)
        engine.hang = Hang(cause, self.now_s)
        if engine.role is Role.PRIMARY:
            self._await_election(engine)

    def wake(self, engine: Engine) -> None:
        """Let a process go on; in cluster mode it learns at once who owns its slots now."""
        engine.hang, engine.last_hang = None, engine.hang
        engine.woke_s = self.now_s
        if engine.superseded_by is not None:
            self.follow(engine, engine.superseded_by)
            engine.superseded_by = None
        elif engine.role is Role.REPLICA and engine.tie is Tie.DOWN:
            self._connect_soon(engine)
        self._judge.look(self.of_shard(engine.shard))

    # Replication

    def follow(self, engine: Engine, target: tuple[str, int]) -> None:
        """Make a node a replica of who listens there; what followed it connects anew."""
        if engine.role is Role.REPLICA and engine.follows == target:
            return
        followers = [e for e in self.living.values() if e.source is engine]
        for follower in followers:
            follower.settle(self.now_s)
        if engine.is_writable():
            self._judge.lost(engine, [f for f in followers if f.tie is Tie.UP])
        engine.become_replica(self.now_s, target)
        for follower in followers:
            follower.cut(self.now_s)
            self._connect_soon(follower)
        self._connect_soon(engine)

    def _connect_soon(self, engine: Engine) -> None:
        delay_s = self._random.uniform(*_RECONNECT_S)
        self._loop.call_later(delay_s, self._connect, engine, engine.attempt)

    def _connect(self, engine: Engine, attempt: int) -> None:
        if not engine.is_alive or engine.attempt != attempt or engine.role is Role.PRIMARY:
            return
        owner = self.owner(engine.shard)
        if engine.is_cluster and owner is not None:
            engine.follows = owner.own
        source = self._reachable(engine)
        if source is None or engine.hang is not None:
            self._connect_soon(engine)
            return
        engine.tie, engine.source = Tie.SYNCING, source
        is_partial = has_all_of(source.copy, engine.copy) and engine.replication_id in {
            source.replication_id,
            source.second_replication_id,
        }
        took_s = self._random.uniform(*(_PARTIAL_SYNC_S if is_partial else _FULL_SYNC_S))
        self._loop.call_later(took_s, self._finish_sync, engine, attempt, is_partial)

    def _reachable(self, engine: Engine) -> Engine | None:
        """Return who takes a replica at the address that `engine` follows."""
        for other in self.living.values():
            if other.own == engine.follows and other is not engine:
                is_open = other.answers(self.now_s) and not other.is_held
                is_fed = other.role is Role.PRIMARY or (
                    other.tie is Tie.UP and other.source is not engine
                )
                return other if is_open and is_fed else None
        return None

    def _finish_sync(self, engine: Engine, attempt: int, is_partial: bool) -> None:
        source = engine.source
        if not engine.is_alive or engine.attempt != attempt or source is None:
            return
        if engine.hang is not None or source.hang is not None:
            delay_s = _RECONNECT_S[1]
            self._loop.call_later(delay_s, self._finish_sync, engine, attempt, is_partial)
            return
        source.settle(self.now_s)
        if are_strangers(source.copy, engine.copy) and not engine.is_held:
            self._judge.blame(f"law 2: {source.key} overwrites {engine.key}, which still had data")
        if not is_partial:
            engine.second_replication_id, engine.second_offset = "", -1
        elif engine.replication_id != source.replication_id:
            engine.second_replication_id = engine.replication_id
            engine.second_offset = depth_of(engine.copy)
        engine.copy, engine.replication_id = source.copy, source.replication_id
        engine.tie = Tie.UP

    # The engines' own cluster

    def fact_of(self, engine: Engine) -> ClusterFact | None:
        """Return what a node says of its cluster."""
        if not engine.is_cluster:
            return None
        known = known_to(engine, self.of_group(engine.uid), self.now_s)
        return ClusterFact(
            is_ok=self.is_cluster_ok(engine),
            slots_assigned=16_384,
            known_nodes=len(known),
            current_epoch=self._epochs[engine.uid],
            config_epoch=engine.epoch if engine.role is Role.PRIMARY else 0,
            own_slots=self.slots.of(engine.shard) if engine.role is Role.PRIMARY else (),
            known_ids=known,
            owner_ids=self.slots.owner_ids(engine.uid) & known,
            open_slots=open_slots_of(engine),
        )

    def move(self, giver: Engine, taker: Engine, slots: frozenset[int]) -> None:
        """Let another shard own slots; a shard without slots has no data."""
        for engine in (giver, taker):
            engine.opened = {s: o for s, o in engine.opened.items() if s not in slots}
        self.slots.change(giver.shard, taker.shard, slots)
        self._epochs[taker.uid] += 1
        taker.epoch = self._epochs[taker.uid]
        if not self.slots.of(giver.shard):
            self._judge.empties(giver.shard)
            for engine in self.of_shard(giver.shard):
                engine.copy = None
                engine.recent.clear()

    def is_cluster_ok(self, engine: Engine) -> bool:
        """Tell whether a node of a cluster takes commands of clients."""
        if not engine.is_cluster:
            return True
        if self.now_s - engine.started_s < _WRITABLE_DELAY_S:
            return False
        if not self._lost_since_s:
            return True
        shards = self.slots.owners(engine.uid)
        known_lost = sum(self._is_known_lost(shard) for shard in shards)
        return len(shards) - known_lost > len(shards) // 2

    def _is_known_lost(self, shard: str) -> bool:
        """Tell whether a shard lacks its primary for so long that the others have noticed."""
        owner = self.owner(shard)
        if owner is not None and owner.answers(self.now_s):
            self._lost_since_s.pop(shard, None)
            return False
        return self._lost_since_s.get(shard, self.now_s) < self.now_s - _NODE_TIMEOUT_S

    def has_majority(self, engine: Engine) -> bool:
        """Tell whether enough primaries live to vote for a replica."""
        shards = self.slots.owners(engine.uid)
        owners = [self.owner(shard) for shard in shards]
        voters = [e for e in owners if e is not None and e.answers(self.now_s)]
        return len(voters) > len(shards) // 2

    async def vote(self, engine: Engine) -> bool:
        """Let the primaries vote for a replica; two elections at once collide in one epoch."""
        if self.now_s < engine.asks_no_vote_until_s:
            return False
        if engine.uid in self._voting:
            engine.asks_no_vote_until_s = self.now_s + _LOST_VOTE_S
            return False
        self._voting.add(engine.uid)
        try:
            await asyncio.sleep(self._random.uniform(*_VOTE_S))
            is_voted_for = self.has_majority(engine) and bool(self.slots.of(engine.shard))
            if not engine.answers(self.now_s) or not is_voted_for:
                return False
            self.claim(engine)
            return True
        finally:
            self._voting.discard(engine.uid)

    def claim(self, engine: Engine, *, by_command: bool = True) -> None:
        """Make a replica the primary of its slots, and let its siblings follow."""
        if engine.role is Role.PRIMARY:
            return
        others = [e for e in self.of_shard(engine.shard) if e is not engine]
        if by_command:
            self._judge.promoted(engine, others)
        engine.become_primary(self.now_s, self.new_replication_id())
        if engine.is_cluster:
            self._epochs[engine.uid] += 1
            engine.epoch = self._epochs[engine.uid]
            self.slots.leads(engine)
            self._lost_since_s.pop(engine.shard, None)
            for other in others:
                if other.role is Role.PRIMARY and other.hang is not None:
                    other.superseded_by = engine.own
                else:
                    self.follow(other, engine.own)
        if not engine.is_held:
            self._judge.reigns(engine, is_promoted=True)
        self._judge.look(self.of_shard(engine.shard))

    def _await_election(self, engine: Engine) -> None:
        if engine.is_cluster:
            self._lost_since_s[engine.shard] = self.now_s
            delay_s = self._random.uniform(*_ELECTION_S)
            self._loop.call_later(delay_s, self._elect, engine)

    def _elect(self, lost: Engine) -> None:
        """Do what the engines do by themselves: the replica that applied most takes over."""
        owner = self.owner(lost.shard)
        if owner is not None and owner.answers(self.now_s):
            self._lost_since_s.pop(lost.shard, None)
            return
        candidates = [
            e
            for e in self.of_shard(lost.shard)
            if e.role is Role.REPLICA and e.answers(self.now_s) and e.replication_id
        ]
        if not candidates or (owner is not None and owner is not lost):
            return
        if not self.slots.of(lost.shard):
            return
        if not self.has_majority(lost):
            self._loop.call_later(_ELECTION_S[0], self._elect, lost)
            return
        winner = max(candidates, key=lambda e: e.fact(self.now_s, None).offset)
        self._judge.note(f"the engines elect {winner.key}")
        self.claim(winner, by_command=False)


def shard_of(uid: str, shard_id: str) -> str:
    """Return the name of a shard in the simulation; `shard_id` is empty without cluster mode."""
    return f"{uid}/{shard_id}" if shard_id else uid
