"""Which flags does a memcached start with? Turns a `Launch` into its command line.

memcached has no configuration file: its command line is its configuration. One table has every
parameter by the API's name with the flag that it becomes; a value gets there only as a number, as
one of a few words or not at all, so nothing in it can become another option. Everything that
safety depends on is written here and cannot be overridden: the one address and port, no UDP, no
`shutdown` command.

Source: `memcached -h` of 1.6.18, 1.6.38 and 1.6.45, and the program's own sources where these
leave a unit open.
"""

from __future__ import annotations

import os
import pwd
import re
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachewright.engines.home import CERTIFICATE_NAME, KEY_NAME
from cachewright.engines.text import UnusableLaunch, check_address, check_port
from cachewright.model.commands import Launch
from cachewright.model.engines import version_key
from cachewright.model.facts import RefusedSetting

#: The file of items in a folder in memory; the engine writes another beside it when it is told to
#: end and keep them.
ITEMS_NAME = "items"
STATE_NAME = "items.meta"

_ALWAYS = (0,)
_NEVER = (99,)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_FACTOR = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?", re.ASCII)
_SWITCH = re.compile(r"[01]", re.ASCII)
_CONNECTIONS = "max_simultaneous_connections"
#: From here on memcached ends by SIGSEGV when its hash table grows, unless the thread that moves
#: pages runs (`pause_threads` locks it without a look whether it is there). It is started, then,
#: and told to move nothing: what is left is that clients may say `slabs reassign`.
_NEEDS_PAGE_MOVER = (1, 6, 34)
_PAGE_MOVER = "slab_automove="
_IDLE_PAGE_MOVER = ("-o", "slab_reassign", "-o", f"{_PAGE_MOVER}0")
#: Of a name or value that is refused, for the error.
_SHOWN_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flag:
    """How one parameter becomes words, in the versions from `since` to before `until`."""

    name: str
    #: What a value may look like.
    pattern: re.Pattern[str]
    #: The words, with `{}` for the value; or for each value of a switch, words of its own.
    words: tuple[str, ...] = ()
    when_0: tuple[str, ...] = ()
    when_1: tuple[str, ...] = ()
    #: The flag wants this many times less than the API says.
    divisor: int = 1
    since: tuple[int, ...] = _ALWAYS
    until: tuple[int, ...] = _NEVER
    #: What a version without the flag does.
    otherwise: str = ""


def _number(name: str, *words: str, divisor: int = 1, since: tuple[int, ...] = _ALWAYS) -> _Flag:
    return _Flag(name=name, pattern=_NUMBER, words=words, divisor=divisor, since=since)


def _choice(name: str, *words: str, values: str) -> _Flag:
    return _Flag(name=name, pattern=re.compile(values, re.ASCII), words=words)


def _switch(name: str, *, when_0: tuple[str, ...] = (), when_1: tuple[str, ...] = ()) -> _Flag:
    return _Flag(name=name, pattern=_SWITCH, when_0=when_0, when_1=when_1)


def _option(name: str) -> _Flag:
    """Return a switch that is an option of `-o`, with a `no_` before it to turn it off."""
    return _switch(name, when_0=("-o", f"no_{name}"), when_1=("-o", name))


