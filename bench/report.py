"""Where do the figures go? Into JSON for programs and a table for people.

`docs/benchmarks.json` keeps every figure under its key, so that a run of some families replaces
theirs and leaves the others. The table between the markers of `docs/benchmarks.md` is made from it;
the prose around them is not touched.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.measure import Comparison, Figure, Sample, Skipped, Target

_DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = _DOCS / "benchmarks.json"
PAGE = _DOCS / "benchmarks.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
#: Beginnings of keys, in the order of the table.
_ORDER = (
    *("failover", "hang", "handover", "false-failover", "replacement", "availability", "scaling"),
    *("durability", "create", "engine", "memcached", "describe", "up", "idle", "restart", "rest"),
    "terraform",
)
HEADINGS = ("what", "Cachewright", "baseline", "compared", "target", "met", "note")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the figures were measured on."""

    cpu: str
    cores: int
    kernel: str
    python: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure as it is kept in JSON; one of `figure` and `skipped` is there."""

    key: str
    measured_at: str
    #: The benchmark's own load included; far above the number of cores means a disturbed run.
    load_average_1min: float
    figure: Figure | None = None
    compared: Sample | None = None
    met: bool | None = None
    skipped: Skipped | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The whole file."""

    machine: Machine
    figures: tuple[Row, ...]


def row_of(outcome: Figure | Skipped) -> Row:
    """Return a figure as it is kept, measured now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    load = round(os.getloadavg()[0], 2)
    if isinstance(outcome, Skipped):
        return Row(key=outcome.key, measured_at=now, load_average_1min=load, skipped=outcome)
    return Row(
        key=outcome.key,
        measured_at=now,
        load_average_1min=load,
        figure=outcome,
        compared=outcome.compared(),
        met=outcome.is_met(),
    )


def merge(outcome: Figure | Skipped, results: Path = RESULTS, page: Path = PAGE) -> None:
    """Replace this figure's row in the JSON file, keep the others, and make the table anew.

    Several benchmarks may do so at the same time: the file of the page is locked meanwhile.
    """
    with page.open(encoding="utf-8") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        _merge(outcome, results, page)


def _merge(outcome: Figure | Skipped, results: Path, page: Path) -> None:
    rows: dict[str, Row] = {}
    if results.is_file():
        found = msgspec.json.decode(results.read_bytes(), type=Results)
        rows = {row.key: row for row in found.figures}
    rows[outcome.key] = row_of(outcome)
    document = Results(machine=machine(), figures=tuple(sorted(rows.values(), key=_place)))
    content = msgspec.json.format(msgspec.json.encode(document), indent=2)
    results.write_bytes(content + b"\n")
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{_table(document)}\n{_END}{after}", encoding="utf-8")


def cells(outcome: Figure | Skipped) -> tuple[str, ...]:
    """Return the cells of a figure's row in the table."""
    if isinstance(outcome, Skipped):
        return (outcome.what, "-", "-", "-", "-", "not measured", outcome.reason)
    compared, baseline = outcome.compared(), outcome.baseline_name or "-"
    share = 0.5 if outcome.target is None else outcome.target.share
    if outcome.baseline is not None:
        baseline = f"{outcome.baseline_name}: {_text(outcome.baseline)}"
    is_alone = outcome.comparison is Comparison.ALONE
    is_signed = outcome.comparison is Comparison.DIFFERENCE
    return (
        outcome.what,
        _text(outcome.ours, share),
        baseline,
        "-" if is_alone else _text(compared, share, signed=is_signed),
        _target_text(outcome.target, compared.unit),
        _verdict(outcome),
        " ".join([*(f"**{text}**" for text in outcome.broken), outcome.note]).strip(),
    )


def machine() -> Machine:
    """Return what this machine is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
    )


def _table(results: Results) -> str:
    here = results.machine
    lines = [
        "",
        f"{here.cores} cores ({here.cpu}), Linux {here.kernel}, Python {here.python}. "
        "Median of all rounds, in brackets the quartiles (half of the rounds are between them).",
        "",
        _line(HEADINGS),
        _line("---" for _ in HEADINGS),
    ]
    outcomes = (row.figure or row.skipped for row in results.figures)
    lines += [_line(cells(outcome)) for outcome in outcomes if outcome is not None]
    return "\n".join([*lines, ""])


def _place(row: Row) -> int:
    """Return where a row stands, whichever family was measured last."""
    places = [place for place, prefix in enumerate(_ORDER) if row.key.startswith(prefix)]
    return places[0] if places else len(_ORDER)


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _verdict(figure: Figure) -> str:
    said = {True: "yes", False: "**no**", None: "-"}[figure.is_met()]
    return said if figure.is_certain() else f"{said}, within noise"


def _target_text(target: Target | None, unit: str) -> str:
    if target is None:
        return "-"
    which = "" if target.share == 0.5 else f"{_share_text(target.share)} "
    return f"{which}{'≥' if target.is_minimum else '≤'} {target.bound:g} {unit}"


def _share_text(share: float) -> str:
    return "worst" if share in {0, 1} else f"p{100 * share:g}"


def _text(sample: Sample, share: float = 0.5, *, signed: bool = False) -> str:
    def one(value: float) -> str:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 20 else 2
        digits = 4 if 0 < abs(value) < 0.1 else digits
        digits = 3 if sample.unit == "%" and 99 <= value < 100 else digits  # nines are counted
        return f"{value:{'+' if signed else ''},.{digits}f}"

    if share != 0.5:
        tail = f"{_share_text(share)} {one(sample.quantile(share))}"
        return f"p50 {one(sample.median)}, {tail} {sample.unit}, n = {len(sample.values)}"
    spread = f"{one(sample.lower_quartile)} … {one(sample.upper_quartile)}"
    return f"{one(sample.median)} {sample.unit} ({spread})"
