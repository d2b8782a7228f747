"""A camera that looks at the simulated mouse: real pixels, real timing, faults on request, and the truth beside it."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..streaming.messages import FrameTruth
from ..sync.clock import NS_PER_S, NS_PER_US, Clock
from ..sync.errors import CameraLostError, CameraOpenError
from ..sync.strict import StrictModel
from .camera import CameraFormat, Grab
from .simulated_clock import InstantClock, SimulatedDeviceClock
from .simulated_device import Delivery, FaultDraws, SimulatedDevice
from .simulated_faults import SimulatedFaults
from .simulated_lens import SceneName, view_names
from .simulated_renderer import CAGE_VIEWS, SceneRenderer
from .simulated_scene import BehaviorSet
from .simulated_schedule import FaultSchedule
from .simulated_stage import Stage, make_stage
from .simulated_world import SimulatedWorld

READ_OUT_US = 1000
"""Default transfer time after the exposure, where ``transfer_us`` is not given."""


class SimulatedCameraConfig(StrictModel):
    """Settings of one simulated camera. Cameras of one rig share ``seed`` and ``rate_hz``: they see one world.

    Attributes:
        scene: what it looks at: the ``cage`` of the shipped model, the ``wall_cage``
            through wide lenses, or a head-fixed ``face``.
        view: which of the scene's views, see `simulated_lens.view_names`.
        width, height: pixels.
        rate_hz: exposures per second.
        exposure_us: length of an exposure (the picture itself has no motion blur).
        seed: of the world, the bedding, the noise and the faults.
        animals: in a cage: 1 or 2.
        behaviors: in a cage: ``basic``, or ``extended`` by rearing at a wall, turning and drinking.
        noise: standard deviation of the sensor noise, grey levels; fresh around the animal, frozen elsewhere.
        noise_everywhere: fresh noise in the whole image; costs time.
        shot_noise: variance of the noise of the light per grey level, beside ``noise``.
        reflection: how much of an animal at a wall of the wall cage is mirrored in it.
        light_drift: relative amplitude of a slow change of the light.
        transfer_us: from the start of exposure to delivery; None is ``exposure_us`` + 1000.
        transfer_jitter_us: mean of what a transfer takes beyond that; exponential.
        device_clock: it stamps with ticks of a clock of its own; None: with rig time.
        triggered: it counts the pulses of its trigger line, those of dropped frames too.
        device_buffer_frames: frames that the device keeps for a host that is late; it overwrites the oldest.
        truth_pose: the truth of this camera carries the pose (one camera of a rig is enough).
        faults: what goes wrong.
        link: name of the port that its cable would be in, to try out a sum of bandwidth.
    """

    kind: Literal["simulated"] = "simulated"
    scene: SceneName = "cage"
    view: int = Field(ge=0)
    width: int = Field(default=640, ge=64, le=8192)
    height: int = Field(default=480, ge=64, le=8192)
    rate_hz: float = Field(default=30.0, gt=0.0, le=1000.0)
    exposure_us: int = Field(default=2000, gt=0)
    seed: int = Field(default=7, ge=0)
    animals: int = Field(default=1, ge=1, le=2)
    behaviors: BehaviorSet = "basic"
    noise: float = Field(default=2.0, ge=0.0, le=64.0)
    shot_noise: float = Field(default=0.0, ge=0.0, le=4.0)
    reflection: float = Field(default=0.3, ge=0.0, le=1.0)
    noise_everywhere: bool = False
    light_drift: float = Field(default=0.0, ge=0.0, lt=1.0)
    transfer_us: int | None = Field(default=None, gt=0)
    transfer_jitter_us: float = Field(default=0.0, ge=0.0)
    device_clock: SimulatedDeviceClock | None = None
    triggered: bool = False
    device_buffer_frames: int = Field(default=8, ge=1, le=1024)
    truth_pose: bool = False
    faults: SimulatedFaults = SimulatedFaults()
    link: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _view_of_scene(self) -> "SimulatedCameraConfig":
        names = view_names(self.scene)
        if self.view >= len(names):
            raise ValueError(f"view {self.view}: scene {self.scene} has 0 to {len(names) - 1} ({', '.join(names)})")
        if self.scene == "face" and (self.animals, self.behaviors) != (1, "basic"):
            raise ValueError("animals and behaviors belong to the cages; scene face has one animal with its own ones")
        return self

    @model_validator(mode="after")
    def _one_clock(self) -> "SimulatedCameraConfig":
        f = self.faults
        if self.device_clock is not None and (f.jitter_us, f.offset_us, f.drift_ppm) != (0.0, 0.0, 0.0):
            raise ValueError(
                "faults.jitter_us, offset_us and drift_ppm are errors of stamps in rig time; with device_clock give "
                "its own jitter_us, offset_ticks and drift_ppm"
            )
        return self


class SimulatedCamera:
    """One view of the simulated cage, as a `Camera`.

    It draws the next frame and writes it to ``out`` before its exposure, then waits for the moment of delivery, so that
    many cameras that deliver at once do not queue for the processor. Instant k is exposed at ``t_start_ns`` + k periods
    and is ``seq`` k. A host that comes late gets the frames of the device's buffer late, with their own exposure times;
    what was overwritten is a jump in ``seq``. Started after ``t_start_ns`` it begins with the next instant.

    A device that its schedule unplugs is lost from that time of the session on: `read_into` raises, and so does `open`
    until it is back. A camera begun anew (in a new process, which learns the session's time in `start`) opens, and
    `start` raises `CameraLostError` until then.
    """

    def __init__(self, name: str, config: SimulatedCameraConfig, clock: Clock) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._stage: Stage | None = None
        self._device: SimulatedDevice | None = None
        self._schedule = FaultSchedule(config.faults, config.rate_hz, config.exposure_us)
        self._draws = FaultDraws(config.faults, config.seed, name, self._schedule)
        self._instants = InstantClock(0, config.rate_hz)
        self._drawn = -1
        self._image: NDArray[np.uint8] | None = None
        self._t_start_ns: int | None = None
        self._lost_ns: int | None = None

    def open(self) -> CameraFormat:
        c = self.config
        exposure_us = self._schedule.longest_exposure_us
        if exposure_us * c.rate_hz > 1e6:
            raise CameraOpenError(
                f"camera {self.name}: exposure_us={exposure_us} is longer than the period at rate_hz={c.rate_hz:g} "
                f"({1e6 / c.rate_hz:.0f} us); shorten the exposure or lower the rate"
            )
        if c.transfer_us is not None and c.transfer_us < exposure_us:
            raise CameraOpenError(
                f"camera {self.name}: transfer_us={c.transfer_us} counts from the start of exposure and cannot be less "
                f"than exposure_us={exposure_us}; raise it or leave it out"
            )
        if self._t_start_ns is not None and (away := self._away_words(self._t_start_ns)):
            raise CameraOpenError(away)
        self._stage = make_stage(
            c.scene,
            c.view,
            c.width,
            c.height,
            c.seed,
            c.animals,
            c.behaviors,
            c.noise,
            c.shot_noise,
            c.noise_everywhere,
            c.light_drift,
            c.reflection,
        )
        self._device = None
        if c.device_clock is None:
            return CameraFormat(c.width, c.height, "mono8", c.rate_hz, "simulated")
        transport_ns = (READ_OUT_US if c.transfer_us is None else c.transfer_us - c.exposure_us) * NS_PER_US
        return CameraFormat(
            c.width,
            c.height,
            "mono8",
            c.rate_hz,
            "device",
            c.device_clock.tick_hz,
            transport_ns,
            tick_bits=c.device_clock.bits,
        )

    def start(self, t_start_ns: int) -> None:
        if self._stage is None:
            raise CameraOpenError(f"camera {self.name}: start() before open(); open it first")
        c = self.config
        self._t_start_ns = t_start_ns
        if away := self._away_words(t_start_ns):
            raise CameraLostError(away)
        self._instants = InstantClock(t_start_ns, c.rate_hz)
        now_ns = self._clock.now_ns()
        absence = self._schedule.next_absence(now_ns - t_start_ns)
        self._lost_ns = None if absence is None else t_start_ns + absence.from_ns
        first = self._instants.first_instant_at(now_ns)
        self._device = SimulatedDevice(
            self._instants, self._draws, self._transfer_ns, c.device_buffer_frames, first, c.transfer_jitter_us
        )
        self._drawn = -1

    def _away_words(self, t_start_ns: int) -> str | None:
        elapsed_ns = self._clock.now_ns() - t_start_ns
        absence = self._schedule.absence_at(elapsed_ns)
        if absence is None:
            return None
        left_s = (absence.until_ns - elapsed_ns) / NS_PER_S
        return f"camera {self.name}: is unplugged, by its schedule of faults; it comes back in {left_s:.1f} s"

    def _transfer_ns(self, instant: int) -> int:
        c = self.config
        if c.transfer_us is not None:
            return c.transfer_us * NS_PER_US
        return (self._schedule.exposure_us(instant) + READ_OUT_US) * NS_PER_US

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        device = self._device
        if device is None:
            raise CameraLostError(f"camera {self.name}: is not running; open() and start() it before reading")
        now_ns = self._clock.now_ns()
        deadline_ns = now_ns + round(timeout_s * NS_PER_S)
        self._raise_where_lost(now_ns)
        delivery = device.next_delivery(now_ns)
        if delivery.t_ns > now_ns:
            if self._lost_ns is not None and delivery.t_ns >= self._lost_ns:
                self._clock.sleep_until_ns(min(deadline_ns, self._lost_ns))
                self._raise_where_lost(self._clock.now_ns())
                return None
            image = self._draw(delivery.instant)
            if delivery.t_ns > deadline_ns:
                self._clock.sleep_until_ns(deadline_ns)
                return None
            np.copyto(out, image)
            self._clock.sleep_until_ns(delivery.t_ns)
            drawn, delivery = delivery, device.next_delivery(self._clock.now_ns())
            if delivery == drawn:
                device.take()
                return self._grab(delivery)
        # The host is late: this frame has waited in the device's buffer, or has overwritten the one that was drawn.
        device.take()
        np.copyto(out, self._draw(delivery.instant))
        return self._grab(delivery)

    def close(self) -> None:
        self._device = self._stage = self._image = None

    def _raise_where_lost(self, now_ns: int) -> None:
        if self._lost_ns is not None and now_ns >= self._lost_ns:
            self._device = None
            raise CameraLostError(f"camera {self.name}: was unplugged, by its schedule of faults; plug it in again")

    def _draw(self, instant: int) -> NDArray[np.uint8]:
        assert self._stage is not None
        if instant != self._drawn or self._image is None:
            gain = self._schedule.brightness(instant)
            self._image = self._stage.draw(self._instants.elapsed_s(instant), instant, gain)
            self._drawn = instant
        return self._image

    def _grab(self, delivery: Delivery) -> Grab:
        assert self._stage is not None
        c, k = self.config, delivery.instant
        seq = self._schedule.seq(k)
        t_true_ns, t_start_ns = self._instants.exposure_ns(k), self._instants.t_start_ns
        ticks = -1 if c.device_clock is None else self._draws.ticks(c.device_clock, t_true_ns - t_start_ns, k)
        poses = [tuple((x, y, z) for x, y, z in one.tolist()) for one in self._stage.poses] if c.truth_pose else [()]
        return Grab(
            seq,
            self._draws.stamped_ns(t_true_ns, t_start_ns, k) if c.device_clock is None else -1,
            self._schedule.exposure_us(k),
            trigger_id=k if c.triggered else -1,
            truth=FrameTruth(self.name, 0, seq, k, t_true_ns, self._stage.behavior, poses[0], tuple(poses[1:])),
            ticks=ticks,
        )


def render_session(
    seed: int,
    n_frames: int,
    rate_hz: float,
    views: int | Sequence[int | str] = len(CAGE_VIEWS),
    width: int = 640,
    height: int = 480,
    noise: float = 2.0,
    noise_everywhere: bool = False,
    light_drift: float = 0.0,
) -> Iterator[tuple[list[NDArray[np.uint8]], str]]:
    """The frames that live cameras of the same seed deliver, bit for bit, as fast as they are drawn.

    Args:
        seed: of the session.
        n_frames: instants.
        rate_hz: exposures per second.
        views: how many of ``CAGE_VIEWS``, or which, by number or name.
        width: pixels.
        height: pixels.
        noise: as in `SimulatedCameraConfig`.
        noise_everywhere: as in `SimulatedCameraConfig`.
        light_drift: as in `SimulatedCameraConfig`.

    Yields:
        One new (height, width) uint8 image per view, and the behaviour.

    Raises:
        CameraOpenError: a view that does not exist.
    """
    wanted = range(views) if isinstance(views, int) else views
    renderers = [
        SceneRenderer(CAGE_VIEWS[_view_number(view)], width, height, seed, noise, noise_everywhere, light_drift)
        for view in wanted
    ]
    world, instants = SimulatedWorld(seed), InstantClock(0, rate_hz)
    for k in range(n_frames):
        state = world.at(instants.elapsed_s(k))
        yield [renderer.render(state, k).copy() for renderer in renderers], state.behavior


def _view_number(view: int | str) -> int:
    names = [geometry.name for geometry in CAGE_VIEWS]
    if isinstance(view, str) and view in names:
        return names.index(view)
    if isinstance(view, int) and 0 <= view < len(CAGE_VIEWS):
        return view
    raise CameraOpenError(
        f"view {view!r}: there is none; choose 0 to {len(CAGE_VIEWS) - 1} or one of {', '.join(names)}"
    )
