"""TensorRT without ONNX Runtime: the only file that imports it.

Networks are strongly typed: the precision is that of the graph, which is converted before it is parsed. Calls are those
of the TensorRT 10 Python API.
"""

import logging
import os
import tempfile
from collections import deque
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Final

from ..sync.errors import BundleError, ProviderError
from .backend import Tell
from .cuda_memory import CudaMemory
from .device_graph import Binding, Engine
from .engine_cache import EngineCache, EngineKey
from .gpu_config import GpuConfig
from .half_precision import CONVERTERS, to_half
from .onnxruntime_engine import with_shape

log = logging.getLogger(__name__)

ENGINE_FILE: Final = "embedder.engine"
TIMING_FILE: Final = "native.timing"
KEPT_LINES: Final = 5


def require_tensorrt() -> Any:
    """The module tensorrt.

    Raises:
        ProviderError: it or its libraries are not there.
    """
    try:
        return import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ProviderError(
            f"provider 'tensorrt_native': TensorRT is not installed ({error}); pip install 'ethostream[gpu]'"
        ) from error


def _make_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """Keeps the last errors, for messages. TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=KEPT_LINES)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(message)

    return Logger()


def _make_monitor(trt: Any, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells each phase of a build and its steps. TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = Lock()
            self._n_steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._n_steps[phase_name] = num_steps
                tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                tell(phase_name, step + 1, self._n_steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                n_steps = self._n_steps.pop(phase_name, 0)
                tell(phase_name, n_steps, n_steps)

    return Monitor()


class NativeEngine:
    """A TensorRT engine, bound to fixed addresses and to one stream."""

    def __init__(self, engine: Any, memory: CudaMemory, source: Binding, target: Binding, cuda_graphs: bool) -> None:
        self._engine = engine  # has to outlive its context
        self._memory = memory
        self._context: Any = engine.create_execution_context()
        if self._context is None:
            raise BundleError("TensorRT makes no execution context of the engine: the GPU's memory may be full")
        bound = self._context.set_input_shape(source.name, source.shape)
        for one in (source, target):
            bound = self._context.set_tensor_address(one.name, one.address) and bound
        if not bound or tuple(self._context.get_tensor_shape(target.name)) != target.shape:
            raise BundleError(f"the TensorRT engine does not take {source} to {target}; build it again")
        self._recorded: Any = None
        if cuda_graphs:
            self._enqueue()  # the first run allocates, which a graph may not
            self._recorded = memory.record(self._enqueue)

    def launch(self) -> None:
        """Begin one run; see `Engine.launch`."""
        if self._recorded is None:
            self._enqueue()
        else:
            self._memory.replay(self._recorded)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._memory.stream):
            raise BundleError("TensorRT cannot run the engine; build it again")


class NativeEngines:
    """Makes engines of one graph with TensorRT itself, and keeps them; an `EngineMaker`.

    Args:
        model: bytes of the graph in full precision.
        name: file name, for messages.
        gpu: options.
        memory: of the GPU.
        key: of the engine, without its shape.
        tell: told of the phases of a build and their steps.
    """

    def __init__(
        self, model: bytes, name: str, gpu: GpuConfig, memory: CudaMemory, key: EngineKey, tell: Tell | None = None
    ) -> None:
        self._trt = require_tensorrt()
        self._model = model
        self._name = name
        self._gpu = gpu
        self._memory = memory
        self._key = key
        self._cache = EngineCache(gpu.engine_cache)
        self._tell = tell
        self._logger = _make_logger(self._trt)
        self._runtime: Any = self._trt.Runtime(self._logger)

    def __call__(self, source: Binding, target: Binding) -> Engine:
        """Load the engine for a shape, or build and keep it, which can take minutes."""
        key = with_shape(self._key, source)
        folder = self._cache.find(key)
        if folder is None:
            with self._cache.building(key) as aside:
                (aside / ENGINE_FILE).write_bytes(self._build(source))
            folder = self._cache.find(key)
            assert folder is not None
        engine = self._runtime.deserialize_cuda_engine((folder / ENGINE_FILE).read_bytes())
        if engine is None:
            raise self._refusal(f"the engine in {folder} cannot be loaded; remove that folder")
        return NativeEngine(engine, self._memory, source, target, self._gpu.cuda_graphs)

    def _build(self, source: Binding) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        model = to_half(self._model, self._name) if self._gpu.precision == "fp16" else self._model
        if not parser.parse(model):
            faults = "; ".join(parser.get_error(place).desc() for place in range(parser.num_errors))
            raise self._refusal(f"its parser does not take the graph ({faults})")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        profile.set_shape(source.name, source.shape, source.shape, source.shape)
        config.add_optimization_profile(profile)
        monitor = None if self._tell is None else _make_monitor(trt, self._tell)
        if monitor is not None:
            config.progress_monitor = monitor
        # How long kernels take does not depend on who has converted the graph.
        versions = {name: version for name, version in self._key.versions.items() if name not in CONVERTERS}
        timing = self._cache.timing_folder(versions) / TIMING_FILE
        timings = config.create_timing_cache(_read(timing))
        config.set_timing_cache(timings, False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._refusal("the engine cannot be built")
        try:
            _replace(timing, bytes(config.get_timing_cache().serialize()))
        except OSError as error:
            log.warning("%s cannot be written (%s): the next engine takes longer to build", timing, error.strerror)
        return bytes(plan)

    def _refusal(self, what: str) -> BundleError:
        said = " | ".join(self._logger.lines)
        return BundleError(f"{self._name}: TensorRT {self._trt.__version__}: {what}{f' ({said})' if said else ''}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        log.warning("%s cannot be read (%s): the engine takes longer to build", path, error.strerror)
        return b""


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step: several builds may share it, and may end together."""
    number, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
