"""What int8 costs and brings: scores on the same frames, and times in turn over the same crops."""

import os
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ...inference.onnxruntime_backend import open_graph
from ...inference.precision import (
    PrecisionCost,
    PrecisionJudgement,
    PrecisionScores,
    PrecisionSpeed,
    ScoredStretch,
)
from ...sync.clock import NS_PER_MS, NS_PER_S, Clock
from ..answers.of_video import Answers
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..scores.frames import Scores, score
from ..splits import part_mask, stretches_of

_THREADS: Final = (1, 2)
_WARM_UP_RUNS: Final = 3
_MIN_RUNS: Final = 10
_MAX_RUNS: Final = 500


def compare_scores(
    float32: Sequence[Answers], int8: Sequence[Answers], classes: Sequence[str]
) -> tuple[PrecisionCost, PrecisionCost]:
    """The cost after and before the stabiliser, over the same labelled frames of the same recordings."""
    truth = np.concatenate([one.truth for one in float32])
    costs: list[PrecisionCost] = []
    for attribute in ("label", "raw"):
        a, b = (np.concatenate([getattr(one, attribute) for one in answers]) for answers in (float32, int8))
        costs.append(
            PrecisionCost(
                float32=_short(score(truth, a, classes)),
                int8=_short(score(truth, b, classes)),
                agreement=float(np.mean(a == b)),
            )
        )
    return costs[0], costs[1]


def part_to_judge(config: TrainConfig, sources: Sequence[Source]) -> Literal["validation", "test"]:
    """``validation`` where it holds a labelled frame, so that the test part decides nothing; else ``test``."""
    there = any((part_mask(config.split, source, "validation") & (source.labels >= 0)).any() for source in sources)
    return "validation" if there else "test"


def judge(
    part: Literal["validation", "test"],
    config: TrainConfig,
    sources: Sequence[Source],
    float32: Sequence[Answers],
    int8: Sequence[Answers],
    max_score_loss: float,
) -> PrecisionJudgement:
    """What int8 cost on a part that both embedders have answered.

    Args:
        part: that the answers are of.
        config: classes and split.
        sources: its recordings.
        float32: what that embedder answered.
        int8: likewise, over the same frames.
        max_score_loss: that is allowed.
    """
    stabilised, raw = compare_scores(float32, int8, config.classes)
    scored = {one.name for one in int8}
    return PrecisionJudgement(
        part=part,
        scored_on=[
            ScoredStretch(name=name, sha256=source.data.sha256)
            for source in sources
            if source.name in scored
            for name in stretches_of(source.name, part_mask(config.split, source, part))
        ],
        n_frames=sum(len(one.truth) for one in int8),
        stabilised=stabilised,
        raw=raw,
        max_score_loss=max_score_loss,
    )


def refusal(judged: PrecisionJudgement, weight_bits: int, n_calibration_frames: int, float32: str) -> str:
    """Why no int8 bundle is written, and what may help.

    Args:
        judged: with a loss beyond the limit.
        weight_bits: of the int8 embedder.
        n_calibration_frames: that it was calibrated on.
        float32: where the float32 bundle is.
    """
    costs = {"stabilised": judged.stabilised, "raw": judged.raw}
    scores = ", ".join(
        f"{name} {_known(one.float32.balanced_accuracy):.3f} to {_known(one.int8.balanced_accuracy):.3f}"
        for name, one in costs.items()
    )
    before, after = judged.stabilised.float32.f1, judged.stabilised.int8.f1
    changes = {name: _known(after[name]) - _known(before[name]) for name in before}
    worst = min(changes, key=lambda name: changes[name])
    better = f"Give more calibration_frames than {n_calibration_frames:,}"
    if weight_bits == 7:
        better += ", weight_bits 8"
    said = (
        f"int8 loses {judged.loss:.4f} balanced accuracy on {judged.n_frames:,} {judged.part} frames ({scores}; F1 "
        f"of {worst} {changes[worst]:+.3f}), more than the {judged.max_score_loss:g} of max_score_loss, so no int8 "
        f"bundle is written. {better}, stay with the float32 bundle {float32}, or accept the loss: "
        f"max_score_loss {np.ceil(judged.loss * 1000) / 1000:g}"
    )
    if judged.part == "test":
        said += (
            ". The data have no validation part, so the test part decides: what is changed until it agrees is fitted "
            "to it, and its scores are no longer those of unseen data; add a recording with 'part: validation', or "
            "such blocks"
        )
    return said


def measure_speed(
    float32: bytes, int8: bytes, crops: NDArray[np.uint8], clock: Clock, seconds: float
) -> list[PrecisionSpeed]:
    """Median times of both graphs on the CPU, run in turn, so that both see the same machine.

    Args:
        float32: ``embedder.onnx``.
        int8: the same, quantised.
        crops: uint8 [n, h, w], one of each view; one alone is measured as well.
        clock: to measure with.
        seconds: about how long each case may take; at least ten runs of each graph are made.
    """
    found: list[PrecisionSpeed] = []
    for threads in _THREADS[: len(os.sched_getaffinity(0))]:
        graphs = [open_graph(model, "embedder.onnx", "cpu", threads) for model in (float32, int8)]
        for batch in sorted({1, len(crops)}):
            feeds: dict[str, NDArray[Any]] = {"crops": np.ascontiguousarray(crops[:batch])}
            for graph in graphs:
                for _ in range(_WARM_UP_RUNS):
                    graph.run(feeds)
            times_ns: list[list[int]] = [[], []]
            end_ns = clock.now_ns() + round(seconds * NS_PER_S)
            while len(times_ns[0]) < _MIN_RUNS or (len(times_ns[0]) < _MAX_RUNS and clock.now_ns() < end_ns):
                for graph, mine in zip(graphs, times_ns, strict=True):
                    start_ns = clock.now_ns()
                    graph.run(feeds)
                    mine.append(clock.now_ns() - start_ns)
            before, after = (float(np.median(mine)) / NS_PER_MS for mine in times_ns)
            found.append(
                PrecisionSpeed(
                    threads=threads,
                    batch=batch,
                    n_runs=len(times_ns[0]),
                    float32_ms=round(before, 4),
                    int8_ms=round(after, 4),
                    ratio=round(before / after, 3),
                )
            )
    return found


def _known(value: float | None) -> float:
    """Undefined counts as nothing reached."""
    return value or 0.0


def _short(scores: Scores) -> PrecisionScores:
    return PrecisionScores(
        accuracy=scores.accuracy,
        balanced_accuracy=scores.balanced_accuracy,
        macro_f1=scores.macro_f1,
        f1={name: one.f1 for name, one in scores.per_class.items()},
    )
