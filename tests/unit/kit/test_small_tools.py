"""The small tools keep their small promises."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cachewright.kit import failpoints, ids, shared_memory
from cachewright.kit.backoff import Backoff
from cachewright.kit.secret import Secret
from cachewright.kit.tasks import Supervised


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("open sesame")
    assert "sesame" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "open sesame"
    assert secret == Secret("open sesame")
    assert secret != Secret("other")


def test_backoff_doubles_up_to_its_ceiling_and_starts_over() -> None:
    backoff = Backoff(first_s=1.0, last_s=5.0)
    assert [backoff.next_s() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_ids_have_the_forms_that_others_expect() -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]{7}", ids.new_uid())
    assert re.fullmatch(r"[0-9a-f]{40}", ids.new_engine_id())
    assert re.fullmatch(r"[0-9a-f]{64}", ids.new_password())
    key_id, secret = ids.new_access_key()
    assert re.fullmatch(r"AKCW[A-Z2-7]{16}", key_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40}", secret)


def test_an_armed_failpoint_fires_once_at_the_asked_pass() -> None:
    failpoints.arm("control.after_step", count=2)
    try:
        failpoints.passing("control.after_step")
        with pytest.raises(failpoints.Injected):
            failpoints.passing("control.after_step")
        failpoints.passing("control.after_step")
    finally:
        failpoints.disarm_all()


def test_a_failpoint_of_the_environment_kills_the_process() -> None:
    program = "from cachewright.kit import failpoints; failpoints.passing('agent.after_spawn')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"CACHEWRIGHT_FAILPOINTS": "agent.after_spawn=kill"},
        check=False,
        timeout=30,
    )
    assert done.returncode == -signal.SIGKILL


def test_an_unknown_failpoint_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import cachewright.kit.failpoints"],
        env={"CACHEWRIGHT_FAILPOINTS": "nowhere=kill"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "nowhere=kill" in done.stderr
    assert done.returncode == 1


def test_a_task_that_fails_is_started_again_and_ends_with_its_block() -> None:
    runs = 0
    is_running = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("first run")
        is_running.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with Supervised() as tasks:
            tasks.start("work", work)
            async with asyncio.timeout(10):
                await is_running.wait()

    asyncio.run(scenario())
    assert runs == 2


def test_a_folder_in_shared_memory_is_removed_if_it_is_ours(tmp_path: Path) -> None:
    own = shared_memory.folder_of(tmp_path)
    assert own != shared_memory.folder_of(tmp_path / "other")
    shared_memory.remove(tmp_path)  # there is none
    own.mkdir(mode=0o755)
    try:
        shared_memory.remove(tmp_path)
        assert own.exists()  # others may look into it: we never make one like this
        own.chmod(0o700)
        (own / "file").touch()
        shared_memory.remove(tmp_path)
        assert not own.exists()
    finally:
        shutil.rmtree(own, ignore_errors=True)
