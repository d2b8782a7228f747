"""The monitor process: reads the bus, latest only, and shows it on a page.

It takes what it can get and never makes anybody wait: headers are drained to the newest, pixels are read from the ring
without a lock, tiles are made only while a browser looks on, and the process runs at a lower priority than the rig.
"""

import logging
import os
from collections.abc import Iterable
from functools import partial
from typing import Literal

import msgspec
from pydantic import Field

from ...streaming.frames import FrameReceiver
from ...streaming.messages import Box, FrameHeader, Pose
from ...streaming.node import NodeContext
from ...streaming.topics import (
    ALARM,
    ARMING,
    BEHAVIOR,
    CAMERA_STATUS,
    DECISION,
    FRAME,
    FRAME_SET,
    GAP,
    POSE,
    RECORDING,
    TRUTH,
)
from ...streaming.wire import Received
from ...sync.clock import NS_PER_S
from ...sync.errors import FrameOverwrittenError, NodeError, SharedMemoryError, WireError
from ...sync.strict import StrictModel, validate
from ..arming_socket import ask
from ..live_state import REPLAY_NODE, LiveState
from ..palette import CLASS_COLORS
from ..snapshot import Snapshot
from .app import STATUS_SLOT
from .config import MonitorConfig
from .hub import Hub
from .server import MonitorServer
from .tile import TileEncoder

STATUS_PERIOD_NS = NS_PER_S // 5
_POLL_MS = 20
_NICENESS = 10

log = logging.getLogger(__name__)


class MonitorNodeConfig(StrictModel):
    """Options of the monitor process.

    Attributes:
        monitor: of the rig file.
        rig: its name.
        cameras: in the order of display.
        poses: pose sources, likewise.
        rate_hz: of the rig; tiles come no faster.
    """

    monitor: MonitorConfig = MonitorConfig()
    rig: str
    cameras: list[str]
    poses: list[str] = Field(default_factory=list)
    rate_hz: float = Field(default=60.0, gt=0)


class PageStatus(msgspec.Struct, frozen=True):
    """What the page gets as text, five times a second."""

    now: Snapshot
    palette: tuple[str, ...] = CLASS_COLORS
    type: str = "status"
    clients: int = 0
    skipped: int = 0


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(MonitorNodeConfig, context.spec.config, context.spec.node)
    os.nice(_NICENESS)
    hub = Hub()
    runtime = context.spec.runtime
    disarm = None if runtime is None else partial(ask, runtime, "disarm")
    with MonitorServer(hub, config.monitor.host, config.monitor.port, disarm) as server:
        log.info("monitor page at %s", server.address)
        context.counters["port"] = server.port
        _MonitorLoop(context, config, hub, server).run()


class _MonitorLoop:
    def __init__(self, context: NodeContext, config: MonitorNodeConfig, hub: Hub, server: MonitorServer) -> None:
        mode: Literal["live", "replay"] = "replay" if REPLAY_NODE in context.spec.endpoints else "live"
        self._context = context
        self._hub = hub
        self._server = server
        self._state = LiveState(config.rig, tuple(config.cameras), mode, tuple(config.poses))
        self._cameras = list(config.cameras)
        self._receiver = FrameReceiver()
        self._encoder = TileEncoder(config.monitor.tile_width, config.monitor.jpeg_quality)
        self._tile_period_ns = round(NS_PER_S / min(config.monitor.tile_rate_hz, config.rate_hz))
        self._next_tiles_ns = 0
        self._next_status_ns = 0
        self._n_tiles = 0
        self._n_overwritten = 0

    def run(self) -> None:
        context = self._context
        few = [ARMING, BEHAVIOR, DECISION, FRAME_SET, RECORDING, ALARM, CAMERA_STATUS, GAP]
        with (
            context.subscribe(few) as events,
            context.subscribe([TRUTH], cameras=self._cameras[:1]) as truth,
            context.subscribe_latest([FRAME, POSE]) as frames,
        ):
            context.set_state("ready")
            while not context.should_stop:
                self._take(events.receive(_POLL_MS))
                self._take(truth.receive(0))
                now = context.clock.now_ns()
                if now >= self._next_tiles_ns:
                    self._next_tiles_ns = max(self._next_tiles_ns + self._tile_period_ns, now)
                    self._show(frames.latest(0).values())
                if now >= self._next_status_ns:
                    self._next_status_ns = now + STATUS_PERIOD_NS
                    self._say(now)
                context.counters.update(lost=events.n_lost, refused=events.n_refused + frames.n_refused)
                context.beat()
                if not self._server.alive:
                    raise NodeError("monitor: the web server has ended; see this node's log")
            context.set_state("stopping")

    def _take(self, batch: Iterable[Received]) -> None:
        now = self._context.clock.now_ns()
        for received in batch:
            self._state.add(received.message, now)

    def _show(self, newest: Iterable[Received]) -> None:
        now = self._context.clock.now_ns()
        watched = self._hub.n_clients > 0
        for received in newest:
            header = received.message
            if isinstance(header, FrameHeader):
                self._state.add(header, now)
                if watched:
                    self._tile(header, received.pixels)
            elif isinstance(header, Pose):
                self._state.add(header, now)
        if watched:
            self._hub.publish()
        self._context.counters.update(
            tiles=self._n_tiles,
            overwritten=self._n_overwritten,
            clients=self._hub.n_clients,
            skipped=self._hub.n_skipped,
        )

    def _tile(self, header: FrameHeader, pixels: memoryview | None) -> None:
        if header.camera not in self._cameras:
            self._cameras.append(header.camera)
        try:
            small = self._encoder.shrink(self._receiver.view(header, pixels))
            self._receiver.check(header)
        except (FrameOverwrittenError, SharedMemoryError, WireError):
            self._n_overwritten += 1  # a newer frame, or a camera that starts again, brings the next tile
            return
        self._n_tiles += 1
        place = self._cameras.index(header.camera)
        tile = self._encoder.encode(small, header, place, self._n_tiles, self._box(header.camera))
        self._hub.put(f"tile/{header.camera}", tile)

    def _box(self, camera: str) -> Box | None:
        behavior = self._state.behavior
        return None if behavior is None else next((box for box in behavior.boxes if box.camera == camera), None)

    def _say(self, now: int) -> None:
        snapshot = self._state.snapshot(now, strips=True)
        status = PageStatus(snapshot, clients=self._hub.n_clients, skipped=self._hub.n_skipped)
        self._hub.put(STATUS_SLOT, msgspec.json.encode(status))
        self._hub.publish()
