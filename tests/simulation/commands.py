"""How does the simulated host carry out each command? One function a command.

Everything that takes time can be cut at that point: by the death of a node, of the controller, or
by a deadline.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cachewright.agent import append_only
from cachewright.model.commands import (
    AdmitNode,
    ApplySettings,
    BindNode,
    ClaimSlots,
    CloseSlots,
    FenceNode,
    FollowPrimary,
    ForgetNodes,
    HandOver,
    HostCommand,
    IntroduceNode,
    Launch,
    MoveSlots,
    PromoteNode,
    Promotion,
    RemoveNode,
    StartNode,
    StopNode,
    WeighSlots,
)
from cachewright.model.facts import LaunchFact, RefusedSetting
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed
from tests.simulation import slot_commands
from tests.simulation.engine import Engine, Tie
from tests.simulation.fabric import shard_of
from tests.simulation.history import depth_of

if TYPE_CHECKING:
    from tests.simulation.host import Folder, Host

#: From the start of a process until its first answer, seconds.
_START_S = (0.02, 0.4)
_LOAD_S = (0.0, 1.0)
_SAVE_S = (0.01, 2.0)
#: A graceful end, and a kill, seconds.
_STOP_S = (0.002, 0.05)
_FENCE_S = (0.001, 0.02)
#: A replica notices the end of its primary within, seconds.
_LINK_RETRY_S = 1.0
#: A vote without an outcome becomes a takeover after, seconds.
_VOTE_TIMEOUT_S = 0.3
#: The longest that a handover may keep clients waiting, seconds.
_HAND_OVER_S = 5.0
_STEP_S = (0.0005, 0.01)
#: How far a replica is behind, each for itself: enough to tell those apart that were elected.
_LAG_S = (0.001, 0.001, 0.15, 0.4)
_POLL_S = 0.002
#: A value that the catalogue allows and the engines of this world do not know.
REFUSED_SETTING = ("activedefrag", "yes")


async def carry_out(  # noqa: C901, PLR0912 one case a command
    host: Host, folder: Folder, command: HostCommand, *, asked_s: float
) -> None:
    """Carry out a command that was given at `asked_s`, or raise `CommandFailed`."""
    match command:
        case StartNode(launch=launch):
            await _start(host, folder, launch)
        case AdmitNode(bind=bind):
            _admit(host, folder, bind)
        case BindNode(bind=bind):
            _listen(host, _answering(host, folder), bind)
        case FollowPrimary(address=address, port=port):
            folder.has_saved = False
            host.fabric.follow(_answering(host, folder), (address, port))
        case PromoteNode():
            await _promote(host, folder, command)
        case HandOver():
            await _hand_over(host, folder, command)
        case FenceNode():
            await _fence(host, folder, command, asked_s)
        case ApplySettings():
            _apply(_answering(host, folder), folder, command)
        case StopNode():
            await _stop(host, folder, command, asked_s)
        case RemoveNode():
            if folder.engine is not None:
                raise CommandFailed("it runs")
            host.folders.pop(folder.key, None)
        case IntroduceNode() | ForgetNodes():
            await slot_commands.carry_out(host, folder, command)
        case WeighSlots() | MoveSlots() | CloseSlots() | ClaimSlots():
            await slot_commands.carry_out(host, folder, command)
        case _:
            raise CommandFailed("not known here")


def _answering(host: Host, folder: Folder) -> Engine:
    engine = folder.engine
    if engine is None or not engine.answers(host.fabric.now_s):
        raise CommandFailed(f"{folder.key} does not answer")
    return engine


async def _pause(host: Host, bounds_s: tuple[float, float]) -> None:
    await asyncio.sleep(host.random.uniform(*bounds_s))


async def _start(host: Host, folder: Folder, launch: Launch) -> None:
    launch = append_only.loading(launch)
    if folder.engine is not None:
        if folder.engine.launch != launch:
            raise CommandFailed("it runs with other settings")
        return
    if folder.starts_to_fail or REFUSED_SETTING in launch.settings:
        folder.starts_to_fail = max(0, folder.starts_to_fail - 1)
        await _pause(host, _START_S)
        folder.failed_starts += 1
        folder.failure = "the engine ended at once"
        folder.launched = _launch_fact(folder, launch)
        raise CommandFailed(folder.failure)
    engine = folder.engine = _new_engine(host, folder, launch)
    folder.launched = _launch_fact(folder, launch)
    folder.shard = engine.shard
    host.begin(engine)
    await asyncio.sleep(engine.answers_from_s - host.fabric.now_s)
    if not engine.is_alive:
        folder.failed_starts += 1
        folder.failure = "it ended while it was started"
        raise CommandFailed(folder.failure)
    folder.failed_starts, folder.failure = 0, ""


def _new_engine(host: Host, folder: Folder, launch: Launch) -> Engine:
    """Return a process that has what the launch lets it load, and the place of its map."""
    copy = None
    if launch.loads_append_only_file and folder.has_file:
        copy = folder.file
    elif launch.loads_saved_data and folder.has_saved:
        copy = folder.saved
    me = next((p for p in launch.peers if p.engine_id == launch.engine_id), None)
    role = me.role if me is not None else Role.PRIMARY
    primary_id = me.primary_engine_id if me is not None and role is Role.REPLICA else None
    primary = next((p for p in launch.peers if p.engine_id == primary_id), me)
    uid, _, name = launch.key.partition(".")
    # Callers name nodes GROUP-SHARD-NUMBER in cluster mode.
    shard = shard_of(uid, name.split("-")[1] if launch.peers else "")
    if role is Role.REPLICA and host.fabric.owner(shard) is not None:
        host.judge.loses_file(shard, launch.key)
    folder.has_file, folder.file = False, None
    now_s = host.fabric.now_s
    answers_from_s = now_s + host.random.uniform(*_START_S)
    loads_s = 0.0 if copy is None else host.random.uniform(*_LOAD_S)
    return Engine(
        key=launch.key,
        launch=launch,
        identity=host.new_identity(),
        shard=shard,
        role=role,
        started_s=now_s,
        copy=copy,
        bind=(launch.address,),
        replication_id=host.fabric.new_replication_id() if role is Role.PRIMARY else "",
        answers_from_s=answers_from_s,
        loads_until_s=answers_from_s + loads_s,
        follows=(primary.address, primary.port) if role is Role.REPLICA and primary else None,
        epoch=me.epoch if me is not None else 0,
        lag_s=host.random.choice(_LAG_S),
    )


def _launch_fact(folder: Folder, launch: Launch) -> LaunchFact:
    before = folder.launched
    return LaunchFact(
        engine=launch.engine,
        engine_version=launch.engine_version,
        settings=launch.settings,
        maxmemory_bytes=launch.maxmemory_bytes,
        maxclients=launch.maxclients,
        restarts=launch.restarts,
        has_loaded=launch.loads_saved_data or launch.loads_append_only_file,
        refused=before.refused if before is not None else (),
    )


def _apply(engine: Engine, folder: Folder, command: ApplySettings) -> None:
    assert folder.launched is not None
    runs, wanted = dict(folder.launched.settings), dict(command.settings)
    changes = {n: v for n, v in wanted.items() if runs.get(n) != v}
    refused = [r for r in folder.launched.refused if r.name not in changes]
    for name, value in changes.items():
        if (name, value) == REFUSED_SETTING:
            refused.append(RefusedSetting(name=name, value=value, reason="not built in"))
        else:
            runs[name] = value
    folder.launched = msgspec.structs.replace(
        folder.launched,
        settings=tuple(sorted(runs.items())),
        maxmemory_bytes=command.maxmemory_bytes,
        maxclients=command.maxclients or folder.launched.maxclients,
        refused=tuple(refused),
    )


def _admit(host: Host, folder: Folder, bind: tuple[str, ...]) -> None:
    engine = _answering(host, folder)
    if host.fabric.now_s < engine.loads_until_s:
        raise CommandFailed("it is loading")
    folder.has_saved, folder.saved = False, None
    was_held, engine.is_held = engine.is_held, False
    if was_held and engine.role is Role.PRIMARY:
        host.judge.reigns(engine, is_promoted=False)
        host.judge.look(host.fabric.of_shard(engine.shard))
    _listen(host, engine, bind)


def _listen(host: Host, engine: Engine, bind: tuple[str, ...]) -> None:
    for other in host.fabric.living.values():
        if other is not engine and set(bind) & set(other.bind):
            raise CommandFailed("the address is taken by another process")
    engine.bind = bind


async def _promote(host: Host, folder: Folder, command: PromoteNode) -> None:
    engine = _answering(host, folder)
    if engine.role is not Role.PRIMARY:
        await _require_lost(host, folder, command)
        if command.how is Promotion.FORCE:
            if not await host.fabric.vote(engine):
                await asyncio.sleep(_VOTE_TIMEOUT_S)
                _take_over(host, folder)
        elif command.how is Promotion.TAKEOVER:
            _take_over(host, folder)
        else:
            host.fabric.claim(engine)
    if command.bind:
        _listen(host, _answering(host, folder), command.bind)


def _take_over(host: Host, folder: Folder) -> None:
    engine = _answering(host, folder)
    host.judge.takes_over(engine, host.fabric.now_s)
    host.fabric.claim(engine)


async def _require_lost(host: Host, folder: Folder, command: PromoteNode) -> None:
    """Do what the agent does: nobody is promoted over a primary that is there."""
    if command.over == ("", 0):
        return
    until_s = host.fabric.now_s + _LINK_RETRY_S
    while True:
        engine = _answering(host, folder)
        if engine.role is Role.PRIMARY:
            return
        if engine.follows != command.over:
            raise CommandFailed(f"it follows {engine.follows}, not {command.over}")
        primary = next((e for e in host.fabric.living.values() if e.own == command.over), None)
        if _gave_way(primary, host.fabric.now_s, until_s) and engine.tie is not Tie.UP:
            return
        if host.fabric.now_s >= until_s:
            raise CommandFailed("its link to its primary is up")
        await asyncio.sleep(0.05)


def _gave_way(primary: Engine | None, now_s: float, until_s: float) -> bool:
    """Tell whether the primary of a replica has ended, is held, or is a replica itself."""
    if primary is None:
        return True
    if not primary.answers(now_s):
        if now_s >= until_s:
            raise CommandFailed(f"the primary {primary.key} lives and is silent")
        return False
    if primary.role is Role.PRIMARY and not primary.is_held:
        raise CommandFailed(f"the primary {primary.key} lives and serves")
    return True


async def _hand_over(host: Host, folder: Folder, command: HandOver) -> None:
    old = _answering(host, folder)
    to = host.folders.get(command.to_key)
    if to is None:
        raise CommandFailed("there is no such successor")
    new = _answering(host, to)
    if old.role is Role.REPLICA and new.role is Role.PRIMARY:
        _listen(host, old, command.bind)
        _listen(host, new, command.to_bind)
        return
    if old.role is Role.REPLICA or new.source is not old or new.tie is not Tie.UP:
        raise CommandFailed("the successor does not follow in sync")
    until_s = host.fabric.now_s + _HAND_OVER_S
    old.takes_no_writes_until_s = until_s
    try:
        await _catch_up(host, old, new, until_s)
        if command.is_cluster:
            host.fabric.claim(new, by_command=False)
        else:
            await _swap(host, old, new, command)
    finally:
        old.takes_no_writes_until_s = 0.0
    await _pause(host, _STEP_S)
    _listen(host, _answering(host, folder), command.bind)
    _listen(host, _answering(host, to), command.to_bind)


async def _catch_up(host: Host, old: Engine, new: Engine, until_s: float) -> None:
    while True:
        now_s = host.fabric.now_s
        if not (old.answers(now_s) and new.answers(now_s) and new.source is old):
            raise CommandFailed("the handover was cut")
        new.settle(now_s)
        if depth_of(new.copy) == depth_of(old.copy):
            return
        if now_s >= until_s:
            raise CommandFailed("the successor does not catch up")
        await asyncio.sleep(_POLL_S)


async def _swap(host: Host, old: Engine, new: Engine, command: HandOver) -> None:
    """The old one first: there is no moment with two primaries."""
    host.fabric.follow(old, (command.to_address, command.to_port))
    await _pause(host, _STEP_S)
    if not old.is_alive or not new.answers(host.fabric.now_s):
        raise CommandFailed("the handover was cut")
    old.bind = command.bind
    await _pause(host, _STEP_S)
    if not new.answers(host.fabric.now_s):
        raise CommandFailed("the handover was cut")
    host.fabric.claim(new)


async def _fence(host: Host, folder: Folder, command: FenceNode, asked_s: float) -> None:
    engine = folder.engine
    if engine is None or engine.identity != command.identity:
        return
    host.judge.fenced(engine, host.fabric.now_s, asked_s)
    await _pause(host, _FENCE_S)
    host.kill(engine, "fenced")


async def _stop(host: Host, folder: Folder, command: StopNode, asked_s: float) -> None:
    engine = folder.engine
    if engine is None:
        return
    host.judge.ended_by_command(engine, host.fabric.now_s, asked_s)
    if command.saves:
        _answering(host, folder)
        engine.takes_no_writes_until_s = float("inf")
        try:
            await _pause(host, _SAVE_S)
            _answering(host, folder)
        finally:
            engine.takes_no_writes_until_s = 0.0
    elif engine.hang is not None:
        await asyncio.sleep(1.0)
    else:
        await _pause(host, _STOP_S)
    if engine.is_alive:
        folder.has_saved, folder.saved = command.saves, engine.copy if command.saves else None
        if command.saves and not engine.is_held:
            host.judge.keeps_file(engine, engine.copy)
        host.kill(engine, "stopped")
