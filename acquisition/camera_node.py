"""One camera, one process: grab, stamp at dequeue, publish. It never waits for a reader."""

import logging
from typing import Literal

import msgspec
from pydantic import Field

from ..streaming.frames import FrameSender
from ..streaming.messages import CameraStatus, ClockStatus, FrameHeader, Gap
from ..streaming.node import NodeContext
from ..streaming.topics import CAMERA_STATUS, CLOCK, FRAME, GAP, TRUTH
from ..sync.clock import NS_PER_S
from ..sync.errors import CameraLostError
from ..sync.strict import StrictModel, validate
from .camera import Camera, CameraFormat, CountsLosses, EndOfStream, Grab
from .frame_clock import FrameClock
from .kinds import CameraConfig, make_camera
from .ledger import FrameLedger, Missing

_STATUS_PERIOD_NS = NS_PER_S // 2
_CLOCK_PERIOD_NS = NS_PER_S
_READ_TIMEOUT_S = 0.1

log = logging.getLogger(__name__)


class CameraNodeConfig(StrictModel):
    """Options of one camera process.

    Attributes:
        name: the camera.
        camera: its kind and settings.
        ring_slots: frames held in shared memory.
        pixels: ``ring`` on one host; ``raw`` or ``jpeg`` travel inside the message.
        max_silence_s: a device that is silent for this long is lost.
        max_drift_ppm: a device clock that drifts by more than this is alarmed.
    """

    name: str
    camera: CameraConfig
    ring_slots: int = 64
    pixels: Literal["ring", "raw", "jpeg"] = "ring"
    max_silence_s: float = Field(default=5.0, gt=0)
    max_drift_ppm: float = Field(default=200.0, gt=0)


def main(context: NodeContext) -> None:
    """Entry point: open, wait for the common start, publish until stopped or ended."""
    config = validate(CameraNodeConfig, context.spec.config, context.spec.node)
    camera = make_camera(config.name, config.camera, context.clock)
    try:
        camera_format = camera.open()
        sender = FrameSender(
            context.spec.session, config.name, context.spec.epoch, camera_format.shape, config.ring_slots, config.pixels
        )
        try:
            t_start_ns = context.wait_for_start()
            if t_start_ns is not None:
                camera.start(t_start_ns)
                CameraLoop(context, config, camera, camera_format, sender).run(t_start_ns)
        finally:
            sender.close()
    finally:
        camera.close()


