"""Honest scores of a bundle: the whole pipeline, from raw frames, causally, on the part that it has not seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inference.bundle import Bundle
from ..inference.bundled import resolve_bundle
from ..sync.clock import NS_PER_MS, NS_PER_S, ClockAnchor, RigClock
from ..sync.errors import ConfigError, DataError
from .config import TrainConfig, load_config
from .metrics import Scores, agreement, score
from .offline import run_offline
from .sources import Source, open_sources
from .splits import PARTS, Part, parts_of

STAGES = ("crop", "embed", "head")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the pipeline said of one recording, over the frames of one part that have a label.

    Attributes:
        name: of the recording.
        truth: class index [n].
        compare: labels of other raters on the same frames, below 0 where they have none.
        raw: arg max of p [n].
        label: stabilised [n], -1 before the first one.
        p: [n, c].
        stage_ms: milliseconds per stage of every step of the recording.
    """

    name: str
    truth: NDArray[np.int16]
    compare: dict[str, NDArray[np.int16]]
    raw: NDArray[np.int16]
    label: NDArray[np.int16]
    p: NDArray[np.float64]
    stage_ms: dict[str, NDArray[np.float64]]


def evaluate(bundle: Path, config_path: Path, data: Path | None = None) -> dict[str, Any]:
    """Score a bundle on the test part of a training file.

    Args:
        bundle: folder, zip or name of a shipped bundle.
        config_path: the training file, for data and split.
        data: data folder instead of the file's own.

    Returns:
        Values for JSON: ``stabilised`` and ``raw`` scores (the stabilised ones stand at the top level as well),
        ``recordings``, and per other rater its own scores and agreement.

    Raises:
        ConfigError, DataError, VideoError, BundleError: see `load_config`, `open_sources`, `Bundle.load`.
    """
    config, root = load_config(config_path, data)
    return evaluate_bundle(Bundle.load(resolve_bundle(bundle)), config, open_sources(config, root))


