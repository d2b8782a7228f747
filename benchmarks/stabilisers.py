"""Stabilisers against each other over hours with known truth: false triggers per hour, recall, delay.

    python benchmarks/stabilisers.py --hours 10 --json -
    python benchmarks/stabilisers.py --hours 0.2 --fit-minutes 2 --check-minutes 1          # a short form

What is real and what is simulated: the true behaviour is the schedule of the simulated mouse, bout by bout, over all
hours. The bundle itself runs over video only for ``--fit-minutes`` and ``--check-minutes``: at 3 ms per set of two
views, ten hours of video would take a core an hour. To the first a model of its probabilities is fitted
(`classifier_noise.py`), which answers for the hours. Over the second, other sessions, real and drawn answers are
scored side by side, so that it is seen how far that model is to be trusted. The stabilisers are those of the rig,
stepped at 30 Hz. Rates of a few false triggers per hour or less hang on how often the fitted minutes held their cause.
"""

import argparse
import json
import sys
from bisect import bisect_left
from math import isinf
from pathlib import Path
from time import perf_counter  # noqa: TID251
from typing import Any

import numpy as np
from classifier_noise import ClassifierNoise, autocorrelation, confusion
from ethostream.acquisition.simulated_world import BEHAVIORS, SimulatedWorld
from ethostream.deploy.tuning_plot import PlotPoint, write_tuning_plot
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.inference.stabilisation.config import StabiliserConfig
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from ethostream.training.answers.stabilised import stabilised_labels
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.video_sources import open_sources
from ethostream.training.scores.onsets import TOLERANCE_MS, OnsetScores, pooled, score_onsets
from ethostream.training.splits import PARTS
from ethostream.training.stabilising.grid import as_options, in_short, stabiliser_grid
from ethostream.training.stabilising.raw_answers import RawAnswers, raw_answers
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table

RATE_HZ = 30.0
TEST = PARTS.index("test")
LAGS = (1, 3, 10, 30)
FIRST_SEED = {"fit": 401, "check": 601, "hours": 801}  # below 1000: the bundle has seen none of them

STABILISERS: dict[str, dict[str, Any]] = {
    "none: the most probable class": {"default": {"enter": 0, "exit": 0, "min_dwell_ms": 0}},
    "thresholds, as in the bundle": {"default": {"enter": 0.5, "exit": 0.4, "min_dwell_ms": 33}},
    "thresholds 0.7 / 0.56, dwell 100 ms": {"default": {"enter": 0.7, "exit": 0.56, "min_dwell_ms": 100}},
    "thresholds 0.7 / 0.56, dwell 200 ms": {"default": {"enter": 0.7, "exit": 0.56, "min_dwell_ms": 200}},
    "thresholds 0.95 / 0, no dwell": {"default": {"enter": 0.95, "exit": 0, "min_dwell_ms": 0}},
    "dwell 100 ms, gaps up to 150 ms closed": {
        "default": {"enter": 0.7, "exit": 0.56, "min_dwell_ms": 100}, "close_gaps_ms": 150,
    },
    "smoothing 100 ms, thresholds 0.7 / 0.56": {
        "default": {"enter": 0.7, "exit": 0.56, "min_dwell_ms": 0}, "smoothing_ms": 100,
    },
    "sequential, false alarm 0.001": {"kind": "sequential"},
    "majority of 300 ms": {"kind": "majority"},
    "hidden Markov, mean dwell 2 s": {"kind": "hidden_markov"},
    "hidden Markov, mean dwell 0.5 s, enter 0.9": {
        "kind": "hidden_markov", "default": {"mean_dwell_ms": 500, "enter": 0.9},
    },
    "cusum": {"kind": "cusum"},
}  # fmt: skip


def config_of(options: dict[str, Any]) -> StabiliserConfig:
    return TypeAdapter(StabiliserConfig).validate_python(options)


def real_answers(kind: str, minutes: float, views: int, session_s: float) -> list[RawAnswers]:
    """The bundle over simulated video, in sessions of ``session_s``."""
    n_sessions = max(1, round(minutes * 60.0 / session_s))
    first = FIRST_SEED[kind]
    bundle = Bundle.load(resolve_bundle(Path("demo")))
    entry = {"kind": "simulated", "n_frames": round(session_s * RATE_HZ), "views": views}
    config = TrainConfig.model_validate(
        {
            "name": kind,
            "classes": list(BEHAVIORS),
            "data": [
                {**entry, "name": "train", "part": "train", "seeds": [first - 1], "n_frames": 2},
                {**entry, "name": kind, "part": "test", "seeds": [first + k for k in range(n_sessions)]},
            ],
            "split": {"by": "recording"},
        }
    )
    assert list(bundle.manifest.classes) == list(BEHAVIORS)
    sources = open_sources(config, Path())[1:]
    shown = track(sources, f"model over video: {kind}", console=Console(stderr=True), disable=not sys.stderr.isatty())
    answers = [raw_answers(bundle, config, one) for one in shown]
    warm = bundle.manifest.warm_up_frames
    return [
        RawAnswers(one.name, one.t_ns[warm:], one.p[warm:], one.truth[warm:], one.parts[warm:])
        for one in answers
        if one is not None
    ]


