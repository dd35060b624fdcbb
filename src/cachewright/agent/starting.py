"""How is a node started, so that it answers, or it is known why not and nothing is left running?

The order matters for those who die in the middle: first the record says what is about to be
started, then the process, then who it is. Any failure is counted and comes with a sentence; a
process that does not answer is ended, with proof, before the failure is reported.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import socket
from pathlib import Path

from cachewright.agent import append_only, disk, keeping, maps, process
from cachewright.agent.machine import Event, State
from cachewright.agent.node import Node
from cachewright.engines.adapter import EngineRefused, EngineUnreachable, adapter_of
from cachewright.engines.catalogue import Catalogue
from cachewright.engines.discovery import own_build
from cachewright.engines.home import AUTHORITY_NAME, CERTIFICATE_NAME, KEY_NAME
from cachewright.engines.nodes_conf import owns_nothing
from cachewright.kit import failpoints
from cachewright.model.builds import Build
from cachewright.model.commands import Launch, Part
from cachewright.model.errors import CachewrightError
from cachewright.rpc.agent import CommandFailed

#: Bare engines answer after 20 ms; dozens that start at once on two cores after 2 s.
START_TIMEOUT_S = 10.0
#: Between two looks whether it answers: as short as a start on an idle machine, then longer.
_FIRST_LOOK_S = 0.004
_LAST_LOOK_S = 0.05


async def start(
    node: Node,
    launch: Launch,
    *,
    catalogue: Catalogue,
    authority: Path,
    timeout_s: float,
) -> None:
    """Bring the node to life, held; nothing happens if it runs with this launch already."""
    launch = append_only.loading(launch)
    if node.process is not None and not _is_same(node.record.launch, launch):
        raise CommandFailed(f"node {node.name} runs with other settings: stop it first")
    if node.next_state(Event.START) is State.RUNNING:
        return
    try:
        if node.process is None:
            await _spawn(node, launch, catalogue, authority)
        await _wait_for_answer(node, timeout_s + keeping.extra_time_s(node))
    except (CommandFailed, CachewrightError, process.StillAlive) as error:
        node.count_failure(str(error))
        raise CommandFailed(str(error)) from error
    except OSError as error:
        failure = f"cannot start {launch.engine.value}: {disk.explain(error)}"
        node.count_failure(failure)
        raise CommandFailed(failure) from error


def require_free(address: str, port: int) -> None:
    """Raise `CommandFailed` when nobody could listen on this address and port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As engines do it: connections of an earlier run that linger are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"address {address}:{port} is taken by another process"
            elif error.errno == errno.EADDRNOTAVAIL:
                reason = f"address {address} does not exist on this host"
            else:
                reason = f"address {address}:{port} cannot be used: {error.strerror}"
            raise CommandFailed(reason) from error


async def _spawn(node: Node, launch: Launch, catalogue: Catalogue, authority: Path) -> None:
    if launch.part is Part.DISCOVERY:
        build = own_build()
    else:
        build = await asyncio.to_thread(_find_build, catalogue, launch)
    disk.require_room(node.folder.path.parent)
    require_free(launch.address, launch.port)
    adapter = adapter_of(launch)
    content = adapter.files(launch)
    if launch.transit_encryption:
        content |= await asyncio.to_thread(_certificate, launch, build, authority)
    saved = node.saved_by(adapter)
    if adapter.items is None and launch.loads_saved_data and not saved.is_whole():
        raise CommandFailed(f"node {node.name} has no saved data to load")
    if launch.loads_append_only_file and not node.has_append_only_file():
        raise CommandFailed(f"node {node.name} has no append-only file to load")
    node.folder.make()
    node.advance(Event.START)
    await process.end_leftovers(node.folder.output)
    has_copy = launch.loads_saved_data or launch.loads_append_only_file
    map_file = None
    if adapter.cluster is not None and launch.peers:
        map_name = adapter.cluster.map_name
        if has_copy:
            content[map_name] = adapter.cluster.reopened(content[map_name], node.map_content())
        map_file = await asyncio.to_thread(
            maps.place, node.memory, map_name, content[map_name], launch
        )
        if map_file is not None:
            del content[map_name]
    record = dataclasses.replace(node.record, launch=launch, had_copy=has_copy)
    loads = launch.loads_saved_data
    if adapter.items is not None:
        loads, record = await keeping.prepare(node, record, adapter.items, build)
        record = dataclasses.replace(record, refused=adapter.unusable(launch))
    node.write(record)
    _renew_folder(node, launch, content, saved.names if loads else ())
    failpoints.passing("agent.before_spawn")
    home = dataclasses.replace(keeping.home_of(node), map_file=map_file)
    started = process.spawn(
        adapter.argv(build, launch, home),
        folder=node.folder.path,
        environment=_environment(),
        output=node.folder.output,
    )
    node.attach(started)
    try:
        failpoints.passing("agent.after_spawn")
        node.write(dataclasses.replace(node.record, identity=started.identity))
    except Exception:
        await started.kill()
        raise
    failpoints.passing("agent.after_identity")


