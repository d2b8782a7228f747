"""CUDA and TensorRT through ONNX Runtime, bound to fixed addresses of the GPU and to one stream.

Option names are those of ONNX Runtime's pages on its CUDA and TensorRT execution providers. The graph's axes are fixed
before it is opened, so that everything that follows from shapes is computed once and TensorRT builds its engine at
opening, not at the first set.
"""

from pathlib import Path
from typing import Any, Final

from ..sync.errors import BundleError
from .backend import Tell
from .cuda_memory import CudaMemory
from .device_graph import Binding, Engine
from .engine_cache import EngineCache, EngineKey
from .gpu_config import GpuConfig
from .half_precision import to_half
from .onnxruntime_backend import Session, SessionSettings

ENGINE_PREFIX: Final = "embedder"
WAIT_ELSEWHERE: Final = ("disable_synchronize_execution_providers", "1")
"""Run option: the stream is waited for once, after the copy back."""


def cuda_options(gpu: GpuConfig, stream: int) -> dict[str, Any]:
    """Options of the CUDA provider, which works on ``stream``."""
    return {
        "device_id": gpu.device,
        "user_compute_stream": str(stream),
        "do_copy_in_default_stream": True,
        # Tries every convolution kernel at opening, once per shape: the shape never changes afterwards.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "enable_cuda_graph": gpu.cuda_graphs,
    }


def tensorrt_options(gpu: GpuConfig, stream: int, folder: Path, timing: Path) -> dict[str, Any]:
    """Options of the TensorRT provider: engine in ``folder``, timings of kernels in ``timing``."""
    return {
        "device_id": gpu.device,
        "user_compute_stream": str(stream),
        "trt_fp16_enable": gpu.precision == "fp16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_engine_cache_prefix": ENGINE_PREFIX,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(timing),
        "trt_context_memory_sharing_enable": True,
        "trt_cuda_graph_enable": gpu.cuda_graphs,
    }


class BoundSession:
    """A session whose input and output lie at fixed addresses.

    Args:
        session: opened for one shape.
        source: the input.
        target: the output.
        device_type: what ONNX Runtime calls the device, ``cuda``.
        device: its number.
    """

    def __init__(
        self, session: Session, source: Binding, target: Binding, device_type: str = "cuda", device: int = 0
    ) -> None:
        self._session: Any = session.raw
        self._errors = session.errors
        self._name = source.name
        self._binding: Any = session.raw.io_binding()
        self._binding.bind_input(source.name, device_type, device, source.dtype.type, source.shape, source.address)
        self._binding.bind_output(target.name, device_type, device, target.dtype.type, target.shape, target.address)
        self._options: Any = session.runtime.RunOptions()
        self._options.add_run_config_entry(*WAIT_ELSEWHERE)

    def launch(self) -> None:
        """Begin one run; see `Engine.launch`."""
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except self._errors as error:
            raise BundleError(f"input {self._name}: ONNX Runtime cannot run it ({error})") from error


def axis_sizes(pattern: list[int | str], shape: tuple[int, ...], name: str) -> dict[str, int]:
    """Sizes of the dynamic axes of an input of this shape.

    Raises:
        BundleError: the shape is not one of the input's.
    """
    sizes = {axis: size for axis, size in zip(pattern, shape, strict=False) if isinstance(axis, str)}
    if len(pattern) != len(shape) or [sizes.get(str(axis), axis) for axis in pattern] != list(shape):
        raise BundleError(f"input {name} has shape {pattern}, not {list(shape)}")
    return sizes


class CudaEngines:
    """Makes engines of one graph on ONNX Runtime's CUDA provider; an `EngineMaker`.

    Args:
        model: bytes of the graph in full precision.
        pattern: shape of its input, dynamic axes by name.
        name: file name, for messages.
        gpu: options.
        memory: of the GPU.
    """

    def __init__(self, model: bytes, pattern: list[int | str], name: str, gpu: GpuConfig, memory: CudaMemory) -> None:
        self._model = to_half(model, name) if gpu.precision == "fp16" else model
        self._pattern = pattern
        self._name = name
        self._gpu = gpu
        self._memory = memory

    def __call__(self, source: Binding, target: Binding) -> Engine:
        """Open the graph for a shape."""
        settings = SessionSettings(
            sizes=axis_sizes(self._pattern, source.shape, source.name),
            options={"cuda": cuda_options(self._gpu, self._memory.stream)},
        )
        session = Session(self._model, self._name, "cuda", settings)
        return BoundSession(session, source, target, device=self._gpu.device)


class TensorrtEngines:
    """Makes engines of one graph on ONNX Runtime's TensorRT provider, and keeps them; an `EngineMaker`.

    TensorRT gets the graph in full precision and converts it itself where ``gpu.precision`` is ``fp16``.
    """

    def __init__(
        self,
        model: bytes,
        pattern: list[int | str],
        name: str,
        gpu: GpuConfig,
        memory: CudaMemory,
        key: EngineKey,
        tell: Tell | None = None,
    ) -> None:
        self._model = model
        self._pattern = pattern
        self._name = name
        self._gpu = gpu
        self._memory = memory
        self._key = key
        self._cache = EngineCache(gpu.engine_cache)
        self._tell = tell

    def __call__(self, source: Binding, target: Binding) -> Engine:
        """Load the engine for a shape, or build and keep it, which can take minutes."""
        key = with_shape(self._key, source)
        folder = self._cache.find(key)
        if folder is not None:
            return self._open(source, target, folder)
        if self._tell is not None:
            self._tell(f"building {key.graph} for {source.shape}: TensorRT says nothing meanwhile", 0, 0)
        with self._cache.building(key) as aside:
            return self._open(source, target, aside)

    def _open(self, source: Binding, target: Binding, folder: Path) -> Engine:
        timing = self._cache.timing_folder(self._key.versions)
        stream = self._memory.stream
        settings = SessionSettings(
            sizes=axis_sizes(self._pattern, source.shape, source.name),
            options={
                "tensorrt": tensorrt_options(self._gpu, stream, folder, timing),
                "cuda": cuda_options(self._gpu.model_copy(update={"cuda_graphs": False}), stream),
            },
        )
        session = Session(self._model, self._name, "tensorrt", settings)
        return BoundSession(session, source, target, device=self._gpu.device)


def with_shape(key: EngineKey, source: Binding) -> EngineKey:
    """The key of the engine for this input."""
    return EngineKey(key.graph, key.model_sha256, key.builder, key.precision, {source.name: source.shape}, key.versions)
