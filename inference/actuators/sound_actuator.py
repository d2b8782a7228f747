"""A tone from the sound card (miniaudio, extra ``sound``). Never heard: only run on a device that plays into nothing.

The stream runs all the time, silent, so that a firing begins with the next block. Length is counted in samples.
"""

import math
import threading
from array import array
from collections.abc import Generator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ...streaming.messages import Decision
from ...sync.clock import NS_PER_S
from ...sync.errors import ActuatorError, ConfigError
from .actuator import BaseActuator
from .limits import PulseConfig

_RAMP_S = 0.002
"""A tone that begins at once is a click."""
_FULL = 32767
_LONGEST_NS = 60 * NS_PER_S


class SoundActuatorConfig(PulseConfig):
    """A tone, on as the pulses of a line would be.

    Attributes:
        tone_hz: its pitch.
        volume: 0 to 1 of what the sound card gives.
        block_ms: of the stream; about the delay that it adds.
        backend: ``null`` plays into nothing.
    """

    kind: Literal["sound"] = "sound"
    tone_hz: float = Field(default=8000.0, gt=0, le=20_000)
    volume: float = Field(default=0.5, gt=0, le=1)
    rate_hz: int = Field(default=48_000, ge=8000, le=192_000)
    block_ms: int = Field(default=10, ge=1, le=1000)
    backend: Literal["auto", "null"] = "auto"

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if self.lasts_ns > _LONGEST_NS:
            raise ValueError(f"{self.n_pulses} tones every {self.period_ms:g} ms last longer than a minute; make fewer")
        return self


class SoundActuator(BaseActuator):
    """One output stream.

    Raises:
        ConfigError: miniaudio is not installed.
        ActuatorError: there is no sound card, or it refuses the settings.
    """

    def __init__(self, name: str, config: SoundActuatorConfig) -> None:
        super().__init__(name)
        try:
            import miniaudio
        except ModuleNotFoundError as error:
            raise ConfigError("miniaudio is not installed; pip install 'ethostream[sound]' brings it") from error
        self._train = tone_train(config)
        self._at = len(self._train)
        self._lock = threading.Lock()
        self._device: Any = None
        backends = [miniaudio.Backend.NULL] if config.backend == "null" else None
        try:
            self._device = miniaudio.PlaybackDevice(
                output_format=miniaudio.SampleFormat.SIGNED16,
                nchannels=1,
                sample_rate=config.rate_hz,
                buffersize_msec=config.block_ms,
                backends=backends,
                app_name="ethostream",
            )
            stream = self._blocks()
            next(stream)
            self._device.start(stream)
        except miniaudio.MiniaudioError as error:
            self._let_go()
            raise ActuatorError(
                f"actuator {name}: no sound can be played ({error}); is there a sound card, and is it free?"
            ) from error

    def _blocks(self) -> "Generator[array[int], int, None]":
        """What the sound card takes, on its own thread: the train where it has got to, else silence."""
        n = yield array("h")
        while True:
            with self._lock:
                block = self._train[self._at : self._at + n]
                self._at += len(block)
            block.frombytes(bytes(2 * (n - len(block))))
            n = yield block

    def _act(self, decision: Decision) -> bool:
        with self._lock:
            self._at = 0
        return True

    def _rest(self) -> None:
        with self._lock:
            self._at = len(self._train)

    def _let_go(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()


def tone_train(config: SoundActuatorConfig) -> "array[int]":
    """The samples of one firing, int16, from its first to its last that is not silence."""
    rate = config.rate_hz
    n_on = max(1, round(config.pulse_us * 1e-6 * rate))
    n_ramp = min(n_on // 2, round(_RAMP_S * rate))
    pulse = array("h")
    for k in range(n_on):
        edge = min(1.0, (k + 1) / (n_ramp + 1), (n_on - k) / (n_ramp + 1))
        pulse.append(round(config.volume * _FULL * edge * math.sin(2 * math.pi * config.tone_hz * k / rate)))
    train = array("h")
    for number in range(config.n_pulses):
        begin = round(number * config.period_us * 1e-6 * rate)
        train.frombytes(bytes(2 * (begin - len(train))))
        train += pulse
    return train
