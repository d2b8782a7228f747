"""Optimizers and the course of the learning rate."""

import numpy as np
import pytest
import torch
from ethostream.training.config.fit import FitConfig, ScheduleConfig
from ethostream.training.fitting.optimizers import BASE_RATE, build_optimizer, rate_factor, set_course
from torch import nn

# Published settings of a mouse-behaviour network: b (1 + g t)^-e.
BASE, GAIN, EXPONENT = 0.01, 0.01, 0.472


def test_the_inverse_policy_is_the_published_one() -> None:
    rule = ScheduleConfig(kind="inverse", gain=GAIN, exponent=EXPONENT)
    for step in (0, 1, 100, 50_000):
        assert BASE * rate_factor(rule, step, 10) == pytest.approx(BASE * (1 + GAIN * step) ** -EXPONENT)


def test_cosine_ends_at_zero_and_constant_stays() -> None:
    cosine = [rate_factor(ScheduleConfig(), step, 8) for step in range(9)]
    assert cosine[0] == 1.0
    assert cosine[4] == pytest.approx(0.5)
    assert cosine[8] == pytest.approx(0.0, abs=1e-12)
    assert cosine == sorted(cosine, reverse=True)
    assert {rate_factor(ScheduleConfig(kind="constant"), step, 8) for step in range(20)} == {1.0}


def test_warming_up_rises_linearly() -> None:
    rule = ScheduleConfig(kind="constant", warm_up_steps=4)
    assert np.allclose([rate_factor(rule, step, 9) for step in range(6)], [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("rise", [0.15, 0.5])
def test_one_cycle_is_the_one_of_torch(rise: float) -> None:
    """Rate and momentum, of two groups with rates of their own; beyond the last step it stays where it is."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    rule = FitConfig.model_validate({"schedule": {"kind": "one_cycle", "rise": rise}, "optimizer": {"decay": 0.9}})
    ours = build_optimizer(rule, [([parameters[0]], 0.1), ([parameters[1]], 0.003)])
    theirs = torch.optim.AdamW([{"params": [one]} for one in parameters], betas=(0.9, 0.9))
    course = torch.optim.lr_scheduler.OneCycleLR(theirs, [0.1, 0.003], total_steps=40, pct_start=rise)
    for step in range(40):
        set_course(ours, rule.schedule, step, 40)
        for found, wanted in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert found["lr"] == pytest.approx(wanted["lr"], rel=1e-9)
            assert found["betas"] == pytest.approx(wanted["betas"], rel=1e-9)
        theirs.step()
        if step < 39:
            course.step()
    assert rate_factor(rule.schedule, 60, 40) == rate_factor(rule.schedule, 39, 40) == pytest.approx(4e-6)
    assert [rate_factor(rule.schedule, 0, n) > 0.0 for n in (1, 2, 3)] == [True] * 3  # few steps are a cycle, too


@pytest.mark.parametrize(
    ("options", "rate", "kind"),
    [
        ({"kind": "adamw"}, 0.1, torch.optim.AdamW),
        ({"kind": "adam", "decay": 0.99}, 0.1, torch.optim.Adam),
        ({"kind": "adadelta", "decay": 0.9, "epsilon": 1e-3}, 1.0, torch.optim.Adadelta),
        ({"kind": "rmsprop", "decay": 0.92, "momentum": 0.5}, 0.01, torch.optim.RMSprop),
    ],
)
def test_each_optimizer_goes_downhill_with_its_options(
    options: dict[str, object], rate: float, kind: type[torch.optim.Optimizer]
) -> None:
    one, other = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([3.0]))
    rule = FitConfig.model_validate({"optimizer": options, "weight_decay": 0.0})
    optimizer = build_optimizer(rule, [([one], rate), ([other], 0.0)])
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group[BASE_RATE] == group["lr"] == rate
    if "decay" in options:
        assert options["decay"] in (group.get("rho"), group.get("alpha"), group.get("betas", (0, None))[1])
    for _ in range(60):
        optimizer.zero_grad()
        (one**2 + other**2).sum().backward()
        optimizer.step()
    assert abs(float(one.detach())) < 2.0
    assert float(other.detach()) == 3.0  # a group with a rate of its own
