"""Would the tests notice? `make mutants`: plants each seeded mutant and wants its tests to fail.

Each is planted in a copy of the sources; the tests are those of this folder, with real engines
where they have some. First all of them run on an unchanged copy: a test that fails there shows
nothing. Exit code 1 when a mutant survived or a text was not found; the table says which test
caught what, and by which words.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.plugin import REPORTS, SOURCES
from tests.mutants.seeded import MUTANTS, Catch, Mutant

_ROOT = Path(__file__).parents[2]
_PACKAGE = "cachewright"
#: Mutants at a time: what is tested waits for engines and uses a core in turn.
_JOBS = 2
#: A mutant may hang its tests; each has this long, seconds, and all of one mutant together.
_TEST_TIMEOUT_S = 100
_RUN_TIMEOUT_S = 300.0
#: Of the simulation: it ends at the first law that is broken.
_SIMULATION = {"CACHEWRIGHT_SIMULATION_SEED": "1", "CACHEWRIGHT_SIMULATION_HOURS": "1000"}
_WORDS_WIDTH = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one test said of one mutant."""

    mutant: Mutant
    catch: Catch
    took_s: float
    #: Why it was not caught, empty when it was.
    problem: str
    #: The words by which it was.
    words: str = ""


class NotPlanted(Exception):
    """The sources are not what the mutant was made for; `str()` says how."""


def plant(mutant: Mutant, package: Path) -> None:
    """Change the copy of the package.

    Raises:
        NotPlanted: the text is not there exactly once, or what comes of it is no Python.
    """
    path = package / mutant.path
    content = path.read_text()
    if content.count(mutant.before) != 1:
        raise NotPlanted(f"its text is found {content.count(mutant.before)} times in {mutant.path}")
    changed = content.replace(mutant.before, mutant.after)
    try:
        compile(changed, str(path), "exec")
    except SyntaxError as error:
        raise NotPlanted(f"it is no Python: {error}") from error
    path.write_text(changed)


def main() -> int:
    """Plant what the command line asks for; 1 unless every mutant was caught by all its tests."""
    wanted = _arguments()
    chosen = [mutant for mutant in MUTANTS if re.search(wanted.match, mutant.name)]
    if wanted.list:
        _say("\n".join(mutant.name for mutant in chosen))
        return 0
    if not chosen:
        _say(f"no mutant is called {wanted.match!r}")
        return 1
    begun_s = time.monotonic()
    if not wanted.no_baseline and not _is_sound(chosen):
        return 1
    survived = 0
    with concurrent.futures.ThreadPoolExecutor(_JOBS) as pool:
        for verdicts in pool.map(_judge, chosen):
            survived += any(verdict.problem for verdict in verdicts)
            _say("\n".join(_lines(verdicts)))
    count = len({mutant.mistake for mutant in chosen})
    _say(
        f"{len(chosen)} mutants of {count} mistakes in {time.monotonic() - begun_s:.0f} s: "
        + (f"{survived} survived" if survived else "each was caught")
    )
    return 1 if survived else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--match", default="", help="mutants in whose name this is found")
    parser.add_argument("--list", action="store_true", help="name every mutant")
    parser.add_argument(
        "--no-baseline", action="store_true", help="do not run the tests without a mutant first"
    )
    return parser.parse_args()


def _is_sound(chosen: Sequence[Mutant]) -> bool:
    """Tell whether all tests pass as long as nothing is planted."""
    tests = sorted({catch.test for mutant in chosen for catch in mutant.catches})
    begun_s = time.monotonic()
    failed = {test: text for test, (outcome, text) in _run(tests, None) if outcome != "passed"}
    for test, text in failed.items():
        _say(f"fails without any mutant: {test}\n{text}")
    _say(f"{len(tests)} tests without a mutant in {time.monotonic() - begun_s:.0f} s")
    return not failed


def _judge(mutant: Mutant) -> list[Verdict]:
    begun_s = time.monotonic()
    try:
        found = dict(_run([catch.test for catch in mutant.catches], mutant))
        problems = {catch.test: _problem(catch, found) for catch in mutant.catches}
    except NotPlanted as error:
        found, problems = {}, {catch.test: str(error) for catch in mutant.catches}
    took_s = time.monotonic() - begun_s
    return [
        Verdict(
            mutant=mutant,
            catch=catch,
            took_s=took_s,
            problem=problems[catch.test],
            words=_words(catch, found),
        )
        for catch in mutant.catches
    ]


def _problem(catch: Catch, found: dict[str, tuple[str, str]]) -> str:
    outcome, text = found[catch.test]
    if outcome != "failed":
        return f"the test {outcome}"
    if not _words(catch, found):
        return f"the test failed for another reason than {catch.says!r}:\n{text[-3_000:]}"
    return ""


def _words(catch: Catch, found: dict[str, tuple[str, str]]) -> str:
    """Return the line of a report that shows why it failed, if it is the right reason."""
    for line in found.get(catch.test, ("", ""))[1].splitlines():
        if line.startswith("E ") and re.search(catch.says, line):
            return " ".join(line.split()[1:])[:_WORDS_WIDTH]
    return ""


def _run(tests: Sequence[str], mutant: Mutant | None) -> Iterator[tuple[str, tuple[str, str]]]:
    """Run tests on a copy of the sources; yield how each ended, and its report."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        sources, reports = Path(folder, "src"), Path(folder, "reports")
        shutil.copytree(_ROOT / "src", sources)
        if mutant is not None:
            plant(mutant, sources / _PACKAGE)
        reports.touch()
        said = _pytest(tests, sources, reports)
        # A parametrized test is the sum of its cases.
        cases = [json.loads(line) for line in reports.read_text().splitlines()]
        for test in tests:
            mine = [case for case in cases if case["test"].partition("[")[0] == test]
            failed = [case for case in mine if case["outcome"] == "failed"]
            if failed:
                yield test, ("failed", "\n".join(case["text"] for case in failed))
            elif mine and all(case["outcome"] == "passed" for case in mine):
                yield test, ("passed", "")
            else:
                yield test, ("was not run", said[-3_000:])


def _pytest(tests: Iterable[str], sources: Path, reports: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.mutants.plugin", "--timeout", str(_TEST_TIMEOUT_S), *tests]
    environment = os.environ | _SIMULATION | {
        "PYTHONPATH": str(sources),
        "PYTHONHASHSEED": "0",
        SOURCES: str(sources),
        REPORTS: str(reports),
    }  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=_ROOT,
        env=environment,
    )
    try:
        said, _ = process.communicate(timeout=_RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        said, _ = process.communicate()
        said += f"\nnot done within {_RUN_TIMEOUT_S:.0f} s"
    return said


def _lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    first = verdicts[0]
    yield f"{first.mutant.mistake} ({first.mutant.path}), {first.took_s:.0f} s"
    for verdict in verdicts:
        test = verdict.catch.test.rpartition("/")[2]
        yield f"  {'SURVIVED' if verdict.problem else 'caught'}  {test}"
        yield textwrap.indent(verdict.problem or verdict.words, " " * 12)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
