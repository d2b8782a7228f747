"""How a model is fitted: stages, loss, sampling, optimizer, stopping. The training file's part ``fit``."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...sync.strict import StrictModel

MEASURES: Final = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "bout_f1", "pr_auc")
"""What ``monitor`` may name for all classes together."""
CLASS_MEASURES: Final = ("pr_auc", "precision", "recall", "f1")
"""What ``monitor`` may name for one class, as in ``pr_auc.groom``."""


class AugmentConfig(StrictModel):
    """Random changes of a whole training window, the same for all of its frames.

    Attributes:
        flip_horizontal, flip_vertical: mirror half of the windows; for views where the mirror image can occur.
        brightness: up to this many grey levels are added or taken.
        contrast: up to this relative change around the window's mean.
        noise: standard deviation of noise that is added, grey levels.
        feature_noise: standard deviation of an offset of each feature, in standard deviations of that feature; it holds
            for the window. Head stages only.
        input_noise: standard deviation of noise on every feature of every frame, in standard deviations of that
            feature. Head stages only.
        feature_drop: chance of each feature to stand at its mean for the whole window. Head stages only.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = Field(default=0.0, ge=0.0, le=128.0)
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    noise: float = Field(default=0.0, ge=0.0, le=64.0)
    feature_noise: float = Field(default=0.0, ge=0.0, le=4.0)
    input_noise: float = Field(default=0.0, ge=0.0, le=4.0)
    feature_drop: float = Field(default=0.0, ge=0.0, lt=1.0)


class LossConfig(StrictModel):
    """What a fit makes small.

    Attributes:
        kind: ``cross_entropy``; ``focal`` (Lin et al. 2017, over the classes together); ``binary``: every behaviour
            against all others, by a sigmoid of its own; ``binary_focal`` (Lin et al. 2017, as published).
        gamma: of the two focal kinds: how much less a frame counts that is answered well.
        logit_adjustment: strength tau with which the log of each class's share is added to the logits while fitting
            (Menon et al. 2021), so that the answers afterwards favour no class; 1 is the paper's, 0: none.
        edge_frames: within so many frames of a change of label the target passes gradually from one class to the other.
        temporal: weight of the truncated squared change of the log probabilities from frame to frame (Farha & Gall
            2019; 0.15 there); 0: none.
        temporal_limit: changes beyond this count as this (4 there).
    """

    kind: Literal["cross_entropy", "focal", "binary", "binary_focal"] = "cross_entropy"
    gamma: float = Field(default=2.0, ge=0.0, le=10.0)
    logit_adjustment: float = Field(default=0.0, ge=0.0, le=4.0)
    edge_frames: int = Field(default=0, ge=0)
    temporal: float = Field(default=0.0, ge=0.0)
    temporal_limit: float = Field(default=4.0, gt=0.0)

    @property
    def is_binary(self) -> bool:
        """Every behaviour has a sigmoid of its own."""
        return self.kind in ("binary", "binary_focal")

    @model_validator(mode="after")
    def _has_logits_to_adjust(self) -> Self:
        if self.is_binary and self.logit_adjustment:
            raise ValueError("logit_adjustment: is for classes that exclude each other, not for a binary loss")
        return self


class OptimizerConfig(StrictModel):
    """How weights follow gradients.

    Attributes:
        kind: ``adamw`` (decoupled weight decay), ``adam``, ``adadelta`` or ``rmsprop`` (weight decay as an L2 term).
        decay: of the running mean of squared gradients: rho of ADADELTA, alpha of RMSProp, beta2 of the others; None:
            as torch has it (0.9, 0.99, 0.999).
        momentum: of RMSProp.
        epsilon: added to the denominator; None: as torch has it.
    """

    kind: Literal["adamw", "adam", "adadelta", "rmsprop"] = "adamw"
    decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    epsilon: float | None = Field(default=None, gt=0.0)

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.momentum and self.kind != "rmsprop":
            raise ValueError(f"momentum: is an option of rmsprop, not of {self.kind}")
        return self


class ScheduleConfig(StrictModel):
    """How the learning rate b goes on with the step t.

    Attributes:
        kind: ``cosine``: to 0 over all epochs; ``constant``; ``inverse``: b (1 + gain t)^-exponent; ``one_cycle``: up
            from b / 25 to b and down to nearly 0, the momentum of adam and adamw down and up meanwhile (Smith & Topin
            2018, both ways by a cosine).
        gain, exponent: of the inverse policy.
        rise: of one_cycle: share of all steps that it takes to b.
        warm_up_steps: the rate rises linearly over so many steps, whatever comes after; not of one_cycle.
    """

    kind: Literal["cosine", "constant", "inverse", "one_cycle"] = "cosine"
    gain: float = Field(default=0.01, gt=0.0)
    exponent: float = Field(default=0.472, gt=0.0)
    rise: float = Field(default=0.3, gt=0.0, lt=1.0)
    warm_up_steps: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _warms_up_once(self) -> Self:
        if self.kind == "one_cycle" and self.warm_up_steps:
            raise ValueError("warm_up_steps: one_cycle begins with a rise of its own; leave it out, or set rise")
        return self


def _weights_by_name(value: Any) -> Any:
    """``true`` and ``false``, as older training files have them."""
    return {True: "balanced", False: "none"}.get(value, value) if isinstance(value, bool) else value