#: In the order of the command line: `no_modern` turns off what later options may turn on, and
#: `slab_reassign` may have to overrule `slab_automove`.
_FLAGS: tuple[_Flag, ...] = (
    _Flag(
        name="no_modern",
        pattern=_SWITCH,
        when_1=("-o", "no_modern"),
        until=_NEEDS_PAGE_MOVER,
    ),
    _Flag(
        name="no_modern",
        pattern=_SWITCH,
        when_1=("-o", "no_modern", *_IDLE_PAGE_MOVER),
        since=_NEEDS_PAGE_MOVER,
    ),
    _number("backlog_queue_limit", "-b", "{}"),
    # Not `binary`: such an engine answers no question of ours.
    _choice("binding_protocol", "-B", "{}", values="auto|ascii"),
    _switch("cas_disabled", when_1=("-C",)),
    _number("chunk_size", "-n", "{}"),
    _Flag(name="chunk_size_growth_factor", pattern=_FACTOR, words=("-f", "{}")),
    _switch("disable_flush_all", when_1=("-F",)),
    _switch("error_on_memory_exhausted", when_1=("-M",)),
    _choice("hash_algorithm", "-o", "hash_algorithm={}", values="jenkins|murmur3"),
    _number("hashpower_init", "-o", "hashpower={}"),
    _number("idle_timeout", "-o", "idle_timeout={}"),
    _option("lru_crawler"),
    _option("lru_maintainer"),
    _number("max_item_size", "-I", "{}"),
    _option("maxconns_fast"),
    _number("num_threads", "-t", "{}"),
    _number("requests_per_event", "-R", "{}"),
    _number("slab_automove", "-o", "slab_automove={}"),
    _Flag(
        name="slab_reassign",
        pattern=_SWITCH,
        when_0=("-o", "no_slab_reassign"),
        when_1=("-o", "slab_reassign"),
        until=_NEEDS_PAGE_MOVER,
    ),
    _Flag(
        name="slab_reassign",
        pattern=_SWITCH,
        when_0=_IDLE_PAGE_MOVER,
        when_1=("-o", "slab_reassign"),
        since=_NEEDS_PAGE_MOVER,
    ),
    # Bytes once, kibibytes later, whatever `-h` of the older ones says.
    _Flag(
        name="slab_chunk_max",
        pattern=_NUMBER,
        words=("-o", "slab_chunk_max={}"),
        until=(1, 6, 24),
    ),
    _number("slab_chunk_max", "-o", "slab_chunk_max={}", divisor=1024, since=(1, 6, 24)),
    _switch("track_sizes", when_1=("-o", "track_sizes")),
    _switch("watch", when_0=("-W",)),
    _number("watcher_logbuf_size", "-o", "watcher_logbuf_size={}"),
    # Before, the number was taken for the sizes of the slab classes as well.
    _Flag(
        name="worker_logbuf_size",
        pattern=_NUMBER,
        words=("-o", "worker_logbuf_size={}"),
        since=(1, 6, 40),
        otherwise="64",
    ),
)
#: Parameters that no flag is made of, and the values they may have where that matters.
_WITHOUT_FLAG: dict[str, str] = {
    # The pages would have to be reserved by the host, and locked memory be allowed.
    "large_memory_pages": "0",
    "lock_down_paged_memory": "0",
    # A core file would hold the data: hosts forbid them to every engine.
    "maximize_core_file_limit": "[01]",
    # Heads of answers are no longer kept with items, whatever the engine is told.
    "inline_ascii_resp": "[01]",
    _CONNECTIONS: _NUMBER.pattern,
}
#: Every setting that a launch may carry.
NAMES = frozenset(flag.name for flag in _FLAGS) | frozenset(_WITHOUT_FLAG)

#: In a layout: the memory for items.
MEMORY = "memory"
#: What must be the same for one engine to go on with the items of another.
_LAYOUT = (
    "cas_disabled",
    "chunk_size",
    "chunk_size_growth_factor",
    "lru_maintainer",
    "max_item_size",
    "no_modern",
    "slab_chunk_max",
    "slab_reassign",
)


def render_flags(launch: Launch) -> Iterator[str]:
    """Yield the words of the command line that follow from what `launch` says.

    Raises:
        UnusableLaunch: a value cannot be written safely, or is none that the flag takes.
    """
    address = check_address("address", launch.address)
    yield from ("-l", f"[{address}]" if ":" in address else address)
    yield from ("-p", f"{check_port('port', launch.port):d}", "-U", "0")
    yield from ("-m", f"{_memory_mib(launch):d}")
    settings = _checked(launch)
    yield from ("-c", f"{_connections(launch, settings):d}")
    if os.geteuid() == 0:  # it refuses to run as root unless it is told to
        yield from ("-u", pwd.getpwuid(0).pw_name)
    if launch.transit_encryption:
        # Names in the working directory: a comma in a path would end the option.
        yield from ("-Z", "-o", f"ssl_chain_cert={CERTIFICATE_NAME}", "-o", f"ssl_key={KEY_NAME}")
    for flag in _known(launch.engine_version):
        if flag.name in settings:
            yield from _words(flag, settings[flag.name])


