"""Three short labelled clips of real mice: a model trained anew on blocks of time, and what the default bundle says.

    python benchmarks/clips.py --data DATA [--clips top,below,below60] [--train each pooled] [--folds 5]
        [--epochs 15,30] [--bundle video-default] [--out runs/clips] [--json FILE]

The labels are machine labels: two passes, A and B, of an image-reading model over the same frames. The labelled span of
a clip is cut into two blocks per fold; in fold k the blocks k and k + folds are the test, all others are learnt from,
with 0.5 s left out at every border. So every labelled frame is answered once by a model that has seen neither it nor
its neighbours, though always of the same animal in the same minute. Nothing is chosen on any of it: there is no
validation part, and the settings below were written down before the first run. Models learn from pass A and are scored
against both. Intervals are percentile bootstraps over blocks; with so few they are wide, and too narrow all the same.

With ``--train pooled`` the clips are learnt from together, each at 25 frames/s (frames left out, none made up). Of the
clip `below60` the right half is cut off: it shows a caption. Trainings that are done stand in --out and are not done
again, unless a setting or a label that they learn from is another one.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from ethostream.inference.bundled import resolve_bundle
from ethostream.streaming.video import VideoReader
from ethostream.sync.errors import ConfigError
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.label_files.frame_labels import frame_labels
from ethostream.training.label_files.reading import read_labels
from ethostream.training.runs.predict_video import predict_video
from ethostream.training.runs.train_video import train_video
from ethostream.training.scores.answers_file import ANSWERS_FILE, read_answers
from ethostream.training.scores.frames import score
from ethostream.training.scores.intervals import bootstrap
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

CLASSES = ["locomote", "turn", "rear", "groom", "still"]
POOLED_HZ = 25.0
GUARD_S = 0.5
Labels = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: where it is, columns of it that are used, and on how many per cent of its frames the passes agree."""

    video: str
    columns: int | None
    agreement: float


CLIPS = {
    "top": Clip("openfield_top/m3v1mp4.mp4", None, 90.5),
    "below": Clip("openfield_below/cropped_video.mp4", None, 90.9),
    "below60": Clip("openfield_below_60hz/ClusteredBehavior_aligned.mp4", 952, 91.6),
}
"""The agreement is that of whole clips, of which the labels here are a part."""

