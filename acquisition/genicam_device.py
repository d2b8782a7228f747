"""One GenICam device behind a GenTL producer: features and buffers. The only importer of harvesters and genicam."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import CameraLostError, CameraOpenError, ConfigError
from .discovery import FoundCamera

log = logging.getLogger(__name__)

Value = bool | int | float | str

_READABLE = (3, 4)  # GenApi access modes: 0 not implemented, 1 not available, 2 write only, 3 read only, 4 both
_WRITABLE = (2, 4)


@dataclass(frozen=True, slots=True)
class GenicamBuffer:
    """One frame as the producer hands it over.

    Attributes:
        frame_id: the device's counter.
        timestamp_ns: on the device's clock; 0 where there is none.
        width: pixels.
        height: pixels.
        pixel_format: number of the Pixel Format Naming Convention.
        stride: bytes from one row to the next.
        data: the image; valid until the next `fetch`.
        n_damaged: incomplete buffers thrown away since the buffer before this one.
        line_status: value of the chunk that was asked for, else -1.
    """

    frame_id: int
    timestamp_ns: int
    width: int
    height: int
    pixel_format: int
    stride: int
    data: NDArray[np.uint8]
    n_damaged: int
    line_status: int


def producer_path(producer: str) -> Path:
    """The file of a producer; ``simulator`` is the one that comes with the genicam package."""
    if producer != "simulator":
        return Path(producer)
    return Path(str(_sdk()[2].__file__)).parent / "viky.cti"


def installed_producers() -> list[Path]:
    """Producers of the folders that ``GENICAM_GENTL64_PATH`` names, as vendors' installers set it."""
    folders = os.environ.get("GENICAM_GENTL64_PATH", "").split(os.pathsep)
    return [path for folder in folders if folder for path in sorted(Path(folder).glob("*.cti"))]


def discover(producer: Path) -> list[FoundCamera]:
    """The devices that a producer sees; each is opened for a moment to ask what it can do.

    Raises:
        CameraOpenError: the file is no producer, or it fails.
        ConfigError: the extra is not installed.
    """
    harvester = _load("genicam", producer)
    try:
        found = [_found(info, producer) for info in harvester.device_info_list]
    finally:
        harvester.reset()
    return [_with_modes(one, i, producer) for i, one in enumerate(found)]


def _with_modes(found: FoundCamera, index: int, producer: Path) -> FoundCamera:
    try:
        device = GenicamDevice(found.serial or found.model, producer, None, index)
    except CameraOpenError as error:
        return replace(found, detail={**found.detail, "not_opened": str(error)})
    try:
        return replace(found, modes=device.modes())
    finally:
        device.close()


