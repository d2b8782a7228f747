"""Cameras of any maker that come with a GenTL producer: FLIR / Point Grey, Allied Vision, IDS, Daheng and others.

Settings go by their names in the Standard Features Naming Convention (SFNC 2.7), older names where those are missing.
"""

import logging
import math
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..streaming.pixel_format import PixelFormat
from ..sync.clock import NS_PER_S, NS_PER_US, Clock
from ..sync.errors import CameraLostError, CameraOpenError
from ..sync.strict import StrictModel
from .camera import CameraFormat, Grab
from .frame_counter import FrameCounter
from .genicam_device import GenicamBuffer, GenicamDevice, Value, producer_path

log = logging.getLogger(__name__)

GenicamPixels = Literal[
    "mono8", "mono10", "mono12", "mono16", "bayer_rg8", "bayer_gr8", "bayer_gb8", "bayer_bg8", "rgb8", "bgr8"
]
"""What the camera sends."""


class PixelRecipe(NamedTuple):
    """How one pixel format is read.

    Attributes:
        symbol: its name in the Pixel Format Naming Convention.
        number: likewise.
        delivered: pixel format of the frames.
        conversion: OpenCV's code to BGR; None: the bytes are copied.
    """

    symbol: str
    number: int
    delivered: PixelFormat
    conversion: int | None = None


RECIPES: dict[GenicamPixels, PixelRecipe] = {
    "mono8": PixelRecipe("Mono8", 0x01080001, "mono8"),
    "mono10": PixelRecipe("Mono10", 0x01100003, "mono16"),
    "mono12": PixelRecipe("Mono12", 0x01100005, "mono16"),
    "mono16": PixelRecipe("Mono16", 0x01100007, "mono16"),
    "bayer_gr8": PixelRecipe("BayerGR8", 0x01080008, "bgr8", cv2.COLOR_BayerGRBG2BGR),
    "bayer_rg8": PixelRecipe("BayerRG8", 0x01080009, "bgr8", cv2.COLOR_BayerRGGB2BGR),
    "bayer_gb8": PixelRecipe("BayerGB8", 0x0108000A, "bgr8", cv2.COLOR_BayerGBRG2BGR),
    "bayer_bg8": PixelRecipe("BayerBG8", 0x0108000B, "bgr8", cv2.COLOR_BayerBGGR2BGR),
    "rgb8": PixelRecipe("RGB8", 0x02180014, "bgr8", cv2.COLOR_RGB2BGR),
    "bgr8": PixelRecipe("BGR8", 0x02180015, "bgr8"),
}

_TOLERANCE = 1e-3
"""Relative difference of a number read back that is rounding: cameras count exposure in steps of their own clock."""

_CLOCK_FEATURES = (
    "TimestampLatch", "TimestampLatchValue", "Timestamp", "TimestampReset", "GevTimestampControlLatch",
    "GevTimestampValue", "ChunkTimestamp",
)  # fmt: skip
_RATE_FEATURES = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
_RESULTING_FEATURES = ("AcquisitionResultingFrameRate", "ResultingFrameRate", "ResultingFrameRateAbs")
_EXPOSURE_FEATURES = ("ExposureTime", "ExposureTimeAbs")
_UNSELECTED = frozenset(
    {"PixelFormat", "Width", "Height", "OffsetX", "OffsetY", "ExposureAuto", "ExposureMode", *_EXPOSURE_FEATURES,
     *_RATE_FEATURES}
)  # fmt: skip
"""Settings that are compared once more at the end; they depend on no selector ..."""
_SELECTORS = frozenset({"ComponentSelector", "RegionSelector", "SourceSelector", "ExposureTimeSelector"})
"""... but these, and where ``features`` turn one of them they would read another thing."""


class RoiConfig(StrictModel):
    """The part of the sensor that is read."""

    x_px: int = Field(default=0, ge=0)
    y_px: int = Field(default=0, ge=0)
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)


class GenicamTriggerConfig(StrictModel):
    """One frame for each pulse on an input line."""

    line: str = "Line0"
    edge: Literal["rising", "falling"] = "rising"


