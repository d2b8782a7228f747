"""Heads that are not causal: exported as whole sequences, and nothing else."""

import numpy as np
import pytest
import torch
from ethostream.inference.head import run_sequence
from ethostream.inference.onnxruntime_backend import open_graph
from ethostream.sync.errors import LookAheadError
from ethostream.training.config.head import HeadConfig, HeadKind
from ethostream.training.export.graphs import (
    MAX_RELATIVE_ERROR,
    check_head_parity,
    export_head,
    export_head_step,
    head_spec,
    relative_error,
)
from ethostream.training.networks.ensemble import EnsembleHead
from ethostream.training.networks.head import build_head

KINDS: tuple[HeadKind, ...] = ("lstm", "gru", "tcn", "transformer")


@pytest.mark.long
def test_twins_are_exported_without_a_step() -> None:
    torch.manual_seed(1)
    rules = [
        HeadConfig(
            kind=kind, hidden=8, layers=2 if kind == "lstm" else 1, dilations=[4], attention_frames=9, causal=False
        )
        for kind in KINDS
    ]
    # All in one graph, since each export takes seconds.
    head = EnsembleHead([build_head(rule, 5, 3).eval() for rule in rules]).eval()
    files = export_head(head)
    assert list(files) == ["head_sequence.onnx"]
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 333, 5)).astype(np.float32)
    assert check_head_parity(head, None, files["head_sequence.onnx"], x) <= MAX_RELATIVE_ERROR
    # Any length, and any number of animals.
    graph = open_graph(files["head_sequence.onnx"], "head_sequence.onnx", "cpu", 1)
    for n_batch, n_steps in ((1, 1), (3, 18), (1, 700)):
        x = random.normal(size=(n_batch, n_steps, 5)).astype(np.float32)
        with torch.inference_mode():
            expected = head.forward_sequence(torch.from_numpy(x), ())[0].numpy()
        assert relative_error(run_sequence(graph, head_spec(head), x), expected) <= MAX_RELATIVE_ERROR
    with pytest.raises(LookAheadError, match="not causal"):
        export_head_step(head)


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_promises_no_step(kind: HeadKind) -> None:
    spec = head_spec(build_head(HeadConfig(kind=kind, causal=False), 5, 3))
    assert (spec.kind, spec.step_file, spec.state) == (kind, None, [])
