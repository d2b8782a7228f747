"""Fitting a head on features that stay as they are: of keypoints, or of an embedder that is not changed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...inference.fusion import Fusion
from ...sync.errors import ConfigError
from ..config.fit import FitConfig
from ..config.head import stride_fault
from ..networks.convolution import TcnCore
from ..networks.head import SequenceHead
from .crop_head_data import renormalise
from .devices import torch_threads
from .head_batches import HeadBatch, HeadBatches, inside_of, reduced
from .head_data import HeadData, check_head_data, class_counts_of, n_learnt_of, training_statistics
from .head_validation import Validation
from .loop import run_stage
from .losses import FrameLoss
from .progress import WholeProgress
from .stage import Stage
from .temperature import calibrate_head


def fit_head(
    head: SequenceHead,
    data: Sequence[HeadData],
    rule: FitConfig,
    classes: Sequence[str],
    seed: int,
    run: Path,
    quiet: bool = False,
    *,
    fusion: Fusion = "mean",
    stage: str = "head",
    learnt_before: bool = False,
    whole: WholeProgress | None = None,
) -> dict[str, Any]:
    """Fit a head in place.

    The features are normalised by the training part. A head that looks ahead is asked for what was there so many frames
    before. Where ``rule.monitor`` has a value on a validation part, it picks the epoch that is kept, else the last is.
    Every epoch leaves a line in ``metrics.jsonl``, curves in ``tensorboard/`` and the whole fit in ``checkpoint.ckpt``;
    the same call goes on from there after a kill, to the same weights. The checkpoint stays: remove it with
    `forget_checkpoints` once the result is safe.

    Args:
        head: with fresh weights, or those of an earlier stage.
        data: recordings.
        rule: of the fit.
        classes: names in the order of the head's output.
        seed: of what is drawn; the first weights are the caller's.
        run: the run folder.
        quiet: no progress bar.
        fusion: how rows of one recording are combined for validation.
        stage: ``head``, or ``frozen`` before the joint stage.
        learnt_before: its weights know features already: a new normalisation may not change what it answers.
        whole: the bar over all fits.

    Returns:
        See `run_stage`; with ``rule.temperature`` also ``calibration``.

    Raises:
        ConfigError: options that do not fit head or machine.
        DataError: data that cannot be learnt from, a loss that is no number, or a checkpoint of another fit.
        DiskFullError: no room for a checkpoint.
    """
    if rule.loss.is_binary != (head.output == "independent"):
        raise ConfigError(
            f"fit.loss: {rule.loss.kind} is for a head of "
            f"{'independent' if rule.loss.is_binary else 'softmax'} classes, this one is {head.output}"
        )
    kernel, dilations = (head.core.kernel, head.core.dilations) if isinstance(head.core, TcnCore) else (1, [])
    if fault := stride_fault(head.kind, kernel, dilations, head.causal, rule.stride_frames):
        raise ConfigError(f"fit.stride_frames: {fault}")
    check_head_data(data, head.n_features, classes)
    shown = [one.looking_ahead(head.look_ahead_frames) for one in data]
    mean, std = training_statistics(shown)
    scale = torch.from_numpy(mean), torch.from_numpy(std)
    if learnt_before:
        renormalise(head, *scale)
    else:
        head.set_normalisation(*scale)
    batches = HeadBatches(shown, rule, len(classes), seed, (mean, std))
    by_sequence = rule.supervision != "frame"
    counts = class_counts_of(shown, len(classes), by_sequence)
    loss = FrameLoss(rule.loss, counts, rule.class_weights, n_learnt_of(shown, by_sequence))
    validation = Validation(shown, rule, classes, loss, fusion)
    n_epochs = rule.frozen_epochs if stage == "frozen" else rule.head_epochs
    with torch_threads(rule.threads):
        module = HeadStage(stage, rule, seed, n_epochs, run, head, shown, batches, loss, validation)
        summary = run_stage(module, quiet, whole)
        # Not `validation`: a temperature asks of each behaviour whether it is there, no score can without one alone.
        if rule.temperature and stage == "head" and any(one.known_in("validation").any() for one in shown):
            summary["calibration"] = calibrate_head(head, data).to_dict()
    return summary


class HeadStage(Stage):
    """The head alone."""

    def __init__(
        self,
        stage: str,
        rule: FitConfig,
        seed: int,
        n_epochs: int,
        run: Path,
        head: SequenceHead,
        data: Sequence[HeadData],
        batches: HeadBatches,
        loss: FrameLoss,
        validation: Validation,
    ) -> None:
        super().__init__(stage, rule, seed, n_epochs, run)
        self.head = head
        self.frame_loss = loss
        self._data = data
        self._head_batches = batches
        self._validation = validation

    def learnt(self) -> dict[str, nn.Module]:
        return {"head": self.head}

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [(list(self.head.parameters()), self.rule.learning_rate)]

    def batches(self) -> HeadBatches:
        return self._head_batches

    def transfer_batch_to_device(self, batch: HeadBatch, device: torch.device, dataloader_idx: int) -> HeadBatch:
        return batch.to(device)

    def loss_of(self, batch: HeadBatch) -> Tensor:
        with self.head.core.strided(self.rule.stride_frames):
            logits, _after = self.head.logits(batch.x, self.head.initial_state(len(batch.x)))
        asked = logits
        if self.rule.supervision != "frame":
            asked = reduced(logits, batch.lengths, self.rule.supervision)
        loss: Tensor = self.frame_loss(asked, batch.targets, batch.counts)
        if self.rule.loss.temporal:
            loss = loss + self.rule.loss.temporal * self.frame_loss.temporal(logits, inside_of(logits, batch.lengths))
        return loss

    def validated(self) -> dict[str, float | None] | None:
        return self._validation.scores(self.head) if self._validation else None

    def learns_from(self) -> Iterable[str | bytes | NDArray[Any]]:
        for one in self._data:
            yield one.name
            for part in (one.x, one.labels, one.parts, one.targets, one.sequences):
                yield b"" if part is None else part
