"""Fits of small heads: what is learnt, what is kept, what ends a fit, and what is said of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.fit import FitConfig
from ethostream.training.fitting.checkpoint import checkpoint_path, forget_checkpoints, read_checkpoint
from ethostream.training.fitting.devices import require_devices
from ethostream.training.fitting.head_data import HeadData, class_counts_of, training_statistics
from ethostream.training.fitting.head_validation import Validation, head_logits, recording_logits
from ethostream.training.fitting.loop import run_stage
from ethostream.training.fitting.losses import FrameLoss
from ethostream.training.fitting.stage import Stage
from ethostream.training.scores.frames import score
from head_problems import CLASSES, FIT, fitted, new_head, problem, recording, weights_of


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def validation(head: Any, data: list[HeadData], **options: Any) -> dict[str, float | None]:
    rule = FitConfig.model_validate(FIT | options)
    loss = FrameLoss(rule.loss, class_counts_of(data, len(CLASSES)), rule.class_weights)
    return Validation(data, rule, CLASSES, loss, "mean").scores(head)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], Path]:
    run = tmp_path_factory.mktemp("learnt")
    return (*fitted(run, head_epochs=6), run)


def test_what_is_there_to_see_is_learnt(learnt: tuple[Any, dict[str, Any], Path]) -> None:
    head, summary, run = learnt
    assert summary["epochs"] == 6
    assert summary["monitor"] == "macro_f1"
    assert summary["best_value"] == summary["validation_macro_f1"] > 0.85
    assert summary["resumed_from_epoch"] == 0
    assert validation(head, problem())["macro_f1"] == summary["best_value"]
    lines = lines_of(run)
    assert [line["epoch"] for line in lines] == list(range(6))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert max(line["validation"]["macro_f1"] for line in lines) == summary["best_value"]
    assert lines[summary["best_epoch"]]["validation"]["macro_f1"] == summary["best_value"]
    assert lines[0]["learning_rate"] > lines[-1]["learning_rate"] > 0.0


def test_views_of_independent_behaviors_are_judged_by_what_the_rig_says() -> None:
    """The largest over the views as it is: scaled to sum to one, frames would come in another order."""
    x = np.random.default_rng(1).normal(0.0, 2.0, size=(2, 400, 5)).astype(np.float32)
    one = replace(recording(3, "validation"), x=x)
    head = new_head(output="independent")
    rule = FitConfig.model_validate(FIT | {"loss": {"kind": "binary"}, "monitor": "pr_auc"})
    loss = FrameLoss(rule.loss, class_counts_of([one], len(CLASSES)), rule.class_weights)
    found = Validation([one], rule, CLASSES, loss, "max").scores(head)["pr_auc"]
    (logits,) = recording_logits(head, [one], "validation")
    largest = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).max(axis=0)
    scaled = largest / largest.sum(axis=1, keepdims=True)
    unscaled, other = (score(one.labels, p.argmax(1), CLASSES, p).macro_pr_auc for p in (largest, scaled))
    assert found == pytest.approx(unscaled, abs=1e-6) and found != pytest.approx(other, abs=1e-3)


def test_a_recording_in_which_nothing_happens_counts_in_the_loss_of_independent_behaviors() -> None:
    """Its frames have no label of their own, so the scores of labels are the same without it."""
    one, quiet = recording(3, "validation"), recording(4, "validation")
    one = replace(one, targets=np.eye(len(CLASSES), dtype=np.float32)[one.labels])
    quiet = replace(quiet, labels=np.full_like(quiet.labels, -1), targets=np.zeros((400, len(CLASSES)), np.float32))
    head = new_head(output="independent")
    alone, both, twice = (
        validation(head, data, loss={"kind": "binary"}, class_weights="none")
        for data in ([one], [one, quiet], [one, one])
    )
    assert both["macro_f1"] == alone["macro_f1"]
    assert both["loss"] != pytest.approx(alone["loss"], abs=1e-3) and twice["loss"] == pytest.approx(alone["loss"])


def test_curves_are_there_for_tensorboard(learnt: tuple[Any, dict[str, Any], Path]) -> None:
    _, _, run = learnt
    events = list((run / "tensorboard" / "head").glob("events.out.tfevents.*"))
    assert len(events) == 1
    data = events[0].read_bytes()
    for name in (b"loss", b"learning_rate", b"validation/macro_f1"):
        assert data.count(name) >= 6


def test_scores_are_those_of_the_whole_recording(learnt: tuple[Any, dict[str, Any], Path]) -> None:
    """Recordings of other lengths beside each other, and in pieces, are answered as they are one by one."""
    head, _, _ = learnt
    data = [recording(11, "validation", 900), recording(12, "validation", 2500, rows=2), recording(13, None, 5)]
    together = recording_logits(head, data, "validation")
    assert [len(one[0]) for one in together] == [900, 2500, 0]
    for one, logits in zip(data[:2], together, strict=False):
        for row, found in zip(one.x, logits, strict=True):
            with torch.inference_mode():
                alone, _ = head.logits(torch.from_numpy(row[None]), head.initial_state(1))
            assert np.allclose(found, alone[0].numpy(), atol=1e-4)
    p = torch.softmax(torch.from_numpy(together[1]), -1).mean(0).numpy()  # the two rows are two views of one animal
    wanted = score(
        np.concatenate([data[0].labels, data[1].labels]),
        np.concatenate([together[0][0].argmax(1), p.argmax(1)]),
        CLASSES,
    )
    found = validation(head, data, monitor="pr_auc.rear")
    assert found["macro_f1"] == wanted.macro_f1
    assert found["accuracy"] == wanted.accuracy
    assert 0.5 < found["pr_auc.rear"] <= 1.0  # type: ignore[operator]


def test_a_head_that_is_not_causal_sees_whole_recordings() -> None:
    head = new_head("gru", causal=False).eval()
    rows = [recording(1, "train", 60).x[0], recording(2, "train", 2100).x[0]]
    for row, found in zip(rows, head_logits(head, rows), strict=True):
        with torch.inference_mode():
            assert np.array_equal(found, head.logits(torch.from_numpy(row[None]), ())[0][0].numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"monitor": "loss"},
        {
            "monitor": "balanced_accuracy",
            "loss": {"kind": "focal"},
            "augment": {"feature_noise": 0.1, "feature_drop": 0.1},
        },
        {"monitor": "pr_auc", "loss": {"edge_frames": 3, "temporal": 0.15}, "class_weights": "none"},
        {"monitor": "recall.rear", "loss": {"logit_adjustment": 1.0}, "class_weights": "none"},
        {"monitor": "bout_f1", "sampling": "bouts"},
        {"optimizer": {"kind": "rmsprop", "decay": 0.92}, "schedule": {"kind": "inverse"}, "label_margin_frames": 2},
        {"optimizer": {"kind": "adadelta"}, "learning_rate": 1.0, "schedule": {"kind": "constant"}, "head_epochs": 7},
    ],
)
def test_every_way_learns_and_keeps_its_best_epoch(options: dict[str, Any], tmp_path: Path) -> None:
    head, summary = fitted(tmp_path, **options)
    monitor = options.get("monitor", "macro_f1")
    values = [line["validation"][monitor] for line in lines_of(tmp_path)]
    best = min if monitor == "loss" else max
    assert summary["best_value"] == best(values) == values[summary["best_epoch"]]
    kept = validation(head, problem(), **options)
    assert kept[monitor] == pytest.approx(summary["best_value"], rel=1e-6)
    assert kept["balanced_accuracy"] > 0.6  # type: ignore[operator]


def test_a_binary_loss_gives_every_behavior_a_probability_of_its_own(tmp_path: Path) -> None:
    data = problem()
    both = np.zeros((len(data[0].labels), 3), np.float32)
    both[np.arange(len(both)), data[0].labels] = 1.0
    both[:, 0] = 1.0  # what is learnt here is there all the time
    data = [replace(data[0], targets=both), data[2]]
    head, _ = fitted(tmp_path, data, new_head(output="independent"), loss={"kind": "binary"}, class_weights="half")
    logits = recording_logits(head, data, "validation")[1][0]
    assert (logits[:, 0] > 0).mean() > 0.95
    assert score(data[1].labels, logits[:, 1:].argmax(1) + 1, CLASSES).per_class["rear"].recall > 0.6  # type: ignore[operator]
    with pytest.raises(ConfigError, match="is for a head of independent classes, this one is softmax"):
        fitted(tmp_path, loss={"kind": "binary"})


@pytest.mark.parametrize("supervision", ["sequence_last", "sequence_mean"])
def test_one_label_per_sequence_is_enough(supervision: str, tmp_path: Path) -> None:
    head, summary = fitted(tmp_path, supervision=supervision, head_epochs=3)
    assert summary["best_value"] > 0.7
    data = problem()
    found = validation(head, data, supervision=supervision)
    sequences = data[2].sequences_of("validation").tolist()
    logits = head_logits(head, [data[2].x[0, start:stop] for start, stop, _ in sequences])
    said = [one[-1] if supervision == "sequence_last" else one.mean(0) for one in logits]
    right = np.mean([one.argmax() == label for one, (_, _, label) in zip(said, sequences, strict=True)])
    assert found["accuracy"] == pytest.approx(right)


def test_a_head_that_waits_is_asked_for_what_was(tmp_path: Path) -> None:
    """The class is seen five frames after its time only: a head that waits for so long answers it, another cannot."""
    data = [replace(one, x=np.roll(one.x, 5, axis=1)) for one in problem()]
    for one in data:
        one.labels[:] = np.random.default_rng(len(one.name)).integers(3, size=len(one.labels))  # no two frames alike
    for one, source in zip(data, problem(), strict=True):
        centres = np.stack([source.x[0, source.labels == k].mean(0) for k in range(3)])
        one.x[0, 5:] = centres[one.labels[:-5]]
    waits, summary = fitted(tmp_path / "waits", data, new_head("mlp", look_ahead_frames=5), head_epochs=5)
    assert summary["best_value"] > 0.95
    _, blind = fitted(tmp_path / "blind", data, new_head("mlp"), head_epochs=5)
    assert blind["best_value"] < 0.6
    assert waits.look_ahead_frames == 5


def test_what_does_not_get_better_ends_the_fit(tmp_path: Path) -> None:
    noise = [replace(one, x=np.random.default_rng(1).normal(size=one.x.shape).astype(np.float32)) for one in problem()]
    _, summary = fitted(tmp_path / "noise", noise, patience=2, head_epochs=40)
    assert summary["epochs"] < 40
    values = [line["validation"]["macro_f1"] for line in lines_of(tmp_path / "noise")]
    assert summary["best_epoch"] == summary["epochs"] - 3 == int(np.argmax(values))
    _, summary = fitted(tmp_path / "tolerant", patience=2, head_epochs=40, tolerance=2.0)
    assert summary["epochs"] == 3  # the first epoch is the only one that is better by so much


class Scripted(Stage):
    """A stage whose validation gives these values, epoch by epoch."""

    def __init__(self, run: Path, values: list[float | None]) -> None:
        super().__init__("head", FitConfig.model_validate(FIT | {"patience": 2}), 1, len(values), run)
        self.network = torch.nn.Linear(1, 1)
        self.values, self.seen = values, list[float]()

    def learnt(self) -> dict[str, torch.nn.Module]:
        return {"head": self.network}

    def parameter_groups(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        return [(list(self.network.parameters()), 0.1)]

    def batches(self) -> Any:
        return OneBatch()

    def loss_of(self, batch: torch.Tensor) -> torch.Tensor:
        return self.network(batch).sum()

    def validated(self) -> dict[str, float | None] | None:
        self.seen.append(self.network.weight.item())
        return {"macro_f1": self.values[self.n_done]}

    def learns_from(self) -> list[bytes]:
        return []


class OneBatch(torch.utils.data.Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.ones(1, 1)


@pytest.mark.parametrize(
    ("values", "epochs", "best_epoch", "best_value"),
    [
        ([None, None, None, None], 4, 3, None),
        ([None, None, None, 0.5, 0.4, None, 0.9], 6, 3, 0.5),
        ([0.5, None, None, 0.9], 3, 0, 0.5),
    ],
)
def test_a_measure_without_a_value_ends_no_fit_until_it_has_had_one(
    values: list[float | None], epochs: int, best_epoch: int, best_value: float | None, tmp_path: Path
) -> None:
    stage = Scripted(tmp_path, values)
    summary = run_stage(stage, quiet=True)
    assert (summary["epochs"], summary["best_epoch"], summary["best_value"]) == (epochs, best_epoch, best_value)
    assert stage.network.weight.item() == stage.seen[best_epoch] and len(set(stage.seen)) == epochs


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    head, summary = fitted(tmp_path / "three", problem()[:2], head_epochs=3, patience=1)
    assert (summary["epochs"], summary["best_epoch"], summary["best_value"]) == (3, 2, None)
    assert summary["validation_macro_f1"] is None
    other, _ = fitted(tmp_path / "again", problem()[:2], head_epochs=3, patience=1, temperature=True)
    for name, value in weights_of(head).items():
        assert np.array_equal(value, weights_of(other)[name]), name


def test_the_average_of_the_weights_is_kept(tmp_path: Path) -> None:
    """Of eight steps the first two are not averaged; of every later one a fifth is taken in."""
    head, seen = new_head(), list[torch.Tensor]()
    head.core.register_forward_pre_hook(lambda module, _: seen.append(head.exit.weight.detach().clone()))
    fitted(tmp_path, problem()[:2], head, head_epochs=2, weight_average=0.8)
    content = read_checkpoint(checkpoint_path(tmp_path, "head"))
    assert content is not None
    newest = content["weights"]["head"]["exit.weight"]
    average = seen[2]
    for after_step in [*seen[3:], newest]:
        average = 0.8 * average + 0.2 * after_step
    assert len(seen) == 8
    assert torch.allclose(head.exit.weight, average, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(head.exit.weight, newest, rtol=1e-2)


def test_the_average_is_what_is_validated(tmp_path: Path) -> None:
    head, summary = fitted(tmp_path, head_epochs=2, weight_average=0.9, monitor="loss")
    assert validation(head, problem(), monitor="loss")["loss"] == pytest.approx(summary["best_value"], rel=1e-6)


def test_a_head_that_learns_with_a_stride_answers_every_frame(tmp_path: Path) -> None:
    """The class is seen ten frames before its time only: the taps have to be as far apart then as while it learnt."""
    data = problem()
    for one in data:
        centres = np.stack([one.x[0, one.labels == k].mean(0) for k in range(3)])
        one.labels[:] = np.repeat(np.random.default_rng(len(one.name)).integers(3, size=len(one.labels) // 5), 5)
        one.x[0, :-10] = centres[one.labels[10:]]
    options = {"stride_frames": 5, "head_epochs": 15, "stretch_frames": 100, "batch_windows": 2}
    _, summary = fitted(tmp_path, data, new_head("tcn", dilations=[5, 10]), **options)
    assert summary["best_value"] > 0.9
    with pytest.raises(ConfigError, match=r"fit.stride_frames: 5, but head.dilations, .* hold 4"):
        fitted(tmp_path / "other", data, new_head("tcn", dilations=[4, 10]), stride_frames=5)


def test_a_class_that_is_absent_and_a_feature_that_never_changes_do_no_harm(tmp_path: Path) -> None:
    data = problem()[:3]
    for one in data[:2]:
        one.labels[one.labels == 2] = -1
    for one in data:
        one.x[:, :, 3] = 7.0
    head, summary = fitted(tmp_path, data, monitor="balanced_accuracy")
    assert 0.5 < summary["best_value"] <= 0.7  # two of three
    assert all(np.isfinite(value).all() for value in weights_of(head).values())


def test_a_feature_in_large_units_counts_as_much_as_in_small_ones(tmp_path: Path) -> None:
    data = [replace(one, x=one.x * np.array([1, 1, 0.01, 1, 1], np.float32)) for one in problem()]
    head, _ = fitted(tmp_path, data, head_epochs=1)
    _, spread = training_statistics(data)
    assert spread[2] < 1e-3
    assert np.array_equal(head.std.numpy(), spread)


def test_one_frame_is_enough_to_run(tmp_path: Path) -> None:
    one = [recording(1, "train", 1), recording(2, "validation", 1)]
    _, summary = fitted(tmp_path, one, head_epochs=1)
    assert summary["epochs"] == 1


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([recording(1, "validation")], {}, DataError, "the training part has no frame"),
        ([replace(recording(1, "train", 50), labels=np.full(50, -1, np.int16))], {}, DataError, "no labelled frame"),
        (
            [replace(recording(1, "train", 50), labels=np.full(50, -1, np.int16))],
            {"supervision": "sequence_mean"},
            DataError,
            "holds no sequence with a label",
        ),
        (problem(), {"monitor": "f1.jump"}, ConfigError, r"f1.jump: jump is not among the classes"),
        (problem(), {"supervision": "sequence_last", "monitor": "bout_f1"}, ConfigError, "have no bouts"),
        (problem(), {"stride_frames": 2}, ConfigError, "fit.stride_frames: 2, but a gru remembers by the step"),
        (problem(), {"learning_rate": 1e30, "clip_norm": None}, DataError, "use a smaller fit.learning_rate"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    data: list[HeadData], options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        fitted(tmp_path, data, **options)


def test_devices_that_are_not_there_are_refused() -> None:
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    rule = FitConfig.model_validate({"device": "cuda", "devices": n + 1})
    with pytest.raises(ConfigError, match=f"{n + 1} GPUs asked for, {n} found" if n else "torch finds no GPU here"):
        require_devices(rule)
    require_devices(FitConfig())


def test_the_bar_names_stage_epoch_loss_and_best(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from ethostream.training.fitting.head_fit import fit_head

    rule = FitConfig.model_validate(FIT | {"head_epochs": 2})
    fit_head(new_head(), problem(), rule, CLASSES, 7, tmp_path)
    said = capfd.readouterr()
    assert said.out == ""
    text = " ".join(said.err.split())
    for words in ("head, epoch 2/2", "loss", "macro_f1", "best", "left at most"):
        assert words in text, words
    assert torch.get_num_threads() >= 1
    forget_checkpoints(tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))