class GenicamDevice:
    """An open device.

    Args:
        name: the camera, for messages.
        producer: a ``.cti`` file.
        serial: of the device; None: by ``index``.
        index: in the producer's list.

    Raises:
        CameraOpenError: no such producer or device, or another process has it.
        ConfigError: the extra is not installed.
    """

    def __init__(self, name: str, producer: Path, serial: str | None = None, index: int = 0) -> None:
        self._name = name
        self._errors = _sdk()[1]
        self._harvester = _load(f"camera {name}", producer)
        self._n_damaged = 0
        self._held: Any = None
        self._chunk: str | None = None
        try:
            infos = self._harvester.device_info_list
            found = [_found(info, producer) for info in infos]
            listed = ", ".join(f"{one.model} {one.serial}" for one in found) or "none"
            if serial is not None:
                matching = [i for i, one in enumerate(found) if one.serial == serial]
                if not matching:
                    raise CameraOpenError(
                        f"camera {name}: no device with serial {serial} at {producer.name} (it sees: {listed}); check "
                        "cable and power, and that no other program has it open"
                    )
                index = matching[0]
            elif index >= len(infos):
                raise CameraOpenError(
                    f"camera {name}: no device with index {index} at {producer.name} (it sees: {listed}); name the "
                    "camera by its serial, and check that no other program has it open"
                )
            self.identity = found[index]
            try:
                self._acquirer: Any = self._harvester.create(index)
            except self._errors as error:
                raise CameraOpenError(
                    f"camera {name}: {self.identity.model} {self.identity.serial} does not open ({_words(error)}); "
                    "does another program have it?"
                ) from error
        except BaseException:
            self._harvester.reset()
            raise
        self._nodes: Any = self._acquirer.remote_device.node_map
        core = _sdk()[0]
        self._on_damaged = _Damaged(core, self)
        self._acquirer.add_callback(core.ImageAcquirer.Events.INCOMPLETE_BUFFER, self._on_damaged.callback)

    @property
    def is_gige(self) -> bool:
        """Whether it speaks GigE Vision."""
        return self.identity.interface == "GEV"

    def has(self, feature: str) -> bool:
        """Whether the feature is there and can be read now."""
        return self._access(feature) in _READABLE

    def writable(self, feature: str) -> bool:
        """Whether the feature can be written now."""
        return self._access(feature) in _WRITABLE

    def get(self, feature: str) -> Value:
        """Value of a feature.

        Raises:
            CameraOpenError: it is not there or cannot be read.
        """
        try:
            return getattr(self._nodes, feature).value
        except (AttributeError, *self._errors) as error:
            raise CameraOpenError(
                f"camera {self._name}: {feature} cannot be read ({_words(error)}); check the name in its manual"
            ) from error

    def set(self, feature: str, value: Value) -> None:
        """Write a feature; the caller reads it back.

        Raises:
            CameraOpenError: it is not there, cannot be written, or refuses the value.
        """
        if not self._nodes.has_node(feature):
            raise CameraOpenError(
                f"camera {self._name}: {feature}={value}: {self.identity.model} has no such feature; leave the setting "
                "out, or check the name in its manual"
            )
        node = getattr(self._nodes, feature)
        kind = type(node).__name__
        try:
            if kind == "ICommand":
                raise CameraOpenError(f"camera {self._name}: {feature} is a command, and not a setting; leave it out")
            node.value = float(value) if kind == "IFloat" and isinstance(value, int | float) else value
        except (TypeError, *self._errors) as error:
            allowed = f"; it takes {', '.join(node.symbolics)}" if hasattr(node, "symbolics") else ""
            raise CameraOpenError(
                f"camera {self._name}: {feature}={value} is refused ({_words(error)}){allowed}"
            ) from error

    def modes(self) -> tuple[str, ...]:
        """Greatest size and pixel formats, in words."""
        size = "x".join(
            str(next((self.get(one) for one in names if self.has(one)), "?"))
            for names in (("WidthMax", "Width"), ("HeightMax", "Height"))
        )
        return tuple(f"{size} {one}" for one in getattr(getattr(self._nodes, "PixelFormat", None), "symbolics", ()))

    def start(self, n_buffers: int) -> None:
        """Announce buffers and begin to acquire.

        Raises:
            CameraLostError: the device does not start.
        """
        try:
            self._acquirer.num_buffers = max(n_buffers, self._acquirer.min_num_buffers)
            self._acquirer.start()
        except (ValueError, *self._errors) as error:
            raise CameraLostError(f"camera {self._name}: does not start ({_words(error)})") from error

    def read_chunk(self, chunk: str) -> None:
        """From now on `GenicamBuffer.line_status` is the value of ``Chunk<chunk>``."""
        self._chunk = f"Chunk{chunk}"

    def fetch(self, timeout_s: float) -> GenicamBuffer | None:
        """The next whole buffer, or None. It is given back to the device at the next call.

        Raises:
            CameraLostError: the device or its producer is gone.
        """
        try:
            self._give_back()
            self._acquirer.timeout_period_on_update_event_data_call = max(1, min(100, round(timeout_s * 1000)))
            raw = self._acquirer.try_fetch(timeout=max(timeout_s, 1e-3), is_raw=True)
            if raw is None:
                return None
            self._held = raw
            data = np.frombuffer(raw.raw_buffer, np.uint8, offset=self._info(raw, "image_offset"))
            n_damaged, self._n_damaged = self._n_damaged, 0
            return GenicamBuffer(
                raw.frame_id,
                self._info(raw, "timestamp_ns"),
                raw.width,
                raw.height,
                raw.pixel_format,
                _stride(raw.width, raw.pixel_format) + self._info(raw, "padding_x"),
                data,
                n_damaged,
                -1 if self._chunk is None else int(getattr(self._nodes, self._chunk).value),
            )
        except (AttributeError, *self._errors) as error:
            raise CameraLostError(
                f"camera {self._name}: {self.identity.model} {self.identity.serial} is gone ({_words(error)}); check "
                "cable and power"
            ) from error

    def close(self) -> None:
        """Stop and release; a device that is gone is released as far as it goes."""
        try:
            self._give_back()
            self._acquirer.destroy()
        except self._errors as error:
            log.warning("camera %s: does not close cleanly (%s)", self._name, _words(error))
        self._harvester.reset()

    def damaged(self) -> None:
        """The producer threw an incomplete buffer away."""
        self._n_damaged += 1

    def _give_back(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            held.parent.queue_buffer(held)

    def _info(self, raw: Any, name: str) -> int:
        """A property of a buffer that producers may leave out; 0 where they do."""
        try:
            return int(getattr(raw, name))
        except self._errors:
            return 0

    def _access(self, feature: str) -> int:
        if not self._nodes.has_node(feature):
            return 0
        try:
            return int(getattr(self._nodes, feature).node.get_access_mode())
        except (AttributeError, *self._errors):
            return 0


class _Damaged:
    """Tells the device of incomplete buffers; the SDK wants an object of its own class."""

    def __init__(self, core: Any, device: GenicamDevice) -> None:
        class Callback(core.Callback):
            def emit(self, context: Any = None) -> None:
                device.damaged()

        self.callback: Any = Callback()


def _stride(width: int, pixel_format: int) -> int:
    """Bytes of a row: bits per pixel stand in bits 16 to 23 of the format's number."""
    return (width * ((pixel_format >> 16) & 0xFF) + 7) // 8


def _found(info: Any, producer: Path) -> FoundCamera:
    facts = {key: str(value) for key, value in info.property_dict.items() if isinstance(value, str | int) and value}
    return FoundCamera(
        "genicam",
        facts.get("serial_number", ""),
        facts.get("model", ""),
        facts.get("vendor", ""),
        facts.get("tl_type", ""),
        (),
        {"producer": str(producer), "id": facts.get("id_", ""), "name": facts.get("user_defined_name", "")},
    )


def _sdk() -> tuple[Any, tuple[type[Exception], ...], Any]:
    try:
        import genicam
        from genicam.genapi import GenericException as GenApiError
        from genicam.gentl import GenericException as GenTLError
        from harvesters import core
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a camera of kind genicam needs {error.name}, which is not installed; pip install 'ethostream[genicam]' "
            "brings it"
        ) from error
    # What fails is raised by us in plain words; the library would print a traceback beside it.
    logging.getLogger(core.__name__).setLevel(logging.CRITICAL)
    return core, (GenApiError, GenTLError), genicam


def _load(who: str, producer: Path) -> Any:
    """A harvester with the producer's devices listed; ``reset()`` it."""
    core, errors, _ = _sdk()
    harvester: Any = core.Harvester()
    try:
        harvester.add_file(str(producer), check_existence=True, check_validity=True)
        harvester.update()
    except (OSError, *errors) as error:
        harvester.reset()
        reason = "no such file" if isinstance(error, FileNotFoundError) else _words(error)
        raise CameraOpenError(
            f"{who}: producer {producer}: {reason}; name the .cti file that came with the camera's software, or "
            "simulator"
        ) from error
    return harvester


def _words(error: BaseException) -> str:
    """What the SDK says, without where in its own source it was said."""
    return (str(error) or type(error).__name__).splitlines()[0][:400].split("thrown in node")[0].strip(" :")
