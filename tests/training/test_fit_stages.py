"""The stages of a video model: their order, what each of them changes, and going on inside any of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ethostream.sync.errors import ConfigError
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.fitting.checkpoint import checkpoint_path
from ethostream.training.fitting.crop_head_data import head_data
from ethostream.training.fitting.crop_recordings import Recording
from ethostream.training.fitting.head_validation import head_logits
from ethostream.training.fitting.joint_fit import Networks
from ethostream.training.fitting.video_fit import build_networks, fit_video, unchosen_of
from ethostream.training.splits import PARTS
from head_problems import weights_of

SIDE_PX = 16


def config(**options: Any) -> TrainConfig:
    fit_options = {
        "joint_epochs": 2, "head_epochs": 2, "window_frames": 8, "stretch_frames": 30, "batch_windows": 4,
        "epoch_windows": 8, "threads": 1, **options,
    }  # fmt: skip
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "classes": ["dark", "bright"],
            "data": [{"kind": "simulated", "seeds": [1], "n_frames": 2}],
            "split": {"by": "time_block", "pattern": ["train", "test"]},
            "embedder": {"kind": "small_cnn", "dims": 4, "side_px": SIDE_PX, "width": 2},
            "head": {"kind": "gru", "hidden": 4},
            "features": [{"name": "box_motion"}],
            "fit": fit_options,
        }
    )


def recordings() -> list[Recording]:
    """Two views of something that is dark or bright for a while."""
    found: list[Recording] = []
    for seed, part in ((1, "train"), (2, "validation")):
        random = np.random.default_rng(seed)
        labels = (np.arange(60) // 15 % 2).astype(np.int16)
        grey = 90 + 70 * labels[None, :, None, None] + random.normal(0, 25, (2, 60, SIDE_PX, SIDE_PX))
        features = random.normal(50.0, 9.0, (2, 60, 1)).astype(np.float32)
        parts = np.full(60, PARTS.index(part), np.int8)  # type: ignore[arg-type]
        crops = grey.clip(0, 255).astype(np.uint8)
        found.append(Recording(part, ("a", "b"), features, labels, parts, crops))
    return found


def fresh(rule: TrainConfig) -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build_networks(rule, 2, 1, Path())


def stages_in(run: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["epoch"]) for line in lines]


def test_a_head_is_fitted_before_loaded_weights_are_changed(tmp_path: Path) -> None:
    rule = config(frozen_epochs=2, embedder_learning_rate=1e-9, joint_epochs=1, head_epochs=1)
    networks = fresh(rule)
    before = weights_of(networks.embedder)
    found = fit_video(rule, recordings(), networks, tmp_path, quiet=True)
    assert list(found) == ["frozen", "joint", "head"]
    assert stages_in(tmp_path) == [("frozen", 0), ("frozen", 1), ("joint", 0), ("head", 0)]
    for name, value in weights_of(networks.embedder).items():
        if "weight" in name or "bias" in name:
            assert np.allclose(value, before[name], atol=1e-6), name
    other = fresh(rule)
    fit_video(
        config(frozen_epochs=2, joint_epochs=1, head_epochs=1), recordings(), other, tmp_path / "free", quiet=True
    )
    moved = [np.abs(value - before[name]).max() for name, value in weights_of(other.embedder).items()]
    assert max(moved) > 1e-4


@pytest.mark.parametrize(("nth", "done"), [(3, 1), (5, 2)])
def test_going_on_in_any_stage_ends_with_the_same_bits(nth: int, done: int, tmp_path: Path) -> None:
    """Two batches make a joint epoch: the third is of the second one, the fifth of the first head epoch."""
    rule = config()
    whole = fresh(rule)
    wanted = fit_video(rule, recordings(), whole, tmp_path / "whole", quiet=True)
    broken, seen = fresh(rule), list[bool]()

    def stop(module: torch.nn.Module, _: Any) -> None:
        seen.append(module.training)
        if sum(seen) == nth:
            raise MemoryError("as if killed")

    broken.head.core.register_forward_pre_hook(stop)
    with pytest.raises(MemoryError, match="as if killed"):
        fit_video(rule, recordings(), broken, tmp_path / "broken", quiet=True)
    again = fresh(rule)
    found = fit_video(rule, recordings(), again, tmp_path / "broken", quiet=True)
    assert found["joint"]["resumed_from_epoch"] == done
    for one, other in ((whole.embedder, again.embedder), (whole.head, again.head)):
        for name, value in weights_of(one).items():
            assert np.array_equal(weights_of(other)[name], value), name
    assert stages_in(tmp_path / "broken") == stages_in(tmp_path / "whole")
    assert found["head"]["best_value"] == wanted["head"]["best_value"]
    assert checkpoint_path(tmp_path / "broken", "joint").exists()


def both_at_once() -> list[Recording]:
    """One behaviour shows in the light, the other in the feature, in any combination; some frames nobody looked at."""
    found: list[Recording] = []
    for one in recordings():
        n = len(one.labels)
        there = np.stack([one.labels, np.arange(n) // 10 % 2], axis=1).astype(np.float32)
        features = one.features + 40 * there[None, :, 1:]
        labels = np.where(there.sum(axis=1) == 1, there.argmax(axis=1), -1).astype(np.int16)
        there[25:28] = np.nan
        found.append(replace(one, features=features.astype(np.float32), labels=labels, targets=there))
    return found


@pytest.mark.parametrize("stages", [{"joint_epochs": 40, "head_epochs": 0}, {"joint_epochs": 20, "head_epochs": 20}])
def test_behaviors_that_meet_are_learnt_side_by_side(stages: dict[str, int], tmp_path: Path) -> None:
    rule = config(**stages, loss={"kind": "binary"}, learning_rate=0.02, patience=40, monitor="loss", temperature=True)
    networks, data = fresh(rule), both_at_once()
    found = fit_video(rule, data, networks, tmp_path, quiet=True)
    assert list(found.values())[-1]["calibration"]["n_frames"] == 2 * (60 - 3)  # two views; all that was looked at
    (shown,) = head_data(networks.embedder, data[1:], "mean", torch.device("cpu"))
    assert shown.targets is not None
    p = np.mean(torch.sigmoid(torch.from_numpy(np.stack(head_logits(networks.head, list(shown.x))))).numpy(), axis=0)
    known = ~np.isnan(shown.targets).any(axis=1)
    right = (p[known] > 0.5) == (shown.targets[known] > 0.5)
    assert right.mean(axis=0).min() > 0.85  # chance is a half
    several = shown.targets[known].sum(axis=1) == 2
    assert right[several].all(axis=1).mean() > 0.7  # a softmax could not say both


def always_both() -> list[Recording]:
    """As `both_at_once`, with a validation part of which no frame has one behaviour alone."""
    train, judged = both_at_once()
    there = np.repeat(np.arange(60)[:, None] // 15 % 2, 2, axis=1).astype(np.float32)
    return [train, replace(judged, labels=np.full(60, -1, np.int16), targets=there)]


def _unlabelled() -> list[Recording]:
    train, judged = recordings()
    return [train, replace(judged, labels=np.full(60, -1, np.int16))]


def _in_short_blocks() -> list[Recording]:
    """As `recordings`, each with blocks for validation of five frames, between blocks that are learnt from."""
    parts = np.where(np.arange(60) // 5 % 4 == 3, PARTS.index("validation"), PARTS.index("train")).astype(np.int8)
    return [replace(one, parts=parts) for one in recordings()]


ALONE = "nothing to choose epoch on, since no frame of the validation part has one behaviour alone: the last epoch"
WITHOUT = "nothing to choose temperature on, since there is no validation part: a temperature of 1"
UNLABELLED = "since no frame of the validation part is labelled: the last epoch"
BINARY = {"loss": {"kind": "binary"}, "monitor": "loss"}


@pytest.mark.parametrize("stages", [{"joint_epochs": 1, "head_epochs": 0}, {"joint_epochs": 0, "head_epochs": 1}])
@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (both_at_once, {**BINARY, "temperature": True}, []),
        (always_both, {**BINARY, "temperature": True}, [ALONE]),
        (lambda: recordings()[:1], {"temperature": True}, [WITHOUT]),
        (lambda: recordings()[:1], {}, []),
        (_unlabelled, {}, [f"nothing to choose epoch on, {UNLABELLED}"]),
        (
            _unlabelled,
            {"temperature": True},
            [f"nothing to choose epoch and temperature on, {UNLABELLED} and a temperature of 1"],
        ),
    ],
)
def test_what_there_is_nothing_to_choose_on_is_said(
    data: Callable[[], list[Recording]],
    options: dict[str, Any],
    said: list[str],
    stages: dict[str, int],
    tmp_path: Path,
) -> None:
    rule = config(**options, **stages)
    fitted = fit_video(rule, data(), fresh(rule), tmp_path, quiet=True)
    assert unchosen_of(rule, data(), fitted) == said


def test_blocks_that_are_not_longer_than_the_look_ahead_choose_nothing(tmp_path: Path) -> None:
    rule = config(joint_epochs=1, head_epochs=0, temperature=True)
    said = list[list[str]]()
    for n_frames in (4, 5):
        head = rule.head.model_copy(update={"look_ahead_frames": n_frames})
        waits = rule.model_copy(update={"head": head})
        fitted = fit_video(waits, _in_short_blocks(), fresh(waits), tmp_path / str(n_frames), quiet=True)
        said.append(unchosen_of(waits, _in_short_blocks(), fitted))
    why = "no frame of the validation part with the 5 frames of look-ahead after it is labelled"
    kept = "the last epoch and a temperature of 1"
    assert said == [[], [f"nothing to choose epoch and temperature on, since {why}: {kept}"]]


@pytest.mark.parametrize("stages", [{"joint_epochs": 1, "head_epochs": 0}, {"joint_epochs": 0, "head_epochs": 1}])
def test_what_never_shows_alone_is_calibrated_on_all_the_same(stages: dict[str, int], tmp_path: Path) -> None:
    """As with keypoints: a temperature asks of each behaviour whether it is there."""
    rule = config(**stages, loss={"kind": "binary"}, temperature=True)
    (found,) = fit_video(rule, always_both(), fresh(rule), tmp_path, quiet=True).values()
    assert (found["calibration"]["n_frames"], found["calibration"]["ece_before"]) == (2 * 60, None)
    assert (found["best_epoch"], found["best_value"]) == (0, None)


@pytest.mark.parametrize("stages", [{"joint_epochs": 1, "head_epochs": 0}, {"joint_epochs": 0, "head_epochs": 1}])
def test_without_validation_nothing_is_calibrated(stages: dict[str, int], tmp_path: Path) -> None:
    rule = config(**stages, temperature=True)
    (found,) = fit_video(rule, recordings()[:1], fresh(rule), tmp_path, quiet=True).values()
    assert "calibration" not in found


def test_a_log_of_an_earlier_fit_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"stage": "joint", "epoch": 7}\n')
    fit_video(config(joint_epochs=0, head_epochs=1), recordings(), fresh(config()), tmp_path, quiet=True)
    assert stages_in(tmp_path) == [("head", 0)]


def test_a_new_normalisation_changes_no_answer_of_what_was_learnt(tmp_path: Path) -> None:
    """The head stage begins where the joint one ended, although it normalises by embeddings that it knows by now."""
    rule = config(joint_epochs=1, head_epochs=1, learning_rate=1e-9)
    networks = fresh(rule)
    found = fit_video(rule, recordings(), networks, tmp_path, quiet=True)
    assert found["head"]["best_value"] == pytest.approx(found["joint"]["best_value"], abs=0.02)
    data = head_data(networks.embedder, recordings()[:1], "mean", torch.device("cpu"))[0]
    assert np.allclose(networks.head.mean.numpy(), data.x.mean(axis=(0, 1)), rtol=1e-3, atol=1e-3)


def test_joined_views_are_one_row(tmp_path: Path) -> None:
    one = config(joint_epochs=0, head_epochs=1).model_copy(update={"fusion": "joined"})
    networks = fresh(one)
    assert networks.head.n_features == 2 * (4 + 1)
    fit_video(one, recordings(), networks, tmp_path, quiet=True)


def test_sequences_need_a_frozen_embedder(tmp_path: Path) -> None:
    rule = config(supervision="sequence_last")
    with pytest.raises(ConfigError, match=r"set fit.joint_epochs: 0"):
        fit_video(rule, recordings(), fresh(rule), tmp_path, quiet=True)
