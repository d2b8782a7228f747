"""Freezing of one mouse, labelled by a person: a causal model trained on blocks of time, and four raters' agreement.

    python benchmarks/freezing_pose.py --json freezing.json
    python benchmarks/freezing_pose.py --turns 1 --set fit.head_epochs=2                      # a short form

demo1 is one recording of two minutes: each block of ten seconds is scored by a model of the other eleven, with a second
left out at every border. That says what the model does in more of this recording, and nothing of another mouse. There
is no validation part: the stabiliser stands in the settings. Four people labelled the video of demo7; its points are
not there, so only their agreement is computed.
"""

import argparse
import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from time import perf_counter  # noqa: TID251
from typing import Any

import numpy as np
import yaml
from ethostream.training.data.layouts import find_dataset
from ethostream.training.label_files import read_labels
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.train_pose import train_pose
from ethostream.training.scores.answers_file import ANSWERS_FILE, RecordingAnswers, read_answers
from ethostream.training.scores.evaluation_record import evaluation_record
from ethostream.training.scores.raters import rater_figures
from rich.console import Console
from rich.table import Table

RATE_HZ = 50.0
CLASSES = ["other", "Freezing"]
N_BLOCKS = 12
RATERS = ("expert1", "expert2", "expert3", "novice")
DEMO7_FRAMES = 19_541
HEAD = ["Nose", "Left Ear", "Right Ear"]
BODY = ["Tailbase", "Left Leg", "Right Leg", "Mid-Back"]
POINTS = [*HEAD, *BODY, "Tail"]
SEGMENTS = [[["Left Ear", "Right Ear"], "Nose"], ["Tailbase", "Mid-Back"], ["Mid-Back", ["Left Ear", "Right Ear"]]]
LAGS_S = [0.04, 0.08, 0.14, 0.24, 0.4, 0.66]
SPEEDS = {"places": [*POINTS, HEAD, BODY, HEAD + BODY], "lags_s": LAGS_S, "squash": "log", "squash_unit": 0.02}
TURNS = {"segments": SEGMENTS, "lags_s": LAGS_S, "mirrored": True, "squash": "log", "squash_unit": 0.02}
CONTEXT = {"of": ["speed(*", "turn(*"], "highest_s": [0.1, 0.18, 0.3, 0.5, 0.9]}
POSE = {
    "scale": {"path": ["Tailbase", "Mid-Back", "Nose"], "weight_s": None},
    "features": [
        {"name": "pose_motion", "parameters": SPEEDS},
        {"name": "pose_turning", "parameters": TURNS},
        {"name": "pose_context", "parameters": CONTEXT},
    ],
}
MODEL = [
    f"pose={json.dumps(POSE)}",
    "head={kind: linear}",
    "fit.stride_frames=1",
    "fit.stretch_frames=300",
    "fit.batch_windows=6",
    "fit.head_epochs=240",
    "fit.learning_rate=0.005",
    "fit.weight_decay=0.0",
    "fit.class_weights=none",
    "fit.augment={input_noise: 0.6}",
    "fit.temperature=false",
    "choose={stabiliser: false}",
    "stabiliser={default: {enter: 0.5, exit: 0.4, min_dwell_ms: 100}}",
]
"""Logistic regression on how fast every point moves and head and body turn, at six scales, and on the highest of each
over the last tenths of a second: two minutes are too little for the preset's features and ten seconds of memory."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/freezing_pose"), help="folder of the demos")
    parser.add_argument(
        "--turns", type=int, default=N_BLOCKS, choices=range(1, N_BLOCKS + 1), help="only the first so many"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the training file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, `-` to stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = demo1(options.data / "demo" / "demo1", Path(scratch), options.turns, options.set)
    result = {"demo1": model, "demo7": demo7(options.data / "demo" / "demo7")}
    show(result)
    if options.json is not None:
        text = json.dumps(result, indent=2) + "\n"
        sys.stdout.write(text) if str(options.json) == "-" else options.json.write_text(text)
    return 0


def demo1(folder: Path, scratch: Path, n_turns: int, overrides: list[str]) -> dict[str, Any]:
    """Scores of every block by a model that has not learnt from it."""
    answers: list[RecordingAnswers] = []
    began = perf_counter()
    for turn in range(n_turns):
        place = scratch / str(turn)
        dataset = find_dataset(write_dataset(folder, place))
        pattern = ["test" if block == turn else "train" for block in range(N_BLOCKS)]
        split = f"split={{by: time_block, guard_s: 1.0, pattern: [{', '.join(pattern)}]}}"
        config = configure(read_preset("pose-tcn"), dataset, [*MODEL, split, *overrides], f"freezing-{turn}")
        train_pose(config, dataset.root, place / "bundle", True, dataset.notes)
        found, _classes = read_answers(place / "bundle.run" / ANSWERS_FILE)
        answers += [one_of_turn(one, turn) for one in found]
    record = evaluation_record(answers, CLASSES, {"by": "time_block", "guard_s": 1.0, "turns": n_turns}, causal=True)
    kept = ("macro_f1", "accuracy", "kappa", "bout_f1", "flicker")
    return {
        "n_frames": record["n_frames"],
        "seconds": perf_counter() - began,
        **{
            which: {
                "freezing_f1": record[which]["per_class"]["Freezing"]["f1"],
                "interval": record["intervals"][which]["f1.Freezing"],
                **{name: record[which][name] for name in kept},
            }
            for which in ("stabilised", "raw")
        },
        "n_true_bouts": record["per_class"]["Freezing"]["n_true"],
        "unit": record["intervals"]["unit"],
        "n_units": record["intervals"]["n_units"],
    }


def one_of_turn(one: RecordingAnswers, turn: int) -> RecordingAnswers:
    """Under a name of its own, since every turn scores other blocks of one recording."""
    return RecordingAnswers(f"{one.name}-{turn}", one.rate_hz, one.truth, one.raw, one.label, one.p, one.judged)


def write_dataset(folder: Path, place: Path) -> Path:
    """A ``dataset.yaml`` of demo1."""
    place.mkdir(parents=True)
    recording = {
        "kind": "pose",
        "name": "demo1",
        "path": str((folder / "demo1_tracking.csv").resolve()),
        "labels": str((folder / "hB_demo1_manual_annotations.mat.mat").resolve()),
        "rate_hz": RATE_HZ,
    }
    content = {
        "recordings": [recording],
        "labels": {"rest": CLASSES[0], "made_by": "people"},
        "classes": CLASSES,
        "roles": {"front": "Nose", "center": "Mid-Back", "back": "Tailbase"},
    }
    (place / "dataset.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return place


def demo7(folder: Path) -> dict[str, Any]:
    """Agreement of the four raters."""
    raters: dict[str, list[Any]] = {}
    for name in RATERS:
        frames = np.zeros(DEMO7_FRAMES, np.int16)
        for bout in next(iter(read_labels(folder / f"hB_{name}.mat").streams.values())):
            frames[bout.start_frame : bout.stop_frame] = 1
        raters[name] = [frames]
    found = rater_figures(raters, CLASSES)
    kappa = {f"{one['first']}, {one['second']}": one["kappa"] for one in found["pairs"]}
    experts = [kappa[f"{one}, {other}"] for one, other in combinations(RATERS[:3], 2)]
    return {"kappa": kappa, "kappa_of_experts": [min(experts), max(experts)], "fleiss_kappa": found["fleiss_kappa"]}


def show(result: dict[str, Any]) -> None:
    """Tables on stderr."""
    console, one = Console(stderr=True, highlight=False), result["demo1"]
    title = f"demo1: {one['n_frames']} frames, {one['n_true_bouts']} bouts of freezing"
    table = Table(title=title, title_justify="left")
    for name in ("answer", "F1 of freezing", "macro-F1", "bout-F1", "flicker", "kappa"):
        table.add_column(name)
    for which in ("raw", "stabilised"):
        of, interval = one[which], one[which]["interval"]
        told = "" if interval is None else f" ({interval['low']:.3f}-{interval['high']:.3f})"
        names = ("macro_f1", "bout_f1", "flicker", "kappa")
        f1, *others = ("-" if of[name] is None else f"{of[name]:.3f}" for name in ("freezing_f1", *names))
        table.add_row(which, f"{f1}{told}", *others)
    console.print(table)
    for pair, kappa in result["demo7"]["kappa"].items():
        console.print(f"demo7, {pair}: kappa {kappa:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
