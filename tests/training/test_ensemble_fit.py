"""A training file that asks for an ensemble: heads that differ, averaged, in one bundle."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.pose.pose_blocks import run_pose_blocks
from ethostream.sync.errors import ConfigError
from ethostream.training.config.recordings import PoseData
from ethostream.training.config.training_file import load_config
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.pose_recordings import features_of, open_poses, with_scale
from ethostream.training.fitting.temperature import calibration_of
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.fit_pose import fit_pose, frame_answers, frame_logits
from ethostream.training.runs.train_pose import train_pose
from ethostream.training.splits import TimeBlockSplit, parts_of
from social_sessions import make_social_folder

HEAD = "head={kind: mlp, hidden: 8, dropout: 0.0, ensemble: 2}"
FIT = ["fit.head_epochs=2", "fit.stretch_frames=120", "fit.batch_windows=4", "fit.threads=1", "fit.learning_rate=0.01"]
SPLIT = "split={by: time_block, pattern: [train, test], guard_s: 0.2}"


def test_an_ensemble_is_fitted_exported_and_run(tmp_path: Path) -> None:
    folder = make_social_folder(tmp_path / "data", [1, 2], 360)
    config = configure(
        read_preset("pose-tcn"), find_dataset(folder, FolderOptions(stream="S1")), [HEAD, SPLIT, "choose=null", *FIT]
    )
    result = train_pose(config, folder, tmp_path / "two", quiet=True)
    run = tmp_path / "two.run"
    assert len(result["fit"]["fit"]["members"]) == 2
    logs = [(run / "metrics.jsonl").read_text(), (run / "member-2" / "metrics.jsonl").read_text()]
    assert logs[0] != logs[1], "the two begin with other weights"
    assert not list(run.rglob("*.ckpt"))
    bundle = Bundle.load(tmp_path / "two")
    assert (bundle.manifest.head.kind, bundle.manifest.head.members) == ("ensemble", ["mlp", "mlp"])
    # What the bundle says is the mean of what two heads say that are fitted alone.
    read = load_config(run / "config.yaml")[0].pose or pytest.fail()
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, read = open_poses(entries, folder, read, config.classes, config.labels, config.split)
    rule = with_scale(read, recordings)
    inputs = [features_of(rule, one.points) for one in recordings]
    alone = config.model_copy(update={"head": config.head.model_copy(update={"ensemble": 1})})
    p: list[np.ndarray] = []
    for seed in (0, 1):
        seeded = alone.model_copy(update={"seed": config.seed + seed})
        fitted = fit_pose(seeded, recordings, inputs, tmp_path / f"one-{seed}", True, list[str]().append)
        p.append(frame_answers(fitted.head, inputs[:1])[0])
    assert np.abs(p[0] - p[1]).max() > 0.01
    found = run_pose_blocks(bundle, recordings[0].points, recordings[0].rate_hz)
    assert np.allclose(found.p, np.mean(p, axis=0), atol=1e-5)


def test_of_video_one_head_is_fitted(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    data = "data: [{kind: simulated, seeds: [1], n_frames: 60}]\nsplit: {by: time_block, pattern: [train, test]}\n"
    path.write_text(f"name: two\nclasses: [rear, still]\n{data}head: {{ensemble: 2}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="ensemble go with kind: pose"):
        load_config(path)


def test_with_parts_the_mean_of_the_members_is_calibrated(tmp_path: Path) -> None:
    """One temperature for all members together: nothing is left to gain on the answers that the bundle gives."""
    folder = make_social_folder(tmp_path / "data", [1, 2], 360)
    config = configure(
        read_preset("pose-tcn"),
        find_dataset(folder, FolderOptions(stream="S1")),
        [HEAD, SPLIT, "choose=null", *FIT, "fit.temperature=true", "fit.head_epochs=12", "fit.learning_rate=0.05"],
    )
    split = TimeBlockSplit.model_construct(pattern=["train", "validation", "train", "validation"], guard_s=0.1)
    config = config.model_copy(update={"split": split})
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, read = open_poses(
        entries, folder, config.pose or pytest.fail(), config.classes, config.labels, config.split
    )
    rule = with_scale(read, recordings)
    inputs = [features_of(rule, one.points) for one in recordings]
    fitted = fit_pose(config, recordings, inputs, tmp_path / "run", True, list[str]().append)
    assert abs(fitted.summary["calibration"]["temperature"] - 1.0) > 0.02
    assert "calibration" not in fitted.summary["fit"]["members"][0]
    judged = [parts_of(split, one) == 1 for one in recordings]
    logits = np.concatenate([z[mask] for z, mask in zip(frame_logits(fitted.head, inputs), judged, strict=True)])
    truth = np.concatenate([one.labels[mask] for one, mask in zip(recordings, judged, strict=True)])
    assert calibration_of(logits, truth).temperature == pytest.approx(1.0, abs=0.01)
    p = np.concatenate([answer.p[mask] for answer, mask in zip(fitted.answers, judged, strict=True)])
    assert np.allclose(
        p, np.concatenate([q[m] for q, m in zip(frame_answers(fitted.head, inputs), judged, strict=True)]), atol=1e-5
    )
