"""Every memcached does what its adapter promises: flags arrive, items stay, nothing else opens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.memcached_admin import MemcachedConnection
from cachewright.engines.memcached_items import MemcachedItems
from cachewright.model import errors
from cachewright.model.builds import Build, BuildSource
from cachewright.model.commands import Promotion
from cachewright.model.engines import version_key
from cachewright.model.facts import RefusedSetting
from cachewright.model.status import Role
from tests.contract.engine_lab import miss, wait_until
from tests.contract.memcached_lab import MIB, PORT, VERSIONS, Engine, Lab, build_named, launch_of

ITEMS = MemcachedItems()
NEEDS_PAGE_MOVER = (1, 6, 34)


def build_of(version: str) -> Build:
    found = build_named(version)
    return found if isinstance(found, Build) else miss(found)


@pytest.fixture(params=VERSIONS)
def build(request: pytest.FixtureRequest) -> Build:
    return build_of(request.param)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


# --- what it says and where ------------------------------------------------------------------


def test_it_serves_on_its_own_address_alone(lab: Lab, build: Build) -> None:
    engine = lab.started(build)
    fact = engine.observe()
    assert (fact.version, fact.role, fact.is_held) == (build.version, Role.PRIMARY, False)
    assert fact.bind == (engine.launch.address,)
    client = engine.client()
    client.set("k", b"v" * 1000)
    assert engine.observe().used_memory_bytes > 1000
    assert engine.process is not None
    assert listeners(engine.process.pid, "tcp") == [(engine.launch.address, PORT)]
    assert listeners(engine.process.pid, "udp") == []


def listeners(pid: int, kind: str) -> list[tuple[str, int]]:
    """Return where a process listens (tcp) or receives (udp)."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(path.readlink()))
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in sockets and words[3] in ("0A", "07"):
            address, _, port = words[1].partition(":")
            found.append((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    return found


def test_no_client_can_end_it(lab: Lab, build: Build) -> None:
    engine = lab.started(build)
    assert engine.client().ask("shutdown").endswith("ERROR: shutdown not enabled")
    assert engine.client().ask("version") == f"VERSION {build.version}"


def test_what_memcached_has_not_is_a_defect_to_ask_for(lab: Lab, build: Build) -> None:
    engine, adapter = lab.started(build), MemcachedAdapter()

    async def ask() -> None:
        launch = engine.launch
        admin = await adapter.connect(launch.address, launch.port, "", timeout_s=5.0)
        try:
            await adapter.admit(admin, (launch.address,), launch)
            for act in (
                adapter.hold(admin),
                adapter.bind(admin, (launch.address, "127.0.0.1")),
                adapter.follow(admin, "127.0.0.1", PORT),
                adapter.promote(admin, Promotion.STANDALONE),
            ):
                with pytest.raises(errors.Bug):
                    await act
            (refused,) = await adapter.configure(admin, {"lru_crawler": "1"})
            assert (refused.name, refused.value) == ("lru_crawler", "1")
            assert (await adapter.observe(admin)).version == build.version
        finally:
            admin.close()

    asyncio.run(ask())


# --- parameters -------------------------------------------------------------------------------

_SWITCH = {"0": "no", "1": "yes"}
_INVERSE = {"0": "yes", "1": "no"}
#: What `stats settings` calls a parameter, and two values as it says them. `None`: it does not say.
PARAMETERS: dict[str, tuple[str | None, dict[str, str]]] = {
    "backlog_queue_limit": ("tcp_backlog", {"1024": "1024", "100": "100"}),
    "binding_protocol": ("binding_protocol", {"auto": "auto-negotiate", "ascii": "ascii"}),
    "cas_disabled": ("cas_enabled", _INVERSE),
    "chunk_size": ("chunk_size", {"48": "48", "96": "96"}),
    "chunk_size_growth_factor": ("growth_factor", {"1.25": "1.25", "2": "2.00"}),
    "disable_flush_all": ("flush_enabled", _INVERSE),
    "error_on_memory_exhausted": ("evictions", {"0": "on", "1": "off"}),
    "hash_algorithm": ("hash_algorithm", {"jenkins": "jenkins", "murmur3": "murmur3"}),
    "hashpower_init": ("hashpower_init", {"16": "16"}),
    "idle_timeout": ("idle_timeout", {"0": "0", "86400": "86400"}),
    "inline_ascii_resp": (None, {"0": "", "1": ""}),
    "large_memory_pages": (None, {"0": ""}),
    "lock_down_paged_memory": (None, {"0": ""}),
    "lru_crawler": ("lru_crawler", _SWITCH),
    "lru_maintainer": ("lru_maintainer_thread", _SWITCH),
    "max_item_size": ("item_size_max", {"1048576": "1048576", "2097152": "2097152"}),
    "max_simultaneous_connections": ("maxconns", {"1000": "1000", "500": "500"}),
    "maxconns_fast": ("maxconns_fast", _SWITCH),
    "maximize_core_file_limit": (None, {"0": "", "1": ""}),
    # What it turns off is asked for by name here; see the next test.
    "no_modern": (None, {"0": "", "1": ""}),
    "num_threads": ("num_threads", {"2": "2", "1": "1"}),
    "requests_per_event": ("reqs_per_event", {"20": "20"}),
    "slab_automove": ("slab_automove", {"0": "0", "2": "2"}),
    "slab_chunk_max": ("slab_chunk_max", {"524288": "524288", "262144": "262144"}),
    "slab_reassign": ("slab_reassign", _SWITCH),
    "track_sizes": ("track_sizes", _SWITCH),
    "watch": (None, {"0": "", "1": ""}),
    "watcher_logbuf_size": ("watcher_logbuf_size", {"256": "262144", "128": "131072"}),
    "worker_logbuf_size": ("worker_logbuf_size", {"64": "65536", "128": "131072"}),
}


@pytest.mark.parametrize("position", [0, -1])
def test_parameters_arrive_as_they_are(lab: Lab, build: Build, position: int) -> None:
    asked = {name: list(said)[position] for name, (_, said) in PARAMETERS.items()}
    unusable = {"worker_logbuf_size"} if version_key(build.version) < (1, 6, 40) else set()
    if position == 0:
        unusable = set()  # the default is what such an engine does
    engine = lab.started(build, settings=tuple(asked.items()))
    refused = {one.name for one in MemcachedAdapter().unusable(engine.launch)}
    assert refused == unusable
    said = engine.client().stats("settings")
    expected = {
        name: PARAMETERS[name][1][value]
        for name, value in asked.items()
        if PARAMETERS[name][0] and name not in unusable
    }
    if version_key(build.version) >= NEEDS_PAGE_MOVER:
        expected["slab_reassign"] = "yes"  # see the next test
    assert {name: said[PARAMETERS[name][0] or ""] for name in expected} == expected
    assert said["maxbytes"] == str(64 * MIB)
    watched = engine.client().ask("watch")
    assert watched == ("OK" if asked["watch"] == "1" else "CLIENT_ERROR watch commands not allowed")


def test_no_modern_turns_off_what_nobody_asks_for(lab: Lab, build: Build) -> None:
    said = lab.started(build, settings=(("no_modern", "1"),)).client().stats("settings")
    names = ("lru_maintainer_thread", "lru_segmented", "maxconns_fast")
    assert {said[name] for name in names} == {"no"}
    assert said["hash_algorithm"] == "jenkins"
    assert said["slab_automove"] == "0"


@pytest.mark.parametrize(
    "settings",
    [(("no_modern", "1"),), (("slab_automove", "2"), ("slab_reassign", "0"))],
)
def test_a_table_that_grows_ends_no_engine_that_moves_no_pages(
    lab: Lab, build: Build, settings: tuple[tuple[str, str], ...]
) -> None:
    """Told in plain words (`no_slab_reassign`), newer ones crash."""
    engine = lab.started(build, settings=(*settings, ("hashpower_init", "13")))
    client = engine.client()
    level = client.stats()["hash_power_level"]
    for first in range(0, 20_000, 1000):
        numbers = range(first, first + 1000)
        client.send(b"".join(b"set k%d 0 0 1 noreply\r\nv\r\n" % n for n in numbers))
    assert client.get("k19999") == (0, b"v")
    said = wait_until(client.stats, lambda said: said["hash_power_level"] > level)
    assert said.get("slabs_moved", "0") == "0"
    assert client.get("k0") == (0, b"v")


def test_more_connections_than_the_host_allows_are_as_many_as_it_allows(
    lab: Lab, build: Build
) -> None:
    """Memcached does not start if it cannot have what it is told."""
    engine = lab.started(build, maxclients=2_000_000_000)
    assert 0 < int(engine.client().stats("settings")["maxconns"]) < 2_000_000_000


# --- items that outlive a planned restart -------------------------------------------------------


def fill(engine: Engine) -> None:
    client = engine.client()
    for number in range(500):
        client.set(f"k{number}", value_of(number), flags=number)
    client.set("expires", b"soon", ttl_s=3)
    client.set("flushed", b"long ago")
    client.ask("delete flushed")


def value_of(number: int) -> bytes:
    """Return values of all sizes, some larger than a chunk."""
    size = 900_000 if number % 100 == 99 else number * 7
    return (b"%d," % number * (size // 2 + 1))[:size]


def assert_filled(engine: Engine) -> None:
    client = engine.client()
    for number in range(500):
        assert client.get(f"k{number}") == (number, value_of(number))
    assert client.get("flushed") is None


def keep(engine: Engine) -> float:
    """Stop an engine with its items; return when the next one may start."""
    assert engine.home.items is not None
    assert engine.end(ITEMS.stop_signal) == 0
    state = engine.home.items / ITEMS.state_name
    assert state.stat().st_mode & 0o077 == 0
    return ITEMS.ready_at_s(state.stat().st_mtime)


def start_at(engine: Engine, ready_at_s: float) -> None:
    time.sleep(max(0.0, ready_at_s - time.time()))
    engine.start()
    engine.observe()


def test_items_outlive_a_stop_that_keeps_them(lab: Lab, build: Build) -> None:
    engine = lab.started(build, items=lab.memory())
    fill(engine)
    start_at(engine, keep(engine))
    assert ITEMS.refusal(engine.said().splitlines()) == ""
    assert_filled(engine)
    client, deadline = engine.client(), time.monotonic() + 10
    while client.get("expires") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Used at most once: what follows is a crash.
    engine.end()
    engine.start()
    engine.observe()
    assert engine.client().get("k1") is None


def test_no_page_moves_while_an_engine_is_stopped(lab: Lab, build: Build) -> None:
    """A stop would wait for the move, and the move for clients that were stopped.

    Whoever adopts it when the stop was cut lets pages move again.
    """
    engine = lab.started(build, settings=(("slab_automove", "2"), ("slab_reassign", "1")))
    adapter = MemcachedAdapter()

    async def call(act: Callable[[MemcachedConnection], Awaitable[object]]) -> None:
        launch = engine.launch
        admin = await adapter.connect(launch.address, launch.port, "", timeout_s=5.0)
        try:
            await act(admin)
        finally:
            admin.close()

    assert engine.client().stats("settings")["slab_automove"] == "2"
    asyncio.run(call(ITEMS.quiet))
    assert engine.client().stats("settings")["slab_automove"] == "0"
    assert engine.client().stats()["slab_reassign_running"] == "0"
    asyncio.run(call(lambda admin: adapter.restore(admin, engine.launch)))
    assert engine.client().stats("settings")["slab_automove"] == "2"


def test_items_are_not_taken_in_the_second_of_the_stop(lab: Lab, build: Build) -> None:
    """The reason for waiting, and how the engine says that it starts empty."""
    engine = lab.started(build, items=lab.memory())
    engine.client().set("k", b"v")
    time.sleep(1.02 - time.time() % 1)  # at the beginning of a second
    ready_at_s = keep(engine)
    engine.start()
    engine.observe()
    if time.time() < ready_at_s:
        assert engine.client().get("k") is None
        assert "stop_time" in ITEMS.refusal(engine.said().splitlines())


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("cas_disabled", "1", "use_cas"),
        ("chunk_size", "96", "chunk_size"),
        ("chunk_size_growth_factor", "1.5", "slab_config"),
        ("max_item_size", "2097152", "item_size_max"),
        ("slab_chunk_max", "262144", "slab_chunk_size_max"),
    ],
)
def test_another_layout_is_not_taken_for_the_same(
    lab: Lab, build: Build, name: str, value: str, word: str
) -> None:
    """What our comparison knows, the engine refuses too: neither is missing in the other."""
    engine = lab.started(build, items=lab.memory())
    engine.client().set("k", b"v")
    changed = replace(engine.launch, settings=((name, value),))
    before, after = (ITEMS.layout(build, launch) for launch in (engine.launch, changed))
    assert {each for each in after if before.get(each) != after[each]} == {name}
    keep(engine)
    engine.launch = changed
    engine.start()
    engine.observe()
    assert engine.client().get("k") is None
    refusal = ITEMS.refusal(engine.said().splitlines())
    assert word in refusal
    assert refusal.endswith("is not what it was")


def test_more_memory_keeps_the_items_and_can_be_filled(lab: Lab, build: Build) -> None:
    engine = lab.started(build, items=lab.memory())
    fill(engine)
    grown = replace(engine.launch, maxmemory_bytes=160 * MIB)
    before, after = (ITEMS.layout(build, launch) for launch in (engine.launch, grown))
    assert ITEMS.grows(before, after)
    assert not ITEMS.grows(after, before)
    assert not ITEMS.grows(before, {**after, "chunk_size": "96"})
    assert not ITEMS.grows({}, {})
    ready_at_s = keep(engine)
    assert engine.home.items is not None
    state = engine.home.items / ITEMS.state_name
    content = ITEMS.grown(state.read_bytes(), grown)
    assert content is not None
    state.write_bytes(content)
    engine.launch = grown
    start_at(engine, ready_at_s)
    assert ITEMS.refusal(engine.said().splitlines()) == ""
    assert_filled(engine)
    client = engine.client()
    assert client.stats()["limit_maxbytes"] == str(160 * MIB)
    for number in range(100):
        client.set(f"more{number}", b"x" * 1_000_000)
    stats = client.stats()
    assert (stats["evictions"], int(stats["bytes"]) > 100_000_000) == ("0", True)
    # And once more, as large as it is now.
    start_at(engine, keep(engine))
    assert_filled(engine)


def test_what_says_no_size_is_not_made_to_fit() -> None:
    assert ITEMS.grown(b"Tmain\nKchunk_size 48\n", launch_of("1.6.38")) is None


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_running_engine_takes_more_memory_unless_a_file_holds_it(
    lab: Lab, build: Build, is_mapped: bool
) -> None:
    engine = lab.started(build, items=lab.memory() if is_mapped else None)
    client = engine.client()
    client.set("k", b"v")

    async def told() -> tuple[RefusedSetting, ...]:
        launch, adapter = engine.launch, MemcachedAdapter()
        admin = await adapter.connect(launch.address, launch.port, "", timeout_s=5.0)
        try:
            return await adapter.configure(admin, {"maxmemory": str(100 * MIB), "chunk_size": "96"})
        finally:
            admin.close()

    refused = {one.name: one.reason for one in asyncio.run(told())}
    limit = client.stats()["limit_maxbytes"]
    assert "when it starts" in refused.pop("chunk_size")
    if is_mapped:
        assert "MEMLIMIT_ADJUST_FAILED" in refused["maxmemory"]
        assert limit == str(64 * MIB)
    else:
        assert refused == {}
        assert limit == str(100 * MIB)
        for number in range(70):
            client.set(f"more{number}", b"x" * 1_000_000)
        assert client.stats()["evictions"] == "0"
    assert client.get("k") == (0, b"v")


@pytest.mark.parametrize(("old", "new"), [("1.6.38", "1.6.45"), ("1.6.45", "1.6.38")])
def test_an_upgrade_keeps_items_where_the_format_is_the_same(lab: Lab, old: str, new: str) -> None:
    engine = lab.started(build_of(old), items=lab.memory())
    before = ITEMS.layout(engine.build, engine.launch)
    fill(engine)
    ready_at_s = keep(engine)
    engine.build = build_of(new)
    engine.launch = replace(engine.launch, engine_version=new)
    assert ITEMS.layout(engine.build, engine.launch) == before
    start_at(engine, ready_at_s)
    assert ITEMS.refusal(engine.said().splitlines()) == ""
    assert engine.observe().version == new
    assert_filled(engine)


def test_before_1_6_25_items_have_another_format() -> None:
    """A `flush_all` of the last second would be undone in part."""
    builds = (build_of("1.6.18"), build_of("1.6.38"))
    old, new = (ITEMS.layout(build, launch_of(build.version)) for build in builds)
    assert {name for name in new if old[name] != new[name]} == {"format of items"}


def test_a_build_of_the_host_reads_only_its_own_items(build: Build) -> None:
    """How it was made is not known: its flags may be wider, for one."""
    launch = launch_of(build.version)
    own = replace(build, source=BuildSource.PATH, server="/usr/bin/memcached")
    other = replace(own, server="/opt/memcached")
    layouts = [ITEMS.layout(each, launch) for each in (build, own, other)]
    assert len({layout["format of items"] for layout in layouts}) == 3
    assert ITEMS.layout(replace(own), launch) == layouts[1]
