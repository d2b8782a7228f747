"""The proof that the rig's step is the training's sequence."""

import numpy as np
import onnx
import pytest
import torch
from ethostream.inference.graph_spec import HeadOutput
from ethostream.inference.head import Head
from ethostream.inference.onnxruntime_backend import open_graph
from ethostream.sync.errors import ParityError
from ethostream.training.config.head import HeadConfig
from ethostream.training.export.graphs import (
    MAX_RELATIVE_ERROR,
    check_head_parity,
    export_head_sequence,
    export_head_step,
    head_spec,
    relative_error,
    run_head,
    run_steps,
)
from ethostream.training.networks.ensemble import EnsembleHead
from ethostream.training.networks.head import HeadModule, SequenceHead, build_head
from onnx import numpy_helper

N_STEPS = 10_000
Exported = tuple[HeadModule, bytes, bytes]
RULES = {
    "mlp": HeadConfig(kind="mlp", hidden=24, layers=3, norm="batch"),
    "lstm": HeadConfig(kind="lstm", hidden=24, layers=2),
    "gru": HeadConfig(kind="gru", hidden=24, layers=2),
    "tcn": HeadConfig(kind="tcn", hidden=24, kernel=3, dilations=[1, 2, 4, 8]),
    "transformer": HeadConfig(kind="transformer", hidden=24, attention_heads=3, attention_frames=20),
}


def _trained(kind: str, seed: int, output: HeadOutput = "softmax") -> SequenceHead:
    torch.manual_seed(seed)
    rule = RULES[kind]
    head = build_head(rule, 12, 4, output)
    # Weights larger than at initialisation, so that the state matters and probabilities are far from uniform.
    with torch.no_grad():
        for weight in head.parameters():
            weight.mul_(1.5)
    head.set_normalisation(torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12))
    if rule.norm == "batch":
        head.logits(torch.from_numpy(_features(4, 200)), head.initial_state(4))  # learns its statistics
    return head.eval()


SLOW = {"transformer": pytest.mark.long, "ensemble": pytest.mark.long}


@pytest.fixture(scope="module", params=[*(pytest.param(one, marks=SLOW.get(one, ())) for one in [*RULES, "ensemble"])])
def exported(request: pytest.FixtureRequest) -> Exported:
    if request.param == "ensemble":
        head: HeadModule = EnsembleHead([_trained("tcn", 0), _trained("mlp", 1)]).scale_logits(0.8)
    else:
        head = _trained(request.param, 3, "independent" if request.param == "mlp" else "softmax")
    return head, export_head_step(head), export_head_sequence(head)


def _features(n_batch: int, n_steps: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n_batch, n_steps, 12)).astype(np.float32)


def test_step_equals_sequence_over_ten_thousand_steps(exported: Exported) -> None:
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


def test_gate_passes_on_the_graphs_of_one_head(exported: Exported) -> None:
    head, step, sequence = exported
    assert check_head_parity(head, step, sequence, _features(3, 300)) <= MAX_RELATIVE_ERROR
    assert _subtractions(step) == 0, "a small mean is folded into the first layer"


def test_gate_refuses_a_step_with_other_weights(exported: Exported) -> None:
    head, step, sequence = exported
    other = onnx.load_from_string(sequence)
    biases = [one for one in other.graph.initializer if one.dims == [4]]
    assert biases, "the last layer's bias is a tensor of its own"
    for one in biases:
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) + np.float32([1e-2, 0, 0, 0]), one.name))
    with pytest.raises(ParityError, match="relative error"):
        check_head_parity(head, step, other.SerializeToString(), _features(1, 300))
    with pytest.raises(ParityError, match="at least 300"):
        check_head_parity(head, step, sequence, _features(1, 299))


def test_a_snapshot_is_the_state_of_the_sequence_and_slots_stand_alone(exported: Exported) -> None:
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


def test_a_restored_head_goes_on_with_the_same_bits(exported: Exported) -> None:
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


def test_a_large_mean_is_subtracted() -> None:
    torch.manual_seed(1)
    head = build_head(HeadConfig(kind="linear"), 12, 4)
    head.set_normalisation(torch.full((12,), 300.0), torch.full((12,), 0.5))
    step = export_head_step(head)
    assert _subtractions(step) == 1
    x = 300.0 + 0.5 * _features(2, 300)
    with torch.inference_mode():
        expected = head.eval().forward_sequence(torch.from_numpy(x), ())[0].numpy()
    assert relative_error(run_steps(head, step, x), expected) <= MAX_RELATIVE_ERROR


def _subtractions(step: bytes) -> int:
    return sum(node.op_type == "Sub" and "x" in node.input for node in onnx.load_from_string(step).graph.node)


@pytest.mark.parametrize(
    ("options", "drops"),
    [
        ({}, True),
        ({"input_dropout": 0.0}, True),
        ({"exit_dropout": 0.0}, True),
        ({"input_dropout": 0.0, "exit_dropout": 0.0}, False),
        ({"dropout": 0.0}, False),
        ({"dropout": 0.0, "input_dropout": 0.5}, True),
        ({"dropout": 0.0, "exit_dropout": 0.5}, True),
    ],
)
def test_dropout_before_and_behind_the_core_has_a_share_of_its_own(options: dict[str, float], drops: bool) -> None:
    rule = HeadConfig.model_validate({"kind": "mlp", "dropout": 0.5, **options})  # one layer: nothing lies between
    head = build_head(rule, 12, 4).train()
    x = torch.from_numpy(_features(2, 30))
    one, other = (head.logits(x, head.initial_state(2))[0] for _ in range(2))
    assert torch.equal(one, other) != drops