def evaluate_bundle(
    bundle: Bundle,
    config: TrainConfig,
    sources: list[Source],
    part: Part = "test",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """As `evaluate`, for a bundle and recordings that are open already."""
    return evaluation_of(bundle, config, answers_of_part(bundle, config, sources, part, progress), part)


def answers_of_part(
    bundle: Bundle,
    config: TrainConfig,
    sources: list[Source],
    part: Part = "test",
    progress: Callable[[str], None] | None = None,
) -> list[Answers]:
    """Run the pipeline over every recording that has labelled frames of a part.

    Raises:
        ConfigError: the bundle knows other classes.
        DataError: there is no such frame.
    """
    classes = bundle.manifest.classes
    if list(config.classes) != list(classes):
        raise ConfigError(
            f"bundle {bundle.manifest.name!r} knows {', '.join(classes)}, the training file "
            f"{', '.join(config.classes)}; use the file that the bundle was trained with"
        )
    answers: list[Answers] = []
    for source in sources:
        if config.split.by == "recording" and source.part != part:
            continue
        if progress is not None:
            progress(source.name)
        found = answers_of(bundle, config, source, part)
        if found is not None:
            answers.append(found)
    if not answers:
        raise DataError(f"the {part} part holds no labelled frame; label some, or choose another split")
    return answers


def evaluation_of(bundle: Bundle, config: TrainConfig, answers: list[Answers], part: Part = "test") -> dict[str, Any]:
    """Scores of answers, as `evaluate` gives them."""
    classes = bundle.manifest.classes
    stabilised, raw = _pooled(answers, classes, stabilised=True), _pooled(answers, classes, stabilised=False)
    result: dict[str, Any] = {
        "schema": 1,
        "bundle": bundle.identity,
        "provider": bundle.provider,
        "causal": bundle.manifest.look_ahead_frames == 0,
        "part": part,
        "split": config.split.model_dump(mode="json"),
        "classes": list(classes),
        **stabilised.to_dict(),
        "stabilised": stabilised.to_dict(),
        "raw": raw.to_dict(),
        "recordings": {
            one.name: {
                "stabilised": score(one.truth, one.label, classes, one.p).to_dict(),
                "raw": score(one.truth, one.raw, classes, one.p).to_dict(),
            }
            for one in answers
        },
        "compare": _compared(answers, classes),
        "compute_ms": _compute(answers),
    }
    return result


def answers_of(bundle: Bundle, config: TrainConfig, source: Source, part: Part) -> Answers | None:
    """Run the pipeline over one recording, from its first frame to the last one of ``part``; None: it has none."""
    labels = source.labels
    parts = parts_of(config.split, source.part, labels, source.rate_hz, source.name)
    wanted = (parts == PARTS.index(part)) & (labels >= 0)
    if not wanted.any():
        return None
    n_run = int(np.flatnonzero(wanted)[-1]) + 1
    classes = bundle.manifest.classes
    raw, label = np.full(n_run, -1, np.int16), np.full(n_run, -1, np.int16)
    p = np.zeros((n_run, len(classes)))
    stage_ns: list[tuple[int, int, int]] = []

    def frames() -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
        for place, images in enumerate(source.open_frames()):
            if place == n_run:
                return
            yield round(place * NS_PER_S / source.rate_hz), images

    n_done = 0
    for place, answer in enumerate(
        run_offline(bundle, source.views, source.rate_hz, frames(), RigClock(ClockAnchor.take()))
    ):
        n_done = place + 1
        if answer is None:  # left out by the model's rate: the answer before it holds
            raw[place], label[place], p[place] = raw[place - 1], label[place - 1], p[place - 1]
            continue
        raw[place] = classes.index(answer.raw)
        label[place] = classes.index(answer.label) if answer.label else -1
        p[place] = answer.p
        stage_ns.append(
            (
                answer.t_cropped_ns - answer.t_taken_ns,
                answer.t_embedded_ns - answer.t_cropped_ns,
                answer.t_head_ns - answer.t_embedded_ns,
            )
        )
    if n_done < n_run:
        raise DataError(
            f"{source.name}: labels go up to frame {n_run - 1}, but only {n_done} frames can be read; "
            "is the video whole?"
        )
    chosen = wanted[:n_run]
    durations = np.array(stage_ns, np.float64) / NS_PER_MS
    return Answers(
        name=source.name,
        truth=labels[:n_run][chosen],
        compare={name: other[:n_run][chosen] for name, other in source.compare.items()},
        raw=raw[chosen],
        label=label[chosen],
        p=p[chosen],
        stage_ms={stage: durations[:, place] for place, stage in enumerate(STAGES)},
    )


def _pooled(answers: list[Answers], classes: list[str], stabilised: bool) -> Scores:
    truth = np.concatenate([one.truth for one in answers])
    predicted = np.concatenate([one.label if stabilised else one.raw for one in answers])
    return score(truth, predicted, classes, np.concatenate([one.p for one in answers]))


def _compared(answers: list[Answers], classes: list[str]) -> dict[str, Any]:
    """Per other rater: the bundle against that rater, and that rater against the labels of the training."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in answers for name in one.compare):
        having = [one for one in answers if name in one.compare]
        other = np.concatenate([one.compare[name] for one in having])
        truth = np.concatenate([one.truth for one in having])
        p = np.concatenate([one.p for one in having])
        result[name] = {
            "stabilised": score(other, np.concatenate([one.label for one in having]), classes, p).to_dict(),
            "raw": score(other, np.concatenate([one.raw for one in having]), classes, p).to_dict(),
            "agreement_with_labels": agreement(truth, other),
        }
    return result


def _compute(answers: list[Answers]) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        values = np.concatenate([one.stage_ms[stage] for one in answers])
        result[stage] = {
            "p50": float(np.percentile(values, 50)),
            "p99": float(np.percentile(values, 99)),
            "n": len(values),
        }
    return result