class CameraLoop:
    """The loop and its account.

    Args:
        context: of the node.
        config: options.
        camera: open and started.
        camera_format: as it was opened.
        sender: where the pixels go.
    """

    def __init__(
        self,
        context: NodeContext,
        config: CameraNodeConfig,
        camera: Camera,
        camera_format: CameraFormat,
        sender: FrameSender,
    ) -> None:
        self._context = context
        self._config = config
        self._camera = camera
        self._format = camera_format
        self._sender = sender
        self._ledger = FrameLedger()
        self._clock = FrameClock(config.name, camera_format)
        self._next_clock_ns = 0
        self._drifts = False
        self._first_ns = 0
        self._last_ns = 0
        self._next_status_ns = 0
        self._n_behind = 0

    def run(self, t_start_ns: int) -> None:
        """Publish until stopped or ended; the last status is ``lost`` where anything else ended it.

        Raises:
            CameraLostError: the device is silent or gone, or its frame counter went back.
        """
        context = self._context
        context.set_state("running")
        heard_ns = max(context.clock.now_ns(), t_start_ns)
        state: Literal["stopped", "lost"] = "lost"
        try:
            while not context.should_stop:
                grab = self._camera.read_into(self._sender.acquire(), _READ_TIMEOUT_S)
                now = context.clock.now_ns()
                if grab is not None:
                    heard_ns = now
                    self._publish(grab, now)
                elif now - heard_ns > self._config.max_silence_s * NS_PER_S:
                    raise CameraLostError(
                        f"camera {self._config.name}: no frame for {self._config.max_silence_s:g} s; check its cable, "
                        "power and trigger"
                    )
                if now >= self._next_status_ns:
                    self._status("running", now)
                if now >= self._next_clock_ns:
                    self._say_clock(now)
                context.beat()
            state = "stopped"
        except EndOfStream:
            state = "stopped"
            log.info("the source has ended after %d frames", self._ledger.captured)
        finally:
            context.state = "stopping"
            self._declare(end=True)
            self._declare_last()
            self._say_clock(context.clock.now_ns())
            self._status(state, context.clock.now_ns())
            context.set_state("stopping")

    def _publish(self, grab: Grab, t_received_ns: int) -> None:
        context, name, epoch = self._context, self._config.name, self._context.spec.epoch
        stamp = self._clock.stamp(grab, t_received_ns)
        t_exposure_ns = stamp.t_exposure_ns
        arrival = self._ledger.arrive(grab.seq, t_exposure_ns)
        if arrival == "back":
            raise CameraLostError(
                f"camera {name}: its frame counter went back from {self._ledger.last_seq} to {grab.seq}; did the "
                "device connect again, or its counter wrap? It must be opened again, which begins a new epoch"
            )
        if arrival == "new":
            self._first_ns = min(self._first_ns or t_exposure_ns, t_exposure_ns)
            self._last_ns = max(self._last_ns, t_exposure_ns)
            if t_received_ns - t_exposure_ns > NS_PER_S / self._format.rate_hz + grab.exposure_us * 1000:
                self._n_behind += 1
        ring, slot, generation, pixels = self._sender.commit()
        header = FrameHeader(
            name,
            epoch,
            grab.seq,
            t_exposure_ns,
            grab.exposure_us,
            t_received_ns,
            stamp.time_source,
            self._format.width,
            self._format.height,
            self._format.pixel_format,
            ring,
            slot,
            generation,
            self._sender.encoding,
            grab.trigger_id,
            grab.ticks,
            grab.line_status,
        )
        context.publish(FRAME, header, name, pixels)
        if stamp.stepped:
            self._say_clock(t_received_ns)
            context.alarm(
                "error",
                f"camera {name}: its clock jumped or began anew near frame {grab.seq}; times come from the arrival of "
                "the frames until it is fitted again. Did the device restart, or something set its clock?",
            )
        if grab.truth is not None:
            truth = grab.truth if epoch == 0 else msgspec.structs.replace(grab.truth, epoch=epoch)
            context.publish(TRUTH, truth, name)
        self._declare(end=False)

    def _declare(self, *, end: bool) -> None:
        for missing in self._ledger.declare(end=end):
            self._say_missing(missing, "frame counter jumped")

    def _declare_last(self) -> None:
        """Frames that no later one showed to be missing: only the driver's own count knows of them."""
        n = self._camera.lost_at_end() if isinstance(self._camera, CountsLosses) else 0
        missing = self._ledger.lose_last(n)
        if missing is not None:
            self._say_missing(missing, "known to the driver's statistics alone, and taken to be the last")
        elif n:
            self._context.alarm(
                "error",
                f"camera {self._config.name}: delivered no frame, and its driver knows of {n} that were lost; check "
                "its bandwidth and cable",
            )

    def _say_missing(self, missing: Missing, why: str) -> None:
        gap = Gap(
            "device",
            self._config.name,
            self._context.spec.epoch,
            missing.first_seq,
            missing.n,
            why,
            self._context.clock.now_ns(),
        )
        self._context.publish(GAP, gap, self._config.name)

    def _say_clock(self, now: int) -> None:
        """The clock as it stands, where the device has one; an alarm when it begins to drift too much."""
        self._next_clock_ns = now + _CLOCK_PERIOD_NS
        status: ClockStatus | None = self._clock.status(self._context.spec.epoch, now)
        if status is None:
            return
        self._context.counters["clock_steps"] = status.n_steps
        self._context.publish(CLOCK, status)
        drift_ppm, limit_ppm = self._clock.drift_ppm, self._config.max_drift_ppm
        drifts = drift_ppm is not None and abs(drift_ppm) > limit_ppm
        if drifts and not self._drifts:
            self._context.alarm(
                "warning",
                f"camera {self._config.name}: its clock drifts by {drift_ppm:.1f} ppm, more than "
                f"max_drift_ppm={limit_ppm:g}; is it overheating, or is its tick rate not the one it tells?",
            )
        self._drifts = drifts

    def _status(self, state: Literal["running", "stopped", "lost"], now: int) -> None:
        self._next_status_ns = now + _STATUS_PERIOD_NS
        ledger = self._ledger
        span_ns = self._last_ns - self._first_ns
        n_periods = ledger.last_seq - ledger.first_seq - ledger.dropped - ledger.pending
        status = CameraStatus(
            self._config.name,
            self._context.spec.epoch,
            state,
            ledger.first_seq,
            ledger.last_seq,
            ledger.captured,
            ledger.dropped,
            ledger.duplicates,
            round(n_periods * NS_PER_S / span_ns, 3) if span_ns > 0 else 0.0,
            now,
            self._n_behind,
        )
        self._context.counters.update(
            captured=ledger.captured, dropped=ledger.dropped, duplicates=ledger.duplicates, behind=self._n_behind
        )
        self._context.publish(CAMERA_STATUS, status, self._config.name)
