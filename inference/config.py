"""The task file: which model runs on which views, and what its behaviours set off."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ..sync.errors import ConfigError
from ..sync.strict import StrictModel
from .actuators.config import ActuatorConfig
from .actuators.limits import PulseConfig
from .backend import Provider
from .disparity_config import DisparityConfig
from .gpu_config import GpuConfig
from .rules.arming_config import ArmingConfig
from .rules.conditions import check_names
from .rules.config import RuleConfig
from .rules.zones import ZoneConfig
from .stabilisation.config import StabiliserConfig
from .tracking.config import TrackingConfig


class TaskConfig(StrictModel):
    """A paradigm.

    Attributes:
        bundle: path of a bundle folder or zip, the name of a shipped one (``demo``), or null: cameras only.
        provider: what must run the embedder; it never runs elsewhere.
        gpu: how, where that is a GPU, and where the head runs; null: the defaults.
        threads: of the engine.
        views: cameras that the model sees, in the order in which they are joined; null: all.
        max_look_ahead_frames: how many frames of the future a model may need.
        stabiliser: instead of the bundle's defaults.
        rules: what is decided when a behaviour begins, ends, goes on or is part of a sequence.
        zones: places in the cage, by the name that rules use.
        arming: when rules may fire at all.
        actuators: what a decision drives, by the name that rules use.
        disparity: further views, computed from stereo pairs; with ``views: null`` they come after the cameras.
        tracking: where the animals are in millimetres; needs calibrated views. null: not asked.
        pose_source: pose source of the rig that a model on pose takes; null: the only one.
    """

    bundle: Path | None = None
    provider: Provider = "cpu"
    gpu: GpuConfig | None = None
    threads: int = Field(default=1, ge=1)
    views: list[str] | None = Field(default=None, min_length=1)
    max_look_ahead_frames: int = Field(default=0, ge=0)
    stabiliser: StabiliserConfig | None = None
    rules: list[RuleConfig] = Field(default_factory=list)
    zones: dict[str, ZoneConfig] = Field(default_factory=dict)
    arming: ArmingConfig = ArmingConfig()
    actuators: dict[str, ActuatorConfig] = Field(default_factory=dict)
    disparity: DisparityConfig | None = None
    tracking: TrackingConfig | None = None
    pose_source: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for rule in self.rules:
            if rule.actuator not in self.actuators:
                have = ", ".join(self.actuators) or "none"
                raise ValueError(f"rule {rule.name!r}: actuator {rule.actuator!r} is not defined (there are: {have})")
            _check_duty(rule, self.actuators[rule.actuator])
        try:
            check_names(self.rules, self.zones, self.tracking is not None)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.views is not None and len(set(self.views)) != len(self.views):
            raise ValueError(f"views: a camera stands twice in {self.views}")
        if self.gpu is not None and self.provider == "cpu":
            raise ValueError("gpu: provider is cpu, which has no use for it; set provider to cuda or tensorrt")
        if self.gpu is not None and self.gpu.engine_cache is not None and self.provider == "cuda":
            raise ValueError(
                "gpu.engine_cache: provider cuda builds no engines; set provider to tensorrt, or leave it out"
            )
        if self.rules and self.bundle is None:
            raise ValueError("rules need a model: set bundle")
        if self.disparity is not None and self.bundle is None:
            raise ValueError("disparity: its views are for a model only: set bundle, or leave it out")
        return self


def _check_duty(rule: RuleConfig, actuator: ActuatorConfig) -> None:
    """A duty that is reckoned with shorter pulses than the actuator makes would be none."""
    if rule.max_duty is None or not isinstance(actuator, PulseConfig):
        return
    asked_ms = actuator.pulse_ms * actuator.n_pulses
    if rule.max_duty.pulse_ms < asked_ms:
        raise ValueError(
            f"rule {rule.name!r}: max_duty.pulse_ms {rule.max_duty.pulse_ms:g}: actuator {rule.actuator!r} is asked "
            f"for {asked_ms:g} ms at each firing; set it to that"
        )
