"""What goes wrong while slots move? Whoever gives them, or gets them, dies or sleeps."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

from botocore.exceptions import BotoCoreError

from cachewright.kit import failpoints
from tests import service_kit as kit
from tests.fault.scenarios.scene import LIVES_MAX, Scene
from tests.fault.scenarios.shapes import GROUP

#: All lives together, seconds: an operation that is not over by then is judged as it is.
_LIVES_S = 90.0
_LOOK_S = 0.05
#: Passed only by the ends of moves that were cut here.
_AFTER_CUTS = frozenset({"agent.before_close", "agent.after_take_back", "agent.after_close"})
_CUT = "agent.after_copy"


def nothing(_: Scene) -> None:
    """All goes well."""


def _kill_one_of(scene: Scene, shard_ids: tuple[str, ...]) -> None:
    """The primary of one of these shards by its own word: it may have no key yet, or any more."""
    shard_id = scene.dice.choice(shard_ids)
    scene.struck_shards.add(shard_id)
    engine = scene.primary_by_its_word(shard_id)
    if engine is not None:
        engine.kill()


def kill_giver(scene: Scene) -> None:
    _kill_one_of(scene, scene.givers)


def kill_taker(scene: Scene) -> None:
    _kill_one_of(scene, scene.takers)


def kill_giver_and_taker(scene: Scene) -> None:
    _kill_one_of(scene, scene.givers)
    scene.wait(0.0, 0.3)
    _kill_one_of(scene, scene.takers)


def doze_taker(scene: Scene) -> Callable[[], None]:
    """Who gets slots sleeps, longer than anybody waits for it."""
    engine = scene.primary_by_its_word(scene.dice.choice(scene.takers))
    if engine is not None:
        scene.freeze(engine)

    def wake() -> None:
        if engine is not None:
            engine.kill(signal.SIGCONT)

    return wake


def arm_a_failpoint(scene: Scene) -> None:
    """The seed says which: seeds in a row are all of them."""
    names = sorted(failpoints.NAMES)
    name = names[scene.seed % len(names)]
    # What ends a cut move needs one that is cut.
    scene.failpoint = f"{name}=kill,{_CUT}" if name in _AFTER_CUTS else name
    scene.service.kill()
    scene.revive()


def die_at_failpoint(scene: Scene) -> Callable[[], None]:
    """The server dies at its failpoint, is started again, and dies at the next pass."""
    deadline = time.monotonic() + _LIVES_S
    while time.monotonic() < deadline and scene.deaths < LIVES_MAX:
        if scene.service.process.poll() is not None:
            scene.revive()
        elif _is_over(scene):
            break
        scene.wait(_LOOK_S, _LOOK_S)

    def start_for_good() -> None:
        scene.failpoint = ""
        scene.service.kill()
        scene.service.start()

    return start_for_good


def _is_over(scene: Scene) -> bool:
    """Tell whether what was asked for is done, and so passes the failpoint no more."""
    with contextlib.suppress(BotoCoreError):  # it has died meanwhile
        return kit.status(scene.api, GROUP) == "available"
    return False
