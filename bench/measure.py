"""How do several rounds become one figure?

Values of all rounds are kept: the median is the figure, the quartiles are its spread. A ratio is
computed round by round, because both sides of a round ran next to each other and share whatever
else the machine did at that time. May not run anything.
"""

from __future__ import annotations

import enum
import itertools
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The values of all rounds of one thing that was measured; made by `sample`."""

    unit: str
    median: float
    low: float
    high: float
    #: Half of all rounds are between these two.
    lower_quartile: float
    upper_quartile: float
    #: Where the true median is, 95 times in 100; lowest and highest where there are few rounds.
    median_low: float
    median_high: float
    values: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the value that this share of the rounds does not pass: 0.95 is p95."""
        ordered, place = sorted(self.values), share * (len(self.values) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return below + (above - below) * (place - math.floor(place))

    def quantile_range(self, share: float) -> tuple[float, float]:
        """Return where the true quantile is, 95 times in 100, as far as the rounds can tell."""
        ordered, count = sorted(self.values), len(self.values)
        # How many of n values are below it is binomial.
        reach = 1.96 * math.sqrt(count * share * (1 - share))
        low, high = math.floor(count * share - reach), math.ceil(count * share + reach)
        return ordered[min(max(0, low), count - 1)], ordered[min(max(0, high), count - 1)]


def sample(unit: str, values: Iterable[float]) -> Sample:
    """Return a sample of these values; there is at least one."""
    # Nothing here is more exact than five digits.
    kept = tuple(float(f"{value:.5g}") for value in values)
    # Of one round alone there is no spread to tell.
    lower, median, upper = (
        statistics.quantiles(kept, n=4, method="inclusive") if len(kept) > 1 else kept * 3
    )
    ordered = sorted(kept)
    # How many of n values are below their median is binomial: about n / 2 +- 0.98 * sqrt(n).
    rank = max(0, math.floor((len(kept) - 1.96 * math.sqrt(len(kept))) / 2))
    return Sample(
        unit=unit,
        median=median,
        low=min(kept),
        high=max(kept),
        lower_quartile=lower,
        upper_quartile=upper,
        median_low=ordered[rank],
        median_high=ordered[-1 - rank],
        values=kept,
    )


def noise(values: Iterable[float]) -> str:
    """Return how far two rounds of the same thing differ: what no ratio can be more exact than."""
    ratios = [later / earlier for earlier, later in itertools.pairwise(values)]
    return f"{min(ratios):.2f} … {max(ratios):.2f} x"


class Comparison(enum.Enum):
    """How our value and the baseline's become the number that the target is about."""

    RATIO = "ours / baseline"
    DIFFERENCE = "ours - baseline"
    ALONE = "ours"
    #: For a baseline that takes so long that it is run less often than ours.
    TO_MEDIAN = "ours / median of the baseline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What the compared number shall be."""

    bound: float
    is_minimum: bool
    #: Which of the rounds decides: the median, or 0.95 for p95 and 1 for the worst.
    share: float = 0.5

    def is_met_by(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value >= self.bound if self.is_minimum else value <= self.bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    what: str
    ours: Sample
    target: Target | None
    comparison: Comparison = Comparison.ALONE
    baseline_name: str = ""
    baseline: Sample | None = None
    #: What a reader must know to judge the number.
    note: str = ""
    #: Further numbers that belong to this figure, by name.
    details: dict[str, float] = field(default_factory=dict)
    #: What must never happen and did, such as a lost write: the figure is a miss, however fast.
    broken: tuple[str, ...] = ()

    def compared(self) -> Sample:
        """Return the number that the target is about, round by round."""
        if self.comparison is Comparison.ALONE or self.baseline is None:
            return self.ours
        if self.comparison is Comparison.TO_MEDIAN:
            return sample("x", (ours / self.baseline.median for ours in self.ours.values))
        pairs = tuple(zip(self.ours.values, self.baseline.values, strict=True))
        if self.comparison is Comparison.RATIO:
            return sample("x", (ours / theirs for ours, theirs in pairs))
        return sample(self.ours.unit, (ours - theirs for ours, theirs in pairs))

    def is_met(self) -> bool | None:
        """Tell whether the figure meets its target; `None` where there is no target."""
        if self.broken:
            return False
        if self.target is None:
            return None
        return self.target.is_met_by(self.compared().quantile(self.target.share))

    def is_certain(self) -> bool:
        """Tell whether all that the deciding value may be says the same about the target."""
        if self.target is None or self.broken:
            return True
        compared = self.compared()
        ends = (compared.median_low, compared.median_high)
        if self.target.share != 0.5:
            ends = compared.quantile_range(self.target.share)
        return len({self.target.is_met_by(end) for end in ends}) == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A figure that could not be measured here, and why."""

    key: str
    what: str
    reason: str
