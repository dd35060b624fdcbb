"""How is the primary of a drill ended? Like any process that is fenced, but for no reason at all.

The loop is not told: it finds out as it finds out about every end.
"""

from __future__ import annotations

from cachewright.control.execute import Executor
from cachewright.control.observe import Observer
from cachewright.kit.clock import Clock
from cachewright.model.commands import FenceNode, Step, node_key
from cachewright.model.facts import Running
from cachewright.rpc.agent import CommandFailed
from cachewright.store.records import Records


async def end_node(
    records: Records,
    observer: Observer,
    executor: Executor,
    uid: str,
    node_id: str,
    *,
    clock: Clock,
) -> None:
    """End the process of a node at once, and return when that is proven.

    Raises:
        CommandFailed: it does not run, or could not be ended.
    """
    group = records.group(uid)
    if group is None:
        raise CommandFailed(f"{node_id} is gone")
    known_at_s = clock.monotonic_s()
    process = (await observer.observe(group)).of(node_id).process
    if not isinstance(process, Running):
        raise CommandFailed(f"{node_id} does not run")
    command = FenceNode(key=node_key(uid, node_id), identity=process.identity)
    step = Step(command=command, reason="a drill ends it", node_id=node_id)
    for failure in await executor.execute(group, (step,), known_at_s=known_at_s):
        raise CommandFailed(failure.reason)