SETTINGS: dict[str, Any] = {
    "crop": {"kind": "background", "side": 0.28, "polarity": "both", "threshold": 25},
    "embedder": {"kind": "small_cnn", "dims": 8, "side_px": 64, "width": 8},
    "features": [{"name": "box_motion"}, {"name": "box_velocity"}],
    "head": {"kind": "tcn", "hidden": 16, "dilations": [1, 2, 4, 8], "dropout": 0.3},
    "any_views": True,
    "stabiliser": {"default": {"enter": 0.5, "exit": 0.4, "min_dwell_ms": 100}},
    "seed": 1,
}
FIT: dict[str, Any] = {
    "window_frames": 48,
    "stretch_frames": 200,
    "batch_windows": 8,
    "epoch_windows": 64,
    "learning_rate": 0.002,
    "weight_decay": 0.1,
    "label_margin_frames": 3,
    "augment": {"flip_horizontal": True, "flip_vertical": True, "brightness": 20, "contrast": 0.2, "noise": 3},
    "threads": 1,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with openfield_top and the others")
    parser.add_argument("--clips", default=",".join(CLIPS))
    parser.add_argument("--train", nargs="*", choices=("each", "pooled"), default=["each"], help="nothing: none at all")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", default="15,30", help="of embedder and head together, and of the head alone")
    parser.add_argument("--bundle", default="video-default", help="what is asked without training; none")
    parser.add_argument("--out", type=Path, help="for the runs; default: a folder that is removed at the end")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names: list[str] = options.clips.split(",")
    joint, head = (int(one) for one in options.epochs.split(","))
    fit = {**FIT, "joint_epochs": joint, "head_epochs": head}
    how = f"{options.folds}-folds-{joint}-{head}-epochs"
    result: dict[str, Any] = {"command": " ".join(sys.argv), "folds": options.folds, "clips": {}}
    with tempfile.TemporaryDirectory() as text:
        folder = options.out or Path(text)
        folder.mkdir(parents=True, exist_ok=True)
        truth = {name: copied(options.data, name, folder) for name in names}
        for name in names:
            one: dict[str, Any] = {
                "video": CLIPS[name].video,
                "labelled_frames": int((truth[name]["A"] >= 0).sum()),
                "agreement_of_whole_clips": CLIPS[name].agreement / 100.0,
                "agreement_here": agreement(truth[name]),
                "largest_class": largest(truth[name]["A"]),
            }
            if "each" in options.train:
                console().print(f"{name}: {options.folds} trainings")
                said = trained([name], folder, truth, options.folds, fit, folder / f"{name}-{how}")
                one["trained"] = judged(said[name], truth[name], options.folds)
            if options.bundle != "none":
                one["default"] = of_default(options.bundle, folder / f"{name}.mkv", truth[name], options.folds)
            result["clips"][name] = one
        if "pooled" in options.train:
            slow = {name: copied(options.data, name, folder, POOLED_HZ) for name in names}
            console().print(f"pooled: {options.folds} trainings")
            said = trained(
                names, folder, slow, options.folds, fit, folder / f"{'-'.join(names)}-pooled-{how}", POOLED_HZ
            )
            result["pooled"] = {
                name: {
                    "agreement_here": agreement(slow[name]),
                    "trained": judged(said[name], slow[name], options.folds),
                }
                for name in names
            }
            result["pooled"]["all"] = {
                "agreement_here": agreement(joined(slow)),
                "trained": judged_together(
                    [said[name] for name in names], [slow[name] for name in names], options.folds
                ),
            }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def console() -> Console:
    return Console(stderr=True, highlight=False)


def copied(data: Path, name: str, folder: Path, rate_hz: float | None = None) -> dict[str, Labels]:
    """Write a working copy of a clip, grey and lossless, with its labels; gives the labels of each frame by pass."""
    clip = CLIPS[name]
    stem = name if rate_hz is None else f"{name}-{rate_hz:g}"
    with VideoReader(data / clip.video, "mono8") as video:
        own_hz = video.rate_hz
        images = [image[:, : clip.columns] for _, image in video]
    out_hz = own_hz if rate_hz is None else rate_hz
    rows = [round(k * own_hz / out_hz) for k in range(int(len(images) * out_hz / own_hz))]
    rows = [row for row in rows if row < len(images)]
    with av.open(str(folder / f"{stem}.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(out_hz).limit_denominator(1001))
        stream.height, stream.width = images[0].shape
        stream.pix_fmt = "gray"
        for row in rows:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(images[row]), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    labels: dict[str, Labels] = {}
    for one in ("A", "B"):
        path = (data / clip.video).parent / f"labels_{one}.csv"
        bouts = read_labels(path, "bouts").streams[""]
        labels[one] = frame_labels(bouts, len(images), CLASSES, path)[rows]
        write_bouts(folder / f"{stem}-{one}.csv", labels[one])
    return labels


def write_bouts(path: Path, labels: Labels) -> None:
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    rows = [f"{a},{b},{CLASSES[labels[a]]}" for a, b in pairwise(edges) if labels[a] >= 0]
    path.write_text("start_frame,stop_frame,behaviour\n" + "\n".join(rows) + "\n", encoding="utf-8")


def trained(
    names: list[str],
    folder: Path,
    truth: dict[str, dict[str, Labels]],
    folds: int,
    fit: dict[str, Any],
    out: Path,
    rate_hz: float | None = None,
) -> dict[str, dict[str, Labels]]:
    """Answers ``raw`` and ``stabilised`` of each clip, every frame by the model that has not seen its block."""
    said = {
        name: {kind: np.full(len(truth[name]["A"]), -1, np.int16) for kind in ("raw", "stabilised")} for name in names
    }
    stems = {name: name if rate_hz is None else f"{name}-{rate_hz:g}" for name in names}
    present = [CLASSES[k] for k in range(len(CLASSES)) if any((truth[name]["A"] == k).any() for name in names)]
    for fold in range(folds):
        config = config_of(stems, present, fold, folds, fit)
        bundle = out / f"fold-{fold}-{learnt_with(config, folder)}"
        run = bundle.with_name(f"{bundle.name}.run")
        if not (run / ANSWERS_FILE).is_file():
            train_video(config, folder, bundle, quiet=True, may_be_absent=True)
        places = np.array([CLASSES.index(one) for one in present], np.int16)
        for one in read_answers(run / ANSWERS_FILE)[0]:
            tested = np.flatnonzero(one.known)
            said[one.name]["raw"][tested] = places[one.raw[tested]]
            label = one.label[tested]
            said[one.name]["stabilised"][tested] = np.where(label >= 0, places[label], -1)
    return said


def config_of(stems: dict[str, str], present: list[str], fold: int, folds: int, fit: dict[str, Any]) -> TrainConfig:
    """Of one fold, learnt from the clips by name, each a working copy by its stem."""
    return TrainConfig.model_validate(
        {
            "name": "clip",
            "classes": present,
            "labels": {"ignore": [one for one in CLASSES if one not in present], "made_by": "machine"},
            "data": [
                {"kind": "video", "name": name, "path": f"{stem}.mkv", "labels": f"{stem}-A.csv"}
                for name, stem in stems.items()
            ],
            "split": {
                "by": "time_block",
                "pattern": ["test" if block % folds == fold else "train" for block in range(2 * folds)],
                "guard_s": GUARD_S,
            },
            "fit": fit,
            **SETTINGS,
        }
    )


def learnt_with(config: TrainConfig, folder: Path) -> str:
    """What tells a training from another one: every setting, the labels, and which part of which video a clip is."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for one in config.data:
        digest.update(f"{CLIPS[one.name]}".encode() + (folder / f"{one.labels}").read_bytes())
    return digest.hexdigest()[:8]


def of_default(bundle: str, video: Path, truth: dict[str, Labels], folds: int) -> dict[str, Any]:
    """What a bundle that has never seen such a mouse says of a clip."""
    try:
        rows = list(predict_video(resolve_bundle(bundle), video))
    except ConfigError as error:
        return {"refused": str(error)}
    known = [CLASSES.index(row.behavior) if row.behavior in CLASSES else -1 for row in rows]
    order = class_order(bundle)
    raw = [order[int(np.argmax(row.p))] for row in rows]
    return judged({"raw": np.array(raw, np.int16), "stabilised": np.array(known, np.int16)}, truth, folds)


def class_order(bundle: str) -> list[int]:
    """Place in ``CLASSES`` of each class of a bundle; -1 where it is none of them."""
    fields = json.loads((resolve_bundle(bundle) / "manifest.json").read_text(encoding="utf-8"))
    return [CLASSES.index(name) if name in CLASSES else -1 for name in fields["classes"]]


def judged(said: dict[str, Labels], truth: dict[str, Labels], folds: int) -> dict[str, Any]:
    return judged_together([said], [truth], folds)


def judged_together(said: list[dict[str, Labels]], truth: list[dict[str, Labels]], folds: int) -> dict[str, Any]:
    """Accuracy against each pass with its interval over blocks, and balanced accuracy and recalls against pass A."""
    asked = [(one["raw"] >= 0) & (labels["A"] >= 0) for one, labels in zip(said, truth, strict=True)]
    result: dict[str, Any] = {"n_frames": int(sum(mask.sum() for mask in asked))}
    for kind in ("raw", "stabilised"):
        of_kind: dict[str, Any] = {}
        for rater in ("A", "B"):
            right, n = blocks_of(said, truth, asked, kind, rater, folds)

            def accuracy(weights: NDArray[np.float64], right: Any = right, n: Any = n) -> dict[str, Any]:
                return {"accuracy": (weights @ right) / np.maximum(weights @ n, 1.0)}

            found = bootstrap(len(n), accuracy, "block")
            interval = found.values["accuracy"]
            of_kind[rater] = {
                "accuracy": float(right.sum() / n.sum()),
                "interval": None if interval is None else [interval.low, interval.high],
                "note": found.note,
            }
        labels = np.concatenate([one["A"][mask] for one, mask in zip(truth, asked, strict=True)])
        answers = np.concatenate([one[kind][mask] for one, mask in zip(said, asked, strict=True)])
        scores = score(labels, answers, CLASSES)
        of_kind["balanced_accuracy"] = scores.balanced_accuracy
        of_kind["recall"] = {name: one.recall for name, one in scores.per_class.items()}
        result[kind] = of_kind
    return result


def blocks_of(
    said: list[dict[str, Labels]],
    truth: list[dict[str, Labels]],
    asked: list[NDArray[np.bool_]],
    kind: str,
    rater: str,
    folds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right answers and frames of every block of every clip."""
    right: list[float] = []
    n: list[float] = []
    for one, labels, mask in zip(said, truth, asked, strict=True):
        span = np.flatnonzero(labels["A"] >= 0)
        edges = np.linspace(span[0], span[-1] + 1, 2 * folds + 1).round().astype(int)
        for start, stop in pairwise(edges.tolist()):
            inside = mask[start:stop] & (labels[rater][start:stop] >= 0)
            right.append(float((one[kind][start:stop][inside] == labels[rater][start:stop][inside]).sum()))
            n.append(float(inside.sum()))
    return np.array(right), np.array(n)


def joined(labels: dict[str, dict[str, Labels]]) -> dict[str, Labels]:
    return {rater: np.concatenate([one[rater] for one in labels.values()]) for rater in ("A", "B")}


def agreement(labels: dict[str, Labels]) -> float:
    both = (labels["A"] >= 0) & (labels["B"] >= 0)
    return float((labels["A"][both] == labels["B"][both]).mean())


def largest(labels: Labels) -> dict[str, Any]:
    counts = np.bincount(labels[labels >= 0], minlength=len(CLASSES))
    return {"name": CLASSES[int(counts.argmax())], "share": float(counts.max() / counts.sum())}


def show(result: dict[str, Any]) -> None:
    table = Table(title="Accuracy against machine labels, 95 % intervals over blocks of time")
    for name in ("clip", "model", "raw, pass A", "raw, pass B", "stabilised, A", "B", "balanced, A", "A and B agree"):
        table.add_column(name, justify="left" if name in ("clip", "model") else "right")
    for name, one in result["clips"].items():
        if "trained" in one:
            table.add_row(name, "trained anew", *cells(one["trained"]), f"{one['agreement_here']:.3f}")
        if "refused" in one.get("default", {}):
            table.add_row(name, "default", "refused: its frame rate")
        elif "default" in one:
            table.add_row(name, "default", *cells(one["default"]), f"{one['agreement_here']:.3f}")
        share = one["largest_class"]
        table.add_row("", f"always {share['name']}", f"{share['share']:.3f}")
    for name, one in result.get("pooled", {}).items():
        table.add_row(name, "trained on all", *cells(one["trained"]), f"{one['agreement_here']:.3f}")
    Console(width=150).print(table)


def cells(scores: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for kind in ("raw", "stabilised"):
        for rater in ("A", "B"):
            one = scores[kind][rater]
            span = "" if one["interval"] is None else f" ({one['interval'][0]:.2f} to {one['interval'][1]:.2f})"
            found.append(f"{one['accuracy']:.3f}{span}")
    balanced = scores["stabilised"]["balanced_accuracy"]
    return [*found, "-" if balanced is None else f"{balanced:.3f}"]


if __name__ == "__main__":
    sys.exit(main())
