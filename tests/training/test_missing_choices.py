"""What there is nothing to choose on is said, with the reason; it is kept as it is, and has no say in anything else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.training.config.choice import ChoiceConfig
from ethostream.training.config.recordings import PoseData
from ethostream.training.data.pose_recordings import PoseRecording, features_of, open_poses, with_scale
from ethostream.training.fitting.missing_choices import missing_choices
from ethostream.training.runs.fit_pose import FittedPose, fit_pose
from ethostream.training.runs.pose_record import chosen_on_folds
from ethostream.training.splits import LeaveOneOutSplit, TimeBlockSplit
from head_problems import problem
from numpy.typing import NDArray
from small_search import N_FRAMES, sessions, small_config

SOCIAL = 2
"""Its place among the classes."""
ALL = ChoiceConfig()
EPOCHS = ChoiceConfig(stabiliser=False)
FROZEN = {"learning_rate": 1e-9}
"""So that no epoch is better than the first."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[PoseRecording], list[NDArray[np.float32]]]:
    folder = sessions(tmp_path_factory.mktemp("data"), [1, 2, 3])
    config = small_config({1: None, 2: None, 3: None})
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, rule = open_poses(entries, folder, config.pose or pytest.fail(), config.classes, config.labels)
    rule = with_scale(rule, recordings)
    return recordings, [features_of(rule, one.points) for one in recordings]


def _fitted(
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    run: Path,
    fit: dict[str, Any],
    head: dict[str, Any] | None = None,
    **changes: Any,
) -> FittedPose:
    config = small_config({1: None, 2: None, 3: None})
    parts = {
        "fit": config.fit.model_validate(config.fit.model_dump() | fit),
        "head": config.head.model_validate(config.head.model_dump() | (head or {})),
    }
    said = list[str]()
    found = fit_pose(config.model_copy(update=parts | changes), recordings, inputs, run, True, said.append)
    assert [note for note in found.notes if note not in said] == []
    return found


def _unlabelled(one: PoseRecording, frames: slice) -> PoseRecording:
    labels = one.labels.copy()
    labels[frames] = -1
    return replace(one, labels=labels)


def _each(one: PoseRecording, apart: bool = True) -> PoseRecording:
    """With each behaviour by itself; not apart: none is ever there alone."""
    there = np.eye(3, dtype=np.float32)[np.maximum(one.labels, 0)]
    there[one.labels < 0] = np.nan
    if apart:
        return replace(one, targets=there)
    there = np.maximum(there, np.roll(there, 1, axis=1))
    return replace(one, targets=there, labels=np.full_like(one.labels, -1))


