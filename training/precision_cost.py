"""What int8 costs and brings: scores on the same frames, and times in turn over the same crops."""

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..inference.onnxruntime_backend import open_graph
from ..inference.precision import PrecisionCost, PrecisionScores, PrecisionSpeed
from ..sync.clock import NS_PER_MS, NS_PER_S, Clock
from .evaluate import Answers
from .metrics import Scores, score

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


def _short(scores: Scores) -> PrecisionScores:
    return PrecisionScores(
        accuracy=scores.accuracy,
        balanced_accuracy=scores.balanced_accuracy,
        macro_f1=scores.macro_f1,
        f1={name: one.f1 for name, one in scores.per_class.items()},
    )
