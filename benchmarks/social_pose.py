"""Models of keypoints on twelve sessions of two rats, labelled by people: every session scored by a model without it.

    python benchmarks/social_pose.py --out runs/social --json social.json
    python benchmarks/social_pose.py --streams S1 --models pose-tcn --sessions 4 --folds 2      # a short form

Cross-validation in folds of whole sessions. Inside every fold all is done anew on the other sessions: unit of length,
normalisation, temperature, stabiliser, the latter two on folds of their own. Intervals are percentile bootstraps over
sessions. ``gradient_boosting`` is the baseline of `ethostream crossval --baselines`: the same features, the current
frame alone, its stabiliser chosen in the same way. ``pose-tcn-centred`` sees what comes later: no rig could run it, it
says what causality costs. Two more are the GRU of another tool, for those who have it (`lightning_action_peer.py`):
``--models lightning-action lightning-action-keypoints``. Last, `pose-tcn` is fitted to all sessions as `ethostream
train` does it, which is what is timed. Runs that are done stand in --out and are not done again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter  # noqa: TID251
from typing import Any

import numpy as np
from ethostream.deploy.number_table import NumberTable
from ethostream.training.data.dataset_file import Dataset
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.run_files import EVALUATION_FILE
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.crossval_boosting import GRADIENT_BOOSTING, boosting_scores, crossval_boosting
from ethostream.training.runs.record import write_json
from ethostream.training.runs.train_pose import read_poses, train_pose
from ethostream.training.scores.answers_file import ANSWERS_FILE, RecordingAnswers, read_answers, write_answers
from ethostream.training.scores.evaluation_record import evaluation_record
from ethostream.training.scores.frames import frame_counts, frame_figures
from ethostream.training.scores.intervals import bootstrap
from ethostream.training.splits import KFoldSplit
from lightning_action_peer import RECIPES, crossval_lightning_action
from numpy.typing import NDArray
from rich.console import Console

MODEL, TWIN = "pose-tcn", "pose-tcn-centred"
MODELS = (MODEL, TWIN, "pose-lstm", GRADIENT_BOOSTING)
STREAMS = ("S1", "S2")

PEERS: dict[str, dict[str, Any]] = {
    "source": "measured by this project with these tools, trained on these twelve sessions and scored on six others of "
    "the same kind, which are not in this folder: not the same sessions as in the rows above them",
    "S1": {
        "lightning-action, GRU, causal": {"macro_f1": 0.745},
        "gradient boosting, causal": {"macro_f1": 0.712},
        "best that is not causal, with Viterbi": {"macro_f1": 0.750, "bout_f1": 0.42},
        "best causal one, raw": {"bout_f1": 0.22, "flicker": 3.4},
        "best causal one, with an HMM filter": {"bout_f1": 0.39},
    },
    "S2": {"best causal one": {"macro_f1": 0.245}, "best that is not causal": {"macro_f1": 0.265}},
}
TRIED = {"networks": 31, "gradient boostings": 5, "ensembles": 10, "searches for a stabiliser": 32}
"""How many variants were scored by cross-validation on these sessions until the presets stood as they do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/social_pose"), help="folder of the sessions")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--models", nargs="+", choices=(*MODELS, *RECIPES), default=list(MODELS))
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--sessions", type=int, help="only so many, the first")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the presets' training file")
    parser.add_argument("--no-fit", action="store_true", help="leave out the fit on all sessions")
    parser.add_argument("--out", type=Path, help="for the runs; default: a folder that is removed at the end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, `-` to stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(options, options.out or Path(scratch))
    show(result)
    if options.json is not None:
        text = json.dumps(result, indent=2) + "\n"
        sys.stdout.write(text) if str(options.json) == "-" else options.json.write_text(text)
    return 0


def measure(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """All streams and models, and the fit on all sessions."""
    result: dict[str, Any] = {"folds": options.folds, "streams": {}, "peers": PEERS, "tried": TRIED, "fit": {}}
    for stream in options.streams:
        dataset = find_dataset(options.data, FolderOptions(stream=stream))
        dataset = replace(dataset, entries=dataset.entries[: options.sessions])
        scores: dict[str, Any] = {}
        answers: dict[str, list[RecordingAnswers]] = {}
        for model in options.models:
            run = out / f"{model}-{stream}"
            scores[model], answers[model] = judged(model, dataset, run, options.folds, options.set)
        result["streams"][stream] = {"sessions": len(dataset.entries), "models": scores}
        if MODEL in answers and TWIN in answers:
            result["streams"][stream]["twin_minus_causal"] = {
                which: difference(answers[TWIN], answers[MODEL], which) for which in ("raw", "stabilised")
            }
        if not options.no_fit:
            result["fit"][stream] = fitted(dataset, out / f"bundle-{stream}", options.set)
    return result


def judged(
    model: str, dataset: Dataset, run: Path, n_folds: int, overrides: Sequence[str]
) -> tuple[dict[str, Any], list[RecordingAnswers]]:
    """Scores of one model, and what it said; read back where the run is done."""
    rule = KFoldSplit(folds=n_folds)
    began = perf_counter()
    if not (run / EVALUATION_FILE).is_file():
        if model == GRADIENT_BOOSTING or model in RECIPES:
            compared(model, dataset, run, rule, overrides)
        else:
            config = configure(read_preset(model), dataset, overrides)
            crossval(config, dataset.root, run, rule, True, dataset.notes)
    record = json.loads((run / EVALUATION_FILE).read_text(encoding="utf-8"))
    answers, _classes = read_answers(run / ANSWERS_FILE)
    found = {"causal": record["causal"], "seconds": perf_counter() - began, **short(record)}
    if model in RECIPES:
        del found["stabilised"]
    return found, answers


def compared(model: str, dataset: Dataset, run: Path, rule: KFoldSplit, overrides: Sequence[str]) -> None:
    """The baseline, or the GRU of another tool, on the same folds; left in a run folder as the others leave theirs."""
    config = configure(read_preset(MODEL), dataset, overrides)
    recordings, read_rule, _check = read_poses(config, dataset.root, Console(quiet=True))
    split, causal = rule.model_dump(mode="json"), True
    if model in RECIPES:
        answers = crossval_lightning_action(RECIPES[model], config, read_rule, recordings, rule, run)
        causal = RECIPES[model].causal
        found = evaluation_record(answers, config.classes, split, causal=causal)
    else:
        answers = crossval_boosting(config, read_rule, recordings, rule)
        chosen = config.choose is not None and config.choose.stabiliser
        found = boosting_scores(answers, config.classes, split, chosen)
    run.mkdir(parents=True, exist_ok=True)
    write_answers(run / ANSWERS_FILE, answers, config.classes)
    write_json(run / EVALUATION_FILE, {**found, "causal": causal})


def short(record: dict[str, Any]) -> dict[str, Any]:
    """What of an evaluation, or of a baseline in one, is shown."""
    found: dict[str, Any] = {}
    for which in ("stabilised", "raw"):
        one, ranges = record[which], record["intervals"][which]
        micro = one["bouts"]["bout_f1_micro"] if "bouts" in one else one["bout_f1_micro"]
        by_class = one.get("f1_of_classes") or {name: of["f1"] for name, of in one["per_class"].items()}
        names = ("macro_f1", "bout_f1", "bout_f1_micro", "flicker", "accuracy")
        found[which] = {
            **{name: one[name] for name in names if name != "bout_f1_micro"},
            "bout_f1_micro": micro,
            "f1_of_classes": by_class,
            "intervals": {name: ranges[name] for name in names},
        }
    return found


def difference(
    above: Sequence[RecordingAnswers], below: Sequence[RecordingAnswers], which: str
) -> dict[str, float | None]:
    """By how much the macro-F1 of one model is higher, with an interval over sessions, both drawn together."""
    same = {one.name: one for one in below}
    counts = [confusions(above, which), confusions([same[one.name] for one in above], which)]

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        one, other = (frame_figures(np.tensordot(weights, each, 1))["macro_f1"] for each in counts)
        return {"macro_f1": one - other}

    value = float(statistic(np.ones((1, len(above))))["macro_f1"][0])
    interval = bootstrap(len(above), statistic).values["macro_f1"]
    return {
        "macro_f1": value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
    }


def confusions(answers: Sequence[RecordingAnswers], which: str) -> NDArray[np.float64]:
    """Frame counts of every session, [sessions, classes, classes + 1]."""
    n_classes = answers[0].p.shape[1]
    counts = [
        frame_counts(np.where(one.known, one.truth, -1), one.raw if which == "raw" else one.label, n_classes)
        for one in answers
    ]
    return np.stack(counts).astype(np.float64)


def fitted(dataset: Dataset, bundle: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The time of `ethostream train --preset pose-tcn` on all sessions, and what its folds gave."""
    config = configure(read_preset(MODEL), dataset, overrides)
    began = perf_counter()
    found = train_pose(config, dataset.root, bundle, True, dataset.notes)
    seconds = perf_counter() - began
    return {"seconds": seconds, "threads": config.fit.threads, **short(found["evaluation"])}


def show(result: dict[str, Any]) -> None:
    """Tables on stderr."""
    console = Console(stderr=True, highlight=False)
    for stream, found in result["streams"].items():
        console.print(f"{stream}: {found['sessions']} sessions in {result['folds']} folds")
        table = NumberTable("model, answer", "macro-F1", "bout-F1", "bout-F1, pooled", "flicker", "seconds")
        names = ("macro_f1", "bout_f1", "bout_f1_micro", "flicker")
        for model, one in found["models"].items():
            for which in [which for which in ("raw", "stabilised") if which in one]:
                cells = [in_words(one[which][name], one[which]["intervals"][name]) for name in names]
                table.add_row(f"{model}, {which}", *cells, f"{one['seconds']:.0f}" if which == "raw" else "")
        for peer, one in result["peers"][stream].items():
            table.add_row(f"elsewhere: {peer}", *(in_words(one.get(name), None) for name in names))
        console.print(table)
        for which, one in found.get("twin_minus_causal", {}).items():
            console.print(f"what is not causal is better by {in_words(one['macro_f1'], one)} macro-F1, {which}")
        if stream in result["fit"]:
            one = result["fit"][stream]
            console.print(f"one fit on all: {one['seconds']:.0f} s with {one['threads']} thread(s)")
    console.print(f"elsewhere: {result['peers']['source']}")
    console.print("tried on these sessions: " + ", ".join(f"{n} {name}" for name, n in result["tried"].items()))


def in_words(value: float | None, interval: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    if interval is None or interval["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
