"""Latency percentiles in constant memory: a log-linear histogram, as HdrHistogram keeps it.

A value below 256 ns is kept exactly; above, 128 buckets per power of two bound the relative error at 1/128. Minimum,
maximum, sum and count are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from .clock import NS_PER_MS

_SUB_BITS = 7
_SUB = 1 << _SUB_BITS
_N_BUCKETS = (63 - _SUB_BITS) * _SUB + 2 * _SUB


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles in milliseconds; None where nothing was measured."""

    p50: float | None
    p99: float | None
    p999: float | None
    max: float | None
    n: int


def _index(duration_ns: int) -> int:
    """Bucket of a duration."""
    shift = max(0, duration_ns.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (duration_ns >> shift)


def _upper_ns(index: int) -> int:
    """The longest duration of a bucket."""
    shift = max(0, (index >> _SUB_BITS) - 1)
    return (((index - (shift << _SUB_BITS)) + 1) << shift) - 1


class LatencyHistogram:
    """Durations in nanoseconds. Not thread-safe."""

    def __init__(self) -> None:
        self._counts = [0] * _N_BUCKETS
        self.n = 0
        self.n_negative = 0
        """Durations below zero: clocks that disagree. They are counted here and nowhere else."""
        self.max_ns = 0
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        if duration_ns < 0:
            self.n_negative += 1
            return
        self._counts[_index(duration_ns)] += 1
        self.n += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def buckets(self) -> list[tuple[int, int]]:
        """What was counted: the upper edge of each bucket that is not empty, in ns, and how many are in it."""
        return [(_upper_ns(index), n) for index, n in enumerate(self._counts) if n]

    @classmethod
    def restored(cls, buckets: Iterable[tuple[int, int]], max_ns: int, sum_ns: int, n_negative: int) -> Self:
        """The histogram that `buckets` was asked of."""
        one = cls()
        for upper_ns, n in buckets:
            one._counts[_index(upper_ns)] += n
            one.n += n
        one.max_ns, one.sum_ns, one.n_negative = max_ns, sum_ns, n_negative
        return one

    def percentile_ns(self, q: float) -> int | None:
        """The smallest recorded value (upper edge of its bucket) with at least a share ``q`` at or below it."""
        if not self.n:
            return None
        rank = max(1, int(np.ceil(q * self.n)))
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(_upper_ns(index), self.max_ns)

    def summary(self) -> LatencySummary:
        """p50, p99, p99.9 and maximum in milliseconds."""

        def ms(value: int | None) -> float | None:
            return None if value is None else round(value / NS_PER_MS, 4)

        return LatencySummary(
            p50=ms(self.percentile_ns(0.5)),
            p99=ms(self.percentile_ns(0.99)),
            p999=ms(self.percentile_ns(0.999)),
            max=ms(self.max_ns) if self.n else None,
            n=self.n,
        )
