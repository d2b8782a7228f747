"""Settings of one Basler camera, as they stand in the rig file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..sync.strict import StrictModel

BaslerPixels = Literal[
    "mono8", "mono10", "mono10p", "mono12", "mono12p", "bayer_rg8", "bayer_gr8", "bayer_gb8", "bayer_bg8", "rgb8"
]
"""What the camera sends. ``p``: packed on the wire, and unpacked here."""

FeatureValue = bool | int | float | str


class Roi(StrictModel):
    """The part of the sensor that is read, in pixels after binning."""

    x_px: int = Field(default=0, ge=0)
    y_px: int = Field(default=0, ge=0)
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)


class FreeRunTrigger(StrictModel):
    """The camera runs on its own clock at ``rate_hz``, from the common start on."""

    kind: Literal["free_run"] = "free_run"


class HardwareTrigger(StrictModel):
    """A pulse on an input line begins each exposure.

    Attributes:
        line: input line, as the model names it.
        edge: of the pulse.
        delay_us: from the edge to the start of exposure.
    """

    kind: Literal["hardware"] = "hardware"
    line: str = Field(default="Line1", min_length=1)
    edge: Literal["rising", "falling"] = "rising"
    delay_us: float = Field(default=0.0, ge=0.0)


class SoftwareTrigger(StrictModel):
    """The computer begins each exposure: trigger k at the common start + k periods, on the rig clock.

    Attributes:
        max_late_us: a trigger that cannot be given within this after its time is not given at all: it is a declared
            drop, and never a frame at another time than those of the other cameras.
    """

    kind: Literal["software"] = "software"
    max_late_us: int = Field(default=1000, gt=0)


class ActionTrigger(StrictModel):
    """A GigE Vision action command begins the exposure of a whole group of cameras.

    Attributes:
        device_key, group_key, group_mask: the camera obeys commands that carry these keys and share a bit of the mask.
        broadcast_address: the camera that names one sends the commands of its group, at the common start + k periods;
            exactly one camera of a group should.
        max_late_us: as in `SoftwareTrigger`.
    """

    kind: Literal["action"] = "action"
    device_key: int = Field(ge=0, lt=2**32)
    group_key: int = Field(ge=0, lt=2**32)
    group_mask: int = Field(default=0xFFFFFFFF, gt=0, lt=2**32)
    broadcast_address: str | None = None
    max_late_us: int = Field(default=1000, gt=0)


BaslerTrigger = Annotated[
    FreeRunTrigger | HardwareTrigger | SoftwareTrigger | ActionTrigger, Field(discriminator="kind")
]


class BaslerCameraConfig(StrictModel):
    """Settings of one Basler camera. None leaves what the user set of the camera says.

    Attributes:
        serial: printed on the camera; ``ethostream cameras`` lists those that are there.
        user_set: loaded before anything else, so that a camera does not remember who used it last. None: not loaded.
        pixel_format: what the camera sends. ``mono8`` is delivered as ``mono8``; ``mono10`` and ``mono12`` as
            ``mono16``, whose values are those of the sensor (0 ... 1023, 0 ... 4095) and never stretched; Bayer and
            ``rgb8`` as ``bgr8``.
        rate_hz: frames per second; with a trigger from outside the rate at which it is expected.
        exposure_us: length of an exposure.
        gain_db: gain in decibel.
        gain_raw: gain in steps of the sensor, for models that know no decibel.
        roi: part of the sensor.
        binning: pixels that are added up to one, in both directions.
        packet_size_bytes: of GigE packets.
        inter_packet_delay_ticks: pause between GigE packets, ticks of the camera's clock.
        trigger: what begins an exposure.
        ptp: the camera's clock follows the network's (IEEE 1588); it must have locked within ``ptp_wait_s``.
        ptp_wait_s: how long that may take.
        clock: ``device``: exposures are timed by the camera; ``host``: on arrival. None: by the camera if it can.
        chunks: let each frame carry the time, counters and input lines that the model offers.
        max_buffers: frames that the SDK holds for a reader that is late.
        features: any further feature of the model by its GenICam name; applied before the settings above.
        link: name of the port that its cable is in; ``ethostream doctor`` sums the bandwidth of each.
    """

    kind: Literal["basler"] = "basler"
    serial: str = Field(min_length=1)
    user_set: str | None = "Default"
    pixel_format: BaslerPixels = "mono8"
    rate_hz: float = Field(default=30.0, gt=0.0, le=10_000.0)
    exposure_us: float | None = Field(default=None, gt=0.0)
    gain_db: float | None = None
    gain_raw: int | None = Field(default=None, ge=0)
    roi: Roi | None = None
    binning: int = Field(default=1, ge=1, le=8)
    packet_size_bytes: int | None = Field(default=None, ge=220, le=16404)
    inter_packet_delay_ticks: int | None = Field(default=None, ge=0)
    trigger: BaslerTrigger = FreeRunTrigger()
    ptp: bool = False
    ptp_wait_s: float = Field(default=30.0, gt=0.0, le=600.0)
    clock: Literal["device", "host"] | None = None
    chunks: bool = True
    max_buffers: int = Field(default=16, ge=2, le=1000)
    features: dict[str, FeatureValue] = Field(default_factory=dict)
    link: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_gain(self) -> Self:
        if self.gain_db is not None and self.gain_raw is not None:
            raise ValueError("gain_db and gain_raw are two ways to set one thing; keep one of them")
        return self
