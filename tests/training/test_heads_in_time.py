"""What each head sees of past and future, and that the one-step forms compute what was trained. Torch alone."""

from typing import get_args

import pytest
import torch
from ethostream.sync.errors import ConfigError, LookAheadError
from ethostream.training.config.head import HeadConfig, HeadKind, NormKind
from ethostream.training.export.step_graph import step_graph
from ethostream.training.networks.attention import AttentionBlock, TransformerCore
from ethostream.training.networks.core import StepBatchNorm
from ethostream.training.networks.head import SequenceHead, build_head, warm_up_frames
from torch import Tensor

KINDS: tuple[HeadKind, ...] = get_args(HeadKind)
WITH_TWIN: tuple[HeadKind, ...] = ("lstm", "gru", "tcn", "transformer")


def _head(kind: HeadKind, norm: NormKind = "none", *, causal: bool = True, layers: int = 2) -> SequenceHead:
    torch.manual_seed(0)
    rule = HeadConfig(
        kind=kind, hidden=8, layers=layers, dilations=[1, 2, 4], attention_heads=2, attention_frames=6, norm=norm,
        causal=causal,
    )  # fmt: skip
    head = build_head(rule, 5, 3)
    head.logits(1.0 + 2.0 * torch.randn(3, 90, 5), head.initial_state(3))  # what batch normalisation learns from
    return head.eval()


def _answers(head: SequenceHead, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return head.forward_sequence(x, head.initial_state(len(x)))[0]


@pytest.mark.parametrize("norm", get_args(NormKind))
@pytest.mark.parametrize("kind", KINDS)
def test_output_never_depends_on_the_future(kind: HeadKind, norm: NormKind) -> None:
    head = _head(kind, norm if kind != "linear" else "none")
    x = torch.randn(1, 80, 5)
    changed = x.clone()
    changed[:, 50:] += 10.0
    before, after = _answers(head, x), _answers(head, changed)
    assert torch.allclose(before[:, :50], after[:, :50], atol=1e-6, rtol=0.0)
    assert not torch.allclose(before[:, 50:], after[:, 50:], atol=1e-3)


@pytest.mark.parametrize("kind", WITH_TWIN)
def test_the_twin_sees_what_comes_later(kind: HeadKind) -> None:
    head = _head(kind, causal=False)
    x = torch.randn(1, 80, 5)
    changed = x.clone()
    changed[:, 50:] += 10.0
    assert not torch.allclose(_answers(head, x)[:, 48:50], _answers(head, changed)[:, 48:50], atol=1e-4)
    assert head.state_shapes() == []
    with pytest.raises(LookAheadError, match="not causal"):
        head.forward_step(x[:, 0], head.initial_state(1))
    with pytest.raises(LookAheadError, match="no graph of one step"):
        step_graph(head)


@pytest.mark.parametrize(
    ("kind", "causal", "before", "after"),
    [
        ("linear", True, 0, 0),
        ("mlp", True, 0, 0),
        ("tcn", True, 14, 0),
        ("transformer", True, 10, 0),
        ("tcn", False, 7, 7),
        ("transformer", False, 10, 10),
    ],
)
def test_a_head_sees_exactly_its_receptive_field(kind: HeadKind, causal: bool, before: int, after: int) -> None:
    head = _head(kind, causal=causal)
    assert head.receptive_field() == 1 + before + after
    x = torch.randn(1, 60, 5)
    changed = x.repeat(60, 1, 1)
    changed[torch.arange(60), torch.arange(60)] += 100.0
    seen = ((_answers(head, changed)[:, 30] - _answers(head, x)[0, 30]).abs().amax(1) > 1e-6).nonzero().flatten()
    assert (int(seen[0]), int(seen[-1])) == (30 - before, 30 + after)


@pytest.mark.parametrize("norm", get_args(NormKind))
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_computes_what_the_sequence_does(kind: HeadKind, norm: NormKind) -> None:
    head = _head(kind, norm if kind != "linear" else "none")
    head.set_normalisation(torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5))
    x = torch.randn(2, 40, 5)
    expected = _answers(head, x)
    graph, taps = step_graph(head).eval(), head.state_taps()
    state = list(head.initial_state(2))
    with torch.inference_mode():
        for place in range(x.shape[1]):
            if taps is None:
                p, *state = graph(x[:, place], *state)
            else:
                held = torch.cat([tensor[:, rows] for tensor, rows in zip(state, taps, strict=True)], dim=1)
                p, column = graph(x[:, place], held)
                state = [torch.cat([one[:, 1:], column[:, n : n + 1]], dim=1) for n, one in enumerate(state)]
            assert torch.allclose(p, expected[:, place], atol=2e-6, rtol=0.0)


