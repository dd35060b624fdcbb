"""Who owns a background task? `Supervised`: named tasks in one group, started here only.

A task that ends with an error is logged and started again after a growing delay; cancellation is
an ordinary exit. A task that returns is finished.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cachewright.kit.backoff import Backoff

_log = logging.getLogger(__name__)


class Supervised:
    """A set of background tasks that lives as long as the `async with` block."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work()` under `name` until it returns or the block ends."""
        task = asyncio.create_task(self._run(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Supervised:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(first_s=0.1, last_s=5.0)
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 the last line of defence: logged with its traceback
                _log.exception("event=task_failed task=%s", name)
                await asyncio.sleep(backoff.next_s())
            else:
                return
