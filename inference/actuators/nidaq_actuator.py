"""Pulses made by a counter of an NI-DAQ device (nidaqmx, extra ``nidaq``). Never run on a device.

The counter times pulse and train by itself, so that a host that is held up, or dies, makes no pulse longer. There is no
acknowledgement: the driver has taken the command, and no more is known.
"""

from typing import Any, Literal

from pydantic import Field

from ...streaming.messages import Decision
from ...sync.clock import NS_PER_MS, NS_PER_US, Clock
from ...sync.errors import ActuatorError, ConfigError
from .actuator import BaseActuator
from .limits import PulseConfig

_LATE_NS = 50 * NS_PER_MS
_US_PER_S = 1e6


class NidaqActuatorConfig(PulseConfig):
    """A counter output.

    Attributes:
        counter: as NI-MAX calls it.
        terminal: where the pulses come out; None: the counter's own.
    """

    kind: Literal["nidaq"] = "nidaq"
    counter: str = Field(pattern=r"^[A-Za-z0-9_-]+/ctr\d+$")
    terminal: str | None = Field(default=None, pattern=r"^/?[A-Za-z0-9_/-]+$")


class NidaqActuator(BaseActuator):
    """One counter. The task is committed beforehand: firing only starts it.

    Raises:
        ConfigError: nidaqmx is not installed.
        ActuatorError: the driver is missing, or refuses the settings.
    """

    def __init__(self, name: str, config: NidaqActuatorConfig, clock: Clock) -> None:
        super().__init__(name)
        try:
            import nidaqmx
            from nidaqmx import constants, errors
        except ModuleNotFoundError as error:
            raise ConfigError("nidaqmx is not installed; pip install 'ethostream[nidaq]' brings it") from error
        self._errors: tuple[type[Exception], ...] = (errors.Error,)
        self._where = f"actuator {name}: {config.counter}"
        self._clock = clock
        self._lasts_ns = config.lasts_ns
        self._started_ns: int | None = None
        self._task: Any = None
        high_s = config.pulse_us / _US_PER_S
        # A single pulse has no period; its low time only has to be one that the counter can make.
        low_s = (config.period_us - config.pulse_us) / _US_PER_S if config.n_pulses > 1 else high_s
        try:
            self._task = nidaqmx.Task()
            channel = self._task.co_channels.add_co_pulse_chan_time(
                config.counter, idle_state=constants.Level.LOW, initial_delay=0.0, low_time=low_s, high_time=high_s
            )
            if config.terminal is not None:
                channel.co_pulse_term = config.terminal
            if config.n_pulses > 1:
                self._task.timing.cfg_implicit_timing(
                    sample_mode=constants.AcquisitionType.FINITE, samps_per_chan=config.n_pulses
                )
            self._task.control(constants.TaskMode.TASK_COMMIT)
        except self._errors as error:
            self._let_go()
            raise ActuatorError(f"{self._where} cannot be set up ({_short(error)}); see NI-MAX") from error

    def _act(self, decision: Decision) -> bool:
        if self._started_ns is not None and not self._finish():
            self._say(decision, "refused", "the pulses before have not ended")
            return False
        self._do("start")
        self._started_ns = self._clock.now_ns()
        return True

    def _rest(self) -> None:
        if self._started_ns is not None:
            self._started_ns = None
            self._do("stop")  # ends a train in its middle, and the counter idles low

    def _look(self) -> None:
        if self._started_ns is None or self._finish():
            return
        late_ns = self._clock.now_ns() - self._started_ns - self._lasts_ns
        if late_ns > _LATE_NS:
            self._rest()
            raise ActuatorError(
                f"{self._where} still pulses {late_ns // NS_PER_US} us after its end, and was stopped; look at the "
                "line before it is armed again"
            )

    def _finish(self) -> bool:
        """Whether the pulses have ended; the task is then ready for the next ones."""
        if not self._do("is_task_done"):
            return False
        self._do("stop")
        self._started_ns = None
        return True

    def _do(self, what: str) -> Any:
        try:
            return getattr(self._task, what)()
        except self._errors as error:
            raise ActuatorError(f"{self._where}: {what} failed ({_short(error)}); is the device plugged in?") from error

    def _let_go(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            try:
                task.close()
            except self._errors as error:
                self._say(None, "failed", f"{self._where}: cannot be closed ({_short(error)})")


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