def refused(launch: Launch) -> tuple[RefusedSetting, ...]:
    """Return the settings that this version has no flag for, where it does something else."""
    settings = _checked(launch)
    known = {flag.name for flag in _known(launch.engine_version)}
    return tuple(
        RefusedSetting(
            name=flag.name,
            value=settings[flag.name],
            reason=f"memcached {launch.engine_version} cannot be told; it uses {flag.otherwise}",
        )
        for flag in _FLAGS
        if flag.name in settings
        and flag.name not in known
        and settings[flag.name] != flag.otherwise
    )


def layout(launch: Launch) -> dict[str, str]:
    """Return what the engine's memory looks like: with another layout its items are of no use."""
    settings = _checked(launch)
    found = {name: settings[name] for name in _LAYOUT if name in settings}
    if version_key(launch.engine_version) >= _NEEDS_PAGE_MOVER:
        found.pop("slab_reassign", None)  # it is always on
    return found | {MEMORY: f"{_memory_mib(launch):d} MiB"}


def memory_mib_of(layout: Mapping[str, str]) -> int:
    """Return how much memory a layout has, 0 where it does not say."""
    amount, _, _ = layout.get(MEMORY, "").partition(" ")
    return int(amount) if amount.isdecimal() else 0


def page_mover(launch: Launch) -> str:
    """Return how eagerly it moves pages by itself; empty where it is not told."""
    words = [word for word in render_flags(launch) if word.startswith(_PAGE_MOVER)]
    return words[-1].removeprefix(_PAGE_MOVER) if words else ""


def items_argv(folder: Path) -> tuple[str, ...]:
    """Return the words that make the engine keep its items in a folder in memory."""
    return ("-e", str(folder / ITEMS_NAME))


def _checked(launch: Launch) -> dict[str, str]:
    """Return the settings by name, each known and with a value that its flag takes."""
    settings = dict(launch.settings)
    if len(settings) != len(launch.settings):
        raise UnusableLaunch("a setting is there twice")
    for name in settings:
        if name not in NAMES:
            raise UnusableLaunch(f"a launch may not set {name[:_SHOWN_MAX]!a}")
    patterns = {flag.name: flag.pattern.pattern for flag in _FLAGS} | _WITHOUT_FLAG
    for name, value in settings.items():
        if not re.fullmatch(patterns[name], value, re.ASCII):
            raise UnusableLaunch(f"{name} cannot be {value[:_SHOWN_MAX]!a}")
    return settings


def _known(version: str) -> Iterator[_Flag]:
    key = version_key(version)
    return (flag for flag in _FLAGS if flag.since <= key < flag.until)


def _words(flag: _Flag, value: str) -> tuple[str, ...]:
    if flag.pattern is _SWITCH:
        return flag.when_1 if value == "1" else flag.when_0
    if flag.divisor > 1:
        quotient, rest = divmod(int(value), flag.divisor)
        if rest:
            raise UnusableLaunch(f"{flag.name} is no multiple of {flag.divisor}: {value}")
        value = str(quotient)
    return tuple(word.replace("{}", value) for word in flag.words)


def _memory_mib(launch: Launch) -> int:
    if launch.maxmemory_bytes < 1 << 20:
        raise UnusableLaunch(f"maxmemory_bytes is less than 1 MiB: {launch.maxmemory_bytes:d}")
    return launch.maxmemory_bytes >> 20


def _connections(launch: Launch, settings: dict[str, str]) -> int:
    """Return how many connections it may take: it does not start if the host allows fewer."""
    wanted = int(settings.get(_CONNECTIONS, launch.maxclients))
    if wanted < 1:
        raise UnusableLaunch(f"{_CONNECTIONS} is not positive: {wanted:d}")
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
