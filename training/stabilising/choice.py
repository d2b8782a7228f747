"""Choosing the stabiliser of a model by its bouts: as few torn ones as can be had without losing any.

The choice is made over probabilities of recordings that the model has not learnt from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ...inference.stabilisation.config import StabiliserConfig
from ...inference.stabilisation.smoothing import ExponentialSmoothing
from ...inference.stabilisation.stabiliser import Stabiliser
from ...sync.errors import DataError
from ..answers.look_ahead import as_given
from ..answers.stabilised import stabilised_labels
from ..config.choice import ChoiceConfig
from ..scores.answers_file import RecordingAnswers
from ..scores.bouts import bout_counts, bout_figures
from ..scores.frames import frame_counts, frame_figures
from ..scores.onsets import trigger_truth
from ..splits import PARTS
from ..stretches import bout_runs
from .grid import as_options, cusum_options, in_short, stabiliser_grid
from .raw_answers import RawAnswers
from .target import parse_target
from .tune import tune

_ADAPTER: TypeAdapter[StabiliserConfig] = TypeAdapter(StabiliserConfig)
_TOLERANCE_MS: Final = 500.0

# Grid of the filters and thresholds that are tried.
_DWELL_FACTORS: Final = (0.1, 0.25, 1.0)
_DECORRELATIONS_MS: Final = (100.0, 300.0)
_ENTERS: Final = (0.5, 0.65, 0.8)
_MAX_P: Final = 0.998
_SMOOTHINGS_MS: Final = (0.0, 100.0, 200.0, 400.0, 800.0)
_THRESHOLDS: Final = ((0.5, 0.4), (0.5, 0.0), (0.55, 0.0), (0.6, 0.0), (0.65, 0.0), (0.7, 0.0), (0.8, 0.0))
_DWELLS_MS: Final = (0.0, 200.0)


@dataclass(frozen=True, slots=True)
class StabiliserScores:
    """What one stabiliser makes of the probabilities.

    Attributes:
        config: its options.
        bout_f1, macro_f1: undefined ones count as 0.
        flicker: predicted bouts per true bout; infinite where there is no true one.
        delay_ms: by how much the label of the class that it delays most typically comes late, look-ahead included.
    """

    config: StabiliserConfig
    bout_f1: float
    macro_f1: float
    flicker: float
    delay_ms: float

    @property
    def quality(self) -> float:
        """Mean of bout-F1 and macro-F1."""
        return 0.5 * (self.bout_f1 + self.macro_f1)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "stabiliser": as_options(self.config),
            "in_short": in_short(self.config),
            "bout_f1": self.bout_f1,
            "macro_f1": self.macro_f1,
            "flicker": self.flicker if np.isfinite(self.flicker) else None,
            "delay_ms": self.delay_ms if np.isfinite(self.delay_ms) else None,
        }


@dataclass(frozen=True, slots=True)
class StabiliserChoice:
    """What was chosen, and from what.

    Attributes:
        chosen: the options.
        words: why, in a line.
        tried: every candidate with its scores, the best first; with a target, the chosen one alone.
    """

    chosen: StabiliserConfig
    words: str
    tried: list[dict[str, Any]]


def choose_stabiliser(
    rule: ChoiceConfig,
    own: StabiliserConfig,
    classes: list[str],
    answers: Sequence[RecordingAnswers],
    progress: Callable[[int], None] | None = None,
    look_ahead_frames: int = 0,
) -> StabiliserChoice:
    """Try every candidate and choose. Only judged frames have a say, those of their labels included.

    Args:
        rule: what is asked for.
        own: the training file's stabiliser, a candidate as well.
        classes: of the model.
        answers: with ``p`` of recordings that were not learnt from, each answer at the frame that it is of; their
            ``label`` is not looked at.
        progress: told after each candidate.
        look_ahead_frames: by how many frames a rig gets these answers later; they are part of every delay.

    Raises:
        DataError: there is a target and nothing meets it.
    """
    if rule.target is not None:
        return _for_target(rule.target, own, classes, answers, progress, look_ahead_frames)
    look_ahead_ms = look_ahead_frames * 1000.0 / answers[0].rate_hz
    every = candidates_for(classes, answers)
    quick = [one for one in every if typical_delay_ms(one, classes, look_ahead_ms) <= rule.max_delay_ms]
    if progress is not None:
        progress(len(every) - len(quick))
    scored = score_candidates([own, *quick], classes, answers, look_ahead_ms, progress)
    best = pick(scored, rule)
    tried = sorted(scored, key=lambda one: -one.quality)
    return StabiliserChoice(
        best.config,
        f"{in_short(best.config)}: bout-F1 {best.bout_f1:.3f}, macro-F1 {best.macro_f1:.3f}, {best.flicker:.2f} "
        f"predicted bouts per true one; the best of {len(scored)} that were tried on "
        f"{', '.join(one.name for one in answers)}",
        [one.to_dict() for one in tried],
    )


def count_candidates(rule: ChoiceConfig) -> int:
    """How often `choose_stabiliser` tells its progress."""
    if rule.target is not None:
        return 1 + len(stabiliser_grid())
    filters = len(_DWELL_FACTORS) * len(_DECORRELATIONS_MS) * len(_ENTERS)
    thresholds = len(_SMOOTHINGS_MS) * len(_THRESHOLDS) * len(_DWELLS_MS)
    return 1 + filters + thresholds + len(cusum_options())


def pick(scored: Sequence[StabiliserScores], rule: ChoiceConfig) -> StabiliserScores:
    """The one with the fewest predicted bouts of those that are as good as the best within the tolerance.

    Where no stabiliser reaches ``max_flicker`` the limit is that of the steadiest one. Of equals the quicker one.
    """
    steadiest = min(one.flicker for one in scored)
    allowed = [one for one in scored if one.flicker <= max(rule.max_flicker, steadiest)]
    best = max(one.quality for one in allowed)
    good = [one for one in allowed if one.quality >= best - rule.tolerance]
    return min(good, key=lambda one: (max(one.flicker, 1.0), one.delay_ms, -one.quality))


def candidates_for(classes: list[str], answers: Sequence[RecordingAnswers]) -> list[StabiliserConfig]:
    """The grid: filters that know how long each behaviour lasts, thresholds after smoothing, cumulative sums."""
    dwells_ms = mean_bouts_ms(answers, len(classes))
    options: list[dict[str, Any]] = []
    for factor, decorrelation_ms, enter in product(_DWELL_FACTORS, _DECORRELATIONS_MS, _ENTERS):
        of_class = {
            name: {"mean_dwell_ms": round(max(dwell_ms * factor, 100.0)), "enter": enter}
            for name, dwell_ms in zip(classes, dwells_ms, strict=True)
        }
        options.append(
            {
                "kind": "hidden_markov",
                "default": {"enter": enter},
                "per_class": of_class,
                "decorrelation_ms": decorrelation_ms,
                "max_p": _MAX_P,
            }
        )
    for smoothing_ms, (enter, exit_), dwell_ms in product(_SMOOTHINGS_MS, _THRESHOLDS, _DWELLS_MS):
        one_for_all = {"enter": enter, "exit": exit_, "min_dwell_ms": dwell_ms}
        options.append({"kind": "thresholds", "smoothing_ms": smoothing_ms, "default": one_for_all})
    return [_ADAPTER.validate_python(one) for one in (*options, *cusum_options())]


def mean_bouts_ms(answers: Sequence[RecordingAnswers], n_classes: int) -> list[float]:
    """Mean length of a true bout of each class in judged frames, ms; that of all classes for one that has none."""
    lengths: list[list[float]] = [[] for _ in range(n_classes)]
    for one in answers:
        judged = np.where(one.known, one.truth, -1)  # others may be those of the test part
        for start, stop, kind in zip(*(part.tolist() for part in bout_runs(judged)), strict=True):
            lengths[kind].append((stop - start) / one.rate_hz * 1000.0)
    together = [length for of_class in lengths for length in of_class]
    mean = float(np.mean(together)) if together else 1000.0
    return [float(np.mean(of_class)) if of_class else mean for of_class in lengths]


def typical_delay_ms(config: StabiliserConfig, classes: list[str], look_ahead_ms: float = 0.0) -> float:
    """By how much the label of the class that a stabiliser delays most typically comes late."""
    stated = Stabiliser(classes, config, look_ahead_ms=look_ahead_ms).delays
    return max(delay.typical_ms for delay in stated.values())


def score_candidates(
    configs: Sequence[StabiliserConfig],
    classes: list[str],
    answers: Sequence[RecordingAnswers],
    look_ahead_ms: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> list[StabiliserScores]:
    """Run every stabiliser over every recording; candidates that smooth alike share the smoothed probabilities.

    Args:
        configs: the candidates.
        classes: of the model.
        answers: of recordings.
        look_ahead_ms: part of every delay.
        progress: told after each candidate.
    """
    truths = [np.where(one.known, one.truth, -1) for one in answers]
    alike: dict[str, list[int]] = {}
    for place, config in enumerate(configs):
        alike.setdefault(repr([config.smoothing_of(name) for name in classes]), []).append(place)
    found: dict[int, StabiliserScores] = {}
    for places in alike.values():
        smoothed = [_smoothed(classes, configs[places[0]], one) for one in answers]
        for place in places:
            bare = configs[place].model_copy(update={"smoothing_ms": 0.0})
            labels = [stabilised_labels(classes, bare, p, one.t_ns) for p, one in zip(smoothed, answers, strict=True)]
            delay_ms = typical_delay_ms(configs[place], classes, look_ahead_ms)
            found[place] = _scored(configs[place], delay_ms, truths, labels, len(classes))
            if progress is not None:
                progress(1)
    return [found[place] for place in range(len(configs))]


def score_candidate(
    config: StabiliserConfig, classes: list[str], answers: Sequence[RecordingAnswers]
) -> StabiliserScores:
    """Run one stabiliser over every recording."""
    return score_candidates([config], classes, answers)[0]


def _smoothed(classes: list[str], config: StabiliserConfig, one: RecordingAnswers) -> NDArray[np.floating]:
    """The probabilities as the decider of a stabiliser gets them, bit for bit."""
    time_constants_ms = [config.smoothing_of(name) for name in classes]
    if not any(time_constants_ms):
        return one.p
    smoothing, rows = ExponentialSmoothing(time_constants_ms), np.empty(one.p.shape, np.float64)
    for place, (row, t_ns) in enumerate(zip(one.p, one.t_ns.tolist(), strict=True)):
        rows[place] = smoothing.step(row, t_ns)
    return rows


def _scored(
    config: StabiliserConfig,
    delay_ms: float,
    truths: Sequence[NDArray[np.int16]],
    labels: Sequence[NDArray[np.int16]],
    n_classes: int,
) -> StabiliserScores:
    frames, bouts = np.zeros((n_classes, n_classes + 1), np.int64), np.zeros((n_classes, 3), np.int64)
    for truth, label in zip(truths, labels, strict=True):
        frames += frame_counts(truth, label, n_classes)
        bouts += bout_counts(truth, label, n_classes)
    by_frame, by_bout = frame_figures(frames), bout_figures(bouts)
    return StabiliserScores(
        config=config,
        bout_f1=float(np.nan_to_num(by_bout["bout_f1"])),
        macro_f1=float(np.nan_to_num(by_frame["macro_f1"])),
        flicker=float(np.nan_to_num(by_bout["flicker"], nan=np.inf)),
        delay_ms=delay_ms,
    )


def _for_target(
    target: str,
    own: StabiliserConfig,
    classes: list[str],
    answers: Sequence[RecordingAnswers],
    progress: Callable[[int], None] | None,
    look_ahead_frames: int,
) -> StabiliserChoice:
    # Delays and false triggers count from when a rig gets the answers, as `ethostream tune` counts them.
    raw = [
        RawAnswers(
            name=one.name,
            t_ns=one.t_ns,
            p=as_given(one.p, look_ahead_frames),
            truth=trigger_truth(one.truth, one.present, len(classes)),
            parts=np.where(one.judged, PARTS.index("validation"), -1).astype(np.int8),
        )
        for one in answers
    ]
    found = tune(classes, own, raw, parse_target(target), _TOLERANCE_MS, None, progress)
    if found.chosen is None:
        raise DataError(
            f"choose.target: no stabiliser of {len(found.candidates)} meets {target!r} on {', '.join(found.choice)}; "
            "ask for less, or leave the target out"
        )
    return StabiliserChoice(
        found.chosen.config,
        f"{in_short(found.chosen.config)}: meets {target!r} on {', '.join(found.choice)}",
        [found.chosen.to_dict()],
    )
