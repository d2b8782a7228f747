"""How well the simulated cage is classified with one, two, four and eight views, on sessions that no model has seen.

    python benchmarks/views.py [--bundle demo] [--seeds 501,502,503,504] [--minutes 1] [--views 1,2,4,8]
        [--live-s 0] [--stabiliser YAML] [--json FILE]

Every number of views is scored on the same instants, causally and through the whole pipeline, from raw frames to the
stabilised label. The views are spread over the walls: one of each wall before the second of any. With ``--live-s`` a
whole rig runs so many seconds with four simulated cameras, its recording is replayed, and the bundle goes over the same
frames: all three are compared answer by answer.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ethostream.acquisition.simulated_camera import render_session
from ethostream.acquisition.simulated_renderer import CAGE_VIEWS
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.inference.stabilisation.config import StabiliserConfig
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.training.answers.offline import run_offline
from ethostream.training.scores.frames import Scores, score
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from views_live import live_and_again

WIDTH, HEIGHT = 640, 480
LIVE_VIEWS = 4
SPREAD = [0, 4, 2, 6, 1, 5, 3, 7]
"""Places in ``CAGE_VIEWS``: left cameras of opposite walls, then of the other two, then the right ones."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="demo", help="folder, zip or shipped name; it takes any number of views")
    parser.add_argument(
        "--seeds", default="501,502,503,504", help="sessions; a bundle's own training seeds are refused"
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="of each session")
    parser.add_argument("--views", default="1,2,4,8")
    parser.add_argument("--live-s", type=float, default=0.0, help="of a whole rig with four cameras; 0: none")
    parser.add_argument("--stabiliser", help="instead of the bundle's, as in a task file: {kind: ..., default: ...}")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bundle = Bundle.load(resolve_bundle(options.bundle))
    if options.stabiliser:
        bundle = with_stabiliser(bundle, options.stabiliser)
    seeds = [int(one) for one in options.seeds.split(",")]
    refuse_seen(bundle, seeds)
    result: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "bundle": bundle.identity,
        "seeds": seeds,
        "minutes": options.minutes,
        "views": {},
    }
    for n_views in (int(one) for one in options.views.split(",")):
        result["views"][str(n_views)] = judge(
            bundle, seeds, round(options.minutes * 60 * bundle.manifest.rate_hz), n_views
        )
    if options.live_s > 0.0:
        names = {CAGE_VIEWS[place].name: place for place in SPREAD[:LIVE_VIEWS]}
        with tempfile.TemporaryDirectory() as folder:
            result["live"] = live_and_again(bundle, seeds[0], options.live_s, names, (WIDTH, HEIGHT), Path(folder))
    show(result, bundle.manifest.classes)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def with_stabiliser(bundle: Bundle, text: str) -> Bundle:
    """The same bundle with other options of the stabiliser."""
    options: StabiliserConfig = TypeAdapter(StabiliserConfig).validate_python(yaml.safe_load(text))
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"stabiliser": options}))


def refuse_seen(bundle: Bundle, seeds: list[int]) -> None:
    """End where a session is one that the bundle was trained or chosen on."""
    split = bundle.manifest.split
    seen = {name.rsplit("-", 1)[-1] for name in (*split.train, *split.validation)}
    if known := sorted({str(seed) for seed in seeds} & seen):
        raise SystemExit(f"seeds {', '.join(known)} are among those that {bundle.identity} was trained on")


def judge(bundle: Bundle, seeds: list[int], n_frames: int, n_views: int) -> dict[str, Any]:
    """Scores of all sessions together, and the balanced accuracy of each."""
    answers = [
        run(bundle, seed, n_frames, n_views)
        for seed in track(seeds, f"{n_views} views", console=Console(stderr=True), transient=True)
    ]
    classes = bundle.manifest.classes
    truth = np.concatenate([one[0] for one in answers])
    per_session = [score(one[0], one[1], classes).balanced_accuracy for one in answers]
    return {
        "names": [CAGE_VIEWS[place].name for place in SPREAD[:n_views]],
        "stabilised": short(score(truth, np.concatenate([one[1] for one in answers]), classes)),
        "raw": short(score(truth, np.concatenate([one[2] for one in answers]), classes)),
        "balanced_accuracy_of_sessions": per_session,
    }


def run(
    bundle: Bundle, seed: int, n_frames: int, n_views: int
) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """Truth, stabilised and raw class of every frame of one session; below 0: no label yet."""
    manifest = bundle.manifest
    places = SPREAD[:n_views]
    truth: list[int] = []

    def frames() -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
        session = render_session(seed, n_frames, manifest.rate_hz, places, WIDTH, HEIGHT)
        for k, (images, behavior) in enumerate(session):
            truth.append(manifest.classes.index(behavior))
            yield round(k * NS_PER_S / manifest.rate_hz), images

    views = {CAGE_VIEWS[place].name: (HEIGHT, WIDTH) for place in places}
    label, raw = np.full((2, n_frames), -1, np.int16)
    for k, one in enumerate(run_offline(bundle, views, manifest.rate_hz, frames(), RigClock(ClockAnchor.take()))):
        if one is not None:
            raw[k] = manifest.classes.index(one.raw)
            label[k] = manifest.classes.index(one.label) if one.label else -1
    return np.array(truth, np.int16), label, raw


def short(scores: Scores) -> dict[str, Any]:
    """What the table shows of scores."""
    return {
        "n_frames": scores.n_frames,
        "accuracy": scores.accuracy,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "recall": {name: one.recall for name, one in scores.per_class.items()},
    }


def show(result: dict[str, Any], classes: list[str]) -> None:
    table = Table(title=f"{result['bundle']}: {len(result['seeds'])} unseen sessions of {result['minutes']:g} min")
    for name in ("views", "balanced accuracy", "of the sessions", "macro-F1", "raw balanced", *classes):
        table.add_column(name, justify="right")
    for n_views, one in result["views"].items():
        stabilised, each = one["stabilised"], one["balanced_accuracy_of_sessions"]
        table.add_row(
            n_views,
            f"{stabilised['balanced_accuracy']:.3f}",
            f"{min(each):.3f} to {max(each):.3f}",
            f"{stabilised['macro_f1']:.3f}",
            f"{one['raw']['balanced_accuracy']:.3f}",
            *("-" if value is None else f"{value:.3f}" for value in stabilised["recall"].values()),
        )
    Console(width=120).print(table)
    if "live" in result:
        Console(width=120).print_json(json.dumps(result["live"]))


if __name__ == "__main__":
    sys.exit(main())
