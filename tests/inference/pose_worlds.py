"""Keypoints of animals that move, go missing and are taken for each other, and a tiny model of them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ethostream.inference.bundle import make_pose_parity, write_bundle
from ethostream.inference.graph_spec import HEAD_SEQUENCE_FILE, HEAD_STEP_FILE, HeadSpec, StateTensor
from ethostream.inference.manifest import PARITY_FILE
from ethostream.inference.model_input import PoseInput
from ethostream.inference.pose.pose_front import PoseFront
from ethostream.inference.pose.registry import pose_specs_of
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

KEYPOINTS = ["nose", "neck", "hip", "tail"]
CLASSES = ["still", "near", "chase"]
RATE_HZ = 30.0
HIDDEN = 4
Steps = list[tuple[str, int, dict[str, Any]]]

LEAD = {"points": ["nose"], "near": ["nose", ["neck", "hip"]]}
CENTRE = ["neck", "hip"]
AXIS = ["hip", "neck"]
ALIKE: Steps = [
    (
        "pose_presence",
        1,
        {"animals": ["sorted"], "since_s": [0.3, 3.0], "likelihood": True, "point_likelihood": True, "twins": True},
    ),
    (
        "pose_distances",
        1,
        {
            "own": True,
            "cross": True,
            "pairs": [[CENTRE, [f"partner.{name}" for name in CENTRE]], ["nose", ["partner.neck", "partner.hip"]]],
            "nearest": [[["nose"], KEYPOINTS], [["neck", "hip"], ["neck", "hip"]]],
            "animals": ["sorted", "sum", "led"],
            "lead": LEAD,
            "squash": "log",
        },
    ),
    (
        "pose_contact",
        1,
        {"pairs": [[["nose"], KEYPOINTS], [KEYPOINTS, KEYPOINTS]], "below": [0.2, 0.6], "animals": ["sorted"]},
    ),
    (
        "pose_egocentric",
        1,
        {"origin": CENTRE, "axis": AXIS, "animals": ["led"], "lead": LEAD, "mirrored": True, "squash": "root"},
    ),
    (
        "pose_angles",
        1,
        {
            "between": [[AXIS, ["neck", "nose"]], [["neck", "nose"], ["nose", "partner.neck"]]],
            "animals": ["sorted"],
            "doubled": True,
            "mirrored": True,
        },
    ),
    ("pose_spread", 1, {"animals": ["sorted", "sum"]}),
    (
        "pose_motion",
        1,
        {
            "places": [CENTRE, "nose"],
            "lags_s": [0.034, 0.1, 0.3],
            "along": [AXIS, [CENTRE, [f"partner.{name}" for name in CENTRE]]],
            "together": True,
            "change": True,
            "animals": ["sorted"],
            "matched": CENTRE,
            "squash": "log",
            "squash_unit": 1.0,
        },
    ),
    (
        "pose_turning",
        1,
        {"segments": [AXIS], "lags_s": [0.1, 0.2], "animals": ["sorted"], "mirrored": True, "matched": CENTRE},
    ),
    ("pose_position", 1, {"place": CENTRE, "animals": ["sorted"], "n_octaves": 3}),
    (
        "pose_context",
        1,
        {
            "of": ["nearest(*", "*speed(*", "*seen_share", "contact(*"],
            "smooth_s": [0.3, 5.0],
            "deviation_s": [0.5],
            "change_s": [0.1, 0.5],
            "change_limit": 5.0,
            "earlier_s": [0.2],
            "highest_s": [0.2, 0.5],
            "lowest_s": [0.4],
        },
    ),
]
"""Every feature, in forms that are the same when two animals change places."""

SHORT: Steps = [
    ("pose_presence", 1, {"animals": ["sorted"]}),
    ("pose_distances", 1, {"nearest": [[["nose"], KEYPOINTS]], "animals": ["sorted"]}),
    ("pose_motion", 1, {"places": [CENTRE], "animals": ["led"], "lead": LEAD, "matched": CENTRE}),
    ("pose_position", 1, {"place": CENTRE, "animals": ["sorted"]}),
    ("pose_spread", 1, {"animals": ["sorted"]}),
    ("pose_context", 1, {"of": ["*speed(*"], "smooth_s": [0.5]}),
]
"""A few, for what is about the model around them."""

IN_ORDER: Steps = [
    ("pose_presence", 1, {}),
    ("pose_distances", 1, {"own": True, "cross": True, "nearest": [[["nose"], KEYPOINTS]]}),
    ("pose_egocentric", 1, {"origin": "hip", "axis": ["hip", "neck"]}),
    ("pose_angles", 1, {"between": [[AXIS, ["neck", "nose"]]], "mirrored": True}),
    ("pose_spread", 1, {"group": False}),
    ("pose_motion", 1, {"places": KEYPOINTS}),
    ("pose_turning", 1, {"segments": [AXIS]}),
    ("pose_position", 1, {"place": "neck", "arena_px": [0.0, 0.0, 640.0, 480.0], "folded": True}),
    ("pose_context", 1, {"of": ["*"], "smooth_s": [0.2], "highest_s": [0.1]}),
]
"""Animals one after the other, with defaults where there are any."""


def pose_input(n_animals: int = 2, **changes: Any) -> PoseInput:
    """Two animals whose identities are kept and whose points are held for a fifth of a second."""
    options: dict[str, Any] = {
        "keypoints": KEYPOINTS,
        "n_animals": n_animals,
        "fill": {"min_likelihood": 0.2, "max_fill_ms": 200.0, "twin_px": 1.0 if n_animals == 2 else None},
        "identity": "nearest" if n_animals == 2 else "tracker",
        "scale": {"path": ["nose", "neck", "hip"], "start_px": 60.0, "weight_s": 2.0},
    }
    return PoseInput.model_validate(options | changes)


def front_of(steps: Steps, rate_hz: float = RATE_HZ, **changes: Any) -> PoseFront:
    """A front with these steps; the changes are those of `pose_input`."""
    pose = pose_input(**changes)
    return PoseFront(pose, pose_specs_of(steps, pose, rate_hz), rate_hz)


def animals_at(n_frames: int, n_animals: int = 2, seed: int = 0, missing: float = 0.2) -> NDArray[np.float32]:
    """(t, a, k, 3): animals that wander, each with a share of its points missing, and now and then all of them."""
    random = np.random.default_rng([seed, n_frames, n_animals])
    speed = random.normal(0.0, 2.0, (n_frames, n_animals, 2)).cumsum(axis=0) * 0.1
    centre = np.array([[150.0, 200.0], [430.0, 260.0], [300.0, 400.0]])[:n_animals] + speed.cumsum(axis=0)
    turn = random.normal(0.0, 0.1, (n_frames, n_animals)).cumsum(axis=0)
    along = np.array([60.0, 30.0, -10.0, -50.0])
    points = np.empty((n_frames, n_animals, len(KEYPOINTS), 3))
    points[..., 0] = centre[..., None, 0] + np.cos(turn)[..., None] * along
    points[..., 1] = centre[..., None, 1] + np.sin(turn)[..., None] * along
    points[..., :2] += random.normal(0.0, 0.5, points[..., :2].shape)
    points[..., 2] = random.uniform(0.3, 1.0, points.shape[:-1])
    gone = random.random(points.shape[:-1]) < missing
    gone |= (np.sin(np.arange(n_frames) / 9.0)[:, None] > 0.8 + random.random(n_animals) * 0.2)[..., None]
    points[gone] = [np.nan, np.nan, 0.0]
    return points.astype(np.float32)


@st.composite
def any_points(draw: st.DrawFn, n_animals: int = 2, max_frames: int = 40, apart: bool = False) -> NDArray[np.float32]:
    """What no tracker should give, and some do: points anywhere, missing, twice, and numbers that are none.

    ``apart``: no two points are at the very same place, but where one animal is given twice.
    """
    n = draw(st.integers(1, max_frames))
    points = animals_at(n, n_animals, seed=draw(st.integers(0, 1000)), missing=draw(st.sampled_from([0.0, 0.3, 0.9])))
    odd = draw(arrays(np.int8, (n, n_animals, len(KEYPOINTS)), elements=st.integers(0, 40)))
    for number, value in enumerate(
        [(np.nan, np.nan, 0.0), (np.inf, 3.0, 1.0), (5.0, np.nan, 0.9), (7.0, 8.0, 0.1), (7.0, 8.0, np.nan), (0, 0, 1)]
    ):
        if not (apart and value == (0, 0, 1)):
            points[odd == number] = value
    if n_animals == 2:
        change = draw(arrays(np.int8, n, elements=st.integers(0, 9)))
        points[change == 0] = points[change == 0][:, ::-1]
        points[change == 1, 1] = points[change == 1, 0]
        points[change == 2] = [np.nan, np.nan, 0.0]
    return points


def cuts_of(n_frames: int, places: list[int]) -> list[slice]:
    """Blocks that follow each other, cut at these places."""
    edges = [0, *sorted({place % (n_frames + 1) for place in places} | {n_frames})]
    return [slice(a, b) for a, b in pairwise(edges)]


def _model(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _step_nodes(x: str, state: str, p: str, out: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Tanh", [x], ["small"]),
        helper.make_node("MatMul", ["small", "w_in"], ["drive"]),
        helper.make_node("MatMul", [state, "w_rec"], ["echo"]),
        helper.make_node("Add", ["drive", "echo"], ["sum"]),
        helper.make_node("Tanh", ["sum"], [out]),
        helper.make_node("MatMul", [out, "w_out"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [p], axis=-1),
    ]


def pose_head(dims: int, sequence: bool, stateless: bool = False) -> bytes:
    """A recurrent layer of four units; ``stateless``: it remembers within a sequence, and nothing comes out of it."""

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    random = np.random.default_rng(5)
    sizes = {"w_in": (dims, HIDDEN), "w_rec": (HIDDEN, HIDDEN), "w_out": (HIDDEN, len(CLASSES))}
    scales = {"w_in": 0.3, "w_rec": 0.6, "w_out": 2.5}
    weights = [
        numpy_helper.from_array(random.normal(0.0, scales[name], size).astype(np.float32), name)
        for name, size in sizes.items()
    ]
    if not sequence:
        outputs = [value("p", "b", len(CLASSES)), value("state_0_out", "b", HIDDEN)]
        nodes = _step_nodes("x", "state_0", "p", "state_0_out")
        return _model(
            helper.make_graph(nodes, "step", [value("x", "b", dims), value("state_0", "b", HIDDEN)], outputs, weights)
        )
    body = helper.make_graph(
        _step_nodes("x_t", "h", "p_t", "h_out"),
        "body",
        [value("h", "b", HIDDEN), value("x_t", "b", dims)],
        [value("h_out", "b", HIDDEN), value("p_t", "b", len(CLASSES))],
    )
    scan = helper.make_node(
        "Scan",
        ["begin" if stateless else "state_0", "x"],
        ["end" if stateless else "state_0_out", "p"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
    )
    inputs, outputs = [value("x", "b", "t", dims)], [value("p", "b", "t", len(CLASSES))]
    if stateless:
        weights.append(numpy_helper.from_array(np.zeros((1, HIDDEN), np.float32), "begin"))
    else:
        inputs.append(value("state_0", "b", HIDDEN))
        outputs.append(value("state_0_out", "b", HIDDEN))
    return _model(helper.make_graph([scan], "sequence", inputs, outputs, weights))


def pose_fields(steps: Steps, n_animals: int = 2, **changes: Any) -> dict[str, Any]:
    """Fields of the manifest of a tiny pose bundle."""
    pose = pose_input(n_animals)
    specs = pose_specs_of(steps, pose, RATE_HZ)
    state = [StateTensor(name="state_0", shape=[HIDDEN], dtype="float32", initial=0.0)]
    fields: dict[str, Any] = {
        "name": "tiny-pose",
        "task": "behavior",
        "classes": CLASSES,
        "rate_hz": RATE_HZ,
        "other_rates": "subsample",
        "inputs": [pose],
        "features": specs,
        "head": HeadSpec.build("other", sum(spec.dims for spec in specs), len(CLASSES), state),
        "gap": {"max_repeat_ms": 300.0},
        "warm_up_frames": 3,
        "look_ahead_frames": 0,
        "stabiliser": {"default": {"enter": 0.45, "exit": 0.4, "min_dwell_ms": 60.0}, "per_class": {}},
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


def write_pose_bundle(
    folder: Path, steps: Steps = SHORT, n_animals: int = 2, causal: bool = True, **changes: Any
) -> Path:
    """Write a tiny pose bundle; the changes are of the manifest."""
    fields = pose_fields(steps, n_animals, **changes)
    dims = fields["head"].dims
    if not causal:
        head = HeadSpec.build("other", dims, len(CLASSES), [], causal=False)
        fields |= {"head": head, "look_ahead_frames": None}
    files = {HEAD_SEQUENCE_FILE: pose_head(dims, sequence=True, stateless=not causal)}
    if causal:
        files[HEAD_STEP_FILE] = pose_head(dims, sequence=False)
    points = animals_at(90, n_animals, seed=11)
    points[40:55] = points[40:55, ::-1]
    times_ns = 1_000_000 + np.round(np.arange(90) * 1e9 / RATE_HZ).astype(np.int64)
    files[PARITY_FILE] = make_pose_parity(fields, files, points, times_ns)
    write_bundle(folder, fields, files)
    return folder
