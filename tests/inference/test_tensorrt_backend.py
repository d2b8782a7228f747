"""TensorRT without ONNX Runtime: engines are built once, kept and loaded; on stand-ins of TensorRT and CUDA.

The stand-ins take the calls of the Python packages and run the graph on the CPU. Nothing here has run on a GPU.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from device_bench import DeviceBench, without_gpu
from ethostream.inference import tensorrt_backend
from ethostream.inference.bundle import Bundle
from ethostream.inference.device_embedder import open_device_embedder
from ethostream.inference.device_graph import DeviceGraph
from ethostream.inference.gpu_config import GpuConfig
from ethostream.inference.graph_spec import EMBEDDER_FILE
from ethostream.inference.tensorrt_backend import TIMING_FILE
from ethostream.sync.errors import BundleError
from onnx import TensorProto


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with without_gpu(monkeypatch, "fake_cuda", "fake_tensorrt") as runtime:
        yield runtime


@pytest.fixture
def tensorrt(cuda: Any) -> Any:
    import tensorrt

    return tensorrt


@pytest.fixture(scope="module")
def folder(write_module_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_module_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def bench(cuda: Any, folder: Path) -> DeviceBench:
    return DeviceBench(cuda, (folder / EMBEDDER_FILE).read_bytes())


def opened(bench: DeviceBench, cache: Path, tell: Any = None, **options: Any) -> DeviceGraph:
    gpu = GpuConfig(engine_cache=cache, **options)
    return open_device_embedder(bench.model, "embedder.onnx", "tensorrt_native", 1, gpu, 1e-2, tell)


def crops(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (4, 20, 24), np.uint8)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_an_engine_is_built_once(bench: DeviceBench, tensorrt: Any, tmp_path: Path, cuda_graphs: bool) -> None:
    for times in range(2):
        graph = opened(bench, tmp_path, cuda_graphs=cuda_graphs)
        buffer = graph.input_buffer("crops", (4, 20, 24), np.uint8)
        for seed in range(3):
            buffer[:] = crops(seed)
            np.testing.assert_allclose(graph.run({"crops": buffer})["embedding"], bench.on_cpu(buffer), rtol=1e-6)
        assert len(tensorrt.builds) == 1, times
    assert tensorrt.builds[0]["shapes"] == {"crops": (4, 20, 24)}


def test_another_shape_or_precision_is_another_engine(bench: DeviceBench, tensorrt: Any, tmp_path: Path) -> None:
    opened(bench, tmp_path).input_buffer("crops", (4, 20, 24), np.uint8)
    opened(bench, tmp_path).input_buffer("crops", (3, 20, 24), np.uint8)
    half = opened(bench, tmp_path, precision="fp16")
    half.input_buffer("crops", (4, 20, 24), np.uint8)
    assert len(tensorrt.builds) == 3
    kinds = {one.data_type for one in onnx.load_from_string(tensorrt.builds[2]["model"]).graph.initializer}
    assert TensorProto.FLOAT16 in kinds and TensorProto.FLOAT not in kinds
    assert 0.0 < half.errors[4, 20, 24] < 1e-2
    # Each build begins with what the one before it measured.
    assert [one["timings"] for one in tensorrt.builds] == [b"", b"t", b"tt"]


def test_what_converts_to_half_precision_makes_another_engine_and_shares_the_timings(
    bench: DeviceBench, tensorrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in ("fp16", "fp32"):
        opened(bench, tmp_path, precision=precision).input_buffer("crops", (4, 20, 24), np.uint8)
    monkeypatch.setattr(onnxruntime, "__version__", "99.0")
    for precision in ("fp16", "fp32"):
        for _ in range(2):
            opened(bench, tmp_path, precision=precision).input_buffer("crops", (4, 20, 24), np.uint8)
    assert [one["timings"] for one in tensorrt.builds] == [b"", b"t", b"tt"]


def test_timings_that_cannot_be_kept_lose_no_engine(
    bench: DeviceBench, tensorrt: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bench, tmp_path).input_buffer("crops", (4, 20, 24), np.uint8)
    (timing,) = tmp_path.glob(f"timing-*/{TIMING_FILE}")
    timing.unlink()
    timing.mkdir()
    graph = opened(bench, tmp_path)
    graph.input_buffer("crops", (3, 20, 24), np.uint8)
    assert len(list(tmp_path.glob("*/*.engine"))) == 2 and graph.errors.keys() == {(3, 20, 24)}
    assert f"{timing} cannot be written" in caplog.text
    assert list(timing.parent.iterdir()) == [timing]


def test_timings_that_are_written_together_are_one_of_the_two(tmp_path: Path) -> None:
    timing = tmp_path / TIMING_FILE
    barrier = Barrier(2)

    def write(content: bytes) -> None:
        for _ in range(300):
            barrier.wait(10)
            tensorrt_backend._replace(timing, content)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(write, content) for content in (b"a" * 1000, b"b" * 1000)]:
            one.result()
    assert timing.read_bytes() in (b"a" * 1000, b"b" * 1000) and list(tmp_path.iterdir()) == [timing]


def test_a_build_tells_how_far_it_is(bench: DeviceBench, tensorrt: Any, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    opened(bench, tmp_path, lambda *one: told.append(one)).input_buffer("crops", (1, 9, 9), np.uint8)
    assert told == [
        ("Building Engine", 0, 2),
        ("Tactics", 0, 3),
        ("Tactics", 1, 3),
        ("Tactics", 3, 3),
        ("Building Engine", 1, 2),
        ("Building Engine", 2, 2),
    ]
    told.clear()
    opened(bench, tmp_path, lambda *one: told.append(one)).input_buffer("crops", (1, 9, 9), np.uint8)
    assert not told


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("parse", "parser does not take the graph .no importer for this operator"),
        ("build", r"cannot be built \(no tactic for node 3\)$"),
        ("shape", "does not take"),
    ],
)
def test_what_tensorrt_says_is_said(
    bench: DeviceBench, tensorrt: Any, tmp_path: Path, broken: str, message: str
) -> None:
    tensorrt.broken = broken
    with pytest.raises(BundleError, match=message):
        opened(bench, tmp_path).input_buffer("crops", (1, 9, 9), np.uint8)
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("building-")]


def test_an_engine_that_cannot_be_loaded_is_named(bench: DeviceBench, tensorrt: Any, tmp_path: Path) -> None:
    opened(bench, tmp_path).input_buffer("crops", (1, 9, 9), np.uint8)
    (plan,) = tmp_path.glob("*/*.engine")
    plan.write_bytes(b"x" * plan.stat().st_size)
    with pytest.raises(BundleError, match=f"engine in {plan.parent} cannot be loaded.*magic tag"):
        opened(bench, tmp_path).input_buffer("crops", (1, 9, 9), np.uint8)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_whole_bundle_passes_its_parity(
    cuda: Any, tensorrt: Any, folder: Path, tmp_path: Path, cuda_graphs: bool
) -> None:
    gpu = GpuConfig(engine_cache=tmp_path, cuda_graphs=cuda_graphs)
    bundle = Bundle.load(folder, provider="tensorrt_native", gpu=gpu)
    assert bundle.parity_errors["embeddings"] <= 1e-5
    assert isinstance(bundle.embedder, DeviceGraph) and bundle.head_step.run is not None
    assert len(tensorrt.builds) == 1
