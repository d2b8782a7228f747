"""The loop that every stage of a fit runs in, from its checkpoint to the weights of its best epoch."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from .checkpoint import read_checkpoint
from .devices import require_devices
from .epoch_log import EpochLog
from .progress import FitProgress, WholeProgress
from .stage import Stage


def run_stage(module: Stage, quiet: bool = False, whole: WholeProgress | None = None) -> dict[str, Any]:
    """Fit one stage, from its checkpoint if there is one, and give its networks the weights of the best epoch.

    Args:
        module: the stage.
        quiet: no progress bar.
        whole: the bar over all fits, that of this one stands below it.

    Returns:
        ``epochs`` that ran, ``best_epoch``, ``monitor`` and its ``best_value`` (None: nothing chose the epoch, it is
        the last one), ``validation_macro_f1`` of the best epoch (None where nothing could be scored), ``seconds`` that
        it took in all, ``seconds_before`` of them in calls that were killed, and ``resumed_from_epoch`` (0: it began
        anew).

    Raises:
        ConfigError: the devices asked for are not there.
        DataError: see `Stage`.
        DiskFullError: no room for a checkpoint.
    """
    rule = module.rule
    require_devices(rule)
    module.prepare()
    before = module.seconds_before
    if module.ended:
        EpochLog(module.run, module.stage, module.history).close()  # its last line may be missing
    else:
        _train(module, quiet, whole)
    module.to("cpu")
    if rule.devices > 1:  # the processes that learnt are gone
        content = read_checkpoint(module.checkpoint_path)
        assert content is not None
        module.take(content)
    module.keep_best()
    for one in module.learnt().values():
        one.eval()
    best = next((line for line in module.history if line["epoch"] == module.best_epoch), None)
    scores: dict[str, float | None] = (best or {}).get("validation") or {}
    return {
        "epochs": module.n_done,
        "best_epoch": module.best_epoch,
        "monitor": rule.monitor,
        "best_value": module.best_value,
        "validation_macro_f1": scores.get("macro_f1"),
        "seconds": before + module.seconds_now,
        "seconds_before": before,
        "resumed_from_epoch": module.n_resumed,
    }


def _train(module: Stage, quiet: bool, whole: WholeProgress | None) -> None:
    rule = module.rule
    callbacks: list[Callback] = []
    if not quiet:
        module.progress = FitProgress(
            module.stage,
            len(module.batches()) // rule.devices,
            module.n_epochs,
            module.n_done,
            rule.monitor,
            whole if rule.devices == 1 else None,  # a bar that is shown cannot go to other processes
        )
        callbacks.append(module.progress)
    try:
        with _quiet_lightning(), torch.random.fork_rng():
            trainer = lightning.Trainer(
                max_epochs=module.n_epochs - module.n_done,
                accelerator="gpu" if rule.device == "cuda" else "cpu",
                devices=rule.devices,
                strategy="auto" if rule.devices == 1 else "ddp_spawn",
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                callbacks=callbacks,
                deterministic=True,
                gradient_clip_val=rule.clip_norm,
                num_sanity_val_steps=0,
            )
            trainer.fit(module)
    finally:
        module.close()


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
