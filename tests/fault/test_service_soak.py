"""Does anything grow that should not? Groups come, lose their primary and go, again and again.

`CACHEWRIGHT_SOAK_ROUNDS` chooses how often: a few dozen in the suite, a thousand by hand.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import service_kit as kit

_ROUNDS = int(os.environ.get("CACHEWRIGHT_SOAK_ROUNDS", "24"))
#: Rounds until everything has been used once: pools, caches, connections of callers.
_WARM_UP = 12
_AT_ONCE = 6
#: What is looked at costs the machine more than the rounds do.
_LOOK_EVERY_S = 0.2
#: The event loop has 32 threads for what blocks at most, made as needed, and some of its own.
_THREADS_MAX = 40
CHILD = Path(__file__).with_name("soak_child.py")
#: Of a round at most, KiB of memory: its events, which are kept for fourteen days, and some noise.
_KIB_A_ROUND = 40.0
#: Of memory that the allocator has not given back yet, KiB.
_SLACK_KIB = 8_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    tasks: int
    files: int
    threads: int
    memory_kib: int


@pytest.mark.slow
@pytest.mark.timeout(120 + 6 * _ROUNDS)
def test_nothing_grows_while_groups_come_fail_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks_file = tmp_path / "tasks"
    with kit.prepared(tmp_path, CACHEWRIGHT_TASKS_FILE=str(tasks_file)) as service:
        service.program = (str(CHILD),)
        service.start()
        began_s = time.monotonic()
        _run(service, range(_WARM_UP))
        before = _measure(service, tasks_file)
        _run(service, range(_WARM_UP, _WARM_UP + _ROUNDS))
        after = _measure(service, tasks_file)
        took_s = time.monotonic() - began_s
        kit.assert_nothing_left(service.state_dir)
    with capsys.disabled():
        print(f"\n{_WARM_UP + _ROUNDS} rounds in {took_s:.0f} s: {before} to {after}")  # noqa: T201 figures
    assert after.tasks <= before.tasks
    assert after.files <= before.files + _AT_ONCE  # callers keep a connection each
    assert after.threads <= _THREADS_MAX
    grown_kib = after.memory_kib - before.memory_kib
    assert grown_kib <= _SLACK_KIB + _KIB_A_ROUND * _ROUNDS


def _run(service: kit.Up, numbers: range) -> None:
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        rounds = [threads.submit(_live_and_die, service, number) for number in numbers]
        done, _ = concurrent.futures.wait(rounds, return_when=concurrent.futures.FIRST_EXCEPTION)
        threads.shutdown(wait=False, cancel_futures=True)
        for one in done:
            one.result()


def _live_and_die(service: kit.Up, number: int) -> None:
    """One group from its create to its end, with the end of its primary in between."""
    name = f"soak-{number}"
    group = kit.create_available(service.api, name, shards=number % 2, replicas=1)
    victim = group["MemberClusters"][0]
    before = service.engines()[victim]
    before.kill()
    kit.wait_until(
        f"another process of {victim}",
        lambda: service.engines().get(victim, before),
        is_it=lambda now: now != before,
        every_s=_LOOK_EVERY_S,
    )
    kit.wait_until(
        f"{victim} is available",
        lambda: service.api.describe_cache_clusters(CacheClusterId=victim)["CacheClusters"][0],
        is_it=lambda cluster: cluster["CacheClusterStatus"] == "available",
        every_s=_LOOK_EVERY_S,
    )
    kit.delete(service.api, name)


def _measure(service: kit.Up, tasks_file: Path) -> _Size:
    """Look once the service rests."""
    time.sleep(2.0)  # what was closed is closed by then, and the last rounds have ended
    service.process.send_signal(signal.SIGUSR1)
    kit.wait_until("its tasks are counted", tasks_file.exists)
    tasks = int(tasks_file.read_text())
    tasks_file.unlink()
    proc = Path("/proc") / str(service.process.pid)
    memory = next(
        line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return _Size(
        tasks=tasks,
        files=len(list((proc / "fd").iterdir())),
        threads=len(list((proc / "task").iterdir())),
        memory_kib=int(memory.split()[1]),
    )
