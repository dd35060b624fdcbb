"""A signal ends the demo once, and never cuts its tidying short."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator

import pytest

from cachewright.cli.interrupts import Interrupted, interruptible

#: It comes within a fraction of this; nobody waits so long unless it never comes.
_LONG_AFTER_S = 10


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Let what a test leaves as it ends be no part of the next."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_and_sets_the_exit_code(number: signal.Signals) -> None:
    with interruptible() as interrupts:
        with pytest.raises(Interrupted):
            send(number)
        assert interrupts.exit_code == 128 + number


class _Thing:
    """Something that can be waited for the end of."""


def test_an_interrupt_that_python_throws_away_comes_again() -> None:
    with interruptible() as interrupts:
        thing: _Thing | None = _Thing()
        reference = weakref.ref(thing, lambda _: send(signal.SIGTERM))
        thing = None
        with pytest.raises(Interrupted):
            time.sleep(_LONG_AFTER_S)
        assert reference() is None
        assert interrupts.exit_code == 128 + signal.SIGTERM


def test_what_else_python_throws_away_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda thrown: told.append(thrown.exc_type))
    thing = _Thing()
    reference = weakref.ref(thing, lambda _: 1 // 0)
    with interruptible():
        del thing
    assert reference() is None
    assert told == [ZeroDivisionError]


def test_further_signals_do_not_disturb_the_tidying() -> None:
    with interruptible() as interrupts:
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert interrupts.exit_code == 128 + signal.SIGINT


def test_a_signal_after_an_interrupt_changes_nothing_any_more() -> None:
    with interruptible() as interrupts, pytest.raises(Interrupted):
        send(signal.SIGTERM)
    send(signal.SIGINT)
    assert interrupts.exit_code == 128 + signal.SIGTERM


def test_a_signal_while_python_ends_changes_nothing_either() -> None:
    program = """
import os, signal, sys
from cachewright.cli.interrupts import Interrupted, interruptible

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):
        kill(pid, number)

late = Late()
with interruptible() as interrupts:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Interrupted:
        pass
sys.exit(interrupts.exit_code)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=_LONG_AFTER_S, check=False)
    assert ended.returncode == 128 + signal.SIGTERM


def test_a_signal_while_a_manager_closes_is_only_noted() -> None:
    closed: list[bool] = []

    @contextlib.contextmanager
    def manager() -> Iterator[str]:
        yield "opened"
        send(signal.SIGTERM)
        closed.append(True)

    with interruptible() as interrupts:
        with interrupts.undisturbed_at_end(manager()) as value:
            assert value == "opened"
            assert interrupts.exit_code is None
        assert closed == [True]
        assert interrupts.exit_code == 128 + signal.SIGTERM


def test_an_interrupt_closes_the_manager() -> None:
    closed: list[bool] = []
    with interruptible() as interrupts, contextlib.ExitStack() as stack:
        stack.callback(closed.append, True)
        with (
            pytest.raises(Interrupted),
            interrupts.undisturbed_at_end(contextlib.closing(stack)),
        ):
            send(signal.SIGINT)
        assert closed == [True]


def test_the_handlers_from_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
