"""Losses against torch's own, against formulas written out, and on cases whose answer is known."""

import numpy as np
import pytest
import torch
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from ethostream.training.config.fit import FitConfig, LossConfig
from ethostream.training.fitting.losses import ClassWeights, FrameLoss, class_weights
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

COUNTS = np.array([70, 25, 5])


def batch(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [4, 9, 3], one-hot targets, and a mask with holes."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 9, 3, generator=random)
    labels = torch.randint(3, (4, 9), generator=random)
    counts = torch.rand(4, 9, generator=random) < 0.7
    return logits, functional.one_hot(labels, 3).float(), counts


def loss(weights: ClassWeights = "none", **options: object) -> FrameLoss:
    return FrameLoss(LossConfig.model_validate(options), COUNTS, weights)


def test_weights_are_those_of_scikit_learn_and_of_two_sides() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    own, _ = class_weights(COUNTS, "balanced", binary=False)
    assert np.allclose(own, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    half, other = class_weights(COUNTS, "half", binary=True)
    for place in range(3):
        sides = compute_class_weight("balanced", classes=np.array([False, True]), y=labels == place)
        assert np.allclose([other[place], half[place]], sides)
    own, other = class_weights(np.array([10, 0]), "balanced", binary=True)
    assert own.tolist() == [0.5, 0.0]
    assert other.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_cross_entropy_is_that_of_torch_over_the_frames_that_count(weights: ClassWeights) -> None:
    logits, targets, counts = batch()
    own, _ = class_weights(COUNTS, weights, binary=False)
    wanted = functional.cross_entropy(
        logits[counts], targets.argmax(-1)[counts], torch.from_numpy(own).float(), reduction="mean"
    )
    assert torch.allclose(loss(weights)(logits, targets, counts), wanted)


def test_half_weights_are_not_divided_by_their_sum() -> None:
    logits, targets, counts = batch()
    own, _ = class_weights(COUNTS, "half", binary=False)
    each = functional.cross_entropy(logits[counts], targets.argmax(-1)[counts], reduction="none")
    wanted = (each * torch.from_numpy(own).float()[targets.argmax(-1)[counts]]).mean()
    assert torch.allclose(loss("half")(logits, targets, counts), wanted)


def test_focal_loss_fades_what_is_answered_well() -> None:
    logits, targets, counts = batch()
    assert torch.allclose(loss(kind="focal", gamma=0.0)(logits, targets, counts), loss()(logits, targets, counts))
    p = torch.softmax(logits[counts], -1)[targets[counts] == 1]
    found = loss(kind="focal", gamma=2.0)(logits, targets, counts)
    assert torch.allclose(found, (-((1 - p) ** 2) * p.log()).mean())


def test_binary_losses_are_those_of_torch_and_of_the_paper() -> None:
    logits, targets, counts = batch()
    wanted = functional.binary_cross_entropy_with_logits(logits[counts], targets[counts])
    assert torch.allclose(loss(kind="binary")(logits, targets, counts), wanted)
    own, other = (torch.from_numpy(one).float() for one in class_weights(COUNTS, "half", binary=True))
    weight = torch.where(targets[counts] == 1, own, other)
    wanted = functional.binary_cross_entropy_with_logits(logits[counts], targets[counts], weight)
    assert torch.allclose(loss("half", kind="binary")(logits, targets, counts), wanted)
    p = torch.sigmoid(logits[counts])
    p_true = torch.where(targets[counts] == 1, p, 1 - p)
    wanted = (-((1 - p_true) ** 2) * p_true.log()).mean()
    assert torch.allclose(loss(kind="binary_focal", gamma=2.0)(logits, targets, counts), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["focal", "binary_focal"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_an_answer_that_is_quite_sure_leaves_a_slope_that_is_a_number(kind: str, gamma: float) -> None:
    logits = torch.tensor([[[40.0, -40.0, 0.0], [-40.0, 40.0, 0.0], [17.5, 0.0, -3.0]]], requires_grad=True)
    targets = functional.one_hot(torch.zeros(1, 3, dtype=torch.int64), 3).float()
    value = loss(kind=kind, gamma=gamma)(logits, targets, torch.ones(1, 3, dtype=torch.bool))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1].abs().max() > 0.01  # what is answered wrong is still learnt from


def test_logit_adjustment_leaves_no_class_favoured() -> None:
    """Answers that know nothing but the shares fit the adjusted loss best when they favour no class."""
    labels = torch.from_numpy(np.repeat([0, 1, 2], COUNTS))
    targets, counts = functional.one_hot(labels, 3).float()[None], torch.ones(1, 100, dtype=torch.bool)
    for strength, moves in ((1.0, False), (0.0, True)):
        logits = torch.zeros(3, requires_grad=True)
        loss(logit_adjustment=strength)(logits.expand(1, 100, 3), targets, counts).backward()
        assert logits.grad is not None
        assert bool(logits.grad.abs().max() > 1e-3) == moves


def test_a_batch_with_nothing_to_learn_from_costs_nothing() -> None:
    logits, targets, counts = batch()
    for kind in ("cross_entropy", "focal", "binary", "binary_focal"):
        logits = logits.detach().requires_grad_()
        found = loss("balanced", kind=kind)(logits, targets, torch.zeros_like(counts))
        found.backward()
        assert float(found.detach()) == 0.0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_temporal_term_is_the_truncated_change_inside() -> None:
    log_p = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75], [1 - 1e-9, 1e-9], [0.5, 0.5]]]))
    inside = torch.tensor([[True, True, True, False]])
    first = np.log([0.25, 0.75]) - np.log([0.5, 0.5])
    second = np.array([np.log(1.0) - np.log(0.25), -4.0])  # cut off at the limit
    wanted = (np.square(first).sum() + np.square(second).sum()) / 4
    found = loss(temporal=1.0).temporal(log_p, inside)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    logits = log_p.clone().requires_grad_()
    loss(temporal=1.0).temporal(logits, inside).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[0, 0], torch.zeros(2))  # the frame before is not pulled along
    assert logits.grad[0, 1].abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": {"kind": "hinge"}}, "loss.kind"),
        ({"loss": {"kind": "binary", "logit_adjustment": 1.0}}, "not for a binary loss"),
        ({"optimizer": {"kind": "adam", "momentum": 0.9}}, "is an option of rmsprop"),
        ({"monitor": "f2"}, "give one of loss"),
        ({"monitor": "pr_auc."}, "give one of loss"),
        ({"monitor": "loss.a"}, "give one of loss"),
        ({"frozen_epochs": 3, "joint_epochs": 0}, "comes before the joint stage"),
        ({"joint_epochs": 0, "head_epochs": 0}, "nothing would be trained"),
        ({"supervision": "sequence_last", "sampling": "bouts"}, "every sequence is drawn once"),
        ({"devices": 0}, "devices"),
        ({"schedule": {"kind": "one_cycle", "warm_up_steps": 3}}, "begins with a rise of its own"),
        ({"stride_frames": 2, "supervision": "sequence_last"}, "could leave out the frame that answers"),
        ({"stride_frames": 9, "stretch_frames": 16}, "leaves one frame of a stretch"),
        ({"class_weights": "some"}, "class_weights"),
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(FitConfig, change, "train.yaml")


def test_older_files_say_class_weights_with_true_and_false() -> None:
    assert FitConfig.model_validate({"class_weights": True}).class_weights == "balanced"
    assert FitConfig.model_validate({"class_weights": False}).class_weights == "none"
