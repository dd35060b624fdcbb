"""How does memcached hand its items to the process that comes after it?

With `-e FILE` it keeps its items in a shared mapping of a file in memory. Told to end by SIGUSR1 it
leaves `FILE.meta` beside it; the next process with the same layout maps the file and goes on with
the items, what they expire at and what was flushed. It takes `FILE.meta` away first, so what was
kept is used at most once, and a process that ended in any other way leaves nothing to be used.

The memory cannot change while it runs (`cache_memlimit` is refused with `-e`). It may grow from one
process to the next: pages that the file has gained are zero, which is how an unused page looks, so
the size in `FILE.meta` is all that has to be changed. It cannot shrink: items are linked with each
other all over the file.

Source: memcached's `restart.c` and `slabs_fixup`; tried with 1.6.18, 1.6.38 and 1.6.45.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence

from cachewright.engines import memcached_flags
from cachewright.engines.memcached_admin import MemcachedConnection
from cachewright.model.builds import Build, BuildSource
from cachewright.model.commands import Launch
from cachewright.model.engines import version_key

#: Versions from which the distribution's builds read and write items in another way than those
#: before. 1.6.25 no longer knows which items of the last second a `flush_all` was about.
_FORMATS = ((1, 6, 0), (1, 6, 25))
#: Moving one page of 1 MiB takes milliseconds.
_LOOK_AGAIN_S = 0.01
_SAID = "[restart] "
#: Said when the items are not taken, after the reason if there is one.
_CLEAN_CACHE = "starting with a clean cache"
#: How the engine wrote down for how much memory the file is.
_SIZE = re.compile(rb"^Kmaxbytes [0-9]+$", re.MULTILINE)
_CHANGED = re.compile(r"restart incompatible due to setting for \[(\w+)\]")


class MemcachedItems:
    """The `ItemKeeper` of memcached."""

    items_name = memcached_flags.ITEMS_NAME
    state_name = memcached_flags.STATE_NAME
    stop_signal = signal.SIGUSR1

    def size_bytes(self, launch: Launch) -> int:
        """Return the memory for items, in whole MiB as the flag has it."""
        return launch.maxmemory_bytes >> 20 << 20

    def layout(self, build: Build, launch: Launch) -> Mapping[str, str]:
        """Return the settings that decide what memory looks like, and how the build writes items.

        How a build of the host's owner was made is not known, so only itself reads its items.
        """
        if build.source is BuildSource.DEBIAN:
            known = max(since for since in _FORMATS if since <= version_key(build.version))
            made = ".".join(str(part) for part in known)
        else:
            made = f"{build.version} of {build.server}"
        return {**memcached_flags.layout(launch), "format of items": made}

    def grows(self, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
        """Tell whether only the memory is another one, and more."""
        name = memcached_flags.MEMORY
        has_more = memcached_flags.memory_mib_of(before) < memcached_flags.memory_mib_of(after)
        return has_more and {**before, name: ""} == {**after, name: ""}

    def grown(self, state: bytes, launch: Launch) -> bytes | None:
        """Return the state with the new size; `None` where it says none."""
        size = f"Kmaxbytes {self.size_bytes(launch):d}".encode()
        content, count = _SIZE.subn(size, state)
        return content if count == 1 else None

    async def quiet(self, admin: MemcachedConnection) -> None:
        """Let it move no more pages: a stop never ends while a page waits for a client's item."""
        await admin.say("slabs automove 0")
        while (await admin.stats()).get("slab_reassign_running", "0") != "0":  # noqa: ASYNC110 nobody tells us
            await asyncio.sleep(_LOOK_AGAIN_S)

    def ready_at_s(self, state_changed_s: float) -> float:
        """Return the next second: in the same one it believes that the clock went back."""
        return float(int(state_changed_s) + 1)

    def refusal(self, said: Sequence[str]) -> str:
        """Return what it said before it started empty."""
        words = [line.removeprefix(_SAID) for line in said if line.startswith(_SAID)]
        if not any(line.endswith(_CLEAN_CACHE) for line in words):
            return ""
        changed = [match[1] for line in words if (match := _CHANGED.search(line))]
        if changed:
            return f"memcached did not take them over: {', '.join(changed)} is not what it was"
        return f"memcached did not take them over: {words[0]}"
