"""The embedder on a device: staging, padding, copies and the check of each engine, on a CUDA runtime without a GPU.

What is real here is everything but the GPU: the engine is an ONNX Runtime session bound to addresses, run when the
stream of the stand-in comes to it. Nothing here has run on a GPU.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from device_bench import DeviceBench, without_gpu
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.cuda_memory import CudaMemory
from ethostream.inference.device_graph import MAX_SHAPES, Binding, DeviceGraph, check_pictures
from ethostream.inference.graph_spec import EMBEDDER_FILE
from ethostream.inference.model import BehaviorModel
from ethostream.inference.onnxruntime_engine import axis_sizes
from ethostream.inference.pipeline import BehaviorPipeline
from ethostream.streaming.messages import FrameSet, SourceFrame
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import BundleError, ParityError, ProviderError

UINT8 = np.dtype(np.uint8)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with without_gpu(monkeypatch, "fake_cuda") as runtime:
        yield runtime


@pytest.fixture(scope="module")
def model(write_module_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (write_module_bundle(tmp_path_factory.mktemp("bundle")) / EMBEDDER_FILE).read_bytes()


@pytest.fixture
def bench(cuda: Any, model: bytes) -> DeviceBench:
    return DeviceBench(cuda, model)


@pytest.fixture
def graph(bench: DeviceBench) -> DeviceGraph:
    return bench.graph()


def pictures(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_set_costs_one_copy_each_way_and_no_allocation(bench: DeviceBench, cuda: Any, graph: DeviceGraph) -> None:
    buffer = graph.input_buffer("crops", (4, 20, 24), np.uint8)
    assert buffer.shape == (4, 20, 24) and not buffer.any()
    cuda.copied.clear()
    before = cuda.n_allocations
    for seed in range(20):
        buffer[:] = pictures(4, 20, 24, seed=seed)
        np.testing.assert_allclose(graph.run({"crops": buffer})["embedding"], bench.on_cpu(buffer), rtol=1e-6)
    assert cuda.n_allocations == before
    up, down = cuda.cudaMemcpyKind
    assert cuda.copied == [(up, 4 * 20 * 24), (down, 4 * 3 * 4)] * 20
    assert graph.input_buffer("crops", (4, 20, 24), np.uint8) is buffer


def test_a_set_with_views_missing_runs_padded(bench: DeviceBench, cuda: Any, graph: DeviceGraph) -> None:
    buffer = graph.input_buffer("crops", (4, 20, 24), np.uint8)
    buffer[:] = pictures(4, 20, 24, seed=1)
    graph.run({"crops": buffer})
    cuda.copied.clear()
    buffer[:2] = pictures(2, 20, 24, seed=2)
    found = graph.run({"crops": buffer[:2]})["embedding"]
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, bench.on_cpu(buffer[:2]), rtol=1e-6)
    assert [n for _, n in cuda.copied] == [2 * 20 * 24, 2 * 3 * 4]


def test_what_lies_in_a_buffer_is_not_copied_on_the_host(graph: DeviceGraph) -> None:
    """Not even into a smaller one that would do for fewer views."""
    small = graph.input_buffer("crops", (2, 20, 24), np.uint8)
    buffer = graph.input_buffer("crops", (4, 20, 24), np.uint8)
    buffer[:] = pictures(4, 20, 24)
    graph.run({"crops": buffer[:2]})
    assert not small.any()


def test_answers_belong_to_the_caller(graph: DeviceGraph) -> None:
    buffer = graph.input_buffer("crops", (2, 20, 24), np.uint8)
    buffer[:] = 10
    first = graph.run({"crops": buffer})["embedding"]
    kept = first.copy()
    buffer[:] = 200
    graph.run({"crops": buffer})
    np.testing.assert_array_equal(first, kept)


def test_other_arrays_go_through_an_engine_that_is_there(bench: DeviceBench, cuda: Any, graph: DeviceGraph) -> None:
    small = graph.input_buffer("crops", (2, 20, 24), np.uint8)
    graph.input_buffer("crops", (6, 20, 24), np.uint8)
    before = cuda.n_allocations
    for n in (1, 2, 5):
        batch = pictures(n, 20, 24, seed=n)
        np.testing.assert_allclose(graph.run({"crops": batch})["embedding"], bench.on_cpu(batch), rtol=1e-6)
    every_second = pictures(4, 20, 24)[::2]
    np.testing.assert_allclose(graph.run({"crops": every_second})["embedding"], bench.on_cpu(every_second), rtol=1e-6)
    np.testing.assert_array_equal(small, every_second)  # the smaller of the two engines took it
    assert cuda.n_allocations == before
    wider = pictures(2, 30, 24)
    np.testing.assert_allclose(graph.run({"crops": wider})["embedding"], bench.on_cpu(wider), rtol=1e-6)
    assert cuda.n_allocations == before + 4


def test_engines_are_bounded(graph: DeviceGraph) -> None:
    for n in range(MAX_SHAPES):
        graph.input_buffer("crops", (1, 10 + n, 10), np.uint8)
    with pytest.raises(BundleError, match="8 shapes already"):
        graph.input_buffer("crops", (1, 50, 10), np.uint8)


def test_an_unknown_input_is_refused(graph: DeviceGraph) -> None:
    with pytest.raises(BundleError, match="no input 'frames'"):
        graph.input_buffer("frames", (1, 10, 10), np.uint8)
    with pytest.raises(BundleError, match="'crops' is missing"):
        graph.run({})


def test_every_engine_is_compared_with_the_cpu(bench: DeviceBench, cuda: Any) -> None:
    graph = bench.graph()
    graph.input_buffer("crops", (2, 20, 24), np.uint8)
    assert graph.errors[2, 20, 24] <= 1e-6

    def slightly_off(source: Binding, target: Binding) -> Any:
        engine = bench.engine(source, target)
        answer = np.ctypeslib.as_array((ctypes.c_float * 6).from_address(target.address))

        def launch() -> None:
            engine.launch()
            cuda.begin(lambda: np.multiply(answer, 1.02, out=answer))

        return SimpleNamespace(launch=launch)

    with pytest.raises(ParityError, match=r"input 2x20x24 the engine differs from the CPU by 0\.02 .*cuda_graphs"):
        bench.graph(slightly_off, 1e-2).input_buffer("crops", (2, 20, 24), np.uint8)
    bench.graph(slightly_off, 3e-2).input_buffer("crops", (2, 20, 24), np.uint8)


def test_a_replay_that_does_not_read_the_new_set_is_found(bench: DeviceBench) -> None:
    """As ONNX Runtime does where an input that is not at a fixed address is captured (onnxruntime #20050)."""

    def frozen(source: Binding, target: Binding) -> Any:
        engine, n_runs = bench.engine(source, target), iter(range(1000))
        return SimpleNamespace(launch=lambda: engine.launch() if next(n_runs) == 0 else None)

    for tolerance in (1e-2, 10.0):  # the latter as of a network that answers much the same to anything
        with pytest.raises(ParityError, match=r"differs from the CPU .* on picture 1"):
            bench.graph(frozen, tolerance).input_buffer("crops", (2, 20, 24), np.uint8)


def test_checks_are_pictures_that_differ() -> None:
    assert not check_pictures((3, 40, 50), UINT8, 0).any()
    first, second = (check_pictures((3, 40, 50), UINT8, seed) for seed in (1, 2))
    np.testing.assert_array_equal(first, check_pictures((3, 40, 50), UINT8, 1))
    assert first.dtype == np.uint8 and first.shape == (3, 40, 50)
    assert np.ptp(first) > 200 and not np.array_equal(first, second)


@pytest.mark.parametrize("pattern", [["n", "h", "w"], [4, "h", "w"], ["n", 20, 24]])
def test_axes_are_fixed(pattern: list[int | str]) -> None:
    wanted = dict(zip("nhw", (4, 20, 24), strict=True))
    assert axis_sizes(pattern, (4, 20, 24), "crops") == {axis: wanted[axis] for axis in pattern if axis in wanted}
    with pytest.raises(BundleError, match="crops has shape"):
        axis_sizes(pattern, (4, 20), "crops")
    if pattern[1] == 20:
        with pytest.raises(BundleError, match=r"not \[4, 21, 24\]"):
            axis_sizes(pattern, (4, 21, 24), "crops")


def frame_set(number: int, cameras: list[str]) -> FrameSet:
    t_ns = number * 33_333_333
    sources = tuple(SourceFrame(one, 0, number, t_ns, 1000, t_ns) for one in cameras)
    return FrameSet(number, "complete", sources, (), t_ns, t_ns)


def test_the_pipeline_answers_the_same(cuda: Any, graph: DeviceGraph, write_tiny_bundle: Any, scene: Any) -> None:
    """Two views of one size and one of another, and now and then a view is missing."""
    shapes = {"cam0": (120, 160), "cam1": (120, 160), "cam2": (120, 200)}
    bundle = Bundle.load(write_tiny_bundle())
    task = TaskConfig(bundle=bundle.path)

    def play(embedder: Any) -> list[Any]:
        one = replace(bundle, embedder_graph=embedder)
        pipeline = BehaviorPipeline(one, task, shapes, FakeClock(), 30.0, armed=True)
        answers: list[Any] = []
        for number in range(40):
            cameras = [name for place, name in enumerate(shapes) if number % 7 != place]
            images = {name: scene(number, shapes[name], seed=place) for place, name in enumerate(cameras)}
            answer = pipeline.step(frame_set(number, cameras), images, 0)
            assert answer is not None
            answers.append(answer[0])
        return answers

    on_device = play(graph)
    assert on_device == play(bundle.embedder)
    assert len({one.raw for one in on_device}) > 1
    assert {shape[0] for shape in graph.errors} == {1, 2}


def test_the_model_crops_into_the_staging_buffer(graph: DeviceGraph, write_tiny_bundle: Any, scene: Any) -> None:
    bundle = Bundle.load(write_tiny_bundle())
    shapes = {"cam0": (120, 160), "cam1": (120, 160), "cam2": (120, 200)}
    model = BehaviorModel(bundle.manifest, graph, bundle.head_step, shapes, 30.0, FakeClock())
    cropped = model.cropper.step({name: scene(0, shape) for name, shape in shapes.items()})
    assert len(cropped.batches) == 2
    for _, batch in cropped.batches:
        assert np.shares_memory(batch, graph.input_buffer("crops", batch.shape, np.uint8))


def test_without_a_gpu(cuda: Any) -> None:
    cuda.n_devices = 0
    with pytest.raises(ProviderError, match=r"cudaGetDeviceCount: no CUDA-capable device .*ethostream\[gpu\]"):
        CudaMemory(0)
    cuda.n_devices = 1
    with pytest.raises(ProviderError, match=r"gpu\.device 3: this machine has 1"):
        CudaMemory(3)
    with pytest.raises(ProviderError, match="cudaMalloc: out of memory"):
        CudaMemory(0).allocate(2**31)


def test_without_the_package() -> None:
    if find_spec("cuda") is not None:
        pytest.skip("the CUDA runtime for Python is here")
    with pytest.raises(ProviderError, match=r"not installed .*ethostream\[gpu\]"):
        CudaMemory(0)


def test_memory_goes_with_its_last_array(cuda: Any) -> None:
    memory = CudaMemory(0)
    before = len(cuda.memory)
    part = memory.locked((4, 5), np.float32)[1:, 2:]
    assert len(cuda.memory) == before + 1 and part.shape == (3, 3) and not part.any()
    part[:] = 1.0
    del part
    assert len(cuda.memory) == before


def test_what_an_engine_depends_on(cuda: Any) -> None:
    identity = CudaMemory(0).identity()
    assert identity["gpu"] == "Fake GPU" and identity["compute_capability"] == "9.0" and identity["cuda"] == "13050"
    assert identity["driver"]
