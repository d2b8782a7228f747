# ruff: noqa: N802, N818 - the names are the SDK's
"""A stand-in for pypylon at its own seam, for what its emulator cannot show: clocks, chunks, counters, PTP, actions.

Written after Basler's documentation of node maps, chunks and action commands; never compared with hardware.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np


class GenericException(Exception):
    """What the SDK raises."""


class Node:
    """A feature: integer, float, boolean, text, or an enumeration where ``symbols`` are given."""

    def __init__(self, value: Any, *, least: Any = 0, most: Any = 2**40, inc: Any = 1, symbols: tuple[str, ...] = (),
                 writable: bool = True, on_set: Callable[[Any], Any] | None = None) -> None:  # fmt: skip
        self._value, self._least, self._most, self._inc = value, least, most, inc
        self.writable = writable
        self.on_set = on_set
        self.readable = True
        self.n_set = 0
        if symbols:
            self.GetSymbolics = lambda: symbols

    def GetValue(self) -> Any:
        return self._value() if callable(self._value) else self._value

    def SetValue(self, value: Any) -> None:
        if type(value) is not type(self.GetValue()):
            raise GenericException(f"wrong type {type(value).__name__} : thrown in node")
        if hasattr(self, "GetSymbolics") and value not in self.GetSymbolics():
            raise GenericException(f"no entry {value} : thrown in node")
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._least <= value <= self._most:
            raise GenericException(f"Value = {value} must be between {self._least} and {self._most} : thrown in node")
        self.n_set += 1
        self._value = self.on_set(value) if self.on_set else value

    def GetMin(self) -> Any:
        return self._least

    def GetMax(self) -> Any:
        return self._most

    def GetInc(self) -> Any:
        return self._inc

    def HasInc(self) -> bool:
        return not isinstance(self.GetValue(), float)


class Command:
    def __init__(self, run: Callable[[], None] = lambda: None) -> None:
        self.readable, self.writable = False, True
        self._run = run
        self.n_run = 0

    def Execute(self) -> None:
        self.n_run += 1
        self._run()


class NodeMap(dict[str, Any]):
    def GetNode(self, name: str) -> Any:
        return self.get(name)


@dataclass
class Result:
    """A grab result."""

    block_id: int = 0
    ticks: int = 0
    good: bool = True
    valid: bool = True
    width: int = 64
    height: int = 48
    chunks: dict[str, Any] = field(default_factory=dict)
    released: int = 0

    def IsValid(self) -> bool:
        return self.valid

    def GrabSucceeded(self) -> bool:
        return self.good

    def GetErrorDescription(self) -> str:
        return "incomplete"

    def GetBlockID(self) -> int:
        return self.block_id

    def GetTimeStamp(self) -> int:
        return self.ticks

    def GetWidth(self) -> int:
        return self.width

    def GetHeight(self) -> int:
        return self.height

    def GetPaddingX(self) -> int:
        return 0

    def GetMemoryView(self) -> memoryview:
        return memoryview(np.full(self.width * self.height, self.block_id % 251, np.uint8))

    def GetChunkDataNodeMap(self) -> NodeMap:
        return NodeMap({name: Node(value) for name, value in self.chunks.items()})

    def Release(self) -> None:
        self.released += 1


class Device:
    """A camera as the SDK shows it: ``usb`` (SFNC 2, 1 GHz) or ``gige`` (older names, 125 MHz, PTP, actions)."""

    def __init__(self, kind: str, serial: str = "4001") -> None:
        self.kind, self.serial = kind, serial
        self.results: deque[Result | Exception] = deque()
        self.removed = False
        self.handlers: list[Any] = []
        self.grabbing = self.opened = False
        self.n_triggers = 0
        self.most_triggers = 10
        self.all_results: list[Result] = []
        enum = lambda value, *symbols: Node(value, symbols=symbols)  # noqa: E731
        self.nodes = NodeMap(
            UserSetSelector=enum("UserSet1", "Default", "UserSet1"),
            UserSetLoad=Command(),
            TriggerSelector=enum("FrameStart", "FrameStart", "AcquisitionStart"),
            TriggerMode=enum("On", "Off", "On"),
            TriggerSource=enum("Line1", "Line1", "Line3", "Software", "Action1"),
            TriggerActivation=enum("RisingEdge", "RisingEdge", "FallingEdge"),
            PixelFormat=enum("Mono8", "Mono8", "Mono12p" if kind == "usb" else "Mono12Packed"),
            Width=Node(64, least=16, most=64, inc=4, on_set=lambda value: value // 4 * 4),
            Height=Node(48, least=16, most=48, inc=2),
            OffsetX=Node(0, most=0),
            OffsetY=Node(0, most=0),
            LineSelector=enum("Line1", "Line1", "Line3"),
            LineMode=enum("Output", "Input", "Output"),
            AcquisitionStart=Command(),
            AcquisitionStop=Command(),
            AcquisitionFrameRateEnable=Node(value=False),
            PayloadSize=Node(64 * 48, writable=False),
            ChunkModeActive=Node(value=False),
            ChunkEnable=Node(value=False, on_set=self._enable_chunk),
        )
        self.chunks_on: set[str] = set()
        if kind == "usb":
            self.nodes.update(
                ExposureTime=Node(10_000.0, least=20.0, most=1e6, on_set=lambda us: round(us / 2) * 2.0),
                Gain=Node(0.0, most=24.0),
                AcquisitionFrameRate=Node(30.0, most=200.0),
                ResultingFrameRate=Node(100.0, writable=False),
                TriggerDelay=Node(0.0, most=1e6),
                DeviceLinkSpeed=Node(500_000_000, writable=False),
                SensorReadoutTime=Node(9000.0, writable=False),
                ChunkSelector=enum("Timestamp", "Timestamp", "CounterValue", "LineStatusAll", "ExposureTime"),
                CounterSelector=enum("Counter1", "Counter1"),
                CounterEventSource=enum("FrameStart", "FrameStart", "Line1", "Line3"),
                CounterResetSource=enum("Off", "Off", "Software"),
                CounterReset=Command(),
                CounterValue=Node(0, writable=False),
            )
        else:
            self.nodes.update(
                ExposureTimeAbs=Node(10_000.0, least=20.0, most=1e6),
                GainRaw=Node(192, least=192, most=1023),
                AcquisitionFrameRateAbs=Node(30.0, most=200.0),
                ResultingFrameRateAbs=Node(100.0, writable=False),
                TriggerDelayAbs=Node(0.0, most=1e6),
                GevSCPSPacketSize=Node(1500, least=220, most=9000, inc=4),
                GevSCPD=Node(0),
                GevTimestampTickFrequency=Node(lambda: 10**9 if self.nodes["GevIEEE1588"].GetValue() else 125_000_000),
                GevLinkSpeed=Node(1000, writable=False),
                GevIEEE1588=Node(value=False),
                GevIEEE1588DataSetLatch=Command(self._latch),
                GevIEEE1588StatusLatched=enum("Listening", "Listening", "Slave"),
                ActionDeviceKey=Node(0, most=2**32 - 1),
                ActionGroupKey=Node(0, most=2**32 - 1),
                ActionGroupMask=Node(0, most=2**32 - 1),
                ChunkSelector=enum("Timestamp", "Timestamp", "Triggerinputcounter", "LineStatusAll", "ExposureTime"),
            )
        self.ptp_after = 3
        self.statistics = NodeMap(
            Statistic_Failed_Buffer_Count=Node(0),
            Statistic_Missed_Frame_Count=Node(0),
        )

    def _enable_chunk(self, on: bool) -> bool:
        chunk = self.nodes["ChunkSelector"].GetValue()
        (self.chunks_on.add if on else self.chunks_on.discard)(chunk)
        return on

    def _latch(self) -> None:
        if self.nodes["GevIEEE1588"].GetValue() and self.nodes["GevIEEE1588DataSetLatch"].n_run >= self.ptp_after:
            self.nodes["GevIEEE1588StatusLatched"].SetValue("Slave")

    def unplug(self) -> None:
        self.removed = True
        for handler in self.handlers:
            handler.OnCameraDeviceRemoved(self)

    # What the device information says.
    def GetSerialNumber(self) -> str:
        return self.serial

    def GetModelName(self) -> str:
        return f"fake-{self.kind}"

    def GetVendorName(self) -> str:
        return "Basler"

    def GetFullName(self) -> str:
        return f"{self.kind}#{self.serial}"

    def GetDeviceClass(self) -> str:
        return {"usb": "BaslerUsb", "gige": "BaslerGigE"}[self.kind]


class InstantCamera:
    """The SDK's camera object around a `Device`."""

    def __init__(self, device: Device | None = None) -> None:
        self.device = device
        self.MaxNumBuffer = Node(10)
        self.AcquisitionStartStopExecutionEnable = Node(value=True)

    def Attach(self, device: Device) -> None:
        self.device = device

    def RegisterConfiguration(self, handler: Any, *_: Any) -> None:
        self.device.handlers.append(handler)

    def DeregisterConfiguration(self, handler: Any) -> None:
        self.device.handlers.remove(handler)

    def Open(self) -> None:
        if self.device.opened:
            raise GenericException("The device is controlled by another application : thrown")
        self.device.opened = True

    def Close(self) -> None:
        self.device.opened = False

    def GetNodeMap(self) -> NodeMap:
        return self.device.nodes

    def GetStreamGrabberNodeMap(self) -> NodeMap:
        return self.device.statistics

    def StartGrabbing(self, _: Any) -> None:
        self.device.grabbing = True

    def StopGrabbing(self) -> None:
        self.device.grabbing = False

    def RetrieveResult(self, timeout_ms: int, _: Any) -> Result:
        assert isinstance(timeout_ms, int)
        if not self.device.results:
            return Result(valid=False)
        result = self.device.results.popleft()
        if isinstance(result, Exception):
            raise result
        self.device.all_results.append(result)
        return result

    def IsCameraDeviceRemoved(self) -> bool:
        return self.device.removed

    def CanWaitForFrameTriggerReady(self) -> bool:
        return True

    def WaitForFrameTriggerReady(self, timeout_ms: int, _: Any) -> bool:
        return self.device.n_triggers < self.device.most_triggers

    def ExecuteSoftwareTrigger(self) -> None:
        self.device.n_triggers += 1


class Factory:
    def __init__(self, devices: list[Device]) -> None:
        self._devices = devices
        self.commands: list[tuple[Any, ...]] = []

    def EnumerateDevices(self) -> list[Device]:
        return self._devices

    def CreateDevice(self, info: Device) -> Device:
        return info

    def CreateTl(self, device_class: str) -> Any:
        assert device_class == "BaslerGigE"
        return SimpleNamespace(
            ActionCommand=lambda *keys: SimpleNamespace(IssueNoWait=lambda: self.commands.append(keys))
        )


class Sdk:
    """pypylon's two modules with these devices connected."""

    def __init__(self, *devices: Device) -> None:
        self.factory = Factory(list(devices))
        self.pylon = SimpleNamespace(
            TlFactory=SimpleNamespace(GetInstance=lambda: self.factory),
            InstantCamera=InstantCamera,
            ConfigurationEventHandler=object,
            RegistrationMode_Append=0,
            Cleanup_None=0,
            GrabStrategy_OneByOne=0,
            TimeoutHandling_Return=0,
        )
        self.genicam = SimpleNamespace(
            GenericException=GenericException,
            IsReadable=lambda node: node.readable,
            IsWritable=lambda node: node.writable,
        )
