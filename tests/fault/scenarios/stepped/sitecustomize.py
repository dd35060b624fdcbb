"""What time is it for a service that scenarios step? The system's clock plus what a file says.

Python imports this by its name at the start of the service's process, and only there. Wall-clock
time alone is stepped, as by an administrator or a time server; monotonic time never is.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cachewright.kit.clock import SystemClock

_FILE = Path(os.environ["CHAOS_CLOCK_FILE"])


def _stepped(self: SystemClock) -> datetime.datetime:
    del self
    offset_s = float(_FILE.read_text())
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=offset_s)


SystemClock.now = _stepped  # type: ignore[method-assign]
