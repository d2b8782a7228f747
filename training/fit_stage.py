"""One stage of a fit, run by lightning: the losses, the validation after every epoch, and the best weights."""

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
from .config import TrainConfig
from .dataset import Recording, class_counts
from .head_inputs import embed_recording, feature_statistics, head_input, renormalise
from .heads import CausalHead
from .metrics import Scores, score
from .networks import Embedder

Stage = Literal["joint", "head"]
_CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Networks:
    """What is fitted: the two networks of a bundle."""

    embedder: Embedder
    head: CausalHead


class StageModule(lightning.LightningModule):
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
        self.has_validation = any(bool(one.mask("validation").any()) for one in recordings)
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
            mean, std = feature_statistics(networks.embedder, recordings, self._inputs, config)
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


def run_stage(module: StageModule, config: TrainConfig, epochs: int, quiet: bool) -> dict[str, Any]:
    """Fit one stage and give its networks the weights of the best epoch.

    Returns:
        ``epochs`` that ran, ``best_epoch`` and ``validation_macro_f1`` (None without a validation part).
    """
    has_validation = module.has_validation
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
