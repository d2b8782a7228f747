"""One stage of a fit: epochs, log, best weights, early stopping, and what a crash needs.

A stage that was killed goes on from its last whole epoch and ends, on the CPU, with the same bits: everything random in
an epoch comes from seed and epoch, and weights, their average, optimizer and best epoch lie in the checkpoint.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...streaming.durable import stopwatch_ns
from ...sync.clock import NS_PER_S
from ...sync.errors import DataError
from ..config.fit import FitConfig
from .checkpoint import STAGES, checkpoint_path, fingerprint, read_checkpoint, write_checkpoint
from .epoch_log import EpochLog
from .optimizers import build_optimizer, set_course
from .progress import FitProgress
from .weight_average import WeightAverage, copied_weights


class Stage(lightning.LightningModule):
    """One stage. What it learns from, its loss and its validation are those of the subclass.

    Args:
        stage: its name, one of `STAGES`.
        rule: of the fit.
        seed: of everything random.
        n_epochs: at most.
        run: the run folder.
    """

    def __init__(self, stage: str, rule: FitConfig, seed: int, n_epochs: int, run: Path) -> None:
        super().__init__()
        self.stage, self.rule, self.seed, self.n_epochs, self.run = stage, rule, seed, n_epochs, run
        self.n_done = 0
        self.n_steps_done = 0
        self.n_resumed = 0
        # The model that follows folds stops where they were best, on the course that they were on.
        self.n_course_epochs = (rule.schedule_epochs if stage == "head" else None) or n_epochs
        self.seconds_before = 0.0
        self.began_ns = stopwatch_ns()
        self.best_epoch = -1
        self.best_value: float | None = None
        self.ended = False
        self.progress: FitProgress | None = None
        self.history: list[dict[str, Any]] = []
        self._reference: float | None = None
        self._n_worse = 0
        self._best: dict[str, dict[str, Tensor]] = {}
        self._optimizer_state: dict[str, Any] | None = None
        self._average = None if rule.weight_average is None else WeightAverage(rule.weight_average)
        self._losses: list[float] = []
        self._epoch_log: EpochLog | None = None
        self._key = ""

    # What a subclass gives

    def learnt(self) -> dict[str, nn.Module]:
        """The modules whose weights the stage changes, by name."""
        raise NotImplementedError

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters with their learning rates."""
        raise NotImplementedError

    def batches(self) -> Any:
        """The data set of batches, with ``epoch``, ``share`` and a length."""
        raise NotImplementedError

    def loss_of(self, batch: Any) -> Tensor:
        """The loss of one batch."""
        raise NotImplementedError

    def validated(self) -> dict[str, float | None] | None:
        """Scores on the validation part; None: there is none."""
        raise NotImplementedError

    def learns_from(self) -> Iterable[str | bytes | NDArray[Any]]:
        """The data, for the fingerprint of a checkpoint."""
        raise NotImplementedError

    # The loop

    @property
    def checkpoint_path(self) -> Path:
        """Of this stage."""
        return checkpoint_path(self.run, self.stage)

    def prepare(self) -> None:
        """Go on from a checkpoint of the same fit, if there is one.

        Raises:
            DataError: it is damaged, or an unfinished fit of something else.
        """
        self._key = fingerprint(self._depends_on())
        content = read_checkpoint(self.checkpoint_path)
        if content is None:
            return
        if content["key"] != self._key:
            if content["ended"]:  # left from a fit that is done: nothing is lost
                return
            raise DataError(
                f"{self.checkpoint_path}: belongs to a fit of other data, options or first weights, "
                f"{content['n_done']} epochs of it are done; give back what it was begun with, or delete it to train "
                "from the beginning"
            )
        self.take(content)
        self.n_resumed = self.n_done

    def take(self, content: dict[str, Any]) -> None:
        """Become what a checkpoint holds."""
        for name, module in self.learnt().items():
            module.load_state_dict(content["weights"][name])
        if self._average is not None:
            self._average.weights = content["average"]
        self._best = content["best"]
        self._optimizer_state = content["optimizer"]
        self.n_done, self.n_steps_done = content["n_done"], content["n_steps_done"]
        self.best_epoch, self.best_value = content["best_epoch"], content["best_value"]
        self._reference, self._n_worse = content["reference"], content["n_worse"]
        self.ended, self.history = content["ended"], content["history"]
        self.seconds_before = content["seconds"]

    @property
    def seconds_now(self) -> float:
        """Since this call began."""
        return (stopwatch_ns() - self.began_ns) / NS_PER_S

    def keep_best(self) -> None:
        """Give the networks the weights of the best epoch."""
        for name, module in self.learnt().items():
            module.load_state_dict(self._best[name])

    def train_dataloader(self) -> DataLoader[Any]:
        self._batches = self.batches()
        self._batches.epoch = self.n_done
        self._batches.share = (self.trainer.global_rank, self.trainer.world_size)
        if not len(self._batches):
            raise DataError(
                f"fit.devices: {self.trainer.world_size} devices, but an epoch has fewer batches; use fewer of them or "
                "a smaller fit.batch_windows"
            )
        # A generator of its own: the global one belongs to the networks.
        return DataLoader(self._batches, batch_size=None, generator=torch.Generator())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self._optimizer = build_optimizer(self.rule, self.parameter_groups())
        if self._optimizer_state is not None:
            self._optimizer.load_state_dict(self._optimizer_state)
            self._optimizer_state = None
        return self._optimizer

    def on_fit_start(self) -> None:
        torch.set_num_threads(self.rule.threads)
        if self.trainer.is_global_zero:
            self._epoch_log = EpochLog(self.run, self.stage, self.history)

    def on_fit_end(self) -> None:
        self.close()

    def on_train_epoch_start(self) -> None:
        self._losses = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            torch.manual_seed(_seed_of(self.seed, self.stage, self.n_done))
            for module in self.learnt().values():
                module.train()
        n_steps = self.n_course_epochs * len(self._batches)
        set_course(self._optimizer, self.rule.schedule, self.n_steps_done, n_steps)

    def training_step(self, batch: Any, _: int) -> Tensor:
        loss = self.loss_of(batch)
        self._losses.append(float(loss.detach()))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.n_steps_done += 1
        if self._average is not None:
            self._average.add(self.learnt(), self.n_steps_done, self.n_course_epochs * len(self._batches))

    def on_train_epoch_end(self) -> None:
        loss = float(np.mean(self._losses)) if self._losses else None
        if loss is not None and not np.isfinite(loss):
            raise DataError(
                f"the loss of stage {self.stage!r} is {loss} in epoch {self.n_done + 1}; use a smaller "
                f"fit.learning_rate (it is {self.rule.learning_rate:g}) or a smaller fit.clip_norm"
            )
        with nullcontext() if self._average is None else self._average.in_place(self.learnt()):
            scores = self.validated()
            self._judge(scores)
        line: dict[str, Any] = {
            "stage": self.stage,
            "epoch": self.n_done,
            "loss": loss,
            "learning_rate": float(self._optimizer.param_groups[0]["lr"]),
            "validation": scores,
            "best": self.best_value,
            "best_epoch": self.best_epoch,
        }
        self.n_done += 1
        self._batches.epoch = self.n_done
        self.ended = self.n_done >= self.n_epochs or self._n_worse >= self.rule.patience
        self.trainer.should_stop = self.ended
        if not self.trainer.is_global_zero:
            return
        self.history = [*self.history, line]
        write_checkpoint(self.checkpoint_path, self._content())
        assert self._epoch_log is not None
        self._epoch_log.add(line)
        if self.progress is not None:
            self.progress.show(self.n_done, line)

    def close(self) -> None:
        """Close the log."""
        if self._epoch_log is not None:
            self._epoch_log.close()
            self._epoch_log = None

    def _judge(self, scores: dict[str, float | None] | None) -> None:
        """Is this epoch the best, and is it better by enough to go on for?"""
        value = None if scores is None else scores.get(self.rule.monitor)
        if value is None and self.best_value is None:  # nothing to choose by so far: the newest it is
            self.best_epoch, self._best = self.n_done, self._weights()
            return
        sign = -1.0 if self.rule.monitor == "loss" else 1.0
        if value is not None and (self.best_value is None or sign * value > sign * self.best_value):
            self.best_value, self.best_epoch, self._best = value, self.n_done, self._weights()
        better = value is not None and (
            self._reference is None or sign * value > sign * self._reference + self.rule.tolerance
        )
        self._reference = value if better else self._reference
        self._n_worse = 0 if better else self._n_worse + 1

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return copied_weights(self.learnt())

    def _content(self) -> dict[str, Any]:
        return {
            "key": self._key,
            "stage": self.stage,
            "weights": self._weights(),
            "average": None if self._average is None else self._average.weights,
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "n_done": self.n_done,
            "n_steps_done": self.n_steps_done,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "reference": self._reference,
            "n_worse": self._n_worse,
            "ended": self.ended,
            "history": self.history,
            "seconds": self.seconds_before + self.seconds_now,
        }

    def _depends_on(self) -> Iterable[str | bytes | NDArray[Any]]:
        yield f"torch {torch.__version__}, stage {self.stage}, {self.n_epochs} epochs, seed {self.seed}"
        yield self.rule.model_dump_json()
        for name, weights in self._weights().items():
            for key, value in weights.items():
                yield f"{name}.{key}"
                yield value.numpy()
        yield from self.learns_from()


def _seed_of(seed: int, stage: str, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, STAGES.index(stage), epoch]).generate_state(1, np.uint64)[0] >> 1)