class GenicamCameraConfig(StrictModel):
    """Settings of one GenICam camera. None: as the camera has it.

    Attributes:
        producer: the ``.cti`` file of the camera's maker, or ``simulator``.
        serial: as printed on the camera; None: ``index`` counts in the producer's list.
        index: where there is no serial.
        pixel_format: what the camera sends; Bayer and RGB are delivered as ``bgr8``, more than 8 bits as
            ``mono16``: the sensor's own values.
        exposure_us: automatic exposure is switched off.
        gain_db: automatic gain is switched off.
        rate_hz: free run; with ``trigger`` the rate of the pulses, which nothing else can know.
        roi: part of the sensor.
        trigger: hardware trigger; None: free run.
        features: any other feature, by its name, in this order, after all others.
        clock: ``device``: buffers carry the time of the device's clock; ``host``: they do not, or it is not to be used.
            None: device where the camera has a feature of such a clock.
        line_status_chunk: chunk that holds the state of the input lines (``LineStatusAll``).
        buffers: that the producer may fill before the rig takes them.
        transport_us: least time from the end of exposure to arrival, where it was measured.
        link: name of the port that its cable is in; ``ethostream doctor`` sums the bandwidth of each.
    """

    kind: Literal["genicam"] = "genicam"
    producer: Path | Literal["simulator"]
    serial: str | None = None
    index: int = Field(default=0, ge=0)
    pixel_format: GenicamPixels = "mono8"
    exposure_us: float | None = Field(default=None, gt=0)
    gain_db: float | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    roi: RoiConfig | None = None
    trigger: GenicamTriggerConfig | None = None
    features: dict[str, bool | int | float | str] = Field(default_factory=dict)
    clock: Literal["device", "host"] | None = None
    line_status_chunk: str | None = None
    buffers: int = Field(default=16, ge=2, le=512)
    transport_us: int = Field(default=0, ge=0)
    link: str | None = Field(default=None, min_length=1)