class FitConfig(StrictModel):
    """Up to three stages: the head on a frozen embedder, both together on short windows, the head on long stretches.

    Attributes:
        frozen_epochs: at most so many of the head alone before embedder and head are fitted together; 0: none.
        joint_epochs: at most so many of both together; 0: the embedder stays as it was loaded.
        head_epochs: at most so many of the head alone at the end. A model without embedder has this stage only.
        schedule_epochs: how many epochs the schedule of that last stage is laid out for, and the weight average with
            it; None: ``head_epochs``. With folds it is set for the model itself: it stops where the folds were best, on
            the very course on which they were.
        window_frames: length of a window of the joint stage.
        stretch_frames: length of a stretch of the head stages.
        stride_frames: the head stages see every so-manieth frame of a stretch, from a random one on; the head then runs
            on every frame all the same. For linear and mlp, and for tcn with dilations that are multiples of it.
        batch_windows: windows (of one view each, of all views with ``joined``) per step.
        epoch_windows: windows drawn per epoch of the joint stage; None: as many as cover the training frames once.
        supervision: ``frame``: every frame has its label; ``sequence_last``, ``sequence_mean``: every stretch of one
            label is a sequence with a single label, which is compared with the answer at its last frame, or with the
            mean of its logits. Sequences need ``joint_epochs: 0``.
        sampling: ``frames``: every stretch is as likely as any; ``bouts``: a class is drawn, then one of its bouts,
            then a stretch that holds a frame of it.
        loss, optimizer, schedule: see there.
        learning_rate: at the start; 1.0 is usual for ADADELTA.
        embedder_learning_rate: of the embedder in the joint stage; None: as ``learning_rate``.
        weight_decay: of the optimizer.
        weight_average: an average of the weights over the steps is validated and kept instead of the newest ones; so
            much of it stays at every step. None: the newest.
        clip_norm: gradients of a larger norm are scaled down to it; None: never.
        monitor: the validation measure that picks the best epoch: ``macro_f1``, ``balanced_accuracy``, ``accuracy``,
            ``bout_f1``, ``pr_auc`` (mean over the classes), ``loss``, or ``pr_auc.CLASS``, ``f1.CLASS``,
            ``recall.CLASS``, ``precision.CLASS``.
        tolerance: an epoch must be better by more than this to count for ``patience``.
        patience: so many epochs in a row that are not better end a stage.
        class_weights: ``balanced``: n / (n_classes x count), relative to the mean weight of the batch; ``half``: n /
            (2 x count), as it is; ``none``. With a binary loss the two sides of each behaviour are weighed so.
        label_margin_frames: frames on both sides of a change of label that are not trained on.
        temperature: in the end divide the logits by the number that makes the validation labels likeliest (Guo et al.
            2017); it moves no answer to another class. Without a validation part nothing is done.
        device: where torch runs.
        devices: how many of them; each takes its share of the batches.
        threads: of torch on the CPU.
    """

    frozen_epochs: int = Field(default=0, ge=0)
    joint_epochs: int = Field(default=10, ge=0)
    head_epochs: int = Field(default=30, ge=0)
    schedule_epochs: int | None = Field(default=None, ge=1)
    window_frames: int = Field(default=48, ge=2)
    stretch_frames: int = Field(default=300, ge=2)
    stride_frames: int = Field(default=1, ge=1)
    batch_windows: int = Field(default=16, ge=1)
    epoch_windows: int | None = Field(default=None, ge=1)
    supervision: Literal["frame", "sequence_last", "sequence_mean"] = "frame"
    sampling: Literal["frames", "bouts"] = "frames"
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    learning_rate: float = Field(default=2e-3, gt=0.0)
    embedder_learning_rate: float | None = Field(default=None, gt=0.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    weight_average: float | None = Field(default=None, gt=0.0, lt=1.0)
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    monitor: str = "macro_f1"
    tolerance: float = Field(default=0.0, ge=0.0)
    patience: int = Field(default=8, ge=1)
    class_weights: Annotated[Literal["none", "balanced", "half"], BeforeValidator(_weights_by_name)] = "balanced"
    label_margin_frames: int = Field(default=0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    temperature: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    devices: int = Field(default=1, ge=1)
    threads: int = Field(default=2, ge=1)

    @field_validator("monitor")
    @classmethod
    def _is_measured(cls, value: str) -> str:
        measure, dot, of_class = value.partition(".")
        if measure not in (CLASS_MEASURES if dot else MEASURES) or (dot and not of_class):
            raise ValueError(
                f"give one of {', '.join(MEASURES)}, or {', '.join(CLASS_MEASURES)} of one class, as in pr_auc.groom"
            )
        return value

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if not self.joint_epochs + self.head_epochs:
            raise ValueError("joint_epochs and head_epochs are both 0, so nothing would be trained")
        if self.frozen_epochs and not self.joint_epochs:
            raise ValueError("frozen_epochs: comes before the joint stage; with joint_epochs: 0 give head_epochs alone")
        if self.supervision != "frame" and self.sampling == "bouts":
            raise ValueError("sampling: bouts: every sequence is drawn once already with supervision by sequence")
        if self.stride_frames > 1 and self.supervision != "frame":
            raise ValueError("stride_frames: could leave out the frame that answers for a sequence; leave it at 1")
        if self.schedule_epochs is not None and self.schedule_epochs < self.head_epochs:
            raise ValueError(
                f"schedule_epochs: {self.schedule_epochs} would end before the {self.head_epochs} of head_epochs; give "
                "as many at least, or leave it out"
            )
        if self.stride_frames * 2 > self.stretch_frames:
            raise ValueError(f"stride_frames: {self.stride_frames} leaves one frame of a stretch; use longer stretches")
        return self
