"""The program, and how many tasks its event loop has: written down at each SIGUSR1.

`CACHEWRIGHT_TASKS_FILE` says where. Only the process itself can count them; a thread of its own
does, so that the loop is left as it is.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from pathlib import Path

from cachewright.entry.cli import main


def _count() -> None:
    path = Path(os.environ["CACHEWRIGHT_TASKS_FILE"])
    while True:
        signal.sigwait({signal.SIGUSR1})
        gc.collect()
        tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task)]
        path.with_suffix(".new").write_text(str(sum(not task.done() for task in tasks)))
        path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=_count, daemon=True).start()
    main()
