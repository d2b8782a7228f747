"""Basler cameras, through pylon."""

import logging
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from ..sync.errors import CameraLostError, CameraOpenError
from .basler_config import ActionTrigger, BaslerCameraConfig, FreeRunTrigger, SoftwareTrigger
from .basler_features import Features
from .basler_pixels import RECIPES, PixelReader
from .basler_sdk import BaslerSdk, load_sdk
from .basler_setup import GIGE, BaslerSetup, apply_settings
from .basler_statistics import FrameAccount, StreamStatistics
from .basler_trigger import TriggerMatch, TriggerThread
from .camera import CameraFormat, Grab

log = logging.getLogger(__name__)

_FAILED = "Statistic_Failed_Buffer_Count"
_UNDERRUNS = ("Statistic_Buffer_Underrun_Count", "Statistic_Missed_Frame_Count")
_COUNTER_WRAP = 2**32


class BaslerCamera:
    """One Basler camera, as a `Camera`.

    ``seq`` is the device's block ID, from 0; with a software trigger it is the number of the instant, so that an
    instant whose trigger was late is a drop. Frames carry the camera's ticks where the model has a clock; without one,
    a software-triggered frame is timed by its trigger, and others by the node on arrival. A free-running camera begins
    its acquisition at ``t_start_ns``; triggered ones are armed as soon as they are started.

    Args:
        name: in the rig file.
        config: settings.
        clock: rig time.
        sdk: pypylon, or what stands in for it in tests.
    """

    def __init__(self, name: str, config: BaslerCameraConfig, clock: Clock, sdk: BaslerSdk | None = None) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._sdk = sdk
        self._camera: Any = None
        self._features: Features | None = None
        self._setup: BaslerSetup | None = None
        self._format: CameraFormat | None = None
        self._pixels: PixelReader | None = None
        self._statistic_nodes: list[Any] = []
        self._statistics_base: list[int] = []
        self._removed = False
        self._handler: Any = None
        self._reset_run()

    def _reset_run(self) -> None:
        self._begin_ns: int | None = None
        self._account: FrameAccount | None = None
        self._trigger: TriggerThread | None = None
        self._match: TriggerMatch | None = None
        self._last_counter = -1
        self._counter_offset = 0

    def open(self) -> CameraFormat:
        self.close()
        sdk = self._sdk = self._sdk or load_sdk()
        factory = sdk.pylon.TlFactory.GetInstance()
        camera: Any = None
        try:
            info = self._device_info(factory)
            camera = sdk.pylon.InstantCamera(factory.CreateDevice(info))
            self._camera = camera
            self._watch_removal(sdk)
            camera.Open()
            camera.MaxNumBuffer.SetValue(self.config.max_buffers)
            device_class = str(info.GetDeviceClass())
            self._features = Features(self.name, str(info.GetModelName()), camera.GetNodeMap(), sdk.genicam)
            self._setup = setup = apply_settings(self.name, self.config, self._features, device_class, self._clock)
            self._gige = device_class == GIGE
        except sdk.genicam.GenericException as error:
            self.close()
            raise CameraOpenError(
                f"camera {self.name}: serial {self.config.serial} cannot be opened or set up ({error}); does another "
                "program use it?"
            ) from error
        except CameraOpenError:
            self.close()
            raise
        recipe = RECIPES[self.config.pixel_format]
        self._pixels = PixelReader(recipe, setup.symbol, setup.width, setup.height)
        self._format = CameraFormat(
            setup.width,
            setup.height,
            recipe.delivered,
            setup.rate_hz,
            "device" if setup.tick_hz > 0 else "host",
            setup.tick_hz,
            setup.transport_ns,
        )
        return self._format

    def _device_info(self, factory: Any) -> Any:
        devices = list(factory.EnumerateDevices())
        for info in devices:
            if info.GetSerialNumber() == self.config.serial:
                return info
        there = ", ".join(f"{info.GetSerialNumber()} ({info.GetModelName()})" for info in devices)
        raise CameraOpenError(
            f"camera {self.name}: no Basler camera has the serial {self.config.serial}; "
            f"{f'there are {there}' if there else 'none is connected'}: check serial, cable and power"
        )

    def _watch_removal(self, sdk: BaslerSdk) -> None:
        owner = self

        class Watch(sdk.pylon.ConfigurationEventHandler):
            def OnCameraDeviceRemoved(self, camera: Any) -> None:  # noqa: N802 - the SDK's name
                owner._removed = True

        # Asking the SDK for each frame would take milliseconds: it tells us instead.
        self._removed = False
        self._handler = Watch()
        self._camera.RegisterConfiguration(self._handler, sdk.pylon.RegistrationMode_Append, sdk.pylon.Cleanup_None)

    def start(self, t_start_ns: int) -> None:
        if self._camera is None or self._setup is None or self._sdk is None:
            raise CameraOpenError(f"camera {self.name}: start() before open(); open it first")
        self._stop()
        free_run = isinstance(self.config.trigger, FreeRunTrigger)
        sdk, camera = self._sdk, self._camera
        try:
            # A free-running camera has its buffers queued now, and is told to expose at the start.
            camera.AcquisitionStartStopExecutionEnable.SetValue(not free_run)
            camera.StartGrabbing(sdk.pylon.GrabStrategy_OneByOne)
            nodes = camera.GetStreamGrabberNodeMap()
            self._statistic_nodes = [
                node
                for node in (nodes.GetNode(name) for name in (_FAILED, *_UNDERRUNS))
                if node is not None and sdk.genicam.IsReadable(node)
            ]
            self._statistics_base = [node.GetValue() for node in self._statistic_nodes]
        except sdk.genicam.GenericException as error:
            raise CameraLostError(
                f"camera {self.name}: does not start ({error}); check its cable, and open it again"
            ) from error
        self._account = FrameAccount(self.name, gige=self._gige, settle_frames=self.config.max_buffers)
        self._begin_ns = t_start_ns if free_run else None
        self._trigger = self._make_trigger()
        if self._trigger is not None:
            self._trigger.start(t_start_ns)

    def _make_trigger(self) -> TriggerThread | None:
        """The thread that triggers, where this process does."""
        assert self._sdk is not None
        assert self._setup is not None
        camera, pylon, trigger = self._camera, self._sdk.pylon, self.config.trigger
        gone = self._sdk.genicam.GenericException
        if isinstance(trigger, SoftwareTrigger):

            def ready(timeout_ms: int) -> bool:
                return bool(camera.WaitForFrameTriggerReady(timeout_ms, pylon.TimeoutHandling_Return))

            thread = TriggerThread(
                self.name,
                self._clock,
                self.config.rate_hz,
                trigger.max_late_us * NS_PER_US,
                camera.ExecuteSoftwareTrigger,
                ready if camera.CanWaitForFrameTriggerReady() else None,
                gone,
            )
            self._match = TriggerMatch(self.name, thread.fired, self._setup.tick_hz, NS_PER_S / self.config.rate_hz)
            return thread
        if isinstance(trigger, ActionTrigger) and trigger.broadcast_address is not None:
            transport = pylon.TlFactory.GetInstance().CreateTl(GIGE)
            command = transport.ActionCommand(
                trigger.device_key, trigger.group_key, trigger.group_mask, trigger.broadcast_address
            )
            return TriggerThread(
                self.name,
                self._clock,
                self.config.rate_hz,
                trigger.max_late_us * NS_PER_US,
                command.IssueNoWait,
                None,
                gone,
            )
        return None

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        account, sdk = self._account, self._sdk
        if account is None or sdk is None:
            raise CameraLostError(f"camera {self.name}: is not running; open() and start() it before reading")
        deadline_ns = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        try:
            if not self._begun(deadline_ns):
                return None
            left_ns = deadline_ns - self._clock.now_ns()
            while left_ns >= 0:
                self._check()
                result = self._camera.RetrieveResult(-(-left_ns // NS_PER_MS), sdk.pylon.TimeoutHandling_Return)
                if not result.IsValid():
                    if self._camera.IsCameraDeviceRemoved():
                        self._removed = True
                    self._check()
                    return None
                try:
                    if result.GrabSucceeded():
                        return self._take(account, result, out)
                    account.failed()
                    log.warning("camera %s: incomplete frame (%s)", self.name, result.GetErrorDescription())
                finally:
                    result.Release()
                left_ns = deadline_ns - self._clock.now_ns()
        except sdk.genicam.GenericException as error:
            raise CameraLostError(
                f"camera {self.name}: the device failed ({error}); check its cable and power"
            ) from error
        return None

    def _begun(self, deadline_ns: int) -> bool:
        """Whether a free-running camera has been told to expose; told now when it is time."""
        if self._begin_ns is None:
            return True
        if deadline_ns < self._begin_ns:
            self._clock.sleep_until_ns(deadline_ns)
            return False
        self._clock.sleep_until_ns(self._begin_ns)
        self._begin_ns = None
        assert self._features is not None
        if not self._features.execute("AcquisitionStart"):
            raise CameraLostError(f"camera {self.name}: cannot be told to start; open it again")
        return True

    def _check(self) -> None:
        if self._removed:
            raise CameraLostError(f"camera {self.name}: is not connected any more; check its cable and power")
        if self._trigger is not None and self._trigger.error is not None:
            raise self._trigger.error

    def _take(self, account: FrameAccount, result: Any, out: NDArray[np.uint8]) -> Grab:
        setup, pixels = self._setup, self._pixels
        assert setup is not None
        assert pixels is not None
        width, height, padding = result.GetWidth(), result.GetHeight(), result.GetPaddingX()
        if (width, height) != (setup.width, setup.height) or (padding and not pixels.row_bytes):
            raise CameraLostError(
                f"camera {self.name}: sends {width}x{height} (padding {padding}), and was opened at "
                f"{setup.width}x{setup.height}; was it changed by another program? Open it again"
            )
        pixels.read(result.GetMemoryView(), pixels.row_bytes + padding, out)
        ticks = self._ticks(setup, result)
        chunks = (
            result.GetChunkDataNodeMap() if setup.counter_chunk or setup.line_chunk or setup.exposure_chunk else None
        )
        exposure_us = _chunk(chunks, setup.exposure_chunk)
        n = account.frame(int(result.GetBlockID()), self._statistics())
        seq, t_ns, trigger_id = n, -1, self._trigger_id(setup, chunks)
        if self._match is not None:
            fired = self._match.take(n, ticks)
            seq = trigger_id = fired.k
            t_ns = fired.t_ns if ticks < 0 else -1
        return Grab(
            seq,
            t_ns,
            round(setup.exposure_us if exposure_us is None else exposure_us),
            trigger_id,
            ticks=ticks,
            line_status=int(_chunk(chunks, setup.line_chunk, -1)),
        )

    def _ticks(self, setup: BaslerSetup, result: Any) -> int:
        if setup.tick_hz == 0:
            return -1
        ticks = _chunk(result.GetChunkDataNodeMap(), setup.time_chunk) if setup.time_chunk else result.GetTimeStamp()
        if not ticks:
            raise CameraLostError(
                f"camera {self.name}: its frames carry no time; set clock to host, and they are timed on arrival"
            )
        return int(ticks)

    def _trigger_id(self, setup: BaslerSetup, chunks: Any) -> int:
        """Triggers before this one since the camera was armed; the device's 32 bits are continued."""
        value = _chunk(chunks, setup.counter_chunk)
        if value is None:
            return -1
        if value < self._last_counter - _COUNTER_WRAP // 2:
            self._counter_offset += _COUNTER_WRAP
        self._last_counter = int(value)
        return int(value) + self._counter_offset - setup.counter_base - 1

    def _statistics(self) -> StreamStatistics:
        since = [
            node.GetValue() - base for node, base in zip(self._statistic_nodes, self._statistics_base, strict=True)
        ]
        return StreamStatistics(since[0] if since else 0, sum(since[1:]))

    def lost_at_end(self) -> int:
        """Frames that only the driver's statistics know to be lost; 0 while it does not run, or when it is gone."""
        if self._account is not None and self._sdk is not None and not self._removed:
            with suppress(self._sdk.genicam.GenericException):
                return self._account.unexplained(self._statistics())
        return 0

    def _stop(self) -> None:
        """End a run."""
        if self._trigger is not None:
            self._trigger.stop()
            if self._trigger.n_late:
                log.warning("camera %s: %d triggers came too late and were not given", self.name, self._trigger.n_late)
        if self._account is not None and self._sdk is not None:
            if left := self.lost_at_end():
                log.warning("camera %s: the driver knows of %d lost frames without a number", self.name, left)
            if self._features is not None and isinstance(self.config.trigger, FreeRunTrigger):
                with suppress(self._sdk.genicam.GenericException):
                    self._features.execute("AcquisitionStop")
            with suppress(self._sdk.genicam.GenericException):
                self._camera.StopGrabbing()
        self._reset_run()

    def close(self) -> None:
        self._stop()
        if self._camera is not None and self._sdk is not None:
            with suppress(self._sdk.genicam.GenericException):
                if self._handler is not None:
                    self._camera.DeregisterConfiguration(self._handler)
                self._camera.Close()
        self._camera = self._features = self._setup = self._format = self._pixels = self._handler = None
        self._statistic_nodes = []


def _chunk(chunks: Any, name: str, default: Any = None) -> Any:
    """Value of a chunk; ``default`` where the frame does not carry it."""
    if chunks is None or not name:
        return default
    node = chunks.GetNode(name)
    return default if node is None else node.GetValue()
