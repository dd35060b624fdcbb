"""Where may a test make this process die? Named points that cost a dictionary look-up when idle.

`CACHEWRIGHT_FAILPOINTS="name=kill,other=raise:3"` arms them: `kill` is SIGKILL of this process,
`stop` SIGSTOP, `raise` an `Injected` error; `:N` means on the N-th pass only (default: the first).
Every name is in `NAMES`, so that a test can walk through all of them.
"""

from __future__ import annotations

import os
import signal

#: Those that are passed when a primary has ended or hangs, with what has happened by then.
OF_FAILOVER: dict[str, str] = {
    "rescue.before_look": "somebody has ended or hangs, nothing was read from engines",
    "rescue.before_steps": "a promotion or a fence is decided, it was not given",
    "rescue.after_steps": "it was carried out, nothing is written down",
    "agent.before_promote": "the replica may take over, it was not told",
    "agent.after_promote": "the replica is the primary, it does not listen on its endpoint",
    "agent.before_fence": "a silent process is about to be killed",
    "agent.after_fence": "its end is proven, nobody was told",
}
#: Those that are passed when slots move, with what has happened by then.
OF_MOVES: dict[str, str] = {
    "agent.before_move": "slots are to be moved, no engine was told",
    "agent.after_functions": "one that owns no slot has the functions of the one that gives",
    "agent.before_export": "the engines are to move whole slots, they were not told",
    "agent.after_export": "the engines have begun to move some",
    "agent.after_exports": "they have moved all, nobody was told",
    "agent.after_import": "one lets keys of slots in, the other sends no client on",
    "agent.after_open": "slots are open on both sides, no key has moved",
    "agent.after_copy": "some keys have moved",
    "agent.after_empty": "all keys have moved, the slots are open on both sides",
    "agent.after_claim": "the one that took owns the slots, the other does not know",
    "agent.after_give": "both know, other slots are to come",
    "agent.before_close": "a move that was cut is to be ended, nothing was done",
    "agent.after_take_back": "keys of slots have come back, the slots are open on the other side",
    "agent.after_close": "nothing is open any more, nobody was told",
}
#: Every failpoint of the program.
NAMES: dict[str, str] = {
    "control.before_observe": "a key was taken, nothing was read from engines",
    "control.after_step": "a step was executed, its effect is not recorded",
    "control.before_record": "the plan is made, the status is not written",
    "control.after_record": "the status is written, no step was executed",
    "agent.before_spawn": "the node's files are written, its process is not started",
    "agent.after_spawn": "the process runs, its identity is not written down",
    "agent.after_identity": "the process runs and its identity is written down",
    "agent.before_forget": "the process has ended, its folder is still there",
    "service.after_commit": "a change is durable, the caller has no answer yet",
    **OF_FAILOVER,
    **OF_MOVES,
}


_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Injected(Exception):
    """The error that an armed failpoint raises."""


def _parse(text: str) -> dict[str, tuple[str, int]]:
    armed: dict[str, tuple[str, int]] = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        kind, _, count = action.partition(":")
        if name not in NAMES or kind not in {"raise", *_SIGNALS}:
            raise ValueError(f"CACHEWRIGHT_FAILPOINTS: {part!r} is no failpoint and action")
        armed[name] = (kind, int(count or 1))
    return armed


_armed = _parse(os.environ.get("CACHEWRIGHT_FAILPOINTS", ""))


def passing(name: str) -> None:
    """Mark the place `name`; does nothing unless the failpoint is armed."""
    if not _armed or name not in _armed:
        return
    kind, remaining = _armed[name]
    if remaining > 1:
        _armed[name] = (kind, remaining - 1)
        return
    del _armed[name]
    if kind == "raise":
        raise Injected(name)
    os.kill(os.getpid(), _SIGNALS[kind])


def arm(name: str, kind: str = "raise", count: int = 1) -> None:
    """Arm `name` in this process; for tests that run the program inside themselves."""
    if name not in NAMES:
        raise ValueError(name)
    _armed[name] = (kind, count)


def disarm_all() -> None:
    """Forget every armed failpoint."""
    _armed.clear()
