"""A graph in half precision: weights and arithmetic in float16, inputs and outputs as before."""

from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

from ..sync.errors import BundleError, ProviderError

CONVERTERS: Final = ("onnx", "onnxruntime")
"""The packages on which the converted graph depends."""


def to_half(model: bytes, name: str) -> bytes:
    """The same graph in float16, by the converter that ships with ONNX Runtime.

    Inputs and outputs keep their types. Float16 has 11 bits of mantissa and ends at 65504: how far the result is from
    float32 depends on the network and is measured wherever such a graph is opened.

    Raises:
        ProviderError: the package ``onnx`` is not installed.
        BundleError: the graph cannot be read or converted.
    """
    try:
        onnx: Any = import_module("onnx")
        converter: Any = import_module("onnxruntime.transformers.float16")
    except ImportError as error:
        raise _missing(error) from error
    try:
        half = converter.convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
        return half.SerializeToString()
    except (ValueError, RuntimeError, import_module("google.protobuf.message").DecodeError) as error:
        raise BundleError(f"{name}: cannot be converted to fp16 ({error}); set gpu.precision: fp32") from error


def converter_versions() -> dict[str, str]:
    """Of the `CONVERTERS`: where one of them changes, the same graph may be converted differently.

    Raises:
        ProviderError: one is not installed.
    """
    try:
        # The distribution of the second has a name of its own for each kind of machine.
        return {"onnx": version("onnx"), "onnxruntime": str(import_module("onnxruntime").__version__)}
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> ProviderError:
    return ProviderError(f"gpu.precision fp16 needs onnx ({error}); pip install 'ethostream[gpu]'")