def true_course(seed: int, n: int) -> np.ndarray:
    """The simulated mouse's behaviour at every frame, found bout by bout."""
    world = SimulatedWorld(seed)
    stride = round(0.2 * RATE_HZ)  # shorter than any bout
    truth = np.empty(n, np.int16)
    start, state = 0, world.at(0.0)
    for k in range(stride, n + stride, stride):
        now = world.at(min(k, n) / RATE_HZ)
        if now.bout != state.bout or k >= n:
            # The first frame of the new bout, between the last two looks.
            bout = state.bout
            low = max(start, k - stride)
            stop = bisect_left(range(min(k, n)), 1, low, key=lambda f: int(world.at(f / RATE_HZ).bout > bout))
            truth[start:stop] = BEHAVIORS.index(state.behavior)
            truth[stop : min(k, n)] = BEHAVIORS.index(now.behavior)
            start, state = stop, now
    return truth


def drawn(noise: ClassifierNoise, truth: np.ndarray, seed: int) -> RawAnswers:
    """Answers of the fitted model for a true course."""
    return RawAnswers(
        name=f"seed {seed}",
        t_ns=np.rint(np.arange(len(truth)) * 1e9 / RATE_HZ).astype(np.int64),
        p=noise.draw(truth, np.random.default_rng([seed, 5])),
        truth=truth,
        parts=np.full(len(truth), TEST, np.int8),
    )


def scores_of(config: StabiliserConfig, recordings: list[RawAnswers]) -> dict[str, OnsetScores]:
    classes = list(BEHAVIORS)
    found = [
        score_onsets(one.t_ns, one.truth, stabilised_labels(classes, config, one.p, one.t_ns), BEHAVIORS)
        for one in recordings
    ]
    return {name: pooled(one[name] for one in found) for name in BEHAVIORS}


def row_of(config: StabiliserConfig, recordings: list[RawAnswers]) -> dict[str, Any]:
    begun = perf_counter()
    scores = scores_of(config, recordings)
    taken_s = perf_counter() - begun
    together = pooled(scores.values())
    hours = scores[BEHAVIORS[0]].hours
    delays = Stabiliser(list(BEHAVIORS), config).delays[BEHAVIORS[0]]
    return {
        "stabiliser": as_options(config),
        "stated_delay_ms": {
            "typical": None if isinf(delays.typical_ms) else round(delays.typical_ms, 1),
            "worst": delays.worst_ms,
        },
        "false_per_hour": together.n_false / hours,
        "n_false": together.n_false,
        "recall": together.recall,
        "repeated_per_bout": together.n_repeated / max(1, together.n_found),
        "delay_p50_ms": together.delay_ms(50),
        "delay_p99_ms": together.delay_ms(99),
        "per_behavior": {name: one.to_dict() for name, one in scores.items()},
        "us_per_step": round(1e6 * taken_s / sum(len(one.t_ns) for one in recordings), 2),
    }


def measure(
    hours: float, fit_minutes: float, check_minutes: float, views: int, session_s: float
) -> tuple[dict[str, Any], Any]:
    fitted_on = real_answers("fit", fit_minutes, views, session_s)
    noise = ClassifierNoise.fit(fitted_on, len(BEHAVIORS), RATE_HZ)
    checked_on = real_answers("check", check_minutes, views, session_s)
    imitated = [drawn(noise, one.truth, k) for k, one in enumerate(checked_on)]
    n_parts = max(1, round(hours / 2.5))
    n = round(hours * 3600.0 * RATE_HZ / n_parts)
    parts = range(FIRST_SEED["hours"], FIRST_SEED["hours"] + n_parts)
    quiet = not sys.stderr.isatty()
    console = Console(stderr=True)
    course = [
        drawn(noise, true_course(seed, n), seed) for seed in track(parts, "hours", console=console, disable=quiet)
    ]
    configs = {name: config_of(options) for name, options in STABILISERS.items()}
    return {
        "schema": 1,
        "hours": sum(len(one.t_ns) for one in course) / RATE_HZ / 3600.0,
        "n_bouts": sum(int((np.diff(one.truth) != 0).sum()) for one in course),
        "rate_hz": RATE_HZ,
        "views": views,
        "tolerance_ms": TOLERANCE_MS,
        "simulated": "truth: schedule of the simulated mouse; probabilities: a model fitted to the demo bundle's own",
        "noise": {
            "fit_minutes": sum(len(one.t_ns) for one in fitted_on) / RATE_HZ / 60.0,
            "check_minutes": sum(len(one.t_ns) for one in checked_on) / RATE_HZ / 60.0,
            "phi": noise.phi.round(3).tolist(),
            "confusion": {
                "rows": list(BEHAVIORS),
                "real": confusion(checked_on, len(BEHAVIORS)),
                "model": confusion(imitated, len(BEHAVIORS)),
                "hours": confusion(course, len(BEHAVIORS)),
            },
            "autocorrelation": {
                "real": autocorrelation(checked_on, LAGS), "model": autocorrelation(imitated, LAGS),
            },
        },
        "check": {
            name: {"real": row_of(config, checked_on), "model": row_of(config, imitated)}
            for name, config in configs.items()
        },
        "results": {
            name: row_of(config, course)
            for name, config in track(configs.items(), "stabilisers", console=console, disable=quiet)
        },
    }, course  # fmt: skip


