"""The proof that the rig's step is the training's sequence."""

from typing import get_args

import numpy as np
import pytest
import torch
from ethostream.inference.onnxruntime_backend import open_graph
from ethostream.sync.errors import ParityError
from ethostream.training.heads import CausalHead, HeadKind, TcnCore, build_head
from ethostream.training.onnx_export import (
    MAX_RELATIVE_ERROR,
    check_head_parity,
    export_head_sequence,
    export_head_step,
    relative_error,
    run_head,
    run_steps,
)

N_STEPS = 10_000
KINDS: tuple[HeadKind, ...] = get_args(HeadKind)


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest) -> tuple[CausalHead, bytes, bytes]:
    torch.manual_seed(3)
    head = build_head(request.param, 12, 4, n_hidden=24, n_layers=2, kernel=3, dilations=[1, 2, 4, 8])
    # Weights larger than at initialisation, so that the state matters and probabilities are far from uniform.
    with torch.no_grad():
        for weight in head.parameters():
            weight.mul_(1.5)
    head.set_normalisation(torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12))
    head.eval()
    return head, export_head_step(head), export_head_sequence(head)


def _features(n_batch: int, n_steps: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n_batch, n_steps, 12)).astype(np.float32)


def test_step_equals_sequence_over_ten_thousand_steps(exported: tuple[CausalHead, bytes, bytes]) -> None:
    head, step, sequence = exported
    x = _features(2, N_STEPS)
    initial = [part.numpy() for part in head.initial_state(2)]
    whole, last = run_head(open_graph(sequence, "head_sequence.onnx", "cpu", 1), x, initial)
    stepped = run_steps(open_graph(step, "head_step.onnx", "cpu", 1), x, initial)
    assert whole.shape == stepped.shape == (2, N_STEPS, 4)
    assert relative_error(stepped, whole) <= MAX_RELATIVE_ERROR
    with torch.inference_mode():
        expected, after = head.forward_sequence(torch.from_numpy(x), head.initial_state(2))
    assert relative_error(stepped, expected.numpy()) <= MAX_RELATIVE_ERROR
    for found, wanted in zip(last, after, strict=True):
        assert relative_error(found, wanted.numpy()) <= MAX_RELATIVE_ERROR
    assert np.ptp(whole.argmax(2)) > 0, "the proof needs outputs that change"


def test_gate_passes_on_the_graphs_of_one_head(exported: tuple[CausalHead, bytes, bytes]) -> None:
    head, step, sequence = exported
    assert check_head_parity(head, step, sequence, _features(3, 300)) <= MAX_RELATIVE_ERROR


def test_gate_refuses_a_step_with_other_weights(exported: tuple[CausalHead, bytes, bytes]) -> None:
    head, step, sequence = exported
    with torch.no_grad():
        head.exit.bias[0] += 1e-3
    try:
        other = export_head_sequence(head)
    finally:
        with torch.no_grad():
            head.exit.bias[0] -= 1e-3
    with pytest.raises(ParityError, match="relative error"):
        check_head_parity(head, step, other, _features(1, 300))
    with pytest.raises(ParityError, match="at least 300"):
        check_head_parity(head, step, sequence, _features(1, 299))


@pytest.mark.parametrize("kind", KINDS)
def test_output_never_depends_on_the_future(kind: HeadKind) -> None:
    torch.manual_seed(0)
    head = build_head(kind, 5, 3, n_hidden=8, n_layers=2).eval()
    x = torch.randn(1, 80, 5)
    changed = x.clone()
    changed[:, 50:] += 10.0
    with torch.inference_mode():
        before = head.forward_sequence(x, head.initial_state(1))[0]
        after = head.forward_sequence(changed, head.initial_state(1))[0]
    assert torch.equal(before[:, :50], after[:, :50])
    assert not torch.equal(before[:, 50:], after[:, 50:])


def test_tcn_sees_exactly_its_receptive_field() -> None:
    torch.manual_seed(0)
    head = build_head("tcn", 5, 3, n_hidden=8, kernel=3, dilations=[1, 2, 4]).eval()
    assert isinstance(head.core, TcnCore)
    reach = head.core.receptive_field
    assert reach == 15
    x = torch.randn(1, 40, 5)
    outside, inside = x.clone(), x.clone()
    outside[:, 39 - reach] += 100.0
    inside[:, 40 - reach] += 100.0
    with torch.inference_mode():
        last = [head.forward_sequence(one, head.initial_state(1))[0][:, -1] for one in (x, outside, inside)]
    assert torch.equal(last[0], last[1])
    assert not torch.equal(last[0], last[2])
