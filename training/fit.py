"""Fitting: embedder and head together on short windows, then the head alone on long stretches. Deterministic by seed.

Every epoch ends with macro-F1 on the validation part, from whole recordings run causally; the best epoch is kept.
"""

import copy
import json
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from ..inference.fusion import fuse
from .batches import IGNORED, Batch, CropWindows, FeatureStretches
from .config import ResNet18Config, TrainConfig
from .dataset import Recording, class_counts
from .heads import CausalHead, build_head
from .metrics import Scores, score
from .networks import Embedder, ResNet18, SmallCnn, load_resnet18_weights

Stage = Literal["joint", "head"]
_EMBED_BATCH = 512
_CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Networks:
    """What is fitted: the two networks of a bundle."""

    embedder: Embedder
    head: CausalHead


def build_networks(config: TrainConfig, n_views: int, n_step_features: int, root: Path) -> Networks:
    """Networks with fresh or loaded weights; the caller seeds torch.

    Args:
        config: embedder, head, fusion.
        n_views: of the recordings; for ``joined``.
        n_step_features: numbers that the feature steps give per view.
        root: folder that a weight file's relative path starts from.

    Raises:
        DataError: the weight file cannot be used.
    """
    embedder: Embedder
    if isinstance(config.embedder, ResNet18Config):
        network = ResNet18(config.embedder.side_px)
        if config.embedder.weights is not None:
            load_resnet18_weights(network, root / config.embedder.weights)
        embedder = network
    else:
        embedder = SmallCnn(config.embedder.dims, config.embedder.side_px, config.embedder.width)
    rule = config.head
    head = build_head(
        rule.kind,
        (embedder.dims + n_step_features) * (n_views if config.fusion == "joined" else 1),
        len(config.classes),
        rule.hidden,
        rule.layers,
        rule.kernel,
        rule.dilations,
        rule.dropout,
    )
    return Networks(embedder, head)


def fit(
    config: TrainConfig, recordings: Sequence[Recording], networks: Networks, log: Path, quiet: bool = False
) -> dict[str, Any]:
    """Fit the networks in place.

    Args:
        config: of the training.
        recordings: in memory.
        networks: from `build_networks`.
        log: JSON-lines file that gets one line per epoch.
        quiet: no progress bar.

    Returns:
        Per stage the number of epochs, the best one and its validation macro-F1.
    """
    torch.set_num_threads(config.fit.threads)
    networks.head.set_normalisation(*_feature_statistics(networks, recordings, None, config))
    summary: dict[str, Any] = {}
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    for stage in ("joint", "head"):
        epochs = config.fit.joint_epochs if stage == "joint" else config.fit.head_epochs
        if epochs:
            module = _Module(config, recordings, networks, stage, log)
            summary[stage] = _run(module, config, epochs, quiet)
    networks.embedder.eval()
    networks.head.eval()
    return summary


def embed_recording(embedder: Embedder, recording: Recording, device: torch.device) -> NDArray[np.float32]:
    """Embeddings [v, t, d] of all crops."""
    embedder.eval()
    n_views, n_frames, side, _ = recording.crops.shape
    flat = recording.crops.reshape(-1, side, side)
    with torch.inference_mode():
        parts = [
            embedder.embed(torch.from_numpy(flat[first : first + _EMBED_BATCH]).to(device).float()).cpu().numpy()
            for first in range(0, len(flat), _EMBED_BATCH)
        ]
    return np.concatenate(parts).reshape(n_views, n_frames, -1)


def head_input(embeddings: NDArray[np.float32], features: NDArray[np.float32], joined: bool) -> NDArray[np.float32]:
    """The head's x [b, t, f]: one row per view, or one with the views' features side by side."""
    x = np.concatenate([embeddings, features], axis=2)
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(1, x.shape[1], -1) if joined else x


