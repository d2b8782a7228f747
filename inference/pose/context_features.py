"""What led up to a frame: earlier features smoothed, compared with before, and their extremes over a while."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...sync.errors import ConfigError
from ...sync.strict import StrictModel
from ..cropper import State
from .history import Smoothing, delayed, past_of, sliding, with_past
from .layout import PoseLayout
from .measures import Values
from .pose_block import PoseBlock

TimesS = list[Annotated[float, Field(gt=0.0)]]


class PoseContextParameters(StrictModel):
    """Of which earlier values, and what.

    Attributes:
        of: names of outputs of the steps before, with ``*`` for anything: each has to name one at least.
        smooth_s: time constants of exponential smoothing, one set of outputs for each.
        deviation_s: likewise, of the standard deviation about that mean.
        change_s: by how much a value changed over this time, per second.
        change_limit: changes are cut there, either way; null: they are not.
        earlier_s: what a value was so long ago.
        highest_s: its highest value over this time, this frame included.
        lowest_s: its lowest.
    """

    of: list[str] = Field(min_length=1)
    smooth_s: TimesS = Field(default_factory=list)
    deviation_s: TimesS = Field(default_factory=list)
    change_s: TimesS = Field(default_factory=list)
    change_limit: float | None = Field(default=None, gt=0.0)
    earlier_s: TimesS = Field(default_factory=list)
    highest_s: TimesS = Field(default_factory=list)
    lowest_s: TimesS = Field(default_factory=list)


def _chosen(patterns: list[str], names: tuple[str, ...]) -> list[int]:
    """Numbers of the outputs that the patterns name, each once, in their own order."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"pose_context: no step before it gives {pattern!r} (there are: {', '.join(names) or 'none'})"
            )
    return [place for place, name in enumerate(names) if any(fnmatchcase(name, pattern) for pattern in patterns)]


class PoseContext:
    """Causal summaries over time of what the steps before it gave."""

    name: ClassVar[str] = "pose_context"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = (
        Smoothing,
        delayed,
        sliding,
        with_past,
        past_of,
        _chosen,
    )

    def __init__(self, parameters: PoseContextParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._columns = _chosen(parameters.of, before)
        names = [before[column] for column in self._columns]
        self._dt_s = dt_s = layout.dt_s
        self._smoothing = [Smoothing(tau_s, dt_s) for tau_s in parameters.smooth_s]
        self._deviation = [Smoothing(tau_s, dt_s) for tau_s in parameters.deviation_s]
        self._limit = inf if parameters.change_limit is None else parameters.change_limit
        self._changes = [layout.frames(lag_s) for lag_s in parameters.change_s]
        self._earlier = [layout.frames(lag_s) for lag_s in parameters.earlier_s]
        self._highest = [layout.frames(width_s) for width_s in parameters.highest_s]
        self._lowest = [layout.frames(width_s) for width_s in parameters.lowest_s]
        lags = [*self._changes, *self._earlier, *(n - 1 for n in (*self._highest, *self._lowest))]
        self._n_past = max(lags, default=0)
        kinds = [
            *(f"smooth({{}},{s:g}s)" for s in parameters.smooth_s),
            *(f"deviation({{}},{s:g}s)" for s in parameters.deviation_s),
            *(f"change({{}},{s:g}s)" for s in parameters.change_s),
            *(f"earlier({{}},{s:g}s)" for s in parameters.earlier_s),
            *(f"highest({{}},{s:g}s)" for s in parameters.highest_s),
            *(f"lowest({{}},{s:g}s)" for s in parameters.lowest_s),
        ]
        if not kinds:
            raise ConfigError("pose_context: names no summary; give smooth_s, change_s or another of its times")
        self.names = tuple(kind.format(name) for kind in kinds for name in names)

    def initial(self) -> State:
        n = len(self._columns)
        return {
            "past": np.zeros((self._n_past, n), np.float64),
            "smoothed": np.zeros((len(self._smoothing), n), np.float64),
            "moments": np.zeros((len(self._deviation), 2, n), np.float64),
            "n_before": np.zeros(1, np.int64),
        }

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        x = before[:, self._columns].astype(np.float64)
        n_before = int(state["n_before"][0])
        joined = with_past(x, state["past"], n_before > 0)
        smoothed, moments = state["smoothed"].copy(), state["moments"].copy()
        found: list[Values] = []
        for place, smoothing in enumerate(self._smoothing):
            mean, smoothed[place] = smoothing.run(x, smoothed[place], n_before)
            found.append(mean)
        for place, smoothing in enumerate(self._deviation):
            mean, moments[place, 0] = smoothing.run(x, moments[place, 0], n_before)
            square, moments[place, 1] = smoothing.run(x * x, moments[place, 1], n_before)
            found.append(np.sqrt(np.maximum(square - mean * mean, 0.0)))
        for n in self._changes:
            change = (x - delayed(joined, self._n_past, n)) / (n * self._dt_s)
            found.append(np.minimum(np.maximum(change, -self._limit), self._limit))
        found += [delayed(joined, self._n_past, n) for n in self._earlier]
        found += [sliding(np.maximum, joined[self._n_past + 1 - n :], n) for n in self._highest]
        found += [sliding(np.minimum, joined[self._n_past + 1 - n :], n) for n in self._lowest]
        after: State = {
            "past": past_of(joined, len(x)),
            "smoothed": smoothed,
            "moments": moments,
            "n_before": state["n_before"] + len(x),
        }
        return after, np.concatenate(found, axis=1, dtype=np.float32, casting="same_kind")