def _renew_folder(
    node: Node, launch: Launch, content: dict[str, bytes], keep: tuple[str, ...]
) -> None:
    """Leave in the folder what the engine is to load, and nothing else of an earlier run."""
    adapter = adapter_of(launch)
    if launch.loads_append_only_file:
        keep = (*keep, append_only.FOLDER_NAME)
    node.folder.renew(content, keep=keep, log_name=adapter.log_name)
    loads_snapshot = launch.loads_saved_data and not launch.loads_append_only_file
    if loads_snapshot and append_only.keeps(launch):
        append_only.begin_with(node.folder.path, adapter.snapshot_name)


def _find_build(catalogue: Catalogue, launch: Launch) -> Build:
    build = catalogue.best(launch.engine, launch.engine_version)
    wanted = f"{launch.engine.value} {launch.engine_version}"
    if build is None:
        there = sorted({f"{b.engine.value} {b.version}" for b in catalogue.builds()})
        raise CommandFailed(
            f"this host has no build of {wanted}; it has {', '.join(there) or 'none'}"
        )
    return build


def _certificate(launch: Launch, build: Build, authority: Path) -> dict[str, bytes]:
    """Return the files with which the process speaks TLS, by name."""
    from cachewright.agent import certificates  # noqa: PLC0415 40 ms that few hosts need

    if not build.has_tls:
        raise CommandFailed(f"{build.engine.value} {build.version} of this host cannot do TLS")
    issued = certificates.Authority(authority).issue(launch.key, launch.address)
    return {
        CERTIFICATE_NAME: issued.certificate,
        KEY_NAME: issued.key,
        AUTHORITY_NAME: issued.authority,
    }


async def _wait_for_answer(node: Node, timeout_s: float) -> None:
    running = node.process
    assert running is not None  # it was attached, and its end is only taken in `ended` below
    last_words = "nobody listens"
    delay_s = _FIRST_LOOK_S
    try:
        async with asyncio.timeout(timeout_s):
            while await running.ended(delay_s) is None:
                delay_s = min(_LAST_LOOK_S, delay_s * 1.5)
                try:
                    admin = await node.admin()
                    if owns_nothing(node.launch):
                        await node.cluster.lead(admin)
                    break
                except (EngineUnreachable, EngineRefused) as error:
                    last_words = str(error)
    except TimeoutError:
        node.advance(Event.GAVE_UP)
        await running.kill()
        raise CommandFailed(
            f"{node.launch.engine.value} did not answer within {timeout_s:g} s of its start "
            f"({last_words}) and was ended{_quote(node)}"
        ) from None
    if running.proof is not None:
        said = f"{node.launch.engine.value} {process.describe_end(running.proof)}"
        raise CommandFailed(f"{said} before it answered{_quote(node)}")
    keeping.note_outcome(node)
    node.take_answer()


def _quote(node: Node) -> str:
    return ":\n" + "\n".join(node.log_tail) if node.log_tail else "; its log is empty"


def _environment() -> dict[str, str]:
    """Return what an engine gets of our environment: nothing that is ours, above all no keys."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "HOME") if name in os.environ}
    return kept | {"LC_ALL": "C"}


def _is_same(running: Launch | None, wanted: Launch) -> bool:
    """Whether two launches give the same engine.

    What it has loaded does not matter, nor of which nodes it tells: that changes while it runs.
    """
    if running is None:
        return False
    as_running = dataclasses.replace(
        wanted,
        loads_saved_data=running.loads_saved_data,
        loads_append_only_file=running.loads_append_only_file,
        members=running.members,
        config_version=running.config_version,
    )
    return as_running == running
