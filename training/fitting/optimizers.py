"""Optimizers and the course of the learning rate."""

import math
from typing import Any

import torch
from torch import nn

from ..config.fit import FitConfig, ScheduleConfig

BASE_RATE = "base_rate"
"""Key of an optimizer's parameter group: the learning rate before the schedule."""

# One cycle as torch has it: first and last rate in shares of the highest, and the momentum there and between.
_BEGIN, _END = 1 / 25, 1 / 250_000
_SLOW_MOMENTUM, _FAST_MOMENTUM = 0.95, 0.85


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
        case "one_cycle":
            return _one_cycle(schedule.rise, step, n_steps, _BEGIN, 1.0, _END)


def momentum_at(schedule: ScheduleConfig, step: int, n_steps: int) -> float | None:
    """The momentum of adam and adamw (beta1) at a step; None: what it always is. Arguments as of `rate_factor`."""
    if schedule.kind != "one_cycle":
        return None
    return _one_cycle(schedule.rise, step, n_steps, _SLOW_MOMENTUM, _FAST_MOMENTUM, _SLOW_MOMENTUM)


def set_course(optimizer: torch.optim.Optimizer, schedule: ScheduleConfig, step: int, n_steps: int) -> None:
    """Give an optimizer the learning rates and the momentum of a step. Arguments as of `rate_factor`."""
    factor, momentum = rate_factor(schedule, step, n_steps), momentum_at(schedule, step, n_steps)
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


def _one_cycle(rise: float, step: int, n_steps: int, begin: float, top: float, end: float) -> float:
    """From begin to top and on to end, both ways by half a cosine; the last step has the end."""
    turn, last = rise * n_steps - 1.0, n_steps - 1.0
    if step < turn:
        return _between(begin, top, step / turn)
    return _between(top, end, min((step - turn) / (last - turn), 1.0))


def _between(one: float, other: float, share: float) -> float:
    return other + (one - other) * 0.5 * (1.0 + math.cos(math.pi * share))


def _named(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}
