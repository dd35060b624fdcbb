"""What breaks when anything may happen at any moment? `make chaos`: random cases until time is up.

Prints each case with its seed, and at the first judge that fires what was seen and the command
that repeats it (exit code 1). Between cases the longer programs take their turn that look for the
same mistakes in other ways: the simulation of the control loop, and the soak.
"""

from __future__ import annotations

import argparse
import collections
import random
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.scenarios import cases, ground

_ROOT = Path(__file__).parents[3]
_MINUTES = 60.0
#: Of the time, at most this part goes to the longer programs.
_OTHERS_SHARE = 0.2
_OTHERS_TIMEOUT_S = 1_800.0
#: One that is begun so late would be cut off.
_LAST_CASE_S = 15.0
#: Programs that take turns with the cases, where they are there.
_OTHERS = ("tests/simulation", "tests/fault/test_service_soak.py")


@dataclass(slots=True)
class _Tally:
    """How often what was run, and for how long."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))
    others_s: float = 0.0
    #: The first line of what each broken case says.
    broken: list[str] = field(default_factory=list)

    def add(self, name: str, took_s: float) -> None:
        for part in name.split("/"):
            self.counts[part] += 1
            self.seconds[part] += took_s

    def lines(self) -> Iterator[str]:
        yield f"{'what':32}{'times':>7}{'seconds':>10}"
        for part, count in sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0])):
            yield f"{part:32}{count:>7}{self.seconds[part]:>10.1f}"


def main() -> int:
    """Run what the command line asks for; 1 when a judge fired."""
    wanted = _arguments()
    if wanted.list:
        _say("\n".join(cases.names()))
        return 0
    tally = _Tally()
    chosen = [(name, wanted.seed) for name in wanted.only or ()] or _random(wanted, tally)
    for name, seed in chosen:
        try:
            _run_case(name, seed, tally)
        except cases.Broken as error:
            _say(f"\n{error}\n")
            tally.broken.append(str(error).splitlines()[0])
            if not wanted.keep_going:
                break
    _say("\n".join(tally.lines()))
    for command in tally.broken:
        _say(f"repeat it with: {command}")
    return 1 if tally.broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=_MINUTES)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--only", action="append", metavar="CELL", help="run just this cell")
    parser.add_argument("--match", default="", help="cells in whose name this expression is found")
    parser.add_argument("--keep-going", action="store_true", help="do not end at what is broken")
    parser.add_argument("--list", action="store_true", help="name every cell")
    return parser.parse_args()


def _random(wanted: argparse.Namespace, tally: _Tally) -> Iterator[tuple[str, int]]:
    """Yield names and seeds of cases until time is up; other programs take their turn."""
    _say(f"seed {wanted.seed}, {wanted.minutes:g} minutes")
    dice = random.Random(wanted.seed)  # noqa: S311 chooses cases, not secrets
    possible = [name for name in cases.names() if re.search(wanted.match, name)]
    begun_s = time.monotonic()
    deadline_s = begun_s + wanted.minutes * 60.0
    others = [name for name in _OTHERS if (_ROOT / name).exists()]
    while time.monotonic() < deadline_s - _LAST_CASE_S:
        passed_s = time.monotonic() - begun_s
        if others and tally.others_s < passed_s * _OTHERS_SHARE - _LAST_CASE_S:
            _run_other(others[0], deadline_s, tally)
            others.append(others.pop(0))
        yield dice.choice(possible), dice.randrange(1 << 31)


def _run_case(name: str, seed: int, tally: _Tally) -> None:
    begun_s = time.monotonic()
    try:
        said = cases.run(name, seed)
    except ground.NotHere as error:
        _say(f"         {name}: {error}")
        return
    took_s = time.monotonic() - begun_s
    tally.add(name, took_s)
    _say(f"{took_s:6.1f} s  {name} --seed {seed}: {said}")


def _run_other(name: str, deadline_s: float, tally: _Tally) -> None:
    begun_s = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", name]
    left_s = min(_OTHERS_TIMEOUT_S, max(0.0, deadline_s - begun_s))
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=left_s, check=False, cwd=_ROOT
        )
    except subprocess.TimeoutExpired:
        _say(f"        {name}: cut off, time is up")
        return
    took_s = time.monotonic() - begun_s
    tally.others_s += took_s
    tally.counts[name] += 1
    tally.seconds[name] += took_s
    if result.returncode:
        _say(result.stdout[-6_000:])
        tally.broken.append(" ".join(command[1:]))
    _say(f"{took_s:6.1f} s  {name}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
