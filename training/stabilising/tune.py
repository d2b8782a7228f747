"""Choosing a stabiliser: every candidate over what a bundle says of labelled recordings.

The choice is made on the validation part of the data and reported on the test part, which it has not seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import gammaincinv

from ...inference.stabilisation.config import StabiliserConfig
from ...sync.errors import ConfigError, DataError
from ..answers.stabilised import stabilised_labels
from ..config.training_file import TrainConfig
from ..scores.onsets import OnsetScores, pooled, score_onsets
from ..splits import PARTS, Part, TimeBlockSplit
from .grid import as_options, in_short, stabiliser_grid
from .raw_answers import CHOICE_PART, REPORT_PART, RawAnswers
from .target import Target

CONFIDENCE: Final = 0.95
"""Of the upper bound of the rate of false triggers that is stated beside a count."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One stabiliser with its scores, by class, on the part that the choice is made on."""

    config: StabiliserConfig
    scores: dict[str, OnsetScores]

    @property
    def delay_p50_ms(self) -> float | None:
        """Median delay over all behaviours that count."""
        return pooled(self.scores.values()).delay_ms(50)

    @property
    def false_per_hour(self) -> float | None:
        """Of the worst behaviour."""
        rates = [one.false_per_hour for one in self.scores.values() if one.false_per_hour is not None]
        return max(rates) if rates else None

    @property
    def recall(self) -> float | None:
        """Of the worst behaviour."""
        recalls = [one.recall for one in self.scores.values() if one.recall is not None]
        return min(recalls) if recalls else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        together = pooled(self.scores.values())
        return {
            "stabiliser": as_options(self.config),
            "in_short": in_short(self.config),
            "delay_p50_ms": together.delay_ms(50),
            "delay_p99_ms": together.delay_ms(99),
            "false_per_hour": self.false_per_hour,
            "recall": self.recall,
            "per_behavior": {name: one.to_dict() for name, one in self.scores.items()},
        }