class _Module(lightning.LightningModule):
    """One stage of the fit."""

    class_weights: Tensor

    def __init__(
        self, config: TrainConfig, recordings: Sequence[Recording], networks: Networks, stage: Stage, log: Path
    ) -> None:
        super().__init__()
        self.embedder = networks.embedder
        self.head = networks.head
        self.stage: Stage = stage
        self.best_score = -1.0
        self.best_epoch = -1
        self.n_epochs = 0
        self._config = config
        self._recordings = recordings
        self._networks = networks
        self._log_path = log
        self._joined = config.fusion == "joined"
        self._best: dict[str, dict[str, Tensor]] = {}
        self._losses: list[float] = []
        self._inputs: list[NDArray[np.float32]] = []
        counts = class_counts(recordings, "train", len(config.classes)).astype(np.float64)
        weights = counts.sum() / (len(counts) * counts) if config.fit.class_weights else np.ones(len(counts))
        self.register_buffer("class_weights", torch.from_numpy(weights.astype(np.float32)), persistent=False)
        if stage == "head":
            self.embedder.requires_grad_(False)
            self._inputs = [self._input_of(one) for one in recordings]
            mean, std = _feature_statistics(networks, recordings, self._inputs, config)
            renormalise(self.head, mean, std)

    def train_dataloader(self) -> DataLoader[Batch]:
        rule, seed = self._config.fit, self._config.seed
        if self.stage == "joint":
            data: CropWindows | FeatureStretches = CropWindows(
                self._recordings,
                self._joined,
                rule.window_frames,
                rule.batch_windows,
                rule.epoch_windows,
                seed,
                rule.label_margin_frames,
                rule.augment,
            )
        else:
            data = FeatureStretches(
                self._recordings,
                self._inputs,
                self._joined,
                rule.stretch_frames,
                rule.batch_windows,
                seed,
                rule.label_margin_frames,
            )
        return DataLoader(data, batch_size=None)

    def configure_optimizers(self) -> Any:
        rule = self._config.fit
        chosen: list[nn.Module] = [self.head, self.embedder] if self.stage == "joint" else [self.head]
        parameters = [parameter for module in chosen for parameter in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=rule.learning_rate, weight_decay=rule.weight_decay)
        n_steps = max(int(self.trainer.estimated_stepping_batches), 1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        crops = None if batch.crops is None else batch.crops.to(device)
        return Batch(crops, batch.x.to(device), batch.targets.to(device))

    def on_train_epoch_start(self) -> None:
        self._losses = []
        self.head.train()
        self.embedder.train(self.stage == "joint")

    def training_step(self, batch: Batch, _: int) -> Tensor:
        x = batch.x
        if batch.crops is not None:
            n, n_views, n_steps, side, _ = batch.crops.shape
            embedding = self.embedder.embed(batch.crops.reshape(-1, side, side).float())
            both = torch.cat([embedding.reshape(n, n_views, n_steps, -1), x], dim=3)
            x = both.transpose(1, 2).reshape(n, n_steps, -1)
        logits, _after = self.head.logits(x, self.head.initial_state(len(x)))
        loss = functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), self.class_weights, ignore_index=IGNORED, reduction="sum"
        )
        known = batch.targets[batch.targets != IGNORED]
        loss = loss / self.class_weights[known].sum().clamp_min(1e-6)
        self._losses.append(float(loss.detach()))
        self.log("loss", loss, prog_bar=True, batch_size=len(x))
        return loss

    def on_train_epoch_end(self) -> None:
        scores = self._validate()
        value = -1.0 if scores is None or scores.macro_f1 is None else scores.macro_f1
        line: dict[str, Any] = {
            "stage": self.stage,
            "epoch": self.n_epochs,
            "loss": float(np.mean(self._losses)) if self._losses else None,
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "validation": None if scores is None else _short(scores),
        }
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if scores is None or value > self.best_score:
            self.best_score, self.best_epoch = value, self.n_epochs
            self._best = {
                "head": copy.deepcopy(self.head.state_dict()),
                "embedder": copy.deepcopy(self.embedder.state_dict()),
            }
        self.n_epochs += 1
        self.log("macro_f1", value, prog_bar=True)

    def restore_best(self) -> None:
        """Give the networks the weights of the best epoch."""
        self.head.load_state_dict(self._best["head"])
        self.embedder.load_state_dict(self._best["embedder"])

    def _input_of(self, recording: Recording) -> NDArray[np.float32]:
        return head_input(embed_recording(self.embedder, recording, self.device), recording.features, self._joined)

    def _validate(self) -> Scores | None:
        truth: list[NDArray[np.int16]] = []
        predicted: list[NDArray[np.intp]] = []
        self.head.eval()
        for place, recording in enumerate(self._recordings):
            mask = recording.mask("validation")
            if not mask.any():
                continue
            x = self._inputs[place] if self._inputs else self._input_of(recording)
            with torch.inference_mode():
                state = self.head.initial_state(len(x))
                p = self.head.forward_sequence(torch.from_numpy(x).to(self.device), state)[0].cpu().numpy()
            fused = np.stack([fuse(p[:, step], self._config.fusion) for step in np.flatnonzero(mask)])
            truth.append(recording.labels[mask])
            predicted.append(fused.argmax(1))
        if not truth:
            return None
        return score(np.concatenate(truth), np.concatenate(predicted), self._config.classes)


