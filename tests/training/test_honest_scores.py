"""What is scored has no say in what scores it: in folds, in blocks of time, in a run that is repeated or goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundle_files import read_bundle_files
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.evaluate_pose import evaluate_folder
from ethostream.training.runs.pose_record import chosen_on_folds
from ethostream.training.runs.train_pose import first_change, read_poses, train_pose
from ethostream.training.scores.answers_file import read_answers
from ethostream.training.splits import KFoldSplit
from rich.console import Console
from social_sessions import make_social_folder, write_labels, write_points
from typer.testing import CliRunner

N_FRAMES = 260
SMALL = [
    "fit.head_epochs=2",
    "fit.stretch_frames=120",
    "fit.batch_windows=4",
    "fit.learning_rate=0.01",
    "fit.stride_frames=1",
    "fit.augment.input_noise=0.0",
    "fit.weight_average=null",
    "fit.weight_decay=0.01",
    "fit.schedule={kind: cosine}",
    "fit.threads=1",
    "head={kind: mlp, hidden: 8}",
    "split={by: k_fold, folds: 2}",
    "choose.max_delay_ms=60",
    "pose.features=[{name: pose_distances, parameters: {cross: true}}]",
]
OPTIONS = FolderOptions(stream="S1")
FOLDS = KFoldSplit(folds=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_social_folder(tmp_path_factory.mktemp("data"), [1, 2, 3, 4], N_FRAMES)


def config_of(folder: Path, *changes: str) -> TrainConfig:
    return configure(read_preset("pose-tcn"), find_dataset(folder, OPTIONS), [*SMALL, *changes])


def points_file(folder: Path, number: str) -> Path:
    return folder / "dlc_csv" / f"{number}DLC_resnet_el_filtered.csv"


def enlarge(folder: Path, number: str, frames: slice, factor: float) -> None:
    """The same session under another lens, in some of its frames."""
    path = points_file(folder, number)
    points = read_pose(path).points[..., :2].astype(np.float64)
    points[frames] *= factor
    write_points(path, points)


def swap_labels(folder: Path, number: str) -> None:
    path = folder / "annotations" / f"{number}_annot.txt"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\tsocial", "\tx").replace("\tnonsocial", "\tsocial").replace("\tx", "\tnonsocial"))


def fold_answers(run: Path) -> dict[str, Any]:
    return {one.name: one for one in read_answers(run / "answers.npz")[0]}


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "bundle"
    notes = find_dataset(folder, OPTIONS).notes
    train_pose(config_of(folder, "fit.head_epochs=1", "choose=null"), folder, out, quiet=True, notes=notes)
    return out


def test_points_and_labels_of_a_recording_have_no_say_in_its_fold(folder: Path, tmp_path: Path) -> None:
    """A session of three times the size moves the unit of length of the other folds, and not of its own."""
    config = config_of(folder, "fit.head_epochs=1")
    before = crossval(config, folder, tmp_path / "a", FOLDS, quiet=True)
    held = before["folds"][0]["scored"][0]
    other_folder = tmp_path / "other"
    shutil.copytree(folder, other_folder)
    enlarge(other_folder, held, slice(None), 3.0)
    swap_labels(other_folder, held)
    after = crossval(config, other_folder, tmp_path / "b", FOLDS, quiet=True)
    for key in ("scale_px", "calibration", "stabiliser", "fit", "folds"):
        first, second = (without_seconds(one["folds"][0][key]) for one in (before, after))
        assert first == second, key
    assert before["folds"][1]["scale_px"] != after["folds"][1]["scale_px"]
    answers = [fold_answers(tmp_path / run) for run in "ab"]
    assert not np.array_equal(answers[0][held].p, answers[1][held].p), "its own points are others"
    beside = next(name for name in before["folds"][0]["scored"] if name != held)
    assert np.array_equal(answers[0][beside].p, answers[1][beside].p)
    assert np.array_equal(answers[0][beside].label, answers[1][beside].label)


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if not key.startswith("seconds")}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def test_the_test_block_has_no_say_in_anything(folder: Path, tmp_path: Path) -> None:
    """Not in the unit of length, not in the weights, and not in the dwell times of the stabilisers that are tried."""
    blocks = "split={by: time_block, pattern: [train, validation, test], guard_s: 0.2}"
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for number in "1234":
        path = other / "annotations" / f"{number}_annot.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        labels = [line.split("\t")[3] for line in lines if line.startswith("   \t") for _ in range(_length(line))]
        labels = labels[:N_FRAMES]  # of the first stream
        labels[220:] = ["social"] * (N_FRAMES - 220)
        write_labels(path, labels)
        enlarge(other, number, slice(220, None), 2.0)
    found = [
        train_pose(config_of(root, blocks), root, tmp_path / name / "bundle", quiet=True)
        for name, root in (("a", folder), ("b", other))
    ]
    bundles = [Bundle.load(tmp_path / name / "bundle") for name in "ab"]
    assert bundles[0].manifest.pose.scale == bundles[1].manifest.pose.scale
    assert bundles[0].manifest.stabiliser == bundles[1].manifest.stabiliser
    assert without_seconds(found[0]["fit"]) == without_seconds(found[1]["fit"])
    files = [read_bundle_files(one.path) for one in bundles]
    assert files[0]["head_step.onnx"] == files[1]["head_step.onnx"]
    assert found[0]["evaluation"]["macro_f1"] != found[1]["evaluation"]["macro_f1"]


def _length(line: str) -> int:
    _, start, stop, _ = line.split("\t")
    return int(stop) - int(start) + 1


@pytest.mark.parametrize(
    ("best_values", "found", "measured", "chosen"),
    [
        ([0.5, 0.6], ["calibration", "stabiliser"], True, ["unit of length", "epochs", "temperature", "stabiliser"]),
        ([None, 0.6], [], False, ["epochs"]),
        ([None, None], ["stabiliser"], True, ["unit of length", "stabiliser"]),
        ([None, None], [], False, []),
    ],
)
def test_what_the_scored_folds_choose(
    best_values: list[float | None], found: list[str], measured: bool, chosen: list[str]
) -> None:
    summary = {"folds": [{"best_value": one} for one in best_values], **{name: {} for name in found}}
    assert chosen_on_folds(summary, measured) == chosen


def test_whatever_the_scored_folds_have_chosen_is_said(trained: Path) -> None:
    evaluation = json.loads((trained.parent / "bundle.run" / "evaluation.json").read_text(encoding="utf-8"))
    chosen = "unit of length, epochs, temperature"
    assert evaluation["split"]["chosen"] == chosen
    assert any(f"Chosen on the very recordings that are scored: {chosen}." in one for one in evaluation["warnings"])
    scores = Bundle.load(trained).manifest.scores
    assert scores.evaluated_on.endswith(f"chosen on the very recordings that are scored: {chosen}")
    assert scores.more["warnings"] == evaluation["warnings"]


@pytest.mark.parametrize(
    ("pattern", "inner"),
    [
        ("[train, validation, train, test]", {"by": "k_fold", "folds": 2}),
        (
            "[train, test]",
            {
                "by": "none",
                "meaning": "no validation part: the last epoch, a temperature of 1 and the configured stabiliser",
            },
        ),
    ],
)
def test_a_file_without_folds_is_cross_validated_as_it_trains(
    folder: Path, tmp_path: Path, pattern: str, inner: dict[str, Any]
) -> None:
    """With a validation part of its own there is one in every fold; without one nothing is chosen, and that is said."""
    config = config_of(folder, "fit.head_epochs=1", f"split={{by: time_block, pattern: {pattern}, guard_s: 0.2}}")
    evaluation = crossval(config, folder, tmp_path / "cv", FOLDS, quiet=True)["evaluation"]
    assert evaluation["split"]["inner"].items() >= inner.items()
    for number in (1, 2):
        fold = json.loads((tmp_path / "cv" / f"fold-{number}" / "fold.json").read_text())
        assert {name in fold for name in ("calibration", "stabiliser")} == {inner["by"] == "k_fold"}
        assert fold["fit"]["best_value"] is None
    said = any("nothing to choose temperature and stabiliser on" in note for note in evaluation["notes"])
    assert said == (inner["by"] == "none")


def test_a_fold_that_is_done_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    """A kill after the first fold, and one while the files of the second are written."""
    config, run = config_of(folder, "fit.head_epochs=1", "choose=null"), tmp_path / "cv"
    first = crossval(config, folder, run, FOLDS, quiet=True)
    kept = (run / "fold-1" / "fold.json").stat().st_mtime_ns
    for name in ("evaluation.json", "fold-2/fold.json"):
        (run / name).unlink()
    again = crossval(config, folder, run, FOLDS, quiet=True)
    assert (run / "fold-1" / "fold.json").stat().st_mtime_ns == kept
    assert without_seconds(again["folds"]) == without_seconds(first["folds"])
    for key in ("macro_f1", "per_class", "recordings", "intervals", "notes"):
        assert again["evaluation"][key] == first["evaluation"][key], key
    assert again["evaluation"]["compute"]["training_s"] > sum(one["seconds"] for one in first["folds"][:1])
    # A fold that was done with something else is.
    (run / "evaluation.json").unlink()
    other = config.model_copy(update={"seed": 1})
    crossval(other, folder, run, FOLDS, quiet=True)
    assert (run / "fold-1" / "fold.json").stat().st_mtime_ns != kept


def test_a_run_in_a_used_folder_leaves_nothing_of_the_one_before(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "cv"
    two_heads = "head={kind: mlp, hidden: 8, ensemble: 2}"
    changes = ("fit.head_epochs=1", "choose=null")
    crossval(config_of(folder, two_heads, *changes), folder, run, KFoldSplit(folds=3), quiet=True)
    assert (run / "fold-3").is_dir() and (run / "fold-1" / "member-2").is_dir()
    crossval(config_of(folder, *changes), folder, run, FOLDS, quiet=True)
    assert sorted(one.name for one in run.glob("fold-*")) == ["fold-1", "fold-2"]
    assert not list(run.rglob("member-*"))
    assert len(list((run / "fold-1" / "tensorboard").rglob("events*"))) == 1
    # What is no run folder is left alone.
    (tmp_path / "mine" / "fold-9").mkdir(parents=True)
    crossval(config_of(folder, *changes), folder, tmp_path / "mine", FOLDS, quiet=True)
    assert (tmp_path / "mine" / "fold-9").is_dir()


class _KilledError(Exception):
    pass


def _killed_when(words: str) -> Callable[[str], None]:
    def say(text: str) -> None:
        if words in text:
            raise _KilledError

    return say


def test_time_of_training_counts_the_calls_that_were_killed(folder: Path, tmp_path: Path) -> None:
    from ethostream.training.config.recordings import PoseData
    from ethostream.training.data.pose_recordings import features_of, open_poses, with_scale
    from ethostream.training.runs.fit_pose import fit_pose
    from ethostream.training.runs.record import seconds_before

    config = config_of(folder, "choose=null", "head={kind: mlp, hidden: 8, ensemble: 2}")
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, rule = open_poses(entries, folder, config.pose or pytest.fail(), config.classes, config.labels)
    rule = with_scale(rule, recordings)
    inputs = [features_of(rule, one.points) for one in recordings]
    with pytest.raises(_KilledError):
        fit_pose(config, recordings, inputs, tmp_path / "run", True, _killed_when("the model itself"))
    spent = [
        json.loads(line)["epoch"]
        for name in ("fold-1", "fold-2", "fold-1/member-2", "fold-2/member-2")
        for line in (tmp_path / "run" / name / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(spent) == 8
    summary = fit_pose(config, recordings, inputs, tmp_path / "run", True, list[str]().append).summary
    before = [one["seconds_before"] for one in summary["folds"]]
    assert all(one > 0.0 for one in before)
    assert summary["fit"]["seconds_before"] == 0.0
    assert seconds_before(summary) == sum(before)
    members = [one["seconds_before"] for one in summary["folds"][0]["members"]]
    assert sum(members) == pytest.approx(before[0]) and all(one > 0.0 for one in members)
    assert all(one["seconds"] >= one["seconds_before"] for one in summary["folds"])


def test_what_ships_is_fitted_on_the_course_that_the_folds_were_on(folder: Path, tmp_path: Path) -> None:
    """Of six epochs the folds are best before the last: the model stops there, its rate not yet at nothing."""
    config = config_of(folder, "fit.head_epochs=6", "fit.patience=1", "fit.tolerance=0.5", "choose={stabiliser: false}")
    result = train_pose(config, folder, tmp_path / "bundle", quiet=True)
    fitted = result["fit"]["fit"]
    assert fitted["epochs"] < 6 and fitted["schedule_epochs"] == 6
    run = tmp_path / "bundle.run"
    rates = [
        [json.loads(line)["learning_rate"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (run, run / "fold-1")
    ]
    # Nearly: an epoch of all recordings has more steps than one of half of them.
    for own, of_fold in zip(*rates, strict=False):
        assert own == pytest.approx(of_fold, rel=0.1)
    assert rates[0][-1] > 0.3 * 0.01


def test_a_class_that_an_inner_fold_lacks_is_said_in_the_record(tmp_path: Path) -> None:
    data = make_social_folder(tmp_path / "data", [1, 2, 3], 240)
    for path in (data / "annotations").glob("[23]_*"):
        path.write_text(path.read_text(encoding="utf-8").replace("\taggression", "\tsocial"), encoding="utf-8")
    config = config_of(data, "fit.head_epochs=1", "choose=null", "split={by: leave_one_out}")
    result = crossval(config, data, tmp_path / "cv", KFoldSplit(folds=3), quiet=True)
    absent = {one["scored"][0]: [inner["absent"] for inner in one["folds"]] for one in result["folds"]}
    assert absent == {"1": [["aggression"]] * 2, "2": [["aggression"], []], "3": [["aggression"], []]}
    notes = result["evaluation"]["notes"]
    assert sum("no frame of aggression outside fold" in note for note in notes) == 1
    said = "inside: fold 1 of 2 does without aggression, which no other recording shows"
    assert sum(said in note for note in notes) == 3


def test_a_session_that_was_tracked_anew_is_known_by_its_labels(trained: Path, folder: Path, tmp_path: Path) -> None:
    """Points written with other line ends, labels with other spaces: the same session all the same."""
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    for path in again.glob("dlc_csv/*.csv"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for path in again.glob("annotations/*.txt"):
        path.write_text(path.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
        path.rename(path.with_name("7" + path.name))
    for path in again.glob("dlc_csv/*.csv"):
        path.rename(path.with_name("7" + path.name))
    found = evaluate_folder(trained, find_dataset(again, OPTIONS))
    assert found.record["split"]["by"] == "training data"
    assert "has learnt from 71, 72, 73, 74" in found.warning
    assert "honest ones" not in found.warning and "`ethostream crossval`" in found.warning


def test_a_session_of_the_same_name_and_length_is_scored_with_a_doubt(trained: Path, tmp_path: Path) -> None:
    others = make_social_folder(tmp_path / "others", [4, 9], N_FRAMES, seed=5)
    found = evaluate_folder(trained, find_dataset(others, OPTIONS))
    assert sorted(found.record["recordings"]) == ["4", "9"]
    (doubt,) = [one for one in found.record["warnings"] if one.startswith("Perhaps learnt from")]
    assert doubt.startswith("Perhaps learnt from: 4. ")


def test_two_tracks_of_one_session_are_named(folder: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(folder, twice)
    shutil.copy(twice / "annotations" / "1_annot.txt", twice / "annotations" / "5_annot.txt")
    text = points_file(twice, "1").read_text(encoding="utf-8")
    points_file(twice, "5").write_text(text.replace(",0.9", ",0.8"), encoding="utf-8")
    check = read_poses(config_of(twice), twice, Console(quiet=True))[2]
    assert any("1 and 5 have the same labels from the first frame to the last" in note for note in check.notes)


@pytest.mark.long
def test_the_repetition_of_a_preset_keeps_what_was_assumed(trained: Path, folder: Path, tmp_path: Path) -> None:
    run = trained.parent / "bundle.run"
    notes = json.loads((run / "data.json").read_text(encoding="utf-8"))["notes"]
    config, root = load_config(run / "config.yaml")
    train_pose(config, root, tmp_path / "again", quiet=True)
    assert json.loads((tmp_path / "again.run" / "data.json").read_text(encoding="utf-8"))["notes"] == notes
    assert any("ignored: base" in note for note in notes)
    assert (trained / "head_step.onnx").read_bytes() == (tmp_path / "again" / "head_step.onnx").read_bytes()


def test_the_command_of_a_cross_validation_says_what_is_not_torn_apart(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, "fit.head_epochs=1", "choose=null")
    rule = KFoldSplit(folds=2, unit="recording", seed=3)
    crossval(config, folder, tmp_path / "cv", rule, quiet=True)
    command = (tmp_path / "cv" / "command.txt").read_text(encoding="utf-8").split()
    assert command[3:9] == ["--folds", "2", "--fold-seed", "3", "--unit", "recording"]
    shutil.move(tmp_path / "cv", tmp_path / "first")
    (tmp_path / "cv").mkdir()
    shutil.copy(tmp_path / "first" / "config.yaml", tmp_path / "cv" / "config.yaml")
    done = CliRunner().invoke(cli.app, [*command[1:], "--json", str(tmp_path / "cv.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first, second = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("first", "cv"))
    assert first["split"] == second["split"]
    assert first["macro_f1"] == second["macro_f1"]


def test_the_gate_sees_a_stretch_in_which_the_behaviour_changes(folder: Path) -> None:
    from dataclasses import replace

    from ethostream.training.config.recordings import PoseData
    from ethostream.training.data.pose_recordings import open_poses

    config = config_of(folder)
    entries = [one for one in config.data if isinstance(one, PoseData)][:1]
    (one,), _ = open_poses(entries, folder, config.pose or pytest.fail(), config.classes, config.labels)
    labels = np.zeros(5000, np.int16)
    labels[4000:] = 1
    late = replace(one, labels=labels)
    assert first_change(late, 600) == 3999 - 300
    assert first_change(late, 90) == 3999 - 45
    labels[4000] = -1  # ends in what nobody labelled: no change of behaviour
    assert first_change(late, 600) == 0
