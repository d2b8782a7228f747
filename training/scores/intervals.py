"""How far a score may be off, since it was taken from these recordings and not from others: the percentile bootstrap.

What is drawn again is what is independent: recordings, animals or days, never frames, of which neighbours are near
copies. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

LEVEL: Final = 0.95
N_DRAWS: Final = 2000
FEWEST_UNITS: Final = 5
"""With fewer an interval would hold the true value in less than four of five cases, and is not given."""
_MOST_UNDEFINED: Final = 0.5

Statistic = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high``."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of several scores over the same draws.

    Attributes:
        unit: what is drawn, in words: ``recording``, ``group``, ``block``.
        n_units: how many there are.
        level: that is asked for.
        n_draws, seed: of the bootstrap.
        values: by score; None where there are too few units, or where more than half of the draws leave it undefined.
    """

    unit: str
    n_units: int
    level: float
    n_draws: int
    seed: int
    values: dict[str, Interval | None]

    @property
    def too_few(self) -> bool:
        """Whether there are too few units for any interval."""
        return self.n_units < FEWEST_UNITS

    @property
    def note(self) -> str:
        """What to hold of the intervals, in words."""
        many = f"{self.n_units} {self.unit}" + ("" if self.n_units == 1 else "s")
        if self.too_few:
            return f"{many}: too few for an interval (it takes {FEWEST_UNITS}); look at each of them alone"
        held = expected_level(self.n_units, self.level)
        return (
            f"percentile bootstrap over {many}, {self.n_draws} draws: asked for {self.level:.0%}; with so many it "
            f"holds the true value in about {held:.0%} of cases"
        )

    def about(self) -> dict[str, Any]:
        """All but the intervals, as plain values for JSON."""
        return {
            "unit": self.unit,
            "n_units": self.n_units,
            "level": self.level,
            "expected_level": None if self.too_few else expected_level(self.n_units, self.level),
            "n_draws": self.n_draws,
            "seed": self.seed,
            "too_few": self.too_few,
            "note": self.note,
        }

    def plain_values(self) -> dict[str, dict[str, float] | None]:
        """The intervals, as plain values for JSON: ``low`` and ``high`` of each score."""
        return {name: None if one is None else {"low": one.low, "high": one.high} for name, one in self.values.items()}


def bootstrap(
    n_units: int,
    statistic: Statistic,
    unit: str = "recording",
    n_draws: int = N_DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Intervals:
    """Percentile intervals.

    Args:
        n_units: how many independent units there are.
        statistic: scores of many draws at once. It gets how often each unit was drawn, float64 [draws, n_units], and
            returns float64 [draws] for each score, NaN where a draw leaves it undefined.
        unit: for words.
        n_draws: with replacement, of n_units each.
        seed: of the draws.
        level: of the intervals.
    """
    names = list(statistic(np.ones((1, n_units))))
    if n_units < FEWEST_UNITS:
        return Intervals(unit, n_units, level, n_draws, seed, dict.fromkeys(names))
    weights = np.random.default_rng(seed).multinomial(n_units, np.full(n_units, 1.0 / n_units), size=n_draws)
    drawn = statistic(weights.astype(np.float64))
    return Intervals(unit, n_units, level, n_draws, seed, {name: _percentiles(drawn[name], level) for name in names})


def expected_level(n_units: int, level: float = LEVEL) -> float:
    """How often a percentile interval of a mean over so many units of normal spread holds the true mean.

    It is narrower than Student's interval: it divides by n where that divides by n - 1, and uses the normal quantile.
    """
    if n_units < 2:
        return 0.0
    reach = float(ndtri(0.5 + level / 2)) * math.sqrt((n_units - 1) / n_units)
    return float(2.0 * stdtr(n_units - 1, reach) - 1.0)


def _percentiles(values: NDArray[np.float64], level: float) -> Interval | None:
    defined = values[~np.isnan(values)]
    if len(defined) <= _MOST_UNDEFINED * len(values):
        return None
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))
