"""Networks to ONNX graphs, and the parity gate that each must pass before it goes into a bundle.

The contracts of the three graphs stand in ``inference/manifest.py``.
"""

import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...inference.backend import Graph
from ...inference.graph_spec import COLUMN, HEAD_SEQUENCE_FILE, HEAD_STEP_FILE, TAPS, HeadName, HeadSpec, StateTensor
from ...inference.head import Head
from ...inference.onnxruntime_backend import open_graph
from ...sync.errors import ParityError
from ..networks.embedders import Embedder
from ..networks.ensemble import EnsembleHead
from ..networks.head import HeadModule
from .sequence_graph import exportable
from .step_graph import step_graph

OPSET: Final = 20
MAX_RELATIVE_ERROR: Final = 1e-5
"""Largest error over largest value, where two ways of computing the same thing are compared."""
MIN_PARITY_STEPS: Final = 300


class _SequenceGraph(nn.Module):
    def __init__(self, head: HeadModule) -> None:
        super().__init__()
        self.head = exportable(head)

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        p, after = self.head.forward_sequence(x, state)
        return (p, *after)


def export_embedder(embedder: Embedder, opset: int = OPSET) -> bytes:
    """``embedder.onnx``: uint8 crops of any number and size to embeddings.

    Args:
        embedder: fitted.
        opset: version of the ONNX operators.
    """
    example = torch.zeros((2, 33, 47), dtype=torch.uint8)
    outputs: dict[str, list[int | str]] = {"embedding": ["n", embedder.dims]}
    return _export(embedder, (example,), ({0: "n", 1: "h", 2: "w"},), ["crops"], outputs, opset)


def head_spec(head: HeadModule) -> HeadSpec:
    """The part of the manifest that says what the head's graphs take and give."""
    state = [
        StateTensor(name=f"state_{place}", shape=list(shape), dtype="float32", initial=0.0)
        for place, shape in enumerate(head.state_shapes())
    ]
    members: list[HeadName] = [one.kind for one in head.heads] if isinstance(head, EnsembleHead) else []
    return HeadSpec.build(
        head.kind,
        head.n_features,
        head.n_classes,
        state,
        head.state_taps(),
        members=members,
        output=head.output,
        causal=head.causal,
    )


def export_head(head: HeadModule, opset: int = OPSET) -> dict[str, bytes]:
    """The graphs of a head by the name of their file in a bundle; one that is not causal has no step."""
    files = {HEAD_SEQUENCE_FILE: export_head_sequence(head, opset)}
    return {HEAD_STEP_FILE: export_head_step(head, opset), **files} if head.causal else files


def export_head_step(head: HeadModule, opset: int = OPSET) -> bytes:
    """``head_step.onnx``: one step with explicit state.

    Raises:
        LookAheadError: the head is not causal.
    """
    x = torch.zeros((3, head.n_features))
    taps = head.state_taps()
    if taps is None:
        return _export_head(step_graph(head), head, x, {0: "b"}, ["b", head.n_classes], opset)
    n = head.state_shapes()[0][1]
    outputs: dict[str, list[int | str]] = {"p": ["b", head.n_classes], COLUMN: ["b", len(taps), n]}
    held = torch.zeros((3, sum(map(len, taps)), n))
    return _export(step_graph(head), (x, held), ({0: "b"}, ({0: "b"},)), ["x", TAPS], outputs, opset)


def export_head_sequence(head: HeadModule, opset: int = OPSET) -> bytes:
    """``head_sequence.onnx``: the same weights over any number of steps."""
    # Longer than any window in it: where the example has one span of something, the exporter takes it for one for ever.
    heads: list[HeadModule] = [*head.heads] if isinstance(head, EnsembleHead) else [head]
    x = torch.zeros((3, 7 + max(one.receptive_field() or 0 for one in heads), head.n_features))
    return _export_head(_SequenceGraph(head), head, x, {0: "b", 1: "t"}, ["b", "t", head.n_classes], opset)


def check_embedder_parity(embedder: Embedder, model: bytes, crops: NDArray[np.uint8]) -> float:
    """Relative error of ``embedder.onnx`` against torch on crops [n, h, w].

    Raises:
        ParityError: more than `MAX_RELATIVE_ERROR`.
    """
    with torch.inference_mode():
        expected = embedder.eval()(torch.from_numpy(crops)).numpy()
    found = open_graph(model, "embedder.onnx", "cpu", 1).run({"crops": crops})["embedding"]
    return _gate("embedder.onnx against torch", found, expected)


