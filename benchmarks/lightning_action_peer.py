"""lightning-action's GRU on the sessions and folds of `social_pose.py`, trained by its own code.

It takes a table of numbers per session. One recipe gives it the features of `pose-tcn`, normalised by the sessions that
are learnt from, so that what is compared is the network and how it is fitted; the other gives it the keypoints in
pixels, a missing one where it was last seen, and lets it normalise every session by itself, as it does unless told
otherwise. Either way its own class weights, its own tenth of the learnt stretches for validation, Adam, and its answer
after the last epoch. It has no stabiliser, so there is no stabilised answer.

Needs ``pip install --no-deps lightning-action==1.1.0 jaxtyping wadler-lindig``: what else it asks for is of its video
half.
"""

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ethostream.training.answers.of_pose import answers_from
from ethostream.training.cache.pose_features import pose_features
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.pose_recordings import PoseRecording, with_scale
from ethostream.training.scores.answers_file import RecordingAnswers
from ethostream.training.splits import FoldSplit, folds_of
from numpy.typing import NDArray

BACKGROUND: Final = "background"
"""Its first class, which it does not learn: here the frames that are not judged."""
STRETCH_FRAMES: Final = 500


@dataclass(frozen=True, slots=True)
class Recipe:
    """What it is given, and how large and how long.

    Attributes:
        keypoints: points in pixels, and its z-score of every session; else features, normalised by those learnt from.
        hidden: units of its one layer.
        epochs: of its training.
    """

    keypoints: bool
    hidden: int
    epochs: int

    @property
    def causal(self) -> bool:
        """The z-score of a session is known when the session is over."""
        return not self.keypoints


RECIPES: Final = {
    "lightning-action": Recipe(keypoints=False, hidden=64, epochs=15),
    "lightning-action-keypoints": Recipe(keypoints=True, hidden=128, epochs=40),
}


def crossval_lightning_action(
    recipe: Recipe,
    config: TrainConfig,
    rule: PoseRule,
    recordings: Sequence[PoseRecording],
    folds: FoldSplit,
    folder: Path,
) -> list[RecordingAnswers]:
    """Every session answered by its GRU that has not seen it; its files stand in `folder`."""
    torch.set_num_threads(config.fit.threads)
    found: dict[int, RecordingAnswers] = {}
    dealt = folds_of(folds, [one.name for one in recordings], [one.group for one in recordings])
    for number, held in enumerate(dealt):
        learnt = [one for place, one in enumerate(recordings) if place not in held]
        pose = with_scale(rule, learnt)
        tables = [pixels(one) if recipe.keypoints else pose_features(pose, one, None) for one in recordings]
        if not recipe.keypoints:
            seen = np.concatenate([table for place, table in enumerate(tables) if place not in held])
            mean, deviation = seen.mean(0), np.maximum(seen.std(0), 1e-5)
            tables = [np.clip((table - mean) / deviation, -6.0, 6.0) for table in tables]
        place_of = {one.name: place for place, one in enumerate(recordings)}
        data = folder / f"fold-{number}"
        for one in learnt:
            write_session(data, one, tables[place_of[one.name]], config.classes)
        model = trained(recipe, config, data, [one.name for one in learnt], tables[0].shape[1])
        for place in held:
            p = answered(model, tables[place], recipe)
            judged = np.ones(len(p), np.bool_)
            found[place] = answers_from(recordings[place], p, judged, config.classes, config.stabiliser, number)
    return [found[place] for place in range(len(recordings))]


def pixels(recording: PoseRecording) -> NDArray[np.float32]:
    """x and y of every point, [t, 2 * points]; a missing one stays where it was, or at 0 before it was ever seen."""
    xy = np.asarray(recording.points)[..., :2].reshape(recording.n_frames, -1)
    newest = np.where(np.isnan(xy), 0, np.arange(len(xy))[:, None])
    np.maximum.accumulate(newest, axis=0, out=newest)
    return np.nan_to_num(np.take_along_axis(xy, newest, axis=0)).astype(np.float32)


def write_session(folder: Path, recording: PoseRecording, x: NDArray[np.float32], classes: Sequence[str]) -> None:
    """Its two tables: numbers, and labels as one-hot rows, both with a first column that counts rows."""
    rows = np.arange(len(x))[:, None]
    hot = np.arange(-1, len(classes)) == np.maximum(np.asarray(recording.labels), -1)[:, None]
    names = [f"x{column}" for column in range(x.shape[1])]
    for kind, header, table, form in (("features", names, x, "%.6g"), ("labels", [BACKGROUND, *classes], hot, "%d")):
        path = folder / kind / f"{recording.name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = ",".join(["", *header])
        np.savetxt(path, np.hstack([rows, table]), ["%d", *[form] * len(header)], ",", header=text, comments="")


def trained(recipe: Recipe, config: TrainConfig, data: Path, names: Sequence[str], n_inputs: int) -> Any:
    """Its model, after its own training."""
    from lightning_action.models.segmenter import Segmenter  # pyright: ignore[reportMissingImports]
    from lightning_action.train import train  # pyright: ignore[reportMissingImports]

    asked = {
        "data": {
            "data_path": str(data),
            "input_dir": "features",
            "expt_ids": list(names),
            "ignore_index": 0,
            "transforms": ["ZScore"] if recipe.keypoints else [],
        },
        "model": {
            "input_size": n_inputs,
            "output_size": len(config.classes) + 1,
            "head": "rnn",
            "rnn_type": "gru",
            "num_hid_units": recipe.hidden,
            "num_layers": 1,
            "sequence_length": STRETCH_FRAMES,
            "seed": config.seed,
        },
        "optimizer": {"type": "Adam", "lr": 1e-3, "wd": 0.0},
        "training": {
            "num_epochs": recipe.epochs,
            "batch_size": 8,
            "sequence_length": STRETCH_FRAMES,
            "num_workers": 1,
            "seed": config.seed,
            "progress_bar": False,
            "model_summary": False,
            "checkpointing": False,
        },
    }
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return train(asked, Segmenter(asked), data / "model").eval()


def answered(model: Any, x: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Probabilities of the classes, [t, classes], the whole session in one stretch, as it would come from a camera."""
    from lightning_action.data.transforms import ZScore  # pyright: ignore[reportMissingImports]

    given = ZScore()(x) if recipe.keypoints else x
    with torch.inference_mode():
        p = model(torch.from_numpy(given.astype(np.float32))[None])["probabilities"][0, :, 1:].numpy()
    return (p / p.sum(1, keepdims=True)).astype(np.float32)
