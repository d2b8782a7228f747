"""Several heads as one: the mean of what they say, in one graph with one state."""

import pytest
import torch
from ethostream.inference.graph_spec import HeadOutput
from ethostream.sync.errors import ConfigError
from ethostream.training.config.head import HeadConfig
from ethostream.training.export.graphs import head_spec
from ethostream.training.export.step_graph import step_graph
from ethostream.training.networks.ensemble import EnsembleHead
from ethostream.training.networks.head import SequenceHead, build_head, probabilities, warm_up_frames

GRU = HeadConfig(kind="gru", hidden=6)
LSTM = HeadConfig(kind="lstm", hidden=7, layers=2)
TCN = HeadConfig(kind="tcn", hidden=8, dilations=[1, 3])
OTHER_TCN = HeadConfig(kind="tcn", hidden=8, kernel=2, dilations=[2], norm="layer")
WIDER_TCN = HeadConfig(kind="tcn", hidden=10, dilations=[1])
MLP = HeadConfig(kind="mlp", hidden=5, layers=2)
ATTENTION = HeadConfig(kind="transformer", hidden=8, attention_frames=4)


def _members(*rules: HeadConfig, n_features: int = 5) -> list[SequenceHead]:
    members: list[SequenceHead] = []
    for seed, rule in enumerate(rules):
        torch.manual_seed(seed)
        head = build_head(rule, n_features, 3)
        head.set_normalisation(torch.full((n_features,), 0.1 * seed), torch.full((n_features,), 1.0 + seed))
        members.append(head.eval())
    return members


@pytest.mark.parametrize(
    ("rules", "rings"),
    [((TCN, OTHER_TCN), True), ((TCN, WIDER_TCN), False), ((GRU, TCN, MLP), False), ((LSTM, ATTENTION), False)],
)
def test_one_step_is_the_mean_of_the_members(rules: tuple[HeadConfig, ...], rings: bool) -> None:
    members = _members(*rules)
    ensemble = EnsembleHead(members).eval()
    taps = ensemble.state_taps()
    assert (taps is not None) == rings
    x = torch.randn(2, 30, 5)
    with torch.inference_mode():
        alone = [one.forward_sequence(x, one.initial_state(2))[0] for one in members]
        whole, after = ensemble.forward_sequence(x, ensemble.initial_state(2))
        assert torch.allclose(whole, torch.stack(alone).mean(0), atol=1e-7)
        assert [part.shape[1:] for part in after] == ensemble.state_shapes()
        graph, state = step_graph(ensemble).eval(), list(ensemble.initial_state(2))
        for place in range(30):
            if taps is None:
                p, *state = graph(x[:, place], *state)
            else:
                held = torch.cat([tensor[:, rows] for tensor, rows in zip(state, taps, strict=True)], dim=1)
                p, column = graph(x[:, place], held)
                state = [torch.cat([one[:, 1:], column[:, n : n + 1]], dim=1) for n, one in enumerate(state)]
            assert torch.allclose(p, whole[:, place], atol=2e-6)
        for found, wanted in zip(state, after, strict=True):
            assert torch.allclose(found, wanted, atol=2e-6)


def test_an_ensemble_with_rings_is_one_head_of_a_bundle() -> None:
    spec = head_spec(EnsembleHead(_members(TCN, OTHER_TCN)))
    assert (spec.kind, spec.members) == ("ensemble", ["tcn", "tcn"])
    assert [one.shape for one in spec.state] == [[2, 8], [6, 8], [2, 8]]
    assert spec.taps == [[0, 1], [0, 3], [0]]


@pytest.mark.parametrize("output", ["softmax", "independent"])
def test_a_temperature_is_of_the_whole_ensemble(output: HeadOutput) -> None:
    torch.manual_seed(4)
    ensemble = EnsembleHead([build_head(GRU, 5, 3, output), build_head(MLP, 5, 3, output)]).eval()
    x = torch.randn(1, 20, 5)
    with torch.inference_mode():
        p = ensemble.forward_sequence(x, ensemble.initial_state(1))[0]
        logits = ensemble.logits(x, ensemble.initial_state(1))[0]
        assert torch.allclose(probabilities(logits, output), p, atol=1e-6)
        ensemble.scale_logits(0.5).scale_logits(0.8)
        softer = ensemble.forward_sequence(x, ensemble.initial_state(1))[0]
        assert torch.allclose(softer, probabilities(logits * 0.4, output), atol=1e-6)
        assert torch.allclose(ensemble.logits(x, ensemble.initial_state(1))[0], logits * 0.4, atol=1e-6)


def test_an_ensemble_is_warm_when_its_slowest_member_is() -> None:
    assert warm_up_frames(EnsembleHead(_members(TCN, ATTENTION)), 30.0) == 8
    assert warm_up_frames(EnsembleHead(_members(TCN, GRU)), 30.0) == 30
    ahead = [HeadConfig(kind="tcn", dilations=[1], look_ahead_frames=5) for _ in range(2)]
    assert warm_up_frames(EnsembleHead(_members(*ahead)), 30.0) == 7


def test_members_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="two or more"):
        EnsembleHead(_members(GRU))
    with pytest.raises(ConfigError, match="n_features of its heads is 5, 6"):
        EnsembleHead([*_members(GRU), *_members(TCN, n_features=6)])
    with pytest.raises(ConfigError, match="look_ahead_frames of its heads is 0, 2"):
        EnsembleHead(_members(GRU, GRU.model_copy(update={"look_ahead_frames": 2})))
    with pytest.raises(ConfigError, match="causal of its heads"):
        EnsembleHead(_members(GRU, GRU.model_copy(update={"causal": False})))
