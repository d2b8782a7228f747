"""pypylon, and which cameras it sees: the only file that imports it."""

from typing import Any, NamedTuple

from ..sync.errors import CameraOpenError
from .basler_features import Features
from .basler_pixels import RECIPES
from .discovery import FoundCamera


class BaslerSdk(NamedTuple):
    """pypylon's two modules."""

    pylon: Any
    genicam: Any


def load_sdk() -> BaslerSdk:
    """pypylon, imported when it is first needed.

    Raises:
        CameraOpenError: it is not installed.
    """
    try:
        from pypylon import genicam, pylon
    except ImportError as error:
        raise CameraOpenError(
            f"cameras of kind basler need pypylon ({error}); install it: pip install 'ethostream[basler]'"
        ) from error
    return BaslerSdk(pylon, genicam)


def discover(sdk: BaslerSdk | None = None) -> list[FoundCamera]:
    """The Basler cameras that are connected now, emulated ones included (``PYLON_CAMEMU``).

    Each is opened for a moment to ask what it can do; one that another program holds is listed without modes.

    Raises:
        CameraOpenError: pypylon is not installed.
    """
    sdk = sdk or load_sdk()
    factory = sdk.pylon.TlFactory.GetInstance()
    found: list[FoundCamera] = []
    for info in factory.EnumerateDevices():
        detail = {"full_name": str(info.GetFullName())}
        modes: tuple[str, ...] = ()
        camera = sdk.pylon.InstantCamera()
        try:
            camera.Attach(factory.CreateDevice(info))
            camera.Open()
            modes = _modes(Features(info.GetSerialNumber(), info.GetModelName(), camera.GetNodeMap(), sdk.genicam))
        except sdk.genicam.GenericException as error:
            detail["not_opened"] = str(error).split(" : ")[0]
        finally:
            camera.Close()
        found.append(
            FoundCamera(
                "basler",
                str(info.GetSerialNumber()),
                str(info.GetModelName()),
                str(info.GetVendorName()),
                str(info.GetDeviceClass()),
                modes,
                detail,
            )
        )
    return found


def _modes(features: Features) -> tuple[str, ...]:
    size = f"{features.value('WidthMax', 'Width')}x{features.value('HeightMax', 'Height')}"
    offered = features.choices("PixelFormat")
    return tuple(
        f"{size} {kind} ({symbol})"
        for kind, recipe in RECIPES.items()
        for symbol in [next((one for one in recipe.symbols if one in offered), None)]
        if symbol is not None
    )
