"""What a task may ask of a GPU, what is handed on to ONNX Runtime, and half precision, all without a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ethostream.inference.backend import Provider
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.gpu_config import GpuConfig
from ethostream.inference.half_precision import to_half
from ethostream.inference.onnxruntime_backend import Session, SessionSettings, open_graph
from ethostream.inference.onnxruntime_engine import cuda_options, tensorrt_options
from ethostream.inference.parity import HALF_TOLERANCE, PARITY_TOLERANCE, relative_error, tolerance
from ethostream.sync.errors import BundleError, ProviderError
from onnx import TensorProto, helper, numpy_helper

# The keys on ONNX Runtime's pages of these providers, which libonnxruntime_providers_*.so 1.31.1 hold as well.
CUDA_KEYS = {
    "device_id", "user_compute_stream", "do_copy_in_default_stream", "use_ep_level_unified_stream", "gpu_mem_limit",
    "arena_extend_strategy", "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace", "cudnn_conv1d_pad_to_nc1d",
    "enable_cuda_graph", "enable_skip_layer_norm_strict_mode", "use_tf32", "prefer_nhwc",
}  # fmt: skip
TENSORRT_KEYS = {
    "device_id", "user_compute_stream", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix",
    "trt_engine_hw_compatible", "trt_max_workspace_size", "trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable",
    "trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "trt_cuda_graph_enable",
    "trt_context_memory_sharing_enable", "trt_builder_optimization_level", "trt_detailed_build_log",
    "trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes", "trt_dump_subgraphs",
}  # fmt: skip


def test_option_names_are_those_of_the_providers() -> None:
    gpu = GpuConfig(device=1, precision="fp16", cuda_graphs=True)
    cuda = cuda_options(gpu, 77)
    assert set(cuda) <= CUDA_KEYS
    assert (cuda["device_id"], cuda["user_compute_stream"], cuda["enable_cuda_graph"]) == (1, "77", True)
    tensorrt = tensorrt_options(gpu, 77, Path("/e"), Path("/t"))
    assert set(tensorrt) <= TENSORRT_KEYS
    assert tensorrt["trt_fp16_enable"] is True and tensorrt["trt_cuda_graph_enable"] is True
    assert tensorrt["trt_engine_cache_path"] == "/e" and tensorrt["trt_timing_cache_path"] == "/t"
    plain = GpuConfig()
    assert cuda_options(plain, 0)["enable_cuda_graph"] is False
    assert tensorrt_options(plain, 0, Path(), Path())["trt_fp16_enable"] is False
    # ONNX Runtime takes str() of each value, and its TensorRT provider knows "True" and "False" only.
    assert {str(one) for one in tensorrt.values() if isinstance(one, bool)} == {"True"}


def test_a_gpu_is_not_described_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="gpu: provider is cpu"):
        TaskConfig(gpu=GpuConfig(precision="fp16"))
    with pytest.raises(ValueError, match=r"gpu\.engine_cache: provider cuda builds no engines"):
        TaskConfig(provider="cuda", gpu=GpuConfig(engine_cache=Path("/x")))
    for provider in ("tensorrt", "tensorrt_native"):
        assert TaskConfig(provider=provider, gpu=GpuConfig(engine_cache=Path("/x"))).gpu is not None
    assert TaskConfig(provider="cuda", gpu=GpuConfig(precision="fp16", cuda_graphs=True, head="cuda")).gpu is not None
    with pytest.raises(ValueError, match="precision"):
        GpuConfig.model_validate({"precision": "int8"})


def test_what_passes(write_tiny_bundle: Any) -> None:
    manifest = Bundle.load(write_tiny_bundle()).manifest
    assert tolerance(manifest, "cpu") == 1e-5
    providers: list[Provider] = ["cuda", "tensorrt", "tensorrt_native"]
    for provider in providers:
        assert tolerance(manifest, provider) == PARITY_TOLERANCE[provider] == 1e-3
        assert tolerance(manifest, provider, "fp16") == HALF_TOLERANCE == 1e-2


def test_native_tensorrt_names_its_extra(write_tiny_bundle: Any) -> None:
    with pytest.raises(ProviderError, match=r"TensorRT is not installed .*ethostream\[gpu\]"):
        Bundle.load(write_tiny_bundle(), provider="tensorrt_native")


def small_network(scale: float = 1.0) -> bytes:
    """uint8 crops, resized to 16 x 16, normalised, two convolutions, mean over the image."""
    random = np.random.default_rng(3)
    weights = {
        "mean": np.array(128.0, np.float32),
        "std": np.array(64.0 / scale, np.float32),
        "w1": random.normal(0.0, 0.3, (8, 1, 3, 3)).astype(np.float32),
        "w2": random.normal(0.0, 0.1, (12, 8, 3, 3)).astype(np.float32),
        "axis": np.array([1], np.int64),
        "area": np.array([2, 3], np.int64),
        "size": np.array([0, 0, 16, 16], np.int64),
        "sides": np.array([16, 16], np.int64),
        "two": np.array([0], np.int64),
        "twos": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["crops", "axis"], ["one"]),
        helper.make_node("Cast", ["one"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["grey"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "twos"], ["front"]),
        helper.make_node("Concat", ["front", "sides"], ["sizes"], axis=0),
        helper.make_node("Resize", ["grey", "", "", "sizes"], ["small"], mode="linear"),
        helper.make_node("Sub", ["small", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["x"]),
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c2", "area"], ["embedding"], keepdims=0),
    ]
    del weights["size"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", "h", "w"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 12])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def answers(model: bytes, crops: Any) -> Any:
    return open_graph(model, "embedder.onnx", "cpu", 1).run({"crops": crops})["embedding"]


def test_half_precision_is_close_and_not_the_same() -> None:
    model = small_network()
    half = to_half(model, "embedder.onnx")
    graph = onnx.load_from_string(half).graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    assert kinds["w1"] == kinds["w2"] == TensorProto.FLOAT16
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    crops = np.random.default_rng(0).integers(0, 256, (5, 30, 41), np.uint8)
    error = relative_error(answers(half, crops), answers(model, crops))
    assert 1e-6 < error < HALF_TOLERANCE / 3


def test_half_precision_that_overflows_does_not_pass() -> None:
    """float16 ends at 65504: what is beyond is infinite, and infinitely far from what it should be."""
    crops = np.random.default_rng(0).integers(0, 256, (2, 30, 30), np.uint8)
    model = small_network(scale=1e8)
    assert np.isfinite(answers(model, crops)).all()
    assert not relative_error(answers(to_half(model, "embedder.onnx"), crops), answers(model, crops)) < HALF_TOLERANCE


def test_half_precision_of_the_shipped_embedder() -> None:
    from ethostream.inference.bundled import resolve_bundle

    model = (resolve_bundle("demo") / "embedder.onnx").read_bytes()
    crops = np.random.default_rng(0).integers(0, 256, (4, 60, 60), np.uint8)
    error = relative_error(answers(to_half(model, "embedder.onnx"), crops), answers(model, crops))
    assert 1e-6 < error < HALF_TOLERANCE


def test_what_is_no_graph_is_not_converted() -> None:
    with pytest.raises(BundleError, match="cannot be converted to fp16"):
        to_half(b"\xff\xff\xff", "embedder.onnx")


def test_fixed_axes_leave_no_shape_to_compute() -> None:
    """What follows from the shape is folded away, so that a GPU has nothing to ask the CPU for."""
    settings = SessionSettings(sizes={"n": 3, "h": 30, "w": 41})
    session = Session(small_network(), "embedder.onnx", "cpu", settings)
    assert session.raw.get_inputs()[0].shape == [3, 30, 41]
    assert session.raw.get_outputs()[0].shape == [3, 12]
