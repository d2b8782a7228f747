"""The embedder of a bundle on a GPU, by the provider that the task names."""

import ctypes
from hashlib import sha256
from typing import Final, Literal

from ..sync.errors import ProviderError
from .backend import Tell
from .cuda_memory import CudaMemory
from .device_graph import DeviceGraph, EngineMaker
from .engine_cache import EngineKey
from .gpu_config import GpuConfig
from .half_precision import converter_versions
from .onnxruntime_backend import open_graph, require_runtime
from .onnxruntime_engine import CudaEngines, TensorrtEngines
from .tensorrt_backend import NativeEngines, require_tensorrt

GpuProvider = Literal["cuda", "tensorrt", "tensorrt_native"]

TENSORRT_LIBRARY: Final = "libnvinfer.so.10"
"""The one that onnxruntime-gpu's TensorRT provider is linked with."""


def open_device_embedder(
    model: bytes,
    name: str,
    provider: GpuProvider,
    threads: int,
    gpu: GpuConfig,
    allowed: float,
    tell: Tell | None = None,
) -> DeviceGraph:
    """Open ``model`` on a GPU. No engine is made yet: that takes a shape.

    Args:
        model: bytes of the ``.onnx`` file, in full precision.
        name: file name, for messages.
        provider: what must run it.
        threads: of the reference on the CPU.
        gpu: options.
        allowed: largest relative error of each engine against the CPU.
        tell: told when an engine is built, and how far it is.

    Raises:
        ProviderError: a package, a library, the driver or the GPU is not there.
        BundleError: the graph cannot be read.
    """
    if provider == "tensorrt_native":
        require_tensorrt()
    else:
        require_runtime(provider)
    memory = CudaMemory(gpu.device)
    reference = open_graph(model, name, "cpu", threads)
    pattern = next(iter(reference.inputs.values()))
    makers: EngineMaker
    if provider == "cuda":
        makers = CudaEngines(model, pattern, name, gpu, memory)
    else:
        versions = {**memory.identity(), **_library_versions(provider)}
        if provider == "tensorrt_native" and gpu.precision == "fp16":
            versions |= converter_versions()
        key = EngineKey(name, sha256(model).hexdigest(), provider, gpu.precision, {}, versions)
        if provider == "tensorrt":
            makers = TensorrtEngines(model, pattern, name, gpu, memory, key, tell)
        else:
            makers = NativeEngines(model, name, gpu, memory, key, tell)
    return DeviceGraph(reference, memory, makers, f"{provider} ({gpu.precision})", allowed)


def _library_versions(provider: Literal["tensorrt", "tensorrt_native"]) -> dict[str, str]:
    if provider == "tensorrt_native":
        return {"tensorrt": str(require_tensorrt().__version__)}
    try:
        version = str(ctypes.CDLL(TENSORRT_LIBRARY).getInferLibVersion())
    except OSError as error:
        raise ProviderError(
            f"provider 'tensorrt': {TENSORRT_LIBRARY} is not there ({error}); pip install 'ethostream[gpu]'"
        ) from error
    return {"tensorrt": version, "onnxruntime": str(require_runtime("tensorrt").__version__)}
