"""The embedder on a GPU: staging buffers that are used again for every set, one engine per shape, one copy each way.

A set's crops are written into page-locked memory (`DeviceGraph.input_buffer`), copied to the GPU, embedded there and
copied back, all on one stream and without an allocation. Engines are made for one shape, so that nothing depends on
shapes while the rig runs, and a set with views missing is run at full size: the rows that were not written hold what
they held before, and what comes out of them is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..sync.errors import BundleError, ParityError
from .backend import Graph
from .parity import relative_error

MAX_SHAPES: Final = 8
"""Engines of one embedder: more means that shapes change while it runs, and each engine takes memory of the GPU."""
N_CHECKS: Final = 3
"""Batches that a new engine is compared on. More than one: the first, which is black, is what a CUDA graph is recorded
with; later ones show that a replay reads what is new."""
CHECK_GRID_PX: Final = 9


class DeviceMemory(Protocol):
    """Memory of host and device, and the stream that copies between them; see `CudaMemory`."""

    def locked(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...
    def allocate(self, n_bytes: int) -> int: ...
    def upload(self, address: int, array: NDArray[Any]) -> None: ...
    def download(self, array: NDArray[Any], address: int) -> None: ...
    def wait(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of an engine: where it lies on the device."""

    name: str
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Engine(Protocol):
    """A network for one shape, which reads and writes fixed addresses of the device."""

    def launch(self) -> None:
        """Begin one run on the stream of the memory.

        Raises:
            BundleError: it cannot run.
        """
        ...


EngineMaker = Callable[[Binding, Binding], Engine]
"""Makes the engine of an input and an output.

Raises:
    ProviderError: what runs it is not there.
    BundleError: the network cannot be made into one.
"""


class StagedEngine:
    """One engine with its buffers on both sides."""

    def __init__(self, memory: DeviceMemory, engine: Engine, source: Binding, target: Binding) -> None:
        self._memory = memory
        self._engine = engine
        self._source, self._target = source.address, target.address
        self.staging: NDArray[Any] = memory.locked(source.shape, source.dtype)
        self._answer: NDArray[Any] = memory.locked(target.shape, target.dtype)

    @property
    def n_rows(self) -> int:
        return len(self.staging)

    def run(self, n: int) -> NDArray[Any]:
        """Run on the first ``n`` rows of ``staging``; a new array of as many."""
        self._memory.upload(self._source, self.staging[:n])
        self._engine.launch()
        self._memory.download(self._answer[:n], self._target)
        self._memory.wait()
        return self._answer[:n].copy()

    def run_resident(self, times: int) -> None:
        """Run so many times on what lies on the device, without a copy: the most that this engine can do."""
        for _ in range(times):
            self._engine.launch()
        self._memory.wait()


