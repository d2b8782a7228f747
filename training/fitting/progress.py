"""The progress bar of a fit: epochs, loss, validation, and the time left if it does not end early."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class FitProgress(Callback):
    """Shows one stage in the terminal, on standard error.

    Args:
        stage: name.
        n_batches: of one epoch.
        n_epochs: at most.
        done: epochs that ran before.
        monitor: name of the validation measure.
    """

    def __init__(self, stage: str, n_batches: int, n_epochs: int, done: int, monitor: str) -> None:
        self._stage, self._monitor = stage, monitor
        self._n_batches, self._n_epochs, self._done = n_batches, n_epochs, done
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            TextColumn("left at most"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        self._task = self._progress.add_task(
            self._described(self._done),
            total=self._n_batches * self._n_epochs,
            completed=self._n_batches * self._done,
            words="",
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress is not None:
            self._progress.advance(self._task)

    def show(self, n_done: int, line: dict[str, Any]) -> None:
        """Say how an epoch ended.

        Args:
            n_done: epochs so far.
            line: of the epoch log.
        """
        if self._progress is None:
            return
        words = "" if line["loss"] is None else f"loss {line['loss']:.3g}"
        value = (line["validation"] or {}).get(self._monitor)
        if value is not None:
            words += f", {self._monitor} {value:.3f}, best {line['best']:.3f} of epoch {line['best_epoch'] + 1}"
        self._progress.update(self._task, description=self._described(n_done), words=words)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _described(self, n_done: int) -> str:
        return f"{self._stage}, epoch {min(n_done + 1, self._n_epochs)}/{self._n_epochs}"

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
