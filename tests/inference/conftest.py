"""A tiny model, made of plain ONNX operators, and a scene for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ethostream.inference.bundle import make_parity, write_bundle
from ethostream.inference.crop_rule import BackgroundCrop, CropRule
from ethostream.inference.features import spec_of
from ethostream.inference.graph_spec import (
    EMBEDDER_FILE,
    HEAD_SEQUENCE_FILE,
    HEAD_STEP_FILE,
    EmbedderSpec,
    HeadSpec,
    StateTensor,
)
from ethostream.inference.manifest import PARITY_FILE
from ethostream.inference.model_input import VideoInput
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = ["still", "move", "rear"]
HIDDEN = 5
EMBEDDING = 3
RATE_HZ = 30.0
Scene = Callable[..., NDArray[np.uint8]]
BundleWriter = Callable[..., Path]


def _model(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def tiny_embedder() -> bytes:
    """Mean, maximum and minimum of a crop, scaled to 0..1."""
    nodes = [
        helper.make_node("Cast", ["crops"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "scale"], ["g"]),
        helper.make_node("ReduceMean", ["g", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["g", "axes"], ["max"], keepdims=0),
        helper.make_node("ReduceMin", ["g", "axes"], ["min"], keepdims=0),
        *[helper.make_node("Unsqueeze", [name, "last"], [f"{name}1"]) for name in ("mean", "max", "min")],
        helper.make_node("Concat", ["mean1", "max1", "min1"], ["embedding"], axis=1),
    ]
    return _model(
        helper.make_graph(
            nodes,
            "embedder",
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", "h", "w"])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", EMBEDDING])],
            [
                numpy_helper.from_array(np.array(255.0, np.float32), "scale"),
                numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
                numpy_helper.from_array(np.array([1], np.int64), "last"),
            ],
        )
    )


def _step_nodes(x: str, states: list[str], p: str, outs: list[str]) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", [x, "w_in"], ["drive"]),
        helper.make_node("MatMul", [states[0], "w_rec"], ["echo"]),
        helper.make_node("Add", ["drive", "echo"], ["sum"]),
        helper.make_node("Tanh", ["sum"], [outs[0]]),
        helper.make_node("Add", [states[1], "one"], [outs[1]]),
        helper.make_node("MatMul", [outs[0], "w_out"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [p], axis=-1),
    ]


def _weights(dims: int) -> list[onnx.TensorProto]:
    random = np.random.default_rng(7)
    sizes = {"w_in": (dims, HIDDEN), "w_rec": (HIDDEN, HIDDEN), "w_out": (HIDDEN, len(CLASSES))}
    weights = [
        numpy_helper.from_array(random.normal(0.0, 0.8, size).astype(np.float32), name) for name, size in sizes.items()
    ]
    return [*weights, numpy_helper.from_array(np.ones(1, np.float32), "one")]


def tiny_head(dims: int, sequence: bool) -> bytes:
    """A recurrent layer of five units; the second state counts steps."""

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    states_in = [value("state_0", "b", HIDDEN), value("state_1", "b", 1)]
    states_out = [value("state_0_out", "b", HIDDEN), value("state_1_out", "b", 1)]
    if not sequence:
        nodes = _step_nodes("x", ["state_0", "state_1"], "p", ["state_0_out", "state_1_out"])
        outputs = [value("p", "b", len(CLASSES)), *states_out]
        return _model(helper.make_graph(nodes, "step", [value("x", "b", dims), *states_in], outputs, _weights(dims)))
    body = helper.make_graph(
        _step_nodes("x_t", ["h", "n"], "p_t", ["h_out", "n_out"]),
        "body",
        [value("h", "b", HIDDEN), value("n", "b", 1), value("x_t", "b", dims)],
        [value("h_out", "b", HIDDEN), value("n_out", "b", 1), value("p_t", "b", len(CLASSES))],
    )
    scan = helper.make_node(
        "Scan",
        ["state_0", "state_1", "x"],
        ["state_0_out", "state_1_out", "p"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
    )
    outputs = [value("p", "b", "t", len(CLASSES)), *states_out]
    graph = helper.make_graph([scan], "sequence", [value("x", "b", "t", dims), *states_in], outputs, _weights(dims))
    return _model(graph)


def mouse_scene(
    t: int, shape: tuple[int, int] = (120, 160), seed: int = 0, noise: float = 2.0, ink: int = 40
) -> NDArray[np.uint8]:
    """Frame ``t`` of a dark blob that goes round on a light floor; the same for the same arguments."""
    height, width = shape
    random = np.random.default_rng([seed, t])
    rows, columns = np.mgrid[:height, :width]
    x = width * (0.5 + 0.3 * np.cos(t / 20.0 + seed))
    y = height * (0.5 + 0.25 * np.sin(t / 20.0 + seed))
    inside = ((columns - x) / (0.09 * width)) ** 2 + ((rows - y) / (0.08 * height)) ** 2 < 1.0
    image = np.where(inside, float(ink), 170.0) + random.normal(0.0, noise, shape)
    return image.clip(0, 255).astype(np.uint8)


def tiny_fields(
    fusion: str = "mean", n_views: int | None = None, crop: CropRule | None = None, **changes: Any
) -> dict[str, Any]:
    features = changes.get("features") or [spec_of("box_motion", 1, {"scales_s": [0.1, 0.5]})]
    view_dims = EMBEDDING + sum(one.dims for one in features)
    dims = view_dims * (n_views or 1) if fusion == "joined" else view_dims
    video = VideoInput(
        n_views=n_views,
        view_names=["cam0", "cam1"][: n_views or 2],
        fusion=fusion,  # type: ignore[arg-type]
        crop=crop or BackgroundCrop(side=0.3, polarity="dark"),
        embedder=EmbedderSpec.build("tiny", EMBEDDING),
    )
    state = [
        StateTensor(name="state_0", shape=[HIDDEN], dtype="float32", initial=0.0),
        StateTensor(name="state_1", shape=[1], dtype="float32", initial=0.0),
    ]
    fields: dict[str, Any] = {
        "name": "tiny",
        "task": "behavior",
        "classes": CLASSES,
        "rate_hz": RATE_HZ,
        "other_rates": "subsample",
        "inputs": [video],
        "features": features,
        "head": HeadSpec.build("other", dims, len(CLASSES), state),
        "gap": {"max_repeat_ms": 200.0},
        "warm_up_frames": 3,
        "look_ahead_frames": 0,
        "stabiliser": {"default": {"enter": 0.4, "exit": 0.35, "min_dwell_ms": 60.0}, "per_class": {}},
        "data": [{"name": "none", "sha256": "0" * 64, "n_frames": 0, "source": "synthetic"}],
        "split": {"unit": "recording", "train": [], "validation": [], "test": []},
        "scores": {
            "evaluated_on": "nothing",
            "n_frames": 0,
            "accuracy": None,
            "balanced_accuracy": None,
            "macro_f1": None,
            "per_class": {},
            "confusion": [],
            "more": {},
        },
        "compute": [],
        "library_versions": {"onnx": onnx.__version__},
    }
    return fields | changes


@pytest.fixture(scope="session")
def scene() -> Scene:
    return mouse_scene


def write_tiny(folder: Path, shape: tuple[int, int] = (60, 80), **options: Any) -> Path:
    """Write a tiny bundle with parity frames of ``shape``; the options are those of `tiny_fields`."""
    fields = tiny_fields(**options)
    dims = fields["head"].dims
    files = {
        EMBEDDER_FILE: tiny_embedder(),
        HEAD_STEP_FILE: tiny_head(dims, sequence=False),
        HEAD_SEQUENCE_FILE: tiny_head(dims, sequence=True),
    }
    n_views = len(fields["inputs"][0].view_names)
    frames = np.stack([[mouse_scene(t, shape, seed=view) for t in range(24)] for view in range(n_views)])
    times_ns = np.arange(24, dtype=np.int64) * round(1e9 / RATE_HZ)
    files[PARITY_FILE] = make_parity(fields, files, frames, times_ns)
    write_bundle(folder, fields, files)
    return folder


@pytest.fixture(scope="session")
def write_module_bundle() -> BundleWriter:
    """`write_tiny`, for fixtures of any scope."""
    return write_tiny


@pytest.fixture
def write_tiny_bundle(tmp_path: Path) -> BundleWriter:
    """`write_tiny` into a folder of this test, by name."""

    def write(name: str = "tiny", **options: Any) -> Path:
        return write_tiny(tmp_path / name, **options)

    return write