def check_head_parity(head: HeadModule, step: bytes | None, sequence: bytes, x: NDArray[np.float32]) -> float:
    """Largest relative error among: step by step, whole sequence, whole sequence in two pieces, torch.

    A head that is not causal is compared with torch alone.

    Args:
        head: the network.
        step: ``head_step.onnx``; None: the head is not causal.
        sequence: ``head_sequence.onnx``.
        x: features [b, t, f], t at least `MIN_PARITY_STEPS`.

    Raises:
        ParityError: more than `MAX_RELATIVE_ERROR`, or fewer steps than the gate needs.
    """
    n_steps = x.shape[1]
    if n_steps < MIN_PARITY_STEPS:
        raise ParityError(f"parity needs at least {MIN_PARITY_STEPS} steps of features, got {n_steps}")
    initial = [state.numpy() for state in head.initial_state(x.shape[0])]
    with torch.inference_mode():
        expected = head.eval().forward_sequence(torch.from_numpy(x), head.initial_state(x.shape[0]))[0].numpy()
    sequence_graph = open_graph(sequence, "head_sequence.onnx", "cpu", 1)
    whole, _ = run_head(sequence_graph, x, initial)
    against_torch = _gate("head_sequence.onnx against torch", whole, expected)
    if step is None:
        return against_torch
    first, state = run_head(sequence_graph, x[:, : n_steps // 3], initial)
    second, _ = run_head(sequence_graph, x[:, n_steps // 3 :], state)
    return max(
        against_torch,
        _gate("head_sequence.onnx in two pieces", np.concatenate([first, second], axis=1), whole),
        _gate("head_step.onnx step by step against head_sequence.onnx", run_steps(head, step, x), whole),
    )


def run_head(
    graph: Graph, x: NDArray[np.float32], state: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Run ``head_sequence.onnx`` once; returns p and the state after it."""
    out = graph.run({"x": x, **{f"state_{place}": part for place, part in enumerate(state)}})
    return out["p"], [out[f"state_{place}_out"] for place in range(len(state))]


def run_steps(head: HeadModule, step: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run ``head_step.onnx`` over x [b, t, f] one step at a time, as the rig does; returns p [b, t, c]."""
    slots = np.arange(len(x))
    stepped = Head(open_graph(step, "head_step.onnx", "cpu", 1), head_spec(head), len(x))
    return np.stack([stepped.step(x[:, place], slots) for place in range(x.shape[1])], axis=1)


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest absolute difference over the largest expected magnitude."""
    scale = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / (scale or 1.0)


def _gate(what: str, found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    error = relative_error(found, expected)
    if not error <= MAX_RELATIVE_ERROR:
        raise ParityError(
            f"{what}: relative error {error:.2e} is above {MAX_RELATIVE_ERROR:.0e}; the exported graph does not "
            "compute what was trained, so no bundle is written"
        )
    return error


def _export_head(
    graph: nn.Module, head: HeadModule, x: Tensor, axes: dict[int, str], p_shape: list[int | str], opset: int
) -> bytes:
    state = head.initial_state(x.shape[0])
    names = [f"state_{place}" for place in range(len(state))]
    outputs: dict[str, list[int | str]] = {"p": p_shape}
    outputs |= {f"{name}_out": ["b", *part.shape[1:]] for name, part in zip(names, state, strict=True)}
    # A graph without state takes x alone, and the exporter wants to hear of nothing else then.
    shapes = (axes, tuple({0: "b"} for _ in state)) if state else (axes,)
    return _export(graph, (x, *state), shapes, ["x", *names], outputs, opset)


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    axes: tuple[Any, ...],
    inputs: list[str],
    outputs: dict[str, list[int | str]],
    opset: int,
) -> bytes:
    module.eval()
    with _quiet_exporter():
        program: Any = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=opset,
            external_data=False,
            input_names=inputs,
            output_names=list(outputs),
            dynamic_shapes=axes,
            verbose=False,
        )
    model = cast(onnx.ModelProto, program.model_proto)
    # The exporter notes the example's length where an RNN makes the time axis; the graph itself is dynamic.
    del model.graph.value_info[:]
    for value in model.graph.output:
        del value.type.tensor_type.shape.dim[:]
        for size in outputs[value.name]:
            axis = value.type.tensor_type.shape.dim.add()
            if isinstance(size, str):
                axis.dim_param = size
            else:
                axis.dim_value = size
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces with paths of this machine
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quiet_exporter() -> Generator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
