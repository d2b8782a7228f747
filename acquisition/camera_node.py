"""One camera, one process: grab, stamp at dequeue, publish. It never waits for a reader."""

import logging
from typing import Literal

import msgspec
from pydantic import Field

from ..streaming.frames import FrameSender
from ..streaming.messages import CameraStatus, FrameHeader, Gap
from ..streaming.node import NodeContext
from ..streaming.topics import CAMERA_STATUS, FRAME, GAP, TRUTH
from ..sync.clock import NS_PER_S
from ..sync.errors import CameraLostError
from ..sync.strict import StrictModel, validate
from .camera import Camera, CameraFormat, EndOfStream, Grab
from .kinds import CameraConfig, make_camera
from .ledger import FrameLedger

_STATUS_PERIOD_NS = NS_PER_S // 2
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
    """

    name: str
    camera: CameraConfig
    ring_slots: int = 64
    pixels: Literal["ring", "raw", "jpeg"] = "ring"
    max_silence_s: float = Field(default=5.0, gt=0)


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
                context.beat()
            state = "stopped"
        except EndOfStream:
            state = "stopped"
            log.info("the source has ended after %d frames", self._ledger.captured)
        finally:
            context.state = "stopping"
            self._declare(end=True)
            self._status(state, context.clock.now_ns())
            context.set_state("stopping")

    def _publish(self, grab: Grab, t_received_ns: int) -> None:
        context, name, epoch = self._context, self._config.name, self._context.spec.epoch
        arrival = self._ledger.arrive(grab.seq, grab.t_exposure_ns)
        if arrival == "back":
            raise CameraLostError(
                f"camera {name}: its frame counter went back from {self._ledger.last_seq} to {grab.seq}; did the "
                "device connect again, or its counter wrap? It must be opened again, which begins a new epoch"
            )
        if arrival == "new":
            self._first_ns = min(self._first_ns or grab.t_exposure_ns, grab.t_exposure_ns)
            self._last_ns = max(self._last_ns, grab.t_exposure_ns)
            if t_received_ns - grab.t_exposure_ns > NS_PER_S / self._format.rate_hz + grab.exposure_us * 1000:
                self._n_behind += 1
        ring, slot, generation, pixels = self._sender.commit()
        header = FrameHeader(
            name,
            epoch,
            grab.seq,
            grab.t_exposure_ns,
            grab.exposure_us,
            t_received_ns,
            self._format.time_source,
            self._format.width,
            self._format.height,
            self._format.pixel_format,
            ring,
            slot,
            generation,
            self._sender.encoding,
            grab.trigger_id,
        )
        context.publish(FRAME, header, name, pixels)
        if grab.truth is not None:
            truth = grab.truth if epoch == 0 else msgspec.structs.replace(grab.truth, epoch=epoch)
            context.publish(TRUTH, truth, name)
        self._declare(end=False)

    def _declare(self, *, end: bool) -> None:
        for missing in self._ledger.declare(end=end):
            gap = Gap(
                "device",
                self._config.name,
                self._context.spec.epoch,
                missing.first_seq,
                missing.n,
                "frame counter jumped",
                self._context.clock.now_ns(),
            )
            self._context.publish(GAP, gap, self._config.name)

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
