"""What makes the cameras' trigger pulses."""

from typing import Literal

from pydantic import Field, model_validator

from ..streaming.board_config import BoardConfig


class SerialTriggerConfig(BoardConfig):
    """Trigger pulses from such a board.

    Attributes:
        kind: ``serial``.
        name: of the board, in its messages.
        rate_hz: pulses per second; None: the cameras' common rate.
        pulse_us: how long a pulse is high.
        output: the board's output line that the cameras' trigger inputs are wired to.
        inputs: input lines whose edges are recorded as well.
        cameras: those that this trigger exposes; None: all of the rig. An empty list: pulses are made and recorded,
            and no camera is expected to follow them.
        armed_timeout_s: how long the cameras may take to be armed.
        first_frame_timeout_s: how long after the first pulse every triggered camera must have given a frame.
        watchdog_ms: the board stops by itself when it has heard nothing from the rig for this long.
    """

    kind: Literal["serial"]
    name: str = Field(default="board", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=32)
    rate_hz: float | None = Field(default=None, gt=0, le=5000)
    pulse_us: int = Field(default=500, ge=10)
    output: int = Field(default=0, ge=0, le=15)
    inputs: tuple[int, ...] = ()
    cameras: tuple[str, ...] | None = None
    armed_timeout_s: float = Field(default=60.0, gt=0)
    first_frame_timeout_s: float = Field(default=3.0, gt=0)
    watchdog_ms: int = Field(default=5000, ge=1000, le=60_000)

    @model_validator(mode="after")
    def _pulse_fits(self) -> "SerialTriggerConfig":
        if self.rate_hz is not None and self.pulse_us * self.rate_hz >= 0.9e6:
            raise ValueError(f"pulse_us {self.pulse_us} fills the period of {self.rate_hz:g} Hz; make it shorter")
        if len(set(self.inputs)) != len(self.inputs):
            raise ValueError(f"inputs {list(self.inputs)}: a line is named twice")
        return self


TriggerConfig = SerialTriggerConfig
"""Settings of the trigger; ``kind`` says which, and there is one so far."""