def test_attention_in_spans_is_attention_within_the_window() -> None:
    torch.manual_seed(2)
    block = AttentionBlock(8, 2, 5, True, 0.0).eval()
    torch.nn.init.normal_(block.position)
    queries, keys = torch.randn(2, 2, 23, 4), torch.randn(2, 2, 27, 4)
    values = torch.randn(2, 2, 27, 4)
    found = block._attend(queries, keys, values)  # pyright: ignore[reportPrivateUsage]
    for t in range(23):
        seen = slice(t, t + 5)  # the newest key is this step's own
        scores = (queries[:, :, t, None] * keys[:, :, seen]).sum(-1) + block.position.flip(1)
        expected = (torch.softmax(scores, dim=-1)[..., None] * values[:, :, seen]).sum(2)
        assert torch.allclose(found[:, :, t], expected, atol=1e-6)


def test_a_long_sequence_costs_memory_by_its_length() -> None:
    head = _head("transformer")
    assert isinstance(head.core, TransformerCore)
    # By the square of the length this would be 80 GB.
    assert _answers(head, torch.randn(1, 100_000, 5)).shape == (1, 100_000, 3)


def test_an_empty_past_takes_nothing_away_from_what_comes_later() -> None:
    head = _head("transformer")
    x = torch.randn(1, 40, 5)
    # A block of 20 steps from a fresh start ends as the same steps after 20 others, but for what those steps left.
    reach = head.receptive_field()
    assert reach == 11
    whole, late = _answers(head, x), _answers(head, x[:, 20:])
    assert torch.allclose(whole[:, 20 + reach - 1 :], late[:, reach - 1 :], atol=1e-6)
    assert not torch.allclose(whole[:, 20], late[:, 0], atol=1e-4)


def test_batch_normalisation_is_fixed_after_training() -> None:
    torch.manual_seed(0)
    norm = StepBatchNorm(4)
    norm.weight.data.uniform_(0.5, 2.0)
    x = 3.0 + 2.0 * torch.randn(6, 50, 4)
    for _ in range(200):
        norm(x)
    norm.eval()
    y = norm(x)
    assert torch.allclose(y[1:2, 3:4], norm(x[1:2, 3:4]), atol=1e-6)
    assert torch.allclose(y.mean((0, 1)), norm.bias, atol=0.01)
    assert torch.allclose(y.std((0, 1)), norm.weight, atol=0.02)


def test_warm_up_is_what_the_head_depends_on() -> None:
    assert [warm_up_frames(_head(kind), 30.0) for kind in KINDS] == [0, 0, 30, 30, 14, 10]
    late = build_head(HeadConfig(kind="tcn", dilations=[1, 2], look_ahead_frames=4), 5, 3)
    assert (late.look_ahead_frames, warm_up_frames(late, 30.0)) == (4, 10)


def test_a_temperature_changes_how_sure_a_head_is_and_not_what_it_says() -> None:
    head = _head("gru")
    x = torch.randn(1, 30, 5)
    with torch.inference_mode():
        logits = head.logits(x, head.initial_state(1))[0]
        head.scale_logits(1 / 2.5)
        assert torch.allclose(head.logits(x, head.initial_state(1))[0], logits / 2.5, atol=1e-6)


def test_independent_classes_have_a_probability_each() -> None:
    torch.manual_seed(0)
    head = build_head(HeadConfig(kind="mlp", dropout=0.0), 5, 3, "independent")
    x = torch.randn(1, 30, 5)
    logits = head.logits(x, ())[0]
    assert torch.equal(_answers(head, x), torch.sigmoid(logits))
    assert (_answers(head, x).sum(-1) - 1.0).abs().max() > 0.1


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"kind": "linear", "causal": False}, "linear sees one frame"),
        ({"kind": "gru", "causal": False, "look_ahead_frames": 3}, "leave one out"),
        ({"kind": "linear", "norm": "layer"}, "norm"),
        ({"kind": "transformer", "hidden": 30}, "no multiple of attention_heads"),
        ({"kind": "transformer", "attention_frames": 1}, "attention_frames"),
        ({"kind": "perceiver"}, "kind"),
    ],
)
def test_options_that_do_not_go_together_are_refused(values: dict[str, object], fault: str) -> None:
    from ethostream.sync.strict import validate

    with pytest.raises(ConfigError, match=fault):
        validate(HeadConfig, values, "head")
