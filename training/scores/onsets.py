"""Triggers against true onsets: how late, how many missed, how many false per hour. Pure; only numpy.

A trigger is an onset of the stabilised label: the step at which it becomes a class. It is false where no true bout of
that class lies within a tolerance; the delay is the trigger minus the true onset. What cannot be known is not counted:
bouts that are cut by the beginning or end of what is judged, and triggers without a bout closer to such an edge than
the tolerance.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from ..stretches import runs_of, value_runs

TOLERANCE_MS = 500.0
"""Default: a trigger this long before a bout begins, or after it has ended, is still taken for that bout's."""


@dataclass(frozen=True, slots=True)
class OnsetScores:
    """Triggers of one class.

    Attributes:
        hours: time in which a false trigger would have been counted.
        n_bouts: true bouts whose both ends are known.
        n_found: those with a trigger.
        n_triggers: onsets of the label, all that could be judged.
        n_false: those without a bout.
        n_repeated: further ones in a bout that had one.
        delays_ms: first trigger minus true onset, of the bouts that were found; negative: within the tolerance before.
    """

    hours: float
    n_bouts: int
    n_found: int
    n_triggers: int
    n_false: int
    n_repeated: int
    delays_ms: NDArray[np.float64]

    @property
    def recall(self) -> float | None:
        """Share of the bouts that were found; None without any."""
        return self.n_found / self.n_bouts if self.n_bouts else None

    @property
    def false_per_hour(self) -> float | None:
        """None where nothing was judged."""
        return self.n_false / self.hours if self.hours > 0.0 else None

    def delay_ms(self, percentile: float) -> float | None:
        """A percentile of the delay; None where nothing was found."""
        return float(np.percentile(self.delays_ms, percentile)) if len(self.delays_ms) else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "false_per_hour": self.false_per_hour,
            "recall": self.recall,
            "delay_p50_ms": self.delay_ms(50),
            "delay_p99_ms": self.delay_ms(99),
            "n_bouts": self.n_bouts,
            "n_found": self.n_found,
            "n_triggers": self.n_triggers,
            "n_false": self.n_false,
            "n_repeated": self.n_repeated,
            "hours": self.hours,
        }


def pooled(parts: Iterable[OnsetScores]) -> OnsetScores:
    """Several recordings, or several classes over the same time, as one; hours are added up."""
    all_ = list(parts)
    return OnsetScores(
        hours=sum(one.hours for one in all_),
        n_bouts=sum(one.n_bouts for one in all_),
        n_found=sum(one.n_found for one in all_),
        n_triggers=sum(one.n_triggers for one in all_),
        n_false=sum(one.n_false for one in all_),
        n_repeated=sum(one.n_repeated for one in all_),
        delays_ms=np.concatenate([np.zeros(0), *(one.delays_ms for one in all_)]),
    )


def trigger_truth(labels: NDArray[np.int16], present: NDArray[np.float32] | None, n_classes: int) -> NDArray[np.int16]:
    """Labels as triggers are judged by, int16 [n]: where nothing is there a trigger is false, and a bout has its end.

    Args:
        labels: class of every frame, below 0 where it has none or not one alone.
        present: which behaviours are there, float32 [n, c], where several may be at once; NaN where nobody has looked.
        n_classes: stands in frames in which somebody has looked and seen nothing.
    """
    if present is None:
        return labels
    return np.where((labels < 0) & (present == 0.0).all(axis=1), n_classes, labels).astype(np.int16)


