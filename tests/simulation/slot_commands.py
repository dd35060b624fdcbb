"""How does the simulated host weigh, move and close slots, and make nodes meet and forget?

What lasts can be cut where it waits. An atomic move goes on without whoever asked for it, as
engines do; a copied one stays where it is, with a slot open between two nodes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cachewright.model.commands import (
    ClaimSlots,
    CloseSlots,
    ForgetNodes,
    IntroduceNode,
    MoveSlots,
    WeighSlots,
)
from cachewright.model.facts import SlotWeights
from cachewright.model.moves import MoveMethod
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed
from tests.simulation import slots
from tests.simulation.engine import Engine

if TYPE_CHECKING:
    from tests.simulation.host import Folder, Host

_MEET_S = (0.005, 0.3)
_WEIGH_S = (0.005, 0.5)
#: An atomic move, and a copied slot; the latter are many, so some are taken together.
_ATOMIC_S = (0.05, 3.0)
_COPY_S = (0.01, 0.2)
_CLOSE_S = (0.005, 0.2)
_COPIED_AT_ONCE = 1_000
#: A move that makes no progress is given up after, seconds.
_STUCK_S = 5.0
_POLL_S = 0.05
#: An atomic move that nobody watches any more succeeds all the same, this often.
_GOES_ON_SHARE = 0.5

SlotCommand = IntroduceNode | ForgetNodes | WeighSlots | MoveSlots | CloseSlots | ClaimSlots
#: They keep no other command of their node waiting.
ERRANDS = (WeighSlots, MoveSlots, CloseSlots, ClaimSlots)


async def carry_out(host: Host, folder: Folder, command: SlotCommand) -> None:
    """Carry out a command about slots, or raise `CommandFailed`."""
    match command:
        case IntroduceNode():
            _introduce(host, folder, command)
        case ForgetNodes(engine_ids=engine_ids):
            slots.forget(_answering(host, folder), engine_ids, host.fabric.now_s)
        case WeighSlots():
            await _weigh(host, folder, command)
        case MoveSlots():
            await _move(host, folder, command)
        case CloseSlots():
            await _close(host, folder, command)
        case ClaimSlots():
            await _claim(host, folder, command)


def _answering(host: Host, folder: Folder | None) -> Engine:
    engine = folder.engine if folder is not None else None
    if engine is None or not engine.answers(host.fabric.now_s):
        raise CommandFailed("it does not answer")
    return engine


def _serving(host: Host, folder: Folder | None) -> Engine:
    engine = _answering(host, folder)
    if engine.role is not Role.PRIMARY or engine.is_held:
        raise CommandFailed("it is no primary that serves")
    return engine


def _introduce(host: Host, folder: Folder, command: IntroduceNode) -> None:
    engine = _answering(host, folder)
    for other in host.fabric.living.values():
        if other.own in command.others:
            delay_s = host.random.uniform(*_MEET_S)
            asyncio.get_running_loop().call_later(delay_s, slots.meet, engine, other)


async def _weigh(host: Host, folder: Folder, command: WeighSlots) -> None:
    engine = _serving(host, folder)
    await asyncio.sleep(host.random.uniform(*_WEIGH_S))
    if _serving(host, folder) is not engine:
        raise CommandFailed("it was another process")
    own = slots.set_of(host.fabric.slots.of(engine.shard))
    held = sorted(host.random.sample(sorted(own), min(len(own), 20)))
    engine.weights = SlotWeights(
        generation=command.generation,
        by_slot=tuple((slot, host.random.randint(1, 10_000)) for slot in held),
    )


async def _move(host: Host, folder: Folder, command: MoveSlots) -> None:
    giver, taker = _pair(host, folder, command)
    try:
        if command.method is MoveMethod.COPY:
            await _copy(host, folder, command, (giver, taker))
        else:
            await _wait(host, folder, command, (giver, taker), host.random.uniform(*_ATOMIC_S))
            _hand_over(host, folder, command)
    except asyncio.CancelledError:
        if command.method is MoveMethod.ATOMIC and host.random.random() < _GOES_ON_SHARE:
            loop = asyncio.get_running_loop()
            loop.call_later(host.random.uniform(*_ATOMIC_S), _finish, host, folder, command)
        raise


def _finish(host: Host, folder: Folder, command: MoveSlots) -> None:
    """Let engines end what they have begun."""
    if host.folders.get(folder.key) is folder:
        try:
            _hand_over(host, folder, command)
        except CommandFailed as failed:
            host.judge.note(f"a move of {folder.key} ends in nothing: {failed}")


def _pair(host: Host, folder: Folder, command: MoveSlots) -> tuple[Engine, Engine]:
    giver, taker = _serving(host, folder), _serving(host, host.folders.get(command.to_key))
    said = (command.to_engine_id, (command.to_address, command.to_port))
    if said != (taker.launch.engine_id, taker.own):
        raise CommandFailed("somebody else is there")
    if giver.launch.engine_id not in taker.known or taker.launch.engine_id not in giver.known:
        raise CommandFailed("they do not know each other")
    return giver, taker


async def _wait(
    host: Host, folder: Folder, command: MoveSlots, pair: tuple[Engine, Engine], seconds: float
) -> None:
    """Let time pass in which both must serve; one that hangs is waited for."""
    until_s = host.fabric.now_s + seconds
    stuck_s = until_s + _STUCK_S
    while any(engine.hang for engine in pair) or host.fabric.now_s < until_s:
        await asyncio.sleep(min(_POLL_S, max(until_s - host.fabric.now_s, _POLL_S)))
        if not all(engine.is_alive for engine in pair) or host.fabric.now_s > stuck_s:
            break
    if _pair(host, folder, command) != pair:
        raise CommandFailed("one of them is another process")


def _left(host: Host, giver: Engine, taker: Engine, command: MoveSlots) -> list[int]:
    wanted = slots.set_of(command.slots)
    own = slots.set_of(host.fabric.slots.of(giver.shard))
    if wanted - own - slots.set_of(host.fabric.slots.of(taker.shard)):
        raise CommandFailed("somebody else owns a slot")
    return sorted(wanted & own)


def _hand_over(host: Host, folder: Folder, command: MoveSlots) -> None:
    giver, taker = _pair(host, folder, command)
    left = _left(host, giver, taker, command)
    if giver.opened.keys() & set(left) or taker.opened.keys() & set(left):
        raise CommandFailed("a slot is open")
    host.fabric.move(giver, taker, frozenset(left))


async def _copy(
    host: Host, folder: Folder, command: MoveSlots, pair: tuple[Engine, Engine]
) -> None:
    giver, taker = pair
    while left := _left(host, giver, taker, command):
        peer_id, _ = giver.opened.get(left[0], (taker.launch.engine_id, False))
        if peer_id != taker.launch.engine_id:
            host.judge.blame(f"a slot of {giver.key} is moved that is open to somebody else")
        giver.opened[left[0]] = (taker.launch.engine_id, False)
        taker.opened[left[0]] = (giver.launch.engine_id, True)
        await _wait(host, folder, command, pair, host.random.uniform(*_COPY_S))
        host.fabric.move(giver, taker, frozenset(left[:_COPIED_AT_ONCE]))


async def _close(host: Host, folder: Folder, command: CloseSlots) -> None:
    owner, gone = _serving(host, folder), slots.set_of(command.slots)
    await asyncio.sleep(host.random.uniform(*_CLOSE_S))
    others = [e for e in host.fabric.living.values() if e.own in command.others]
    if _serving(host, folder) is not owner or len(others) != len(command.others):
        raise CommandFailed("not all of them are there")
    if not gone <= slots.set_of(host.fabric.slots.of(owner.shard)):
        raise CommandFailed("it does not own the slots")
    for engine in (owner, *others):
        if not engine.answers(host.fabric.now_s):
            raise CommandFailed(f"{engine.key} does not answer")
        engine.opened = {s: o for s, o in engine.opened.items() if s not in gone}


async def _claim(host: Host, folder: Folder, command: ClaimSlots) -> None:
    """Let the one that was told own slots; the keys of one are not known by slots here."""
    owner = _serving(host, folder)
    await asyncio.sleep(host.random.uniform(*_CLOSE_S))
    others = [e for e in host.fabric.living.values() if e.own in command.others]
    if _serving(host, folder) is not owner or len(others) != len(command.others):
        raise CommandFailed("not all of them are there")
    for engine in others:
        if not engine.answers(host.fabric.now_s) or engine.role is not Role.PRIMARY:
            raise CommandFailed(f"{engine.key} is no primary that answers")
    shards = {engine.shard for engine in (owner, *others)}
    left_out = [s for s in host.fabric.slots.owners(owner.uid) if s not in shards]
    if left_out:
        host.judge.blame(f"{left_out} are not asked whether they own slots")
    owned = (slots.set_of(host.fabric.slots.of(shard)) for shard in shards)
    free = slots.set_of(command.slots).difference(*owned)
    host.judge.count("claims")
    host.fabric.slots.claim(owner.shard, free)
