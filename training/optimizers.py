"""Optimizers and the course of the learning rate."""

import math
from typing import Any

import torch
from torch import nn

from .fit_config import FitConfig, ScheduleConfig

BASE_RATE = "base_rate"
"""Key of an optimizer's parameter group: the learning rate before the schedule."""


def build_optimizer(rule: FitConfig, groups: list[tuple[list[nn.Parameter], float]]) -> torch.optim.Optimizer:
    """The optimizer of a stage.

    Args:
        rule: of the fit.
        groups: parameters and the learning rate that they begin with.
    """
    options = rule.optimizer
    given: list[dict[str, Any]] = [{"params": one, "lr": rate, BASE_RATE: rate} for one, rate in groups]
    more: dict[str, Any] = {"weight_decay": rule.weight_decay}
    if options.epsilon is not None:
        more["eps"] = options.epsilon
    match options.kind:
        case "adadelta":
            kind = torch.optim.Adadelta
            more |= _named("rho", options.decay)
        case "rmsprop":
            kind = torch.optim.RMSprop
            more |= {"momentum": options.momentum, **_named("alpha", options.decay)}
        case "adam" | "adamw":
            kind = torch.optim.Adam if options.kind == "adam" else torch.optim.AdamW
            more |= {} if options.decay is None else {"betas": (0.9, options.decay)}
    return kind(given, **more)


def rate_factor(schedule: ScheduleConfig, step: int, n_steps: int) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        schedule: which course.
        step: from 0.
        n_steps: of the whole stage, if no epoch is left out.
    """
    warm = min(1.0, (step + 1) / (schedule.warm_up_steps + 1))
    match schedule.kind:
        case "constant":
            return warm
        case "inverse":
            return warm * (1.0 + schedule.gain * step) ** -schedule.exponent
        case "cosine":
            return warm * 0.5 * (1.0 + math.cos(math.pi * min(step / max(n_steps, 1), 1.0)))


def _named(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}