def score_onsets(
    t_ns: NDArray[np.int64],
    truth: NDArray[np.integer],
    label: NDArray[np.integer],
    classes: Sequence[str],
    judged: NDArray[np.bool_] | None = None,
    tolerance_ms: float = TOLERANCE_MS,
) -> dict[str, OnsetScores]:
    """Score the triggers of every class in one recording.

    Args:
        t_ns: (n,) exposure times of the steps, rising.
        truth: (n,) class index; below 0: not labelled, so never judged; above the last class: none of them.
        label: (n,) stabilised class index; below 0: none yet.
        classes: names.
        judged: (n,) which steps count; None: all that are labelled.
        tolerance_ms: see above.
    """
    known = truth >= 0 if judged is None else judged & (truth >= 0)
    tolerance_ns = round(tolerance_ms * NS_PER_MS)
    stop_ns = np.append(t_ns[1:], t_ns[-1] + _period_ns(t_ns))  # a step holds until the next
    inner, hours = _inner(t_ns, stop_ns, known, tolerance_ns)
    starts, stops, classes_of, whole = _bouts(t_ns, stop_ns, truth, known)
    onsets = np.flatnonzero((label >= 0) & (label != np.append(-1, label[:-1])) & known)
    return {
        name: _score_class(
            starts[classes_of == place],
            stops[classes_of == place],
            whole[classes_of == place],
            t_ns[onsets[label[onsets] == place]],
            inner[onsets[label[onsets] == place]],
            tolerance_ns,
            hours,
        )
        for place, name in enumerate(classes)
    }


def _period_ns(t_ns: NDArray[np.int64]) -> int:
    return int(np.median(np.diff(t_ns))) if len(t_ns) > 1 else 0


def _inner(
    t_ns: NDArray[np.int64], stop_ns: NDArray[np.int64], known: NDArray[np.bool_], tolerance_ns: int
) -> tuple[NDArray[np.bool_], float]:
    """Steps further than the tolerance from what is not judged, and the hours that they are."""
    inner = np.zeros(len(known), np.bool_)
    total_ns = 0
    for start, stop in runs_of(known):
        begin, end = int(t_ns[start]) + tolerance_ns, int(stop_ns[stop - 1]) - tolerance_ns
        inner[start:stop] = (t_ns[start:stop] >= begin) & (t_ns[start:stop] < end)
        total_ns += max(0, end - begin)
    return inner, total_ns / NS_PER_S / 3600.0


def _bouts(
    t_ns: NDArray[np.int64], stop_ns: NDArray[np.int64], truth: NDArray[np.integer], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Start, stop, class and wholeness (both ends lie inside what is judged) of every true bout."""
    edges, ends, kinds = value_runs(np.where(known, truth, -1))
    starts, stops = t_ns[edges], stop_ns[ends - 1]
    before = np.append(-1, kinds[:-1]) >= 0
    after = np.append(kinds[1:], -1) >= 0
    is_bout = kinds >= 0
    return starts[is_bout], stops[is_bout], kinds[is_bout], (before & after)[is_bout]


def _score_class(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    whole: NDArray[np.bool_],
    triggers: NDArray[np.int64],
    inner: NDArray[np.bool_],
    tolerance_ns: int,
    hours: float,
) -> OnsetScores:
    first: dict[int, int] = {}
    n_false = n_repeated = n_triggers = 0
    begins, ends = starts.tolist(), stops.tolist()
    for t, counts in zip(triggers.tolist(), inner.tolist(), strict=True):
        bout = _bout_of(t, begins, ends, tolerance_ns)
        if bout is None:
            n_triggers += counts
            n_false += counts
        elif not whole[bout]:
            continue
        else:
            n_triggers += 1
            n_repeated += bout in first
            first.setdefault(bout, t)
    delays = [(t - begins[bout]) / NS_PER_MS for bout, t in first.items()]
    return OnsetScores(
        hours, int(whole.sum()), len(first), n_triggers, n_false, n_repeated, np.array(delays, np.float64)
    )


def _bout_of(t: int, begins: list[int], ends: list[int], tolerance_ns: int) -> int | None:
    """The bout in which a trigger lies, else the nearest within the tolerance, else None."""
    last = bisect_right(begins, t) - 1
    best: tuple[int, int] | None = None
    for place in (last, last + 1):
        if 0 <= place < len(begins):
            away = max(begins[place] - t, t - ends[place], 0)
            if away <= tolerance_ns and (best is None or away < best[0]):
                best = away, place
    return None if best is None else best[1]
