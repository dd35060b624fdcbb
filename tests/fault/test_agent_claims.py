"""Do slots that nobody owns get an owner again: whoever holds their keys, and nobody by a guess?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.commands import ClaimSlots, Launch
from cachewright.model.engines import EngineName
from cachewright.model.slots import SLOT_COUNT, SlotRanges, numbers_of, ranges_of
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import EPOCH, Group, hosting_all, launches_of, start_group
from tests.fault.agent_moves import admin_of, ask, check_whole, has_settled, slots_of, slots_owned
from tests.fault.agent_world import until

BUILDS = [
    pytest.param((EngineName.REDIS, "7.0"), id="redis-7.0"),
    pytest.param((EngineName.VALKEY, "8.0"), id="valkey-8.0"),
    pytest.param((EngineName.VALKEY, "9.1"), id="valkey-9.1"),
]
with_builds = pytest.mark.parametrize("build", BUILDS)
#: They go together into one slot, of the first of two shards.
KEYS = [f"{{b}}-{number}" for number in range(20)]
SLOT = 3300


Work = Callable[[LocalAgent, Group], Awaitable[None]]


def run(folder: Path, build: tuple[EngineName, str], work: Work, *, nodes: int = 1) -> None:
    """Run work on a group of two shards."""

    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            group = await start_group(agent, launches_of(nodes, 2, build, is_cluster=True))
            await until(lambda: has_settled(group), "all slots are served")
            await work(agent, group)

    asyncio.run(hosted())


async def write(launch: Launch, keys: Sequence[str]) -> None:
    assert set(await ask(launch, *[("SET", key, key) for key in keys])) == {b"OK"}


async def lose(group: Group, launch: Launch, slots: SlotRanges) -> None:
    """Let a primary own slots no more; nobody else does."""
    questions = [("CLUSTER", "DELSLOTS", slot) for slot in numbers_of(slots)]
    assert set(await ask(launch, *questions)) == {b"OK"}
    for one in primaries(group):
        assert not set(numbers_of(slots)) & set(numbers_of(await slots_owned(group, one)))


def primaries(group: Group) -> list[Launch]:
    return [shard[0] for shard in group.shards]


def claim_of(group: Group, launch: Launch, slots: SlotRanges) -> ClaimSlots:
    others = tuple((one.address, one.port) for one in primaries(group) if one is not launch)
    return ClaimSlots(key=launch.key, slots=slots, others=others)


async def open_half_way(giving: Launch, taking: Launch) -> None:
    """Begin to move the slot, with half of its keys gone."""
    await ask(taking, ("CLUSTER", "SETSLOT", SLOT, "IMPORTING", giving.engine_id))
    await ask(giving, ("CLUSTER", "SETSLOT", SLOT, "MIGRATING", taking.engine_id))
    await stray(taking, KEYS[:10])
    await ask(giving, *[("DEL", key) for key in KEYS[:10]])


async def stray(launch: Launch, keys: Sequence[str]) -> None:
    """Let an engine hold keys of a slot that it does not own."""
    questions = [words for key in keys for words in (("ASKING",), ("SET", key, key))]
    assert set(await ask(launch, *questions)) == {b"OK"}


@with_builds
def test_who_holds_keys_owns_the_slot_and_all_others_go_where_they_shall(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    """Whoever the other one believes to own it, and with whatever epoch."""

    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        await write(first, KEYS)
        await lose(group, first, slots_of((3000, 4000)))
        await ask(second, ("CLUSTER", "BUMPEPOCH"))
        await ask(second, ("CLUSTER", "SETSLOT", 3400, "NODE", first.engine_id))
        # The one with the keys, and the one that is told; of the others nobody had any.
        await agent.execute(claim_of(group, second, slots_of((3000, 4000))), epoch=EPOCH)
        assert SLOT in set(numbers_of(await slots_owned(group, first)))
        assert set(range(3000, 4001)) - {SLOT} <= set(numbers_of(await slots_owned(group, second)))
        await until(lambda: has_settled(group), "all slots are served")
        await check_whole(group, len(KEYS))
        told = await ask(second, ("GET", KEYS[0]))
        assert str(told[0]).startswith(f"MOVED {SLOT} {first.address}")

    run(tmp_path, build, work, nodes=2)


@with_builds
def test_all_slots_are_claimed_at_once(tmp_path: Path, build: tuple[EngineName, str]) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        await write(first, KEYS)
        before = [await slots_owned(group, one) for one in (first, second)]
        for one, slots in zip((first, second), before, strict=True):
            await lose(group, one, slots)
        for one, slots in zip((first, second), before, strict=True):
            await agent.execute(claim_of(group, one, slots), epoch=EPOCH)
            assert await slots_owned(group, one) == slots
        await until(lambda: has_settled(group), "all slots are served")
        await check_whole(group, len(KEYS))
        assert sum(len(part) for slots in before for part in slots) == SLOT_COUNT

    run(tmp_path, build, work, nodes=2)


@with_builds
def test_what_somebody_owns_stays_there(tmp_path: Path, build: tuple[EngineName, str]) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        before = await slots_owned(group, first)
        await agent.execute(claim_of(group, second, slots_of((0, 10))), epoch=EPOCH)
        assert await slots_owned(group, first) == before

    run(tmp_path, build, work)


@with_builds
def test_nobody_is_right_where_two_hold_keys_and_nothing_was_moved(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        await write(first, KEYS)
        await open_half_way(first, second)
        for one in (first, second):
            await ask(one, ("CLUSTER", "SETSLOT", SLOT, "STABLE"))
        await lose(group, first, slots_of((SLOT, SLOT + 1)))
        command = claim_of(group, first, slots_of((SLOT, SLOT + 1)))
        with pytest.raises(CommandFailed, match=f"nobody owns slots {SLOT}-{SLOT}, and several"):
            await agent.execute(command, epoch=EPOCH)
        own = [set(numbers_of(await slots_owned(group, one))) for one in (first, second)]
        assert SLOT + 1 in own[0]
        assert SLOT not in own[0] | own[1]

    run(tmp_path, build, work)


@pytest.mark.parametrize(
    ("build", "knows"),
    [
        *((param.values[0], "first") for param in BUILDS),
        ((EngineName.REDIS, "7.0"), "second"),  # Valkey then owns the slot by itself
    ],
)
def test_the_one_that_gave_is_right_where_a_move_was_open(
    tmp_path: Path, build: tuple[EngineName, str], knows: str
) -> None:
    """Only one of both may still know of the move."""

    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        await write(first, KEYS)
        await open_half_way(first, second)
        forgets = second if knows == "first" else first
        await ask(forgets, ("CLUSTER", "SETSLOT", SLOT, "STABLE"))
        await lose(group, first, slots_of((SLOT, SLOT)))
        await agent.execute(claim_of(group, second, slots_of((SLOT, SLOT))), epoch=EPOCH)
        assert SLOT in set(numbers_of(await slots_owned(group, first)))
        admin = await admin_of(second)
        assert await ValkeySlots().counts(admin, [SLOT]) == [10]
        admin.close()

    run(tmp_path, build, work)


@with_builds
def test_nothing_is_claimed_while_one_of_them_is_no_primary(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    """A replica says that it owns nothing, whatever its primary owns."""

    async def work(agent: LocalAgent, group: Group) -> None:
        first, second = primaries(group)
        replica = group.shards[1][1]
        owned = ranges_of(list(numbers_of(await slots_owned(group, second)))[:10])
        command = ClaimSlots(key=first.key, slots=owned, others=((replica.address, replica.port),))
        with pytest.raises(CommandFailed, match="is no primary any more"):
            await agent.execute(command, epoch=EPOCH)
        assert set(numbers_of(owned)) <= set(numbers_of(await slots_owned(group, second)))

    run(tmp_path, build, work, nodes=2)
