"""A device without a GPU, and engines on it: ONNX Runtime sessions bound to addresses, run as the stream goes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ethostream.inference.backend import Graph
from ethostream.inference.cuda_memory import CudaMemory
from ethostream.inference.device_graph import Binding, DeviceGraph
from ethostream.inference.onnxruntime_backend import Session, SessionSettings, open_graph
from ethostream.inference.onnxruntime_engine import BoundSession, axis_sizes

FAKES = Path(__file__).parent


@contextmanager
def without_gpu(monkeypatch: pytest.MonkeyPatch, *folders: str) -> Iterator[Any]:
    """The stand-in of the CUDA runtime, and of what else these folders hold, instead of what may be installed."""
    names = {one.name.removesuffix(".py") for folder in folders for one in (FAKES / folder).iterdir()}

    def loaded() -> list[str]:
        return [one for one in sys.modules if one.split(".")[0] in names]

    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    # By hand: monkeypatch would take back what others add meanwhile, as ONNX Runtime does once, when it first converts.
    paths = [str(FAKES / folder) for folder in folders]
    sys.path[:0] = paths
    try:
        invalidate_caches()
        import cuda.bindings.runtime as runtime

        runtime.reset()
        yield runtime
    finally:
        for path in paths:
            sys.path.remove(path)
        for name in loaded():
            del sys.modules[name]


class DeviceBench:
    """Device graphs of one network."""

    def __init__(self, cuda: Any, model: bytes) -> None:
        self.cuda, self.model = cuda, model
        self.reference: Graph = open_graph(model, "embedder.onnx", "cpu", 1)
        (self.pattern,) = self.reference.inputs.values()

    def engine(self, source: Binding, target: Binding) -> Any:
        sizes = axis_sizes(self.pattern, source.shape, source.name)
        session = Session(self.model, "embedder.onnx", "cpu", SessionSettings(sizes=sizes))
        bound = BoundSession(session, source, target, device_type="cpu")
        return SimpleNamespace(launch=lambda: self.cuda.begin(bound.launch))

    def graph(self, make_engine: Callable[[Binding, Binding], Any] | None = None, tolerance: float = 1e-5) -> Any:
        return DeviceGraph(self.reference, CudaMemory(0), make_engine or self.engine, "cuda (fp32)", tolerance)

    def on_cpu(self, batch: Any) -> Any:
        return self.reference.run({"crops": np.ascontiguousarray(batch)})["embedding"]