def renormalise(head: CausalHead, mean: Tensor, std: Tensor) -> None:
    """Give a head a new normalisation and change its first layer so that its function stays the same."""
    old_mean, old_std = head.mean.clone(), head.std.clone()
    head.set_normalisation(mean.to(old_mean.device), std.to(old_mean.device))
    with torch.no_grad():
        weight = head.entry.weight.clone()
        head.entry.bias.add_(weight @ ((head.mean - old_mean) / old_std))
        head.entry.weight.mul_(head.std / old_std)


def _feature_statistics(
    networks: Networks,
    recordings: Sequence[Recording],
    inputs: Sequence[NDArray[np.float32]] | None,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the head's input over the training frames; of embeddings only with ``inputs``."""
    rows: list[NDArray[np.float32]] = []
    for place, recording in enumerate(recordings):
        mask = recording.parts == 0
        if inputs is not None:
            x = inputs[place]
        else:
            blank = np.zeros((*recording.features.shape[:2], networks.embedder.dims), np.float32)
            x = head_input(blank, recording.features, config.fusion == "joined")
        rows.append(x[:, mask].reshape(-1, x.shape[2]))
    every = np.concatenate(rows).astype(np.float64)
    mean, std = every.mean(0), every.std(0)
    std[std < 1e-6] = 1.0  # a constant feature, and the embedding before it is known
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))


def _run(module: _Module, config: TrainConfig, epochs: int, quiet: bool) -> dict[str, Any]:
    has_validation = any(one.mask("validation").any() for one in module._recordings)  # pyright: ignore[reportPrivateUsage]
    callbacks: list[Callback] = []
    if has_validation:
        callbacks.append(
            EarlyStopping("macro_f1", mode="max", patience=config.fit.patience, check_on_train_epoch_end=True)
        )
    if not quiet:
        callbacks.append(RichProgressBar())
    with _quiet_lightning():
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if config.fit.device == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=not quiet,
            callbacks=callbacks,
            deterministic=True,
            gradient_clip_val=_CLIP_NORM,
            num_sanity_val_steps=0,
        )
        trainer.fit(module)
    module.to("cpu")
    module.restore_best()
    return {
        "epochs": module.n_epochs,
        "best_epoch": module.best_epoch,
        "validation_macro_f1": module.best_score if has_validation else None,
    }


def _short(scores: Scores) -> dict[str, float | None]:
    return {
        "accuracy": scores.accuracy,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
    }


@contextmanager
def _quiet_lightning() -> Generator[None]:
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
