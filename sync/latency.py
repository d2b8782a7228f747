"""Latency percentiles in constant memory: a log-linear histogram, as HdrHistogram keeps it.

A value below 256 ns is kept exactly; above, 128 buckets per power of two bound the relative error at 1/128. Minimum,
maximum, sum and count are exact.
"""

from dataclasses import dataclass

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
        shift = max(0, duration_ns.bit_length() - _SUB_BITS - 1)
        self._counts[(shift << _SUB_BITS) + (duration_ns >> shift)] += 1
        self.n += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def percentile_ns(self, q: float) -> int | None:
        """The smallest recorded value (upper edge of its bucket) with at least a share ``q`` at or below it."""
        if not self.n:
            return None
        rank = max(1, int(np.ceil(q * self.n)))
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        shift = max(0, (index >> _SUB_BITS) - 1)
        upper = (((index - (shift << _SUB_BITS)) + 1) << shift) - 1
        return min(upper, self.max_ns)

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
