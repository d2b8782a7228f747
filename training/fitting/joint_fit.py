"""The joint stage of a fit: embedder and head together, on short windows of crops."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config.training_file import TrainConfig
from ..networks.embedders import Embedder
from ..networks.head import SequenceHead
from ..splits import PARTS
from .crop_batches import CropBatch, CropWindows
from .crop_head_data import head_data
from .crop_recordings import Recording
from .head_data import HeadData, answers_later, class_counts_of, n_learnt_of, targets_later
from .head_validation import Validation
from .losses import FrameLoss
from .stage import Stage


@dataclass(frozen=True, slots=True)
class Networks:
    """What is fitted: the two networks of a bundle."""

    embedder: Embedder
    head: SequenceHead


class JointStage(Stage):
    """Embedder and head together; the embedder may have a learning rate of its own.

    Args:
        config: of the training.
        recordings: in memory.
        networks: from `build_networks`.
        run: the run folder.
    """

    def __init__(self, config: TrainConfig, recordings: Sequence[Recording], networks: Networks, run: Path) -> None:
        super().__init__("joint", config.fit, config.seed, config.fit.joint_epochs, run)
        self.embedder = networks.embedder
        self.head = networks.head
        self._config = config
        self._recordings = [looking_ahead(one, self.head.look_ahead_frames) for one in recordings]
        self._windows = CropWindows(
            self._recordings, config.fit, len(config.classes), config.fusion == "joined", config.seed
        )
        data = [HeadData(one.name, one.features, one.labels, one.parts, one.targets) for one in self._recordings]
        counts = class_counts_of(data, len(config.classes))
        self.frame_loss = FrameLoss(config.fit.loss, counts, config.fit.class_weights, n_learnt_of(data))

    def learnt(self) -> dict[str, nn.Module]:
        return {"head": self.head, "embedder": self.embedder}

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        rule = self.rule
        rate = rule.learning_rate if rule.embedder_learning_rate is None else rule.embedder_learning_rate
        return [(list(self.head.parameters()), rule.learning_rate), (list(self.embedder.parameters()), rate)]

    def batches(self) -> CropWindows:
        return self._windows

    def transfer_batch_to_device(self, batch: CropBatch, device: torch.device, dataloader_idx: int) -> CropBatch:
        return batch.to(device)

    def loss_of(self, batch: CropBatch) -> Tensor:
        n, n_views, n_steps, side, _ = batch.crops.shape
        embedding = self.embedder.embed(batch.crops.reshape(-1, side, side).float())
        both = torch.cat([embedding.reshape(n, n_views, n_steps, -1), batch.x], dim=3)
        x = both.transpose(1, 2).reshape(n, n_steps, -1)
        logits, _after = self.head.logits(x, self.head.initial_state(n))
        loss: Tensor = self.frame_loss(logits, batch.targets, batch.counts)
        if self.rule.loss.temporal:
            loss = loss + self.rule.loss.temporal * self.frame_loss.temporal(logits, batch.inside)
        return loss

    def validated(self) -> dict[str, float | None] | None:
        judged = [one for one in self._recordings if (one.parts == PARTS.index("validation")).any()]
        if not any(one.mask("validation").any() for one in judged):
            return None
        data = head_data(self.embedder, judged, self._config.fusion, self.device)
        validation = Validation(data, self.rule, self._config.classes, self.frame_loss, self._config.fusion)
        return validation.scores(self.head)

    def learns_from(self) -> Iterable[str | bytes | NDArray[Any]]:
        for one in self._recordings:
            yield one.name
            yield from (one.crops, one.features, one.labels, one.parts)
            yield b"" if one.targets is None else one.targets


def looking_ahead(recording: Recording, n_frames: int) -> Recording:
    """A recording with everything that is answered moved ``n_frames`` later; see `HeadData.looking_ahead`."""
    if not n_frames:
        return recording
    labels, parts = answers_later(recording.labels, recording.parts, n_frames)
    targets = None if recording.targets is None else targets_later(recording.targets, n_frames)
    return replace(recording, labels=labels, parts=parts, targets=targets)