def curve(course: list[RawAnswers], hours: float, plot: Path) -> list[dict[str, Any]]:
    """Every candidate of ``ethostream tune`` over the first hours, and the figure: onsets of all four behaviours."""
    one = course[0]
    n = min(len(one.t_ns), round(hours * 3600 * RATE_HZ))
    part = [RawAnswers(one.name, one.t_ns[:n], one.p[:n], one.truth[:n], one.parts[:n])]
    shown = track(stabiliser_grid(), "curve", console=Console(stderr=True), disable=not sys.stderr.isatty())
    rows = [{"in_short": in_short(config), **row_of(config, part)} for config in shown]
    places = [(row["false_per_hour"], row["delay_p50_ms"], row) for row in rows if row["delay_p50_ms"] is not None]
    points = [
        PlotPoint(
            row["stabiliser"]["kind"],
            rate,
            delay_ms,
            front=not any(r <= rate and d <= delay_ms and (r, d) != (rate, delay_ms) for r, d, _ in places),
            chosen=False,
        )
        for rate, delay_ms, row in places
    ]
    in_hours = f"{n / RATE_HZ / 3600:.3g} simulated hours".replace("1 simulated hours", "one simulated hour")
    write_tuning_plot(plot, f"onsets of four behaviours over {in_hours}", points)
    return rows


def print_table(found: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stabiliser")
    for name in (
        "states ms",
        "false/h",
        "recall",
        "p50 ms",
        "p99 ms",
        "repeats",
        "rear false/h",
        "rear p50",
        "us/step",
    ):
        table.add_column(name, justify="right")
    for name, row in found["results"].items():
        rear = row["per_behavior"]["rear"]
        cells = (
            row["stated_delay_ms"]["typical"], row["false_per_hour"], row["recall"], row["delay_p50_ms"],
            row["delay_p99_ms"], row["repeated_per_bout"], rear["false_per_hour"], rear["delay_p50_ms"],
            row["us_per_step"],
        )  # fmt: skip
        table.add_row(name, *("-" if cell is None else f"{cell:.4g}" for cell in cells))
    console = Console(width=160)
    console.print(f"{found['hours']:.3g} simulated hours, {found['n_bouts']} bouts of four behaviours")
    console.print(table)
    console.print(
        f"real answers of {found['noise']['check_minutes']:.3g} other minutes beside drawn ones (real / drawn):"
    )
    check = Table(box=None, pad_edge=False, header_style="bold")
    check.add_column("stabiliser")
    for name in ("false/h", "recall", "p50 ms", "repeats"):
        check.add_column(name, justify="right")
    for name, pair in found["check"].items():
        keys = ("false_per_hour", "recall", "delay_p50_ms", "repeated_per_bout")
        check.add_row(name, *(f"{pair['real'][key] or 0:.4g} / {pair['model'][key] or 0:.4g}" for key in keys))
    console.print(check)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--fit-minutes", type=float, default=12.0)
    parser.add_argument("--check-minutes", type=float, default=8.0)
    parser.add_argument("--session-s", type=float, default=60.0, help="length of each session of that video")
    parser.add_argument("--views", type=int, default=2, help="of the cage's eight, for the real model")
    parser.add_argument("--curve", metavar="FILE.svg", type=Path, help="draw every candidate of `ethostream tune`")
    parser.add_argument("--curve-hours", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE", help="- is stdout")
    a = parser.parse_args()
    found, course = measure(a.hours, a.fit_minutes, a.check_minutes, a.views, a.session_s)
    if a.curve is not None:
        found["curve"] = curve(course, a.curve_hours, a.curve)
    text = json.dumps(found, indent=2, allow_nan=False)
    if a.json == "-":
        print(text)
        return
    print_table(found)
    if a.json:
        Path(a.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
