"""From label files to a bundle where a frame has several behaviours at once, or only the recording has a label."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.evaluate_pose import evaluate_folder
from ethostream.training.runs.train_pose import train_pose
from ethostream.training.scores.answers_file import read_answers
from ethostream.training.stretches import runs_of
from social_sessions import write_session

N_FRAMES = 480
HEAD = "head={kind: tcn, hidden: 12, dilations: [1, 2], dropout: 0.0}"
FIT: dict[str, Any] = {
    "head_epochs": 40, "stretch_frames": 60, "batch_windows": 4, "learning_rate": 0.02, "threads": 1, "patience": 40,
}  # fmt: skip


def _dataset(folder: Path, sessions: list[int]) -> Path:
    """Bouts of who is near, and, in the midst of them, of who attacks; deepethogram would have two columns of ones."""
    entries: list[dict[str, str]] = []
    for number in sessions:
        names = np.array(write_session(folder, number, N_FRAMES))
        near = np.isin(names, ["social", "aggression"])
        rows = [
            f"{start},{stop},{name}"
            for name, mask in (("near", near), ("attack", names == "aggression"), ("apart", names == "nonsocial"))
            for start, stop in runs_of(mask)
        ]
        (folder / f"{number}.csv").write_text("start_frame,stop_frame,behaviour\n" + "\n".join(rows) + "\n")
        entries.append({"name": str(number), "path": f"dlc_csv/{number}DLC_resnet_el_filtered.csv",
                        "labels": f"{number}.csv"})  # fmt: skip
    text = {
        "defaults": {"kind": "pose", "rate_hz": 30.0},
        "recordings": entries,
        "labels": {"overlap": "each", "priority": ["attack", "near"]},
        "roles": {"front": "top", "center": "body", "back": "tail"},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    return folder


@pytest.mark.long
def test_several_behaviors_at_once_come_out_of_the_bundle_side_by_side(tmp_path: Path) -> None:
    data = _dataset(tmp_path / "data", [1, 2])
    changes = [
        HEAD,
        f"fit={json.dumps({**FIT, 'loss': {'kind': 'binary'}, 'temperature': True})}",
        "split={by: time_block, pattern: [train, validation, test], guard_s: 0.1}",
        "choose=null",
    ]
    config = configure(read_preset("pose-tcn"), find_dataset(data), changes)
    assert config.classes == ["apart", "attack", "near"]
    result = train_pose(config, data, tmp_path / "bundle", quiet=True)
    evaluation = result["evaluation"]
    json.dumps(evaluation, allow_nan=False)
    each = evaluation["behaviors"]
    assert each["n_several"] > 30
    assert min(one["pr_auc"] for one in each["per_class"].values()) > 0.9
    checked = json.loads((tmp_path / "bundle.run" / "data.json").read_text(encoding="utf-8"))
    assert any("each is learnt on its own" in note for note in checked["notes"])
    assert checked["recordings"]["1"]["n_unlabelled"] == 0  # where nobody does anything, that is known
    (one, _), _ = read_answers(tmp_path / "bundle.run" / "answers.npz")
    assert one.present is not None
    both = one.judged & (one.present.sum(axis=1) == 2)
    assert (one.p[both][:, 1:].sum(axis=1) > 1.0).mean() > 0.8  # of classes that exclude each other never
    assert (one.truth[both] == config.classes.index("attack")).all()
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert manifest.head.output == "independent"
    again, _ = load_config(tmp_path / "bundle.run" / "config.yaml")
    assert again.labels.overlap == "each"
    others = _dataset(tmp_path / "others", [7])
    record = evaluate_folder(tmp_path / "bundle", find_dataset(others)).record
    assert record["behaviors"]["n_frames"] == N_FRAMES
    with pytest.raises(DataError, match=r"begins at frame .* within"):  # with one class per frame they may not meet
        path = others / "dataset.yaml"
        text = yaml.safe_load(path.read_text(encoding="utf-8")) | {"labels": {}}
        path.write_text(yaml.safe_dump(text), encoding="utf-8")
        evaluate_folder(tmp_path / "bundle", find_dataset(path))


def _clips(folder: Path) -> TrainConfig:
    """Short recordings, each of one behaviour, of which a table says no more than that."""
    rows, data = ["recording,behaviour"], list[dict[str, str]]()
    for place in range(12):
        kind = ("social", "nonsocial", "aggression")[place % 3]
        names = write_session(folder / "whole", place, 240)
        start, stop = max(runs_of(np.array(names) == kind), key=lambda run: run[1] - run[0])
        lines = (folder / "whole" / "dlc_csv" / f"{place}DLC_resnet_el_filtered.csv").read_text().splitlines()
        cut = [f"{k},{line.partition(',')[2]}" for k, line in enumerate(lines[4 + start : 4 + stop])]
        (folder / f"clip{place}.csv").write_text("\n".join([*lines[:4], *cut]) + "\n")
        rows.append(f"clip{place},{kind}")
        part = "train" if place < 6 else "validation" if place < 9 else "test"
        data.append({"kind": "pose", "path": f"clip{place}.csv", "labels": "labels.csv", "part": part})
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    raw = {
        "name": "weak",
        "classes": ["aggression", "nonsocial", "social"],
        "data": [{**one, "rate_hz": 30.0} for one in data],
        "split": {"by": "recording"},
        "pose": {
            "scale": {"path": ["top", "tail"]},
            "features": [{"name": "pose_distances", "parameters": {"cross": True}}],
        },
        "head": {"kind": "gru", "hidden": 8},
        "fit": {**FIT, "supervision": "sequence_mean"},
    }
    return TrainConfig.model_validate(raw)


def test_one_label_per_recording_is_learnt_by_sequence_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    config = _clips(tmp_path / "data")
    result = train_pose(config, tmp_path / "data", tmp_path / "bundle", quiet=True)
    evaluation = result["evaluation"]
    assert evaluation["n_frames"] == 3  # one answer per recording of the test part
    assert result["fit"]["fit"]["best_value"] == 1.0
    by_frame = config.model_copy(update={"fit": config.fit.model_copy(update={"supervision": "frame"})})
    with pytest.raises(DataError, match=r"clip0, clip1, clip2 …: has one label as a whole.*sequence_mean"):
        train_pose(by_frame, tmp_path / "data", tmp_path / "other", quiet=True)


def test_a_data_set_without_a_preset_for_it_says_what_to_set(tmp_path: Path) -> None:
    data = _dataset(tmp_path / "data", [1])
    with pytest.raises(ConfigError, match=r"labels.overlap: each: fit.loss.kind is cross_entropy"):
        configure(read_preset("pose-tcn"), find_dataset(data, FolderOptions()), [HEAD])