class DeviceGraph:
    """A graph with one input and one output, batch first, on a device. One thread runs it.

    Args:
        reference: the same graph on the CPU in full precision: it tells names and shapes, and what is right.
        memory: of the device.
        make_engine: called for each new shape.
        provider: for messages.
        tolerance: largest relative error of an engine against ``reference``, max|a-b| / max|b|.
    """

    def __init__(
        self, reference: Graph, memory: DeviceMemory, make_engine: EngineMaker, provider: str, tolerance: float
    ) -> None:
        self.name = reference.name
        self.inputs = reference.inputs
        self.outputs = reference.outputs
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise BundleError(f"{self.name}: one input and one output run on a GPU, it has {self.inputs}")
        self._input, self._output = *self.inputs, *self.outputs
        self._reference = reference
        self._memory = memory
        self._make_engine = make_engine
        self._provider = provider
        self._tolerance = tolerance
        self._engines: dict[tuple[tuple[int, ...], str], StagedEngine] = {}
        self._by_address: dict[int, StagedEngine] = {}
        self.errors: dict[tuple[int, ...], float] = {}
        """Relative error of the engine of each shape."""

    def input_buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The page-locked staging buffer of a shape; see `Graph.input_buffer`."""
        if name != self._input:
            raise BundleError(f"{self.name}: has no input {name!r}; its input is {self._input!r}")
        return self.engine(tuple(shape), np.dtype(dtype)).staging

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see `Graph.run`. Rows that lie in a staging buffer are not copied on the host."""
        batch = feeds.get(self._input)
        if batch is None:
            raise BundleError(f"{self.name}: input {self._input!r} is missing")
        engine = self._by_address.get(batch.__array_interface__["data"][0])
        if engine is None or batch.shape[1:] != engine.staging.shape[1:] or not batch.flags.c_contiguous:
            engine = self._engine_for(batch)
            np.copyto(engine.staging[: len(batch)], batch)
        return {self._output: engine.run(len(batch))}

    def engine(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> StagedEngine:
        """The engine of a shape, made and checked where it is new."""
        known = self._engines.get((shape, dtype.str))
        if known is not None:
            return known
        if len(self._engines) >= MAX_SHAPES:
            shapes = ", ".join("x".join(map(str, one)) for one, _ in self._engines)
            raise BundleError(
                f"{self.name} on {self._provider}: has engines for {MAX_SHAPES} shapes already ({shapes}); feed it "
                "batches of fewer shapes, or run it on provider 'cpu'"
            )
        checks = [check_pictures(shape, dtype, seed) for seed in range(N_CHECKS)]
        expected = [self._reference.run({self._input: batch})[self._output] for batch in checks]
        source = self._bind(self._input, shape, dtype)
        target = self._bind(self._output, expected[0].shape, expected[0].dtype)
        engine = StagedEngine(self._memory, self._make_engine(source, target), source, target)
        self.errors[shape] = self._check(engine, checks, expected)
        engine.staging.fill(0)
        self._engines[shape, dtype.str] = engine
        self._by_address[engine.staging.__array_interface__["data"][0]] = engine
        return engine

    def _bind(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Binding:
        address = self._memory.allocate(int(np.prod(shape)) * dtype.itemsize)
        return Binding(name, address, shape, dtype)

    def _engine_for(self, batch: NDArray[Any]) -> StagedEngine:
        """The smallest engine that is there for rows of this shape, or a new one."""
        fitting = [
            one
            for one in self._engines.values()
            if one.staging.shape[1:] == batch.shape[1:]
            and one.staging.dtype == batch.dtype
            and one.n_rows >= len(batch)
        ]
        if fitting:
            return min(fitting, key=lambda one: one.n_rows)
        return self.engine(batch.shape, batch.dtype)

    def _check(self, engine: StagedEngine, checks: list[NDArray[Any]], expected: list[NDArray[Any]]) -> float:
        worst = 0.0
        for place, (batch, right) in enumerate(zip(checks, expected, strict=True)):
            # Some networks answer much the same to anything: what is right has to be nearer than what was before.
            allowed = min(self._tolerance, relative_error(expected[0], right) / 2.0) if place else self._tolerance
            np.copyto(engine.staging, batch)
            error = relative_error(engine.run(len(batch)), right)
            if not error <= allowed:
                raise ParityError(
                    f"{self.name} on {self._provider}: for input {'x'.join(map(str, batch.shape))} the engine differs "
                    f"from the CPU by {error:.2g} relative (allowed {allowed:.1g}) on picture {place}; set "
                    "gpu.precision to fp32, gpu.cuda_graphs to false, or provider to 'cpu'"
                )
            worst = max(worst, error)
        return worst


def check_pictures(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> NDArray[Any]:
    """A batch (n, h, w) of soft random shapes over the whole range of grey, black for seed 0; always the same."""
    if seed == 0:
        return np.zeros(shape, dtype)
    random = np.random.default_rng([seed, *shape])
    height, width = shape[-2:]
    coarse = random.uniform(0.0, 255.0, (int(np.prod(shape[:-2])), CHECK_GRID_PX, CHECK_GRID_PX)).astype(np.float32)
    rows = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in coarse]
    return np.stack(rows).reshape(shape).clip(0, 255).astype(dtype)
