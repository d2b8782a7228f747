"""What is used of TensorRT 10's Python API: a "engine" is the graph itself, run by ONNX Runtime on the CPU.

Names, arguments and what is returned when something fails are those of the package's docstrings (10.16).
"""

import ctypes
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from cuda.bindings import runtime as cuda

__version__ = "10.16.fake"
MAGIC = b"plan:"
builds: list[dict[str, Any]] = []
broken = ""


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2


class IProgressMonitor:
    pass


class Network:
    model = b""


class OnnxParser:
    def __init__(self, network: Network, logger: Any) -> None:
        self._network, self._logger = network, logger
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self._network.model = model
        if broken == "parse":
            self.num_errors = 1
        return broken != "parse"

    def get_error(self, index: int) -> Any:
        assert index < self.num_errors
        return SimpleNamespace(desc=lambda: "no importer for this operator")


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert min == opt == max
        self.shapes[input] = opt


class Config:
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.timings = b""

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return SimpleNamespace(data=serialized_timing_cache)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timings = cache.data
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.timings + b"t")


class Builder:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> Network:
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        builds.append({"shapes": config.profiles[0].shapes, "timings": config.timings, "model": network.model})
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Tactics", "Building Engine", 3)
            assert monitor.step_complete("Tactics", 0)
            monitor.phase_finish("Tactics")
            assert monitor.step_complete("Building Engine", 0)
            monitor.phase_finish("Building Engine")
        if broken == "build":
            self._logger.log(ILogger.Severity.WARNING, "a warning")
            self._logger.log(ILogger.Severity.ERROR, "no tactic for node 3")
            return None
        return MAGIC + network.model


class Context:
    def __init__(self, model: bytes) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return broken != "shape"

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._run(dry=True)[name].shape

    def _run(self, dry: bool) -> dict[str, np.ndarray]:
        (name,) = self._shapes
        shape = self._shapes[name]
        source = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self._addresses[name])
        batch = np.zeros(shape, np.uint8) if dry else np.frombuffer(source, np.uint8).reshape(shape).copy()
        names = [one.name for one in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {name: batch}), strict=True))

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == cuda.STREAM

        def work() -> None:
            for name, value in self._run(dry=False).items():
                ctypes.memmove(self._addresses[name], value.ctypes.data, value.nbytes)

        cuda.begin(work)
        return True


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if not plan.startswith(MAGIC):
            self._logger.log(ILogger.Severity.ERROR, "magic tag does not match")
            return None
        model = plan.removeprefix(MAGIC)
        onnx.load_from_string(model)
        return SimpleNamespace(create_execution_context=lambda: Context(model))