BLOCKS = TimeBlockSplit(pattern=["train", "validation", "train", "test"], guard_s=0.0)
SECOND = slice(N_FRAMES // 4 - 10, N_FRAMES // 2 + 10)


@pytest.mark.parametrize(
    ("temperature", "choose", "note"),
    [
        (
            True,
            ALL,
            "nothing to choose epoch, temperature and stabiliser on, since no frame of the validation part is "
            "labelled: the last epoch, a temperature of 1 and the configured stabiliser",
        ),
        (
            False,
            None,
            "nothing to choose epoch on, since no frame of the validation part is labelled: the last epoch",
        ),
    ],
)
def test_a_validation_part_without_a_label_is_told_from_none(
    temperature: bool, choose: ChoiceConfig | None, note: str, opened: Any, tmp_path: Path
) -> None:
    recordings = [_unlabelled(one, SECOND) for one in opened[0]]
    found = _fitted(recordings, opened[1], tmp_path, {"temperature": temperature}, split=BLOCKS, choose=choose)
    assert found.notes == [note]


def test_blocks_that_are_shorter_than_the_look_ahead_choose_no_epoch(opened: Any, tmp_path: Path) -> None:
    """A head that waits answers for the block at frames of the next; what is asked of the answers is asked as ever."""
    split = TimeBlockSplit(pattern=[*["train"] * 4, "validation", *["train"] * 4, "test"], guard_s=0.0)
    found = _fitted(
        opened[0], opened[1], tmp_path, {"temperature": True}, {"look_ahead_frames": 20}, split=split, choose=ALL
    )
    assert "calibration" in found.summary and "stabiliser" in found.summary
    assert found.notes == [
        "nothing to choose epoch on, since no frame of the validation part with the 20 frames of look-ahead after it "
        "is labelled: the last epoch"
    ]


def test_a_measure_without_a_value_chooses_no_epoch_and_ends_no_fit(opened: Any, tmp_path: Path) -> None:
    recordings = [_unlabelled(one, slice(0, 0)) for one in opened[0]]
    for one in recordings:
        block = one.labels[SECOND]
        block[block == SOCIAL] = -1
    fit = {"monitor": "f1.social", "head_epochs": 4, "patience": 1}
    found = _fitted(recordings, opened[1], tmp_path, fit, split=BLOCKS, choose=None)
    assert (found.summary["fit"]["epochs"], found.summary["fit"]["best_epoch"]) == (4, 3)
    assert found.notes == [
        "nothing to choose epoch on, since f1.social has no value on the validation part: the last epoch"
    ]


def test_where_a_measure_has_a_value_for_some_members_these_are_counted() -> None:
    """A precision has none as long as its class is never named, which is up to each fit."""
    fits = [{"members": [{"best_value": value} for value in (0.5, None, None)]}]
    assert missing_choices(problem(), fits, {}, "precision.rear", 0) == [
        "nothing to choose epoch on, since precision.rear has no value on the validation part in 2 of 3 fits: the last "
        "epoch"
    ]


@pytest.mark.parametrize(
    ("monitor", "ensemble", "why"),
    [
        ("macro_f1", 1, "no frame of fold 2 of 3 has one behaviour alone"),
        ("f1.social", 2, "f1.social has no value on fold 2 of 3"),
    ],
)
def test_a_fold_that_chooses_no_epoch_has_no_say_in_how_many_there_are(
    monitor: str, ensemble: int, why: str, opened: Any, tmp_path: Path
) -> None:
    recordings = list(opened[0])
    if monitor == "macro_f1":
        recordings = [_each(one, place != 1) for place, one in enumerate(recordings)]
    else:
        other = recordings[1].labels.copy()
        other[other == SOCIAL] = -1
        recordings[1] = replace(recordings[1], labels=other)
    fit = {**FROZEN, "head_epochs": 4, "monitor": monitor, "loss": {"kind": "binary"}}
    found = _fitted(
        recordings, opened[1], tmp_path, fit, {"ensemble": ensemble}, split=LeaveOneOutSplit(), choose=EPOCHS
    )
    assert chosen_on_folds(found.summary, False) == ["epochs"]
    folds = found.summary["folds"]
    assert [one["best_epoch"] for one in folds] == [0, 3, 0]
    assert [one["best_value"] is None for one in folds] == [False, True, False]
    assert found.summary["fit"]["epochs"] == 1
    assert found.notes == [
        f"nothing to choose epoch on, since {why}: the last epoch, which has no say in how many the model itself gets"
    ]


def test_folds_that_choose_nothing_leave_everything_as_configured(opened: Any, tmp_path: Path) -> None:
    recordings = [_each(one, False) for one in opened[0]]
    fit = {"head_epochs": 2, "temperature": True, "loss": {"kind": "binary"}}
    found = _fitted(recordings, opened[1], tmp_path, fit, split=LeaveOneOutSplit(), choose=ALL)
    assert found.summary["fit"]["epochs"] == 2 and "calibration" in found.summary
    *of_folds, last = found.notes
    assert len(of_folds) == 3
    why = "no frame of the folds has one behaviour alone"
    assert last == f"nothing to choose stabiliser on, since {why}: the configured stabiliser"
    assert chosen_on_folds(found.summary, False) == ["temperature"]


def test_folds_that_are_not_to_choose_an_epoch_say_nothing_of_it(opened: Any, tmp_path: Path) -> None:
    recordings = [_each(one, place != 1) for place, one in enumerate(opened[0])]
    rule = ChoiceConfig(epochs=False, stabiliser=False)
    fit = {"loss": {"kind": "binary"}}
    assert _fitted(recordings, opened[1], tmp_path, fit, split=LeaveOneOutSplit(), choose=rule).notes == []
