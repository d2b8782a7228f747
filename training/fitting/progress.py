"""The progress bars of fits: of one its epochs, loss and validation, of all together the time left at most."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Self

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


class WholeProgress:
    """Shows how much of a command with several fits is done; a context manager. What its console prints stays above.

    Args:
        console: that it shows itself on; nothing is shown on a quiet one.
        description: of everything.
        n_fits: how many there will be.

    Attributes:
        n_done: fits that have ended, and the share of the one that has not.
    """

    def __init__(self, console: Console, description: str, n_fits: int) -> None:
        self.console = console
        self.progress = _bars(console)
        self.n_done = 0.0
        self._n_ended = 0
        self._task = self.progress.add_task(description, total=float(n_fits), words="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def advance(self, share: float) -> None:
        """So much more of a fit is done."""
        self._show(min(self.n_done + share, self._n_ended + 1.0))

    def end_fits(self, n: int = 1) -> None:
        """So many fits have ended: as they should, early, or not needed since they were done before."""
        self._n_ended += n
        self._show(float(self._n_ended))

    @contextmanager
    def task(self, description: str, total: int) -> Generator[Callable[[int], None]]:
        """A bar below it for the time being; told how much more is done."""
        task = self.progress.add_task(description, total=total, words="")
        try:
            yield lambda n: self.progress.advance(task, n)
        finally:
            self.progress.remove_task(task)

    def _show(self, n_done: float) -> None:
        self.n_done = n_done
        self.progress.update(self._task, completed=n_done)


class FitProgress(Callback):
    """Shows one stage in the terminal, on standard error.

    Args:
        stage: name.
        n_batches: of one epoch.
        n_epochs: at most.
        done: epochs that ran before.
        monitor: name of the validation measure.
        whole: what the stage is a part of; None: it stands alone.
    """

    def __init__(
        self, stage: str, n_batches: int, n_epochs: int, done: int, monitor: str, whole: WholeProgress | None = None
    ) -> None:
        self._stage, self._monitor = stage, monitor
        self._n_batches, self._n_epochs, self._done = n_batches, n_epochs, done
        self._whole = whole
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = _bars(Console(stderr=True)) if self._whole is None else self._whole.progress
        if self._whole is None:
            self._progress.start()
        else:
            self._whole.advance(self._done / self._n_epochs)
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
        if self._whole is not None:
            self._whole.advance(1.0 / (self._n_batches * self._n_epochs))

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
        if self._progress is not None and self._whole is None:
            self._progress.stop()
        elif self._progress is not None:
            self._progress.remove_task(self._task)
        self._progress = None


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TextColumn("left at most"),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
    )
