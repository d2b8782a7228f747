"""The evaluation as JSON, and the file of answers that it is made from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.inference.stabilisation.config import ClassThresholds, ThresholdsConfig
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from ethostream.sync.errors import DataError, ReportError
from ethostream.training.label_files import read_labels
from ethostream.training.scores.answers_file import RecordingAnswers, read_answers, write_answers
from ethostream.training.scores.bouts import score_bouts
from ethostream.training.scores.evaluation_record import evaluation_record
from ethostream.training.scores.frames import score

CLASSES = ["rest", "walk", "groom"]
BY_RECORDING = {"by": "recording"}
RATE_HZ = 50
PX_PER_CM = 32.0
SLOW_CM_S = 0.4
"""Of the freezing set; the scale as its authors give it."""


def bouts(rng: np.random.Generator, n: int, classes: int = 3) -> np.ndarray:
    lengths = rng.integers(8, 40, n)
    return np.repeat(rng.integers(0, classes, n), lengths)[:n].astype(np.int16)


def answers(seed: int, name: str = "", n: int = 600, noise: float = 0.25, **more: Any) -> RecordingAnswers:
    """Bouts, and a model that is wrong in some frames, whose label lags behind by three frames."""
    rng = np.random.default_rng(seed)
    truth = bouts(rng, n)
    p = rng.random((n, 3)).astype(np.float32) * noise * 2
    p[np.arange(n), truth] += 0.4
    p /= p.sum(1, keepdims=True)
    label = np.concatenate([np.full(3, -1, np.int16), truth[:-3]])
    given: dict[str, Any] = {
        "name": name or f"r{seed}", "rate_hz": 30.0, "truth": truth, "raw": p.argmax(1).astype(np.int16),
        "label": label, "p": p, "judged": np.ones(n, np.bool_),
    }  # fmt: skip
    return RecordingAnswers(**(given | more))


@pytest.fixture(scope="module")
def six() -> list[RecordingAnswers]:
    return [answers(seed) for seed in range(6)]


def test_top_level_scores_are_those_of_the_stabilised_label(six: list[RecordingAnswers]) -> None:
    found = evaluation_record(six, CLASSES, BY_RECORDING, causal=True)
    json.dumps(found, allow_nan=False)
    truth, p = np.concatenate([one.truth for one in six]), np.concatenate([one.p for one in six])
    for which in ("label", "raw"):
        said = [getattr(one, which) for one in six]
        frames, bout = score(truth, np.concatenate(said), CLASSES, p), score_bouts(six, said, CLASSES)
        part = found["stabilised" if which == "label" else "raw"]
        for name in ("macro_f1", "accuracy", "balanced_accuracy", "kappa", "macro_pr_auc", "n_undecided"):
            assert part[name] == getattr(frames, name)
        assert (part["bout_f1"], part["flicker"]) == (bout["bout_f1"], bout["flicker"])
        assert part["per_class"]["walk"]["f1"] == frames.per_class["walk"].f1
        assert part["per_class"]["walk"]["onset_delay_p50_ms"] == bout["per_class"]["walk"]["onset_delay_p50_ms"]
    assert {key: found[key] for key in found["stabilised"]} == found["stabilised"]
    assert found["per_class"]["walk"]["onset_delay_p50_ms"] == pytest.approx(100.0)  # three frames at 30 Hz
    assert found["macro_f1"] != found["raw"]["macro_f1"]
    assert (found["causal"], found["split"]) == (True, BY_RECORDING)
    assert {"macro_f1", "accuracy", "balanced_accuracy", "per_class", "bout_f1", "flicker"} <= found["raw"].keys()


def test_intervals_are_over_recordings_and_hold_the_score(six: list[RecordingAnswers]) -> None:
    intervals = evaluation_record(six, CLASSES, BY_RECORDING, causal=True)["intervals"]
    assert (intervals["unit"], intervals["n_units"], intervals["too_few"]) == ("recording", 6, False)
    alone = [evaluation_record([one], CLASSES, BY_RECORDING, causal=True)["raw"] for one in six]
    whole = evaluation_record(six, CLASSES, BY_RECORDING, causal=True)["raw"]
    for name in ("accuracy", "macro_f1", "bout_f1", "flicker"):
        interval = intervals["raw"][name]
        assert interval["low"] < whole[name] < interval["high"]
        spread = [one[name] for one in alone]
        assert min(spread) - 0.02 < interval["low"] and interval["high"] < max(spread) + 0.02
    # Six copies of one recording say nothing new: the interval is a point.
    same = [replace(six[0], name=str(place)) for place in range(6)]
    point = evaluation_record(same, CLASSES, BY_RECORDING, causal=True)["intervals"]["raw"]["macro_f1"]
    assert point["low"] == pytest.approx(point["high"])


def test_what_belongs_together_is_drawn_together(six: list[RecordingAnswers]) -> None:
    grouped = [replace(one, group=f"day {place // 2}") for place, one in enumerate(six)]
    found = evaluation_record(grouped, CLASSES, {"by": "group"}, causal=True)["intervals"]
    assert (found["unit"], found["n_units"], found["too_few"]) == ("group", 3, True)
    assert found["raw"]["macro_f1"] is None
    each = [replace(one, group=one.name) for one in six]
    assert evaluation_record(each, CLASSES, {"by": "k_fold"}, causal=True)["intervals"]["unit"] == "recording"


def test_blocks_of_one_recording_are_the_units_of_a_split_by_blocks() -> None:
    one = answers(1, n=1200)
    judged = (np.arange(1200) // 100) % 2 == 1
    truth = one.truth.copy()
    truth[150:155], judged[150:155] = -1, False  # unlabelled, but no border of a block
    found = evaluation_record([replace(one, judged=judged, truth=truth)], CLASSES, {"by": "time_block"}, causal=True)
    assert (found["intervals"]["unit"], found["intervals"]["n_units"]) == ("block", 6)
    assert found["n_frames"] == 595
    assert any("not for a new animal" in one for one in found["warnings"])


def test_frames_that_are_not_judged_change_nothing(six: list[RecordingAnswers]) -> None:
    judged = np.arange(600) < 300
    part = replace(six[0], judged=judged)
    wrong = replace(part, raw=np.where(judged, part.raw, 0).astype(np.int16), truth=np.where(judged, part.truth, 2))
    first, second = (evaluation_record([one], CLASSES, BY_RECORDING, causal=True) for one in (part, wrong))
    assert first["raw"]["confusion_matrix"] == second["raw"]["confusion_matrix"]
    assert first["n_frames"] == second["n_frames"] == 300
    assert first["raw"]["bouts"] == second["raw"]["bouts"]


def test_majority_is_what_learning_counted(six: list[RecordingAnswers]) -> None:
    counts = {"rest": 10, "walk": 1000, "groom": 5}
    found = evaluation_record(six, CLASSES, BY_RECORDING, causal=True, learnt_counts=counts)
    majority = found["baselines"]["majority"]
    truth = np.concatenate([one.truth for one in six])
    assert (majority["class"], majority["counted_in"]) == ("walk", "the training part")
    assert majority["accuracy"] == np.mean(truth == 1)
    assert majority["balanced_accuracy"] == pytest.approx(1 / 3)
    assert majority["kappa"] == pytest.approx(0.0)
    unknown = evaluation_record(six, CLASSES, BY_RECORDING, causal=True)["baselines"]["majority"]
    assert unknown["counted_in"] == "the scored frames"
    assert CLASSES.index(unknown["class"]) == np.bincount(truth).argmax()


def test_other_raters_stand_beside_the_model(six: list[RecordingAnswers]) -> None:
    rng = np.random.default_rng(5)
    rated: list[RecordingAnswers] = []
    for one in six[:5]:
        theirs = one.truth.copy()
        theirs[rng.random(600) < 0.1] = 0
        rated.append(replace(one, raters={"second": theirs}))
    found = evaluation_record([*rated, six[5]], CLASSES, BY_RECORDING, causal=True)
    (pair,) = found["raters"]["pairs"]
    assert (pair["first"], pair["second"], pair["n_frames"]) == ("labels", "second", 3000)
    assert 0.8 < pair["kappa"] < 1.0
    assert pair["agreement"] == found["compare"]["second"]["agreement_with_labels"]["agreement"]
    assert found["compare"]["second"]["raw"]["n_frames"] == 3000
    assert evaluation_record(six, CLASSES, BY_RECORDING, causal=True)["raters"] is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"causal": False}, "no rig can give them"),
        ({"causal": False, "look_ahead_frames": 12}, "next 12 frames"),
        ({"label_source": "machine"}, "made by a machine"),
        ({"label_source": "simulated"}, "nothing of real animals"),
        ({"learnt_from": ["r1"]}, "has learnt from r1"),
        ({"part": "validation"}, "validation part"),
        ({"split": {"by": "k_fold", "chosen": "epochs"}}, "recordings that are scored: epochs"),
    ],
)
def test_what_a_reader_must_know_is_said(six: list[RecordingAnswers], given: dict[str, Any], words: str) -> None:
    plain = evaluation_record(six, CLASSES, BY_RECORDING, causal=True)
    assert not any(words in one for one in plain["warnings"])
    found = evaluation_record(six, CLASSES, **({"split": BY_RECORDING, "causal": True} | given))
    assert sum(words in one for one in found["warnings"]) == 1
    assert found["causal"] == given.get("causal", True)


def test_too_little_is_said_to_be_too_little() -> None:
    one = answers(3)
    rare = np.where(one.truth == 2, 1, one.truth).astype(np.int16)
    rare[300:320] = 2
    found = evaluation_record([replace(one, truth=rare)], [*CLASSES, "jump"], BY_RECORDING, causal=True)
    told = " ".join(found["warnings"])
    assert "hold no jump" in told
    assert "groom 1" in told
    assert "1 recording: too few" in told
    assert found["per_class"]["jump"]["f1"] is None
    with pytest.raises(DataError, match="no labelled frame"):
        evaluation_record([replace(one, judged=np.zeros(600, np.bool_))], CLASSES, BY_RECORDING, causal=True)


def test_answers_are_read_as_they_were_written(tmp_path: Path, six: list[RecordingAnswers]) -> None:
    path = tmp_path / "answers.npz"
    given = [replace(six[0], group="día 1", raters={"b/ü": six[1].truth}, fold=2), answers(9, n=40)]
    write_answers(path, given, CLASSES)
    found, classes = read_answers(path)
    assert classes == CLASSES
    for one, other in zip(given, found, strict=True):
        assert (one.name, one.group, one.rate_hz, one.fold) == (other.name, other.group, other.rate_hz, other.fold)
        for what in ("truth", "raw", "label", "p", "judged"):
            assert np.array_equal(getattr(one, what), getattr(other, what))
            assert getattr(one, what).dtype == getattr(other, what).dtype
        assert {name: labels.tolist() for name, labels in one.raters.items()} == {
            name: labels.tolist() for name, labels in other.raters.items()
        }
    assert [one.name for one in tmp_path.iterdir()] == ["answers.npz"]
    assert found[0].t_ns[:4].tolist() == [0, 33_333_333, 66_666_667, 100_000_000]


def test_a_damaged_file_of_answers_is_named(tmp_path: Path, six: list[RecordingAnswers]) -> None:
    path = tmp_path / "answers.npz"
    with pytest.raises(DataError, match="is not there"):
        read_answers(path)
    write_answers(path, six[:1], CLASSES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"answers.npz: is no .npz file, or is cut"):
        read_answers(path)
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(DataError, match="is damaged"):
        read_answers(path)
    np.savez(path, classes=np.array(CLASSES))
    with pytest.raises(DataError, match="lacks"):
        read_answers(path)
    np.savez(path, schema=np.array(99))
    with pytest.raises(DataError, match="schema 99"):
        read_answers(path)


def test_answers_that_cannot_be_written_leave_nothing(tmp_path: Path, six: list[RecordingAnswers]) -> None:
    (tmp_path / "answers.npz").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write_answers(tmp_path / "answers.npz", six[:1], CLASSES)
    assert [one.name for one in tmp_path.iterdir()] == ["answers.npz"]
    shutil.rmtree(tmp_path / "answers.npz")
    with pytest.raises(DataError, match="label has 599 frames, the truth 600"):
        replace(six[0], label=six[0].label[1:])


def test_freezing_of_a_real_mouse_is_scored_by_blocks_of_time(test_data: Path) -> None:
    """A person's labels against how fast the points move, causally: no model, but real data and real bouts."""
    pytest.importorskip("h5py", reason="labels of MATLAB 7.3 are read with h5py")
    folder = test_data / "freezing_pose" / "demo" / "demo1"
    points = read_pose(folder / "demo1_tracking.csv").points[:, 0, :, :2]
    truth = np.zeros(len(points), np.int16)
    for bout in read_labels(folder / "hB_demo1_manual_annotations.mat.mat").streams[""]:
        truth[bout.start_frame : bout.stop_frame] = 1
    half = RATE_HZ // 2  # the speed over the last half second
    moved_px = np.linalg.norm(points[half:] - points[:-half], axis=2)
    speed = np.concatenate([np.full(half, 10.0), np.median(moved_px, axis=1) * 2 / PX_PER_CM])
    p = (1 / (1 + (speed / SLOW_CM_S) ** 2)).astype(np.float32)
    both = np.stack([1 - p, p], axis=1)
    stabiliser = Stabiliser(
        ["moving", "freezing"], ThresholdsConfig(default=ClassThresholds(enter=0.5, exit=0.5, min_dwell_ms=200.0))
    )
    one = RecordingAnswers(
        name="demo1", rate_hz=RATE_HZ, truth=truth, raw=both.argmax(1).astype(np.int16), label=truth * 0, p=both,
        judged=(np.arange(len(truth)) // (10 * RATE_HZ)) % 2 == 1,
    )  # fmt: skip
    for place, t_ns in enumerate(one.t_ns.tolist()):
        stabiliser.step(both[place], t_ns)
        one.label[place] = stabiliser.label_index
    found = evaluation_record([one], ["moving", "freezing"], {"by": "time_block"}, causal=True)
    freezing = found["per_class"]["freezing"]
    assert (found["n_frames"], found["intervals"]["unit"], found["intervals"]["n_units"]) == (3000, "block", 6)
    assert freezing["f1"] > 0.5 and found["raw"]["per_class"]["freezing"]["f1"] > 0.6
    assert found["raw"]["flicker"] > 4 * found["flicker"]  # frames do not tell
    interval = found["intervals"]["stabilised"]["f1.freezing"]
    assert interval["low"] < freezing["f1"] < interval["high"]
    assert any("not for a new animal" in one for one in found["warnings"])
