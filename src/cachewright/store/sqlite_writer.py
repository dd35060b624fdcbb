"""Who writes the SQLite file, and when do readers see it?

One thread owns the log: it takes all transactions that wait, commits them with one fsync and hands
the outcomes to the event loop, which feeds the mirror and answers the callers in the same order.
While the disk is busy the next batch gathers, so throughput grows with the number of writers while
a single one waits for nothing. It decides nothing about a transaction; the log does.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVarTuple

from cachewright.store.base import Reason
from cachewright.store.mirror import Mirror
from cachewright.store.sqlite_faults import unavailable
from cachewright.store.sqlite_log import Committed, Log, Transaction

Arguments = TypeVarTuple("Arguments")

#: Transactions of one commit: more would only delay the first of them.
BATCH_MAX: Final = 64
#: Transactions that may wait: some seconds of work. Beyond it callers are told instead of queued.
WAITING_MAX: Final = 4_096
#: Recovering a long log and reading 256 MB takes seconds on a slow disk.
OPEN_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """A transaction and the caller who waits for it."""

    transaction: Transaction
    answer: asyncio.Future[int]


class Writer:
    """The thread, its queue, and the mirror it feeds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        #: None asks the thread to end.
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting = 0
        self._opened: asyncio.Future[Mirror] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._is_stopping = False
        # A daemon: a disk that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    async def start(self) -> Mirror:
        """Open the file and return its contents, which follow every commit from then on."""
        self._thread.start()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                return await self._opened
        except TimeoutError as error:
            raise unavailable(Reason.NO_ANSWER, self._path) from error
        finally:
            if not self._opened.done() or self._opened.cancelled():
                self._requests.put(None)

    async def perform(self, transaction: Transaction, timeout_s: float) -> int:
        """Return the revision once the transaction is durable and in the mirror."""
        if self._is_stopping:
            raise unavailable(Reason.CLOSED, self._path)
        if self._waiting >= WAITING_MAX:
            raise unavailable(Reason.TOO_BUSY, self._path)
        request = Request(transaction=transaction, answer=self._loop.create_future())
        self._waiting += 1
        self._requests.put(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await request.answer
        except TimeoutError as error:
            raise unavailable(Reason.NO_ANSWER, self._path) from error

    async def stop(self, timeout_s: float) -> None:
        """Finish what waits, close the file and end the thread."""
        if not self._is_stopping:
            self._is_stopping = True
            self._requests.put(None)
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError as error:
            raise unavailable(Reason.NO_ANSWER, self._path) from error

    # On the thread

    def _run(self) -> None:
        try:
            log = Log(self._path)
        except Exception as error:  # noqa: BLE001 - whatever it is, `start` waits for it
            self._post(self._fail_to_open, error)
            return
        try:
            self._serve(log)
        except Exception as error:  # noqa: BLE001 - as above: reading the contents failed
            self._post(self._fail_to_open, error)
        finally:
            log.close()
            self._post(self._ended.set)

    def _serve(self, log: Log) -> None:
        revision, entries = log.load()
        self._post(self._finish_opening, Mirror(entries, revision))
        while batch := self._next_batch():
            self._post(self._settle, batch, _commit(log, batch))

    def _next_batch(self) -> list[Request]:
        """Wait for a request, and return it with all that wait behind it; empty at the end."""
        batch: list[Request] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH_MAX:
                request = self._requests.get(block=not batch)
                if request is None:
                    if batch:
                        self._requests.put(
                            None
                        )  # nothing is queued behind it: found again next time
                    break
                batch.append(request)
        return batch

    def _post(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        # A closed loop raises: nobody waits for an answer any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    # On the event loop

    def _finish_opening(self, mirror: Mirror) -> None:
        self._mirror = mirror
        if not self._opened.done():
            self._opened.set_result(mirror)

    def _fail_to_open(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)

    def _settle(
        self, requests: Sequence[Request], outcomes: Sequence[Committed | Exception]
    ) -> None:
        """Show each transaction to the readers, then answer its caller, in the order of commits."""
        self._waiting -= len(requests)
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, Committed) and outcome.changes:
                self._mirror.apply(outcome.revision, outcome.changes)
            if request.answer.done():  # the caller was cancelled or gave up
                continue
            if isinstance(outcome, Committed):
                request.answer.set_result(outcome.revision)
            else:
                request.answer.set_exception(outcome)


def _commit(log: Log, batch: Sequence[Request]) -> Sequence[Committed | Exception]:
    try:
        return log.commit([request.transaction for request in batch])
    except Exception as error:  # noqa: BLE001 - a bug met by a batch is its callers' answer, not our end
        return [error] * len(batch)