def score_stabiliser(
    classes: list[str],
    config: StabiliserConfig,
    recordings: Sequence[RawAnswers],
    part: Part,
    tolerance_ms: float,
    behaviors: Sequence[str],
) -> dict[str, OnsetScores]:
    """Scores by behaviour, over all recordings together."""
    found = [
        score_onsets(
            one.t_ns,
            one.truth,
            stabilised_labels(classes, config, one.p, one.t_ns),
            classes,
            one.parts == PARTS.index(part),
            tolerance_ms,
        )
        for one in recordings
        if (one.parts == PARTS.index(part)).any()
    ]
    return {name: pooled(one[name] for one in found) for name in behaviors}


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything that was found.

    Attributes:
        candidates: every stabiliser that was tried; the bundle's own is the first.
        chosen: the one with the least delay that meets the target; None: none does.
        reported: its scores on data that the choice has not seen, or, with ``same_data``, the very same; empty where
            nothing was chosen.
        same_data: there is only one part, so the choice is reported on what it was made on.
        lacks: the part that is not there, "" where both are.
        choice, report: names of the recordings (with their part) of either; nothing chosen is reported on none.
        behaviors: those that the target is asked of.
    """

    candidates: list[Candidate]
    chosen: Candidate | None
    reported: dict[str, OnsetScores]
    same_data: bool
    lacks: str
    choice: list[str]
    report: list[str]
    behaviors: list[str]

    @property
    def front(self) -> list[Candidate]:
        """The candidates that no other beats in both delay and false triggers, the quickest first."""
        placed = [
            (one.delay_p50_ms, one.false_per_hour, -(one.recall or 0.0), place, one)
            for place, one in enumerate(self.candidates)
            if one.delay_p50_ms is not None and one.false_per_hour is not None
        ]
        kept: list[Candidate] = []
        fewest = np.inf
        for _, rate, _, _, one in sorted(placed, key=lambda row: row[:4]):
            if rate < fewest:
                fewest = rate
                kept.append(one)
        return kept


def tune(
    classes: list[str],
    own: StabiliserConfig,
    recordings: Sequence[RawAnswers],
    target: Target,
    tolerance_ms: float,
    rule_behavior: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tuning:
    """Try every candidate and choose.

    Args:
        classes: of the bundle.
        own: the bundle's stabiliser.
        recordings: from `raw_answers`.
        target: what must be reached by each behaviour, or by ``rule_behavior`` alone.
        tolerance_ms: of `score_onsets`.
        rule_behavior: the behaviour of the rule that the stabiliser is for.
        progress: told after each candidate.

    Raises:
        ConfigError: ``rule_behavior`` is no class.
        DataError: there is nothing to judge.
    """
    if rule_behavior is not None and rule_behavior not in classes:
        raise ConfigError(f"--rule-behavior {rule_behavior}: the bundle knows {', '.join(classes)}")
    there = {part: [one for one in recordings if (one.parts == PARTS.index(part)).any()] for part in PARTS}
    choice: Part = CHOICE_PART if there[CHOICE_PART] else REPORT_PART
    report: Part = REPORT_PART if there[REPORT_PART] else choice
    if not there[choice]:
        raise DataError("neither the validation nor the test part holds a labelled frame; label some")
    behaviors = [rule_behavior] if rule_behavior is not None else _with_bouts(classes, there[choice], choice)
    if not behaviors:
        raise DataError(f"the {choice} part holds no whole bout of any behaviour; label longer stretches")
    candidates: list[Candidate] = []
    for config in (own, *stabiliser_grid()):
        scores = score_stabiliser(classes, config, there[choice], choice, tolerance_ms, behaviors)
        candidates.append(Candidate(config, scores))
        if progress is not None:
            progress(1)
    chosen = choose(candidates, target)
    reported = {} if chosen is None else chosen.scores
    if chosen is not None and report != choice:
        reported = score_stabiliser(classes, chosen.config, there[report], report, tolerance_ms, behaviors)
    return Tuning(
        candidates=candidates,
        chosen=chosen,
        reported=reported,
        same_data=report == choice,
        lacks="" if report != choice else "test" if choice == "validation" else "validation",
        choice=[f"{one.name} ({choice})" for one in there[choice]],
        report=[] if chosen is None else [f"{one.name} ({report})" for one in there[report]],
        behaviors=behaviors,
    )


def choose(candidates: Sequence[Candidate], target: Target) -> Candidate | None:
    """The candidate with the least median delay that meets the target; of equals the one with fewer false triggers."""
    meeting = [
        (one.delay_p50_ms, one.false_per_hour or 0.0, -(one.recall or 0.0), place)
        for place, one in enumerate(candidates)
        if one.delay_p50_ms is not None and target.met(one.scores)
    ]
    return candidates[min(meeting)[-1]] if meeting else None


def _with_bouts(classes: list[str], recordings: Sequence[RawAnswers], part: Part) -> list[str]:
    """Classes with a whole bout, so that delay and recall can be said of them."""
    nothing = [
        score_onsets(one.t_ns, one.truth, np.full_like(one.truth, -1), classes, one.parts == PARTS.index(part))
        for one in recordings
    ]
    return [name for name in classes if any(one[name].n_bouts for one in nothing)]


def upper_bound_per_hour(scores: OnsetScores) -> float | None:
    """The rate of false triggers that the count does not exceed with `CONFIDENCE`, for triggers that come at random.

    The exact Poisson bound: no false trigger in an hour still allows three per hour.
    """
    if scores.hours <= 0.0:
        return None
    return float(gammaincinv(scores.n_false + 1, CONFIDENCE)) / scores.hours


def split_in_words(tuning: Tuning, config: TrainConfig | None) -> str:
    """What the choice was made on and what it is reported on.

    Args:
        tuning: what was found.
        config: the data file; None: recordings of a folder were dealt out.
    """
    made = ", ".join(tuning.choice)
    if tuning.chosen is None:
        return f"judged on {made}; nothing was chosen, so there is nothing to report"
    if tuning.same_data:
        return (
            f"chosen and reported on the same data ({made}): "
            + (f"the data file has no {tuning.lacks} part" if config is not None else "there is one recording")
            + ", so the scores are too good; give "
            + ("it one" if config is not None else "more of them")
        )
    words = f"chosen on {made}; reported on {', '.join(tuning.report)}"
    if config is not None and isinstance(config.split, TimeBlockSplit):
        words += "; these are blocks of the same recording(s), which are more alike than two recordings"
    return words
