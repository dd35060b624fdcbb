"""What does the world of one group look like now? Asks the host, remembers only silence.

A look asks every engine. A glance asks those of the shards in which a process has ended or is
silent, and takes the others as they last answered: what it costs does not grow with the group.

Reads; changes nothing. A host that does not answer in time makes its nodes unknown, never gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Set

from cachewright.kit.clock import Clock
from cachewright.model.commands import node_key
from cachewright.model.facts import NodeFact, Observed, Running, Unknown
from cachewright.model.groups import Group
from cachewright.rpc.agent import Agent

#: An agent answers for its nodes within their own deadline of 1 s each, all at the same time;
#: beyond this the agent itself counts as silent. Seconds.
AGENT_DEADLINE_S = 5.0


class Observer:
    """Observes groups through the agent of the host."""

    def __init__(self, agent: Agent, clock: Clock) -> None:
        self._agent = agent
        self._clock = clock
        #: Monotonic second at which each node last answered, or was first found silent.
        self._answered_s: dict[str, float] = {}
        #: What each engine that is placed used when it last said so, by group and node.
        self._used_bytes: dict[str, dict[str, int]] = {}
        #: What fails again and again for a group, and whether it is hopeless.
        self._obstacles: dict[str, tuple[str, bool]] = {}

    def set_obstacle(self, uid: str, reason: str, *, is_hopeless: bool) -> None:
        """Remember what has failed again and again for a group."""
        self._obstacles[uid] = (reason, is_hopeless)

    def clear_obstacle(self, uid: str) -> None:
        """Nothing fails any more for a group."""
        self._obstacles.pop(uid, None)

    def usage(self, uid: str) -> Mapping[str, int]:
        """Return the bytes that each engine of a group used when it last answered a look."""
        return self._used_bytes.get(uid, {})

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a group."""
        self._obstacles.pop(uid, None)
        self._used_bytes.pop(uid, None)
        for key in [key for key in self._answered_s if key.startswith(f"{uid}.")]:
            del self._answered_s[key]

    async def observe(self, group: Group) -> Observed:
        """Return what is known of a group at this moment."""
        spec, placement = group.spec, group.placement
        offers = self._agent.offers()
        build_version = next(
            (
                offer.version
                for offer in offers
                if offer.is_installed
                and offer.engine is spec.engine
                and offer.api_version == spec.engine_version
            ),
            None,
        )
        node_ids = [node.node_id for node in placement.nodes] if placement else []
        nodes = await self._ask(spec.uid, node_ids) if node_ids else {}
        self._remember_usage(spec.uid, nodes)
        obstacle, is_hopeless = self._obstacles.get(spec.uid, ("", False))
        return Observed(
            nodes=nodes,
            silence_s=self._silence(spec.uid, nodes),
            build_version=build_version,
            obstacle=obstacle,
            is_hopeless=is_hopeless,
        )

    async def glance(
        self, group: Group, named: Set[str] = frozenset()
    ) -> tuple[Observed, frozenset[str]]:
        """Return what matters to shards that may have lost a node, and the ids of those shards.

        The shards `named` are among them, whatever became of their nodes.
        A process that is known to be silent is not asked: it would only keep others waiting.
        """
        uid, placement = group.spec.uid, group.placement
        if placement is None:
            return Observed(), frozenset()
        keys = {node_key(uid, node.node_id): node.node_id for node in placement.nodes}
        glanced = await self._agent.glance(tuple(keys))
        nodes = {keys[key]: fact for key, fact in glanced.items()}
        lost = {n.shard_id for n in placement.nodes if not _is_well(nodes[n.node_id])}
        struck = frozenset(lost | named)
        asked = [
            node.node_id
            for node in placement.nodes
            if node.shard_id in struck and nodes[node.node_id].silence is None
        ]
        return Observed(nodes=nodes | await self._ask(uid, asked)), struck

    async def _ask(self, uid: str, node_ids: Iterable[str]) -> dict[str, NodeFact]:
        keys = {node_key(uid, node_id): node_id for node_id in node_ids}
        try:
            async with asyncio.timeout(AGENT_DEADLINE_S):
                facts = await self._agent.observe(tuple(keys))
        except TimeoutError:
            silence = Unknown(reason=f"the host did not answer within {AGENT_DEADLINE_S:.0f} s")
            fact = NodeFact(process=silence, engine=silence)
            return dict.fromkeys(keys.values(), fact)
        return {keys[key]: fact for key, fact in facts.items()}

    def _remember_usage(self, uid: str, nodes: Mapping[str, NodeFact]) -> None:
        """Keep what engines use; of those that do not answer now, what they said last."""
        before = self._used_bytes.get(uid, {})
        known: dict[str, int] = {}
        for node_id, fact in nodes.items():
            if not isinstance(fact.engine, Unknown):
                known[node_id] = fact.engine.used_memory_bytes
            elif node_id in before:
                known[node_id] = before[node_id]
        self._used_bytes[uid] = known

    def _silence(self, uid: str, nodes: Mapping[str, NodeFact]) -> dict[str, float]:
        now_s = self._clock.monotonic_s()
        silence: dict[str, float] = {}
        for node_id, fact in nodes.items():
            key = node_key(uid, node_id)
            if isinstance(fact.engine, Unknown):
                silence[node_id] = now_s - self._answered_s.setdefault(key, now_s)
            else:
                self._answered_s[key] = now_s
        return silence


def _is_well(fact: NodeFact) -> bool:
    """Tell whether a process lives and answered when it was last asked."""
    return isinstance(fact.process, Running) and not isinstance(fact.engine, Unknown)
