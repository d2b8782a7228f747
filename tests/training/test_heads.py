"""The proof that the rig's step is the training's sequence."""

from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from ethostream.inference.head import Head
from ethostream.inference.onnxruntime_backend import open_graph
from ethostream.sync.errors import ParityError
from ethostream.training.heads import CausalHead, HeadKind, TcnCore, build_head
from ethostream.training.onnx_export import (
    MAX_RELATIVE_ERROR,
    check_head_parity,
    export_head_sequence,
    export_head_step,
    head_spec,
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
    stepped = run_steps(head, step, x)
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


def test_a_snapshot_is_the_state_of_the_sequence_and_slots_stand_alone(
    exported: tuple[CausalHead, bytes, bytes],
) -> None:
    head, step, sequence = exported
    graph, x = open_graph(step, "head_step.onnx", "cpu", 1), _features(3, 60)
    together = Head(graph, head_spec(head), 3)
    p = np.zeros((3, 60, 4), np.float32)
    for t in range(60):
        slots = np.array([slot for slot in range(3) if t % 7 >= 2 * slot], np.intp)  # so that the rings turn apart
        done = [sum(u % 7 >= 2 * slot for u in range(t)) for slot in slots]
        p[slots, done] = together.step(x[slots, done], slots)
    n_steps = [sum(u % 7 >= 2 * slot for u in range(60)) for slot in range(3)]
    assert len(set(n_steps)) == 3
    opened = open_graph(sequence, "head_sequence.onnx", "cpu", 1)
    state = together.snapshot()
    for slot, n in enumerate(n_steps):
        expected, after = run_head(opened, x[slot : slot + 1, :n], [s.numpy() for s in head.initial_state(1)])
        assert relative_error(p[slot : slot + 1, :n], expected) <= MAX_RELATIVE_ERROR
        for place, wanted in enumerate(after):
            assert relative_error(state[f"state_{place}"][slot : slot + 1], wanted) <= MAX_RELATIVE_ERROR


def test_a_restored_head_goes_on_with_the_same_bits(exported: tuple[CausalHead, bytes, bytes]) -> None:
    head, step, _ = exported
    graph, x, spec = open_graph(step, "head_step.onnx", "cpu", 1), _features(2, 50), head_spec(head)
    whole, again, used = Head(graph, spec, 2), Head(graph, spec, 2), Head(graph, spec, 2)
    slots, second = np.arange(2), np.array([1])
    for t in range(25):
        whole.step(x[:, t], slots)
        used.step(x[second, t], second)
    again.restore(whole.snapshot())
    used.restore(whole.snapshot())
    for t in range(25, 50):
        if t == 30:
            for one in (whole, again, used):
                one.reset(second)
        expected = whole.step(x[:, t], slots)
        assert np.array_equal(again.step(x[:, t], slots), expected)
        assert np.array_equal(used.step(x[:, t], slots), expected)
    for name, value in whole.snapshot().items():
        assert np.array_equal(again.snapshot()[name], value)
    fresh = Head(graph, spec, 2)
    whole.reset()
    assert np.array_equal(whole.step(x[:, 0], slots), fresh.step(x[:, 0], slots))


@pytest.mark.parametrize(("mean", "n_subtractions"), [(0.5, 0), (300.0, 1)])
def test_a_large_mean_is_subtracted_and_a_small_one_folded(mean: float, n_subtractions: int) -> None:
    torch.manual_seed(1)
    head = build_head("gru", 12, 4, n_hidden=8)
    head.set_normalisation(torch.full((12,), mean), torch.full((12,), 0.5))
    step = export_head_step(head)
    nodes = onnx.load_from_string(step).graph.node
    assert sum(node.op_type == "Sub" and "x" in node.input for node in nodes) == n_subtractions
    x = mean + 0.5 * _features(2, 300)
    assert check_head_parity(head, step, export_head_sequence(head), x) <= MAX_RELATIVE_ERROR


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
