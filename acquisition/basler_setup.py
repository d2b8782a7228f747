"""Every setting of a Basler camera, applied in an order in which none undoes another, and read back."""

import logging
from dataclasses import dataclass

from ..sync.clock import NS_PER_S, NS_PER_US, Clock
from ..sync.errors import CameraOpenError
from .basler_config import ActionTrigger, BaslerCameraConfig, FreeRunTrigger, HardwareTrigger, SoftwareTrigger
from .basler_features import Features
from .basler_pixels import RECIPES

log = logging.getLogger(__name__)

EMULATED = "BaslerCamEmu"
GIGE = "BaslerGigE"
_USB = "BaslerUsb"

_TICK_HZ = 1e9
"""Clock of USB3 Vision, of the newer GigE models, and of every model that follows the network's time."""

_US_PER_S = 1e6
_RATE_TOLERANCE = 1e-3
_EXPOSURE_TOLERANCE_US = 1.0
_GAIN_TOLERANCE_DB = 0.05
_PTP_POLL_S = 0.1
_PTP_LOCKED = {"Slave", "Master", "Grandmaster"}
_COUNTER_CHUNKS = {"Triggerinputcounter": "ChunkTriggerinputcounter", "CounterValue": "ChunkCounterValue"}


@dataclass(frozen=True, slots=True)
class BaslerSetup:
    """What the camera says it is set to.

    Attributes:
        width, height: pixels.
        symbol: the pixel format on the wire.
        rate_hz: of frames.
        exposure_us: of a frame that does not say so itself.
        tick_hz: of the camera's clock; 0.0 where it is not used.
        transport_ns: least time from the end of exposure to the arrival; 0 where nothing is known.
        time_chunk, exposure_chunk, line_chunk, counter_chunk: names in the frames; empty where they are not there.
        counter_base: what the trigger counter says before the first trigger.
    """

    width: int
    height: int
    symbol: str
    rate_hz: float
    exposure_us: float
    tick_hz: float
    transport_ns: int
    time_chunk: str
    exposure_chunk: str
    line_chunk: str
    counter_chunk: str
    counter_base: int


def apply_settings(
    name: str, config: BaslerCameraConfig, features: Features, device_class: str, clock: Clock
) -> BaslerSetup:
    """Set up an open camera.

    Args:
        name: the camera.
        config: its settings.
        features: of the open device.
        device_class: of its transport, as the SDK names it.
        clock: what PTP is waited for on.

    Raises:
        CameraOpenError: the model lacks a setting, refuses it or takes another value.
    """
    _known_state(config, features)
    for feature, value in config.features.items():
        features.set(f"features.{feature}", (feature,), value)
    symbol = _image(config, features)
    _exposure_and_gain(config, features)
    if config.packet_size_bytes is not None:
        features.set("packet_size_bytes", ("GevSCPSPacketSize",), config.packet_size_bytes)
    if config.inter_packet_delay_ticks is not None:
        features.set("inter_packet_delay_ticks", ("GevSCPD",), config.inter_packet_delay_ticks)
    rate_hz = _rate(name, config, features)
    _trigger(config, features)
    chunks = _chunks(config, features)
    counter = next((chunk for chunk in _COUNTER_CHUNKS if chunk in chunks), "")
    counter_base = _reset_counter(config, features) if counter == "CounterValue" else 0
    if counter == "Triggerinputcounter":
        _reset_counter(config, features)
    if config.ptp:
        _wait_for_ptp(name, config, features, clock)
    features.verify()
    exposure_us = features.number("ExposureTime", "ExposureTimeAbs") or 0.0
    return BaslerSetup(
        width=int(features.number("Width") or 0),
        height=int(features.number("Height") or 0),
        symbol=symbol,
        rate_hz=rate_hz,
        exposure_us=exposure_us,
        tick_hz=_tick_hz(name, config, features, device_class, "Timestamp" in chunks),
        transport_ns=0 if device_class == EMULATED else _transport_ns(features),
        time_chunk="ChunkTimestamp" if "Timestamp" in chunks else "",
        exposure_chunk="ChunkExposureTime" if "ExposureTime" in chunks else "",
        line_chunk="ChunkLineStatusAll" if "LineStatusAll" in chunks else "",
        counter_chunk=_COUNTER_CHUNKS.get(counter, ""),
        counter_base=counter_base,
    )


def _known_state(config: BaslerCameraConfig, features: Features) -> None:
    if config.user_set is not None:
        features.choose("user_set", "UserSetSelector", (config.user_set,), config.user_set)
        features.execute("UserSetLoad")
        features.release("UserSetSelector")
    for selector in features.choices("TriggerSelector"):
        features.set("trigger", ("TriggerSelector",), selector)
        features.set_if_there("trigger", ("TriggerMode",), "Off")
    features.release("TriggerSelector", "TriggerMode")
    features.set_if_there("trigger", ("AcquisitionMode",), "Continuous")


