"""How fast is the API's most frequent question, beside the servers that only pretend?

MiniStack and moto keep a record for each group and check no signature; for us the hundred groups
run, and every request's signature is verified (shown first: a wrong one is refused).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from bench import baselines, fleet, load, processes, world
from bench.baselines import NoBaseline, RunningRival
from bench.load import Load
from bench.measure import Comparison, Figure, Skipped, Target, sample
from bench.processes import BenchFailed
from bench.world import Server, World, say

_CONNECTIONS = 8
_PAGE = "100"
#: Short rounds, so that both sides meet the same disturbances.
_ROUND_S = 2.5
_HUNDRED = "`DescribeReplicationGroups`, 100 groups, 8 connections"
_SINGLE = "describe of one group through boto3"


def measure_describe(within: World, server: Server) -> Iterator[Figure | Skipped]:
    """Pages of a hundred groups against both rivals, single describes against MiniStack."""
    _require_verification(server)
    port = processes.free_port()
    try:
        with baselines.running(within, baselines.ministack(port), port) as rival:
            fleet.fill(rival.url, baselines.KEY_ID, baselines.SECRET)
            target = Target(bound=2.0, is_minimum=True)
            for all_differ in (False, True):
                yield _hundred(within, server, rival, target, all_differ=all_differ)
            yield _single(within, server, rival)
        port = processes.free_port()
        with baselines.running(within, baselines.moto(port), port) as rival:
            fleet.fill(rival.url, baselines.KEY_ID, baselines.SECRET)
            yield _hundred(within, server, rival, None, all_differ=True)
    except NoBaseline as error:
        yield Skipped(key="describe", what=_HUNDRED, reason=str(error))


def _hundred(
    within: World, server: Server, rival: RunningRival, target: Target | None, *, all_differ: bool
) -> Figure:
    ours: list[Load] = []
    theirs: list[Load] = []
    for number in within.rounds(12, 2):
        ours.append(_load(server.url, server.key_id, server.secret, all_differ))
        theirs.append(_load(rival.url, baselines.KEY_ID, baselines.SECRET, all_differ))
        say(
            f"  describe {number + 1}: {ours[-1].per_second:.0f}/s, "
            f"{rival.name} {theirs[-1].per_second:.0f}/s"
        )
    return Figure(
        key=f"describe-100-{'fresh' if all_differ else 'same'}-{rival.name.split()[0].lower()}",
        what=_HUNDRED + (", every answer made anew" if all_differ else ", the same question"),
        ours=sample("/s", (one.per_second for one in ours)),
        baseline_name=rival.name,
        baseline=sample("/s", (one.per_second for one in theirs)),
        comparison=Comparison.RATIO,
        target=target,
        note=(
            f"One answer is {ours[0].body_bytes:,} bytes here and {theirs[0].body_bytes:,} bytes "
            "there. Signatures are verified here only."
            + ("" if all_differ else " Ours gives its answer again while no record has changed.")
        ),
        details={
            "our_body_bytes": ours[0].body_bytes,
            "their_body_bytes": theirs[0].body_bytes,
            "generator_core_ours": max(one.generator_core for one in ours),
        },
    )


def _single(within: World, server: Server, rival: RunningRival) -> Figure:
    with contextlib.ExitStack() as held:
        our_api = held.enter_context(contextlib.closing(server.client()))
        their_api = held.enter_context(
            contextlib.closing(world.client(rival.url, baselines.KEY_ID, baselines.SECRET))
        )
        ours, theirs = [], []
        for number in within.rounds(12, 2):
            ours.append(_asked_per_s(our_api))
            theirs.append(_asked_per_s(their_api))
            say(f"  single {number + 1}: {ours[-1]:.0f}/s, {rival.name} {theirs[-1]:.0f}/s")
    return Figure(
        key="describe-1-ministack",
        what=_SINGLE,
        ours=sample("/s", ours),
        baseline_name=rival.name,
        baseline=sample("/s", theirs),
        comparison=Comparison.RATIO,
        target=Target(bound=1.0, is_minimum=True),
        note="One client, one request after the other; most of the time is boto3's own.",
    )


def _asked_per_s(api: Any) -> float:
    count, begin_s = 0, time.monotonic()
    while time.monotonic() < begin_s + _ROUND_S:
        answer = api.describe_replication_groups(ReplicationGroupId="bench-042")
        if len(answer["ReplicationGroups"]) != 1:
            raise BenchFailed("a describe of one group did not return one group")
        count += 1
    return count / (time.monotonic() - begin_s)


def _load(url: str, key_id: str, secret: str, all_differ: bool) -> Load:
    requests = load.signed_requests(
        url,
        key_id,
        secret,
        all_differ=all_differ,
        Action="DescribeReplicationGroups",
        MaxRecords=_PAGE,
    )
    return load.run(url, requests, connections=_CONNECTIONS, duration_s=_ROUND_S)


def _require_verification(server: Server) -> None:
    wrong = load.signed_requests(
        server.url,
        server.key_id,
        server.secret + "x",
        all_differ=False,
        Action="DescribeReplicationGroups",
    )
    if (status := load.status_of(server.url, wrong[0])) != 403:
        raise BenchFailed(f"a wrong signature was answered with {status}, not 403")