class GenicamCamera:
    """One device behind a GenTL producer, as a `Camera`.

    ``seq`` is the device's frame id, continued over its wraps; buffers that arrive incomplete are missing from it. Host
    too late: the producer runs out of buffers and the id jumps. Time is that of the device's clock (``ticks`` in
    nanoseconds), or that of arrival where it has none.
    """

    def __init__(self, name: str, config: GenicamCameraConfig, clock: Clock) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._device: GenicamDevice | None = None
        self._format: CameraFormat | None = None
        self._counter: FrameCounter | None = None
        self._exposure_us = 0
        self._n_damaged = 0
        self._settings: dict[str, Value] = {}

    def open(self) -> CameraFormat:
        self.close()
        config = self.config
        self._device = GenicamDevice(self.name, producer_path(str(config.producer)), config.serial, config.index)
        try:
            self._format = self._apply(self._device)
        except CameraOpenError:
            self.close()
            raise
        return self._format

    def start(self, t_start_ns: int) -> None:
        """Begin at once: a triggered camera must be armed before the first pulse, and sets match frames by time."""
        if self._device is None:
            raise CameraOpenError(f"camera {self.name}: start() before open(); open it first")
        self._counter = FrameCounter(self.name, skips_zero=self._device.is_gige)
        self._device.start(self.config.buffers)

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        device, form, counter = self._device, self._format, self._counter
        if device is None or form is None or counter is None:
            raise CameraLostError(f"camera {self.name}: is not running; open() and start() it before reading")
        buffer = device.fetch(timeout_s)
        if buffer is None:
            return None
        if buffer.n_damaged:
            self._n_damaged += buffer.n_damaged
            log.warning("camera %s: %d incomplete buffer(s), declared as lost", self.name, buffer.n_damaged)
        self._check(buffer, form)
        write_image(buffer, self.config.pixel_format, out)
        ticks = -1
        if form.time_source == "device":
            if buffer.timestamp_ns <= 0:
                raise CameraLostError(
                    f"camera {self.name}: its frames carry no time of its clock; write clock: host in the rig file"
                )
            ticks = buffer.timestamp_ns
        seq = counter.seq(buffer.frame_id, buffer.n_damaged)
        return Grab(seq, -1, self._exposure_us, ticks=ticks, line_status=buffer.line_status)

    def close(self) -> None:
        device, self._device = self._device, None
        self._format = self._counter = None
        if device is not None:
            device.close()

    def _apply(self, device: GenicamDevice) -> CameraFormat:
        config = self.config
        self._settings = {}
        self._set_format(device)
        if config.exposure_us is not None:
            self._switch(device, "ExposureAuto", "Off")
            self._switch(device, "ExposureMode", "Timed")
            self._set(device, _first(device, _EXPOSURE_FEATURES), config.exposure_us)
        if config.gain_db is not None:
            self._switch(device, "GainAuto", "Off")
            self._set(device, "Gain", config.gain_db)
        self._set_trigger(device)
        if config.line_status_chunk is not None:
            self._set(device, "ChunkModeActive", True)
            self._set(device, "ChunkSelector", config.line_status_chunk)
            self._set(device, "ChunkEnable", True)
            device.read_chunk(config.line_status_chunk)
        for feature, value in config.features.items():
            self._set(device, feature, value)
        self._verify(device)
        exposure = _first(device, _EXPOSURE_FEATURES)
        self._exposure_us = round(float(device.get(exposure))) if device.has(exposure) else 0
        return self._read_format(device)

    def _set_format(self, device: GenicamDevice) -> None:
        self._set(device, "PixelFormat", RECIPES[self.config.pixel_format].symbol)
        roi = self.config.roi
        if roi is None:
            return
        for axis in ("OffsetX", "OffsetY"):
            # At an offset of zero any size fits; the wanted one comes after the size.
            self._switch(device, axis, 0)
        self._set(device, "Width", roi.width_px)
        self._set(device, "Height", roi.height_px)
        for axis, value in (("OffsetX", roi.x_px), ("OffsetY", roi.y_px)):
            if value or device.writable(axis):
                self._set(device, axis, value)

    def _set_trigger(self, device: GenicamDevice) -> None:
        trigger, rate_hz = self.config.trigger, self.config.rate_hz
        if trigger is not None:
            if rate_hz is None:
                raise CameraOpenError(
                    f"camera {self.name}: trigger needs rate_hz, the rate of the pulses on {trigger.line}"
                )
            self._switch(device, "TriggerSelector", "FrameStart")
            self._set(device, "TriggerSource", trigger.line)
            self._set(device, "TriggerActivation", {"rising": "RisingEdge", "falling": "FallingEdge"}[trigger.edge])
            self._set(device, "TriggerMode", "On")
            return
        if device.has("TriggerMode"):
            self._switch(device, "TriggerSelector", "FrameStart")
            self._set(device, "TriggerMode", "Off")
        if rate_hz is not None:
            self._switch(device, "AcquisitionFrameRateAuto", "Off")
            self._switch(device, "AcquisitionFrameRateEnable", True)
            self._switch(device, "AcquisitionFrameRateEnabled", True)
            self._set(device, _first(device, _RATE_FEATURES), rate_hz)

    def _read_format(self, device: GenicamDevice) -> CameraFormat:
        config = self.config
        rate_hz = config.rate_hz if config.trigger is not None else None
        if rate_hz is None:
            rates = [float(device.get(one)) for one in (*_RESULTING_FEATURES, *_RATE_FEATURES) if device.has(one)]
            if not rates:
                raise CameraOpenError(f"camera {self.name}: does not say its frame rate; write rate_hz in the rig file")
            rate_hz = rates[0]
            if config.rate_hz is not None and not math.isclose(rate_hz, config.rate_hz, rel_tol=_TOLERANCE):
                raise CameraOpenError(
                    f"camera {self.name}: rate_hz={config.rate_hz:g} is set, but exposure, size and cable leave "
                    f"{rate_hz:g} Hz; lower the one, or make the others smaller"
                )
        device_time = config.clock == "device" or (
            config.clock is None and any(device.has(one) or device.writable(one) for one in _CLOCK_FEATURES)
        )
        return CameraFormat(
            int(device.get("Width")),
            int(device.get("Height")),
            RECIPES[config.pixel_format].delivered,
            rate_hz,
            "device" if device_time else "host",
            float(NS_PER_S) if device_time else 0.0,
            config.transport_us * NS_PER_US,
        )

    def _switch(self, device: GenicamDevice, feature: str, value: Value) -> None:
        """Set what not every camera has, and what some have fixed."""
        if device.writable(feature):
            self._set(device, feature, value)

    def _set(self, device: GenicamDevice, feature: str, value: Value) -> None:
        device.set(feature, value)
        self._settings[feature] = value
        got = device.get(feature)
        if not _same(value, got):
            raise CameraOpenError(
                f"camera {self.name}: {feature}={value} was set, and the camera has {got}; write what it can do"
            )

    def _verify(self, device: GenicamDevice) -> None:
        """Read back once more: a later setting may have moved an earlier one."""
        if _SELECTORS & self.config.features.keys():
            return
        for feature, value in self._settings.items():
            if feature in _UNSELECTED and not _same(value, got := device.get(feature)):
                raise CameraOpenError(
                    f"camera {self.name}: {feature}={value} was set, and a later setting made it {got}; write settings "
                    "that go together"
                )

    def _check(self, buffer: GenicamBuffer, form: CameraFormat) -> None:
        number = RECIPES[self.config.pixel_format].number
        if (buffer.width, buffer.height, buffer.pixel_format) != (form.width, form.height, number):
            raise CameraLostError(
                f"camera {self.name}: its frames changed from {form.width}x{form.height} {self.config.pixel_format} to "
                f"{buffer.width}x{buffer.height} (format {buffer.pixel_format:#010x}); did another program set it?"
            )


def write_image(buffer: GenicamBuffer, pixel_format: GenicamPixels, out: NDArray[np.uint8]) -> None:
    """The pixels of a buffer into ``out``, in the shape of the format that the recipe delivers; none is scaled."""
    recipe = RECIPES[pixel_format]
    height, stride = buffer.height, buffer.stride
    image = buffer.data[: height * stride].reshape(height, stride)
    depth = (recipe.number >> 16 & 0xFF) // 8
    image = image[:, : buffer.width * depth]
    if depth > 1:
        image = image.reshape(height, buffer.width, depth)
    if recipe.conversion is None:
        np.copyto(out, image)
    else:
        cv2.cvtColor(image, recipe.conversion, dst=out)


def _first(device: GenicamDevice, features: tuple[str, ...]) -> str:
    """The first of several names that the camera has; the newest where it has none, which is then refused by name."""
    return next((one for one in features if device.has(one)), features[0])


def _same(wanted: Value, got: Value) -> bool:
    if isinstance(got, float) and isinstance(wanted, int | float):
        return math.isclose(wanted, got, rel_tol=_TOLERANCE, abs_tol=1e-6)
    return wanted == got