def _image(config: BaslerCameraConfig, features: Features) -> str:
    recipe = RECIPES[config.pixel_format]
    symbol = features.choose("pixel_format", "PixelFormat", tuple(recipe.symbols), config.pixel_format)
    for axis in ("BinningHorizontal", "BinningVertical"):
        if config.binning != 1 or features.find(axis) is not None:
            features.set("binning", (axis,), config.binning)
    if config.roi is not None:
        # An offset from before could forbid the size.
        features.set_if_there("roi.x_px", ("OffsetX",), 0)
        features.set_if_there("roi.y_px", ("OffsetY",), 0)
        features.set("roi.width_px", ("Width",), config.roi.width_px)
        features.set("roi.height_px", ("Height",), config.roi.height_px)
        features.set("roi.x_px", ("OffsetX",), config.roi.x_px)
        features.set("roi.y_px", ("OffsetY",), config.roi.y_px)
    return symbol


def _exposure_and_gain(config: BaslerCameraConfig, features: Features) -> None:
    if config.exposure_us is not None:
        features.set_if_there("exposure_us", ("ExposureAuto",), "Off")
        features.set_if_there("exposure_us", ("ExposureMode",), "Timed")
        names = ("ExposureTime", "ExposureTimeAbs")
        features.set("exposure_us", names, config.exposure_us, _EXPOSURE_TOLERANCE_US)
    if config.gain_db is not None or config.gain_raw is not None:
        features.set_if_there("gain", ("GainAuto",), "Off")
    if config.gain_db is not None:
        features.set("gain_db", ("Gain",), config.gain_db, _GAIN_TOLERANCE_DB)
    if config.gain_raw is not None:
        features.set("gain_raw", ("GainRaw",), config.gain_raw)


def _rate(name: str, config: BaslerCameraConfig, features: Features) -> float:
    names = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
    rate_hz = config.rate_hz
    if isinstance(config.trigger, FreeRunTrigger):
        features.set_if_there("rate_hz", ("AcquisitionFrameRateEnable",), value=True)
        rate_hz = float(features.set("rate_hz", names, config.rate_hz, _RATE_TOLERANCE * config.rate_hz))
    else:
        features.set_if_there("rate_hz", ("AcquisitionFrameRateEnable",), value=False)
    exposure_us = features.number("ExposureTime", "ExposureTimeAbs") or 0.0
    if exposure_us * config.rate_hz > _US_PER_S:
        raise CameraOpenError(
            f"camera {name}: exposure_us={exposure_us:g} is longer than the period at rate_hz={config.rate_hz:g} "
            f"({_US_PER_S / config.rate_hz:.0f} us); shorten the exposure or lower the rate"
        )
    most = features.number("ResultingFrameRate", "ResultingFrameRateAbs", "BslResultingAcquisitionFrameRate")
    if most is not None and most < config.rate_hz * (1 - _RATE_TOLERANCE):
        raise CameraOpenError(
            f"camera {name}: rate_hz={config.rate_hz:g}: with this exposure, image size, pixel format and bandwidth "
            f"the camera reaches {most:.2f} Hz; set rate_hz to that, or shorten exposure_us, make roi smaller or raise "
            "the bandwidth that it may use"
        )
    return rate_hz


def _trigger(config: BaslerCameraConfig, features: Features) -> None:
    trigger = config.trigger
    if isinstance(trigger, FreeRunTrigger):
        return
    features.choose("trigger.kind", "TriggerSelector", ("FrameStart",), trigger.kind)
    match trigger:
        case SoftwareTrigger():
            features.choose("trigger.kind", "TriggerSource", ("Software",), trigger.kind)
        case HardwareTrigger():
            features.set_if_there("trigger.line", ("LineSelector",), trigger.line)
            features.set_if_there("trigger.line", ("LineMode",), "Input")
            features.release("LineSelector", "LineMode")
            features.choose("trigger.line", "TriggerSource", (trigger.line,), trigger.line)
            edge = {"rising": "RisingEdge", "falling": "FallingEdge"}[trigger.edge]
            features.choose("trigger.edge", "TriggerActivation", (edge,), trigger.edge)
            if trigger.delay_us > 0 or features.find("TriggerDelay", "TriggerDelayAbs") is not None:
                features.set("trigger.delay_us", ("TriggerDelay", "TriggerDelayAbs"), trigger.delay_us, 1.0)
        case ActionTrigger():
            features.set("trigger.device_key", ("ActionDeviceKey",), trigger.device_key)
            features.set("trigger.group_key", ("ActionGroupKey",), trigger.group_key)
            features.set("trigger.group_mask", ("ActionGroupMask",), trigger.group_mask)
            features.choose("trigger.kind", "TriggerSource", ("Action1",), trigger.kind)
    features.choose("trigger.kind", "TriggerMode", ("On",), trigger.kind)


def _chunks(config: BaslerCameraConfig, features: Features) -> set[str]:
    """Have each frame carry what it can; returns the chunks that are on."""
    offered = features.choices("ChunkSelector")
    if features.find("ChunkModeActive") is None:
        return set()
    features.set("chunks", ("ChunkModeActive",), config.chunks and bool(offered))
    if not config.chunks or not offered:
        return set()
    wanted = ["Timestamp", "LineStatusAll", "ExposureTime"]
    if isinstance(config.trigger, HardwareTrigger | ActionTrigger):
        wanted += [chunk for chunk in _COUNTER_CHUNKS if chunk in offered][:1]
    on = [chunk for chunk in wanted if chunk in features.choices("ChunkSelector")]
    for chunk in on:
        features.set("chunks", ("ChunkSelector",), chunk)
        features.set("chunks", ("ChunkEnable",), value=True)
    features.release("ChunkSelector", "ChunkEnable")
    return set(on)


def _reset_counter(config: BaslerCameraConfig, features: Features) -> int:
    """Let a counter count triggers, from zero where the model can; returns what it says now."""
    line = config.trigger.line if isinstance(config.trigger, HardwareTrigger) else "Action1"
    for counter in features.choices("CounterSelector"):
        features.set("chunks", ("CounterSelector",), counter)
        sources = features.choices("CounterEventSource")
        source = next((one for one in (line, "FrameTrigger", "FrameStart") if one in sources), None)
        if source is None:
            continue
        features.set("chunks", ("CounterEventSource",), source)
        features.set_if_there("chunks", ("ChunkCounterSelector",), counter)
        features.set_if_there("chunks", ("CounterResetSource",), "Software")
        features.execute("CounterReset")
        features.release("CounterResetSource")
        break
    value = features.value("CounterValue")
    return value if isinstance(value, int) else 0


def _wait_for_ptp(name: str, config: BaslerCameraConfig, features: Features, clock: Clock) -> None:
    features.set("ptp", ("PtpEnable", "GevIEEE1588"), value=True)
    status: object = None
    for _ in range(max(1, round(config.ptp_wait_s / _PTP_POLL_S))):
        if not features.execute("PtpDataSetLatch"):
            features.execute("GevIEEE1588DataSetLatch")
        status = features.value("PtpStatus", "GevIEEE1588StatusLatched", "GevIEEE1588Status")
        if status in _PTP_LOCKED:
            log.info("camera %s: PTP is locked (%s)", name, status)
            return
        clock.sleep_until_ns(clock.now_ns() + round(_PTP_POLL_S * NS_PER_S))
    raise CameraOpenError(
        f"camera {name}: ptp: its clock has not locked within ptp_wait_s={config.ptp_wait_s:g} (status {status}); is "
        "there a PTP master on this network, and do the switches pass it on? Else set ptp to false"
    )


def _tick_hz(name: str, config: BaslerCameraConfig, features: Features, device_class: str, time_chunk: bool) -> float:
    if config.clock == "host":
        return 0.0
    tick_hz = features.number("GevTimestampTickFrequency")
    if tick_hz is None and (time_chunk or device_class in (_USB, GIGE)):
        tick_hz = _TICK_HZ
    if tick_hz is None and config.clock == "device":
        raise CameraOpenError(
            f"camera {name}: clock=device: this model gives no time; leave clock out, and its frames are timed when "
            "they arrive"
        )
    return tick_hz or 0.0


def _transport_ns(features: Features) -> int:
    """Least time for read-out and transfer: neither is faster than the slower of the two."""
    read_out_us = features.number("SensorReadoutTime", "ReadoutTimeAbs") or 0.0
    bytes_per_s = features.number("DeviceLinkSpeed")
    if features.value("DeviceLinkThroughputLimitMode") == "On":
        bytes_per_s = features.number("DeviceLinkThroughputLimit") or bytes_per_s
    if bytes_per_s is None and (mbit_per_s := features.number("GevLinkSpeed")) is not None:
        bytes_per_s = mbit_per_s * 1e6 / 8
    payload = features.number("PayloadSize") or 0.0
    transfer_ns = payload / bytes_per_s * NS_PER_S if bytes_per_s else 0.0
    return round(max(read_out_us * NS_PER_US, transfer_ns))
