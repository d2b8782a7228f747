"""What every kind of stabiliser promises, whatever stands before and after it."""

from typing import Any

import numpy as np
import pytest
from ethostream.inference.manifest_file import missing_keys
from ethostream.inference.stabilisation.config import StabiliserConfig, ThresholdsConfig
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from ethostream.sync.errors import ClockError
from ethostream.sync.strict import StrictModel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

CLASSES = ["a", "b", "c"]
MS = 1_000_000

KINDS: dict[str, dict[str, Any]] = {
    "thresholds": {"default": {"enter": 0.5, "exit": 0.3, "min_dwell_ms": 60}, "per_class": {"c": {"enter": 0.7}}},
    "sequential": {"default": {"false_alarm": 0.05, "miss": 0.1, "decorrelation_ms": 40}},
    "majority": {"default": {"window_ms": 150}, "per_class": {"b": {"window_ms": 90, "share": 0.8}}},
    "hidden_markov": {"default": {"mean_dwell_ms": 300}, "per_class": {"c": {"mean_dwell_ms": 80, "enter": 0.5}}},
    "cusum": {"default": {"bound_nat_seconds": 0.06}, "per_class": {"b": {"drift_nat": 0.2, "clip_nat": 1.0}}},
}
AROUND: list[dict[str, Any]] = [
    {},
    {"smoothing_ms": 50},
    {"close_gaps_ms": {"a": 80, "b": 200}},
    {"smoothing_ms": {"b": 120}, "close_gaps_ms": 100},
]
CONFIGS = [{"kind": kind, **options, **around} for kind, options in KINDS.items() for around in AROUND]

probabilities = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda v: np.array(v) / sum(v))
# Clear answers of a few steps' length, so that labels do change, and anything in between.
clear = st.sampled_from([np.array(row) for row in ([0.96, 0.02, 0.02], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96])])
stretches = st.lists(st.tuples(st.one_of(clear, probabilities), st.integers(1, 80), st.integers(1, 8)), max_size=14)
steps = stretches.map(lambda rows: [(p, dt_ms) for p, dt_ms, n in rows for _ in range(n)])
configs = st.sampled_from(CONFIGS)
Sequence = list[tuple[np.ndarray, int]]


def config_of(options: dict[str, Any]) -> StabiliserConfig:
    return TypeAdapter(StabiliserConfig).validate_python(options)


def run(stabiliser: Stabiliser, sequence: Sequence, t_ns: int = 0) -> list[tuple[int, str, int]]:
    labels: list[tuple[int, str, int]] = []
    for p, dt_ms in sequence:
        t_ns += dt_ms * MS
        labels.append((t_ns, stabiliser.step(p, t_ns), stabiliser.label_since_ns))
    return labels


@pytest.mark.parametrize("options", CONFIGS, ids=lambda one: f"{one['kind']}-{len(one)}")
def test_a_clear_behavior_becomes_the_label_within_the_worst_delay(options: dict[str, Any]) -> None:
    stabiliser = Stabiliser(CLASSES, config_of(options))
    step_ms = 5
    first, second = np.array([0.95, 0.03, 0.02]), np.array([0.03, 0.95, 0.02])
    assert {label for _, label, _ in run(stabiliser, [(first, step_ms)] * 300)[-10:]} == {"a"}
    labels = run(stabiliser, [(second, step_ms)] * 400, 1500 * MS)
    took_ms = next(t for t, label, _ in labels if label == "b") / MS - 1500
    delay = stabiliser.delays["b"]
    assert delay.typical_ms == stabiliser.added_delay_ms["b"]
    assert took_ms <= (delay.typical_ms * 2.5 if delay.worst_ms is None else delay.worst_ms) + 2 * step_ms
    assert took_ms >= 0.5 * delay.typical_ms
    assert delay.worst_ms is None or delay.worst_ms >= delay.typical_ms


@given(configs, steps, st.integers(0, 120))
def test_a_restored_stabiliser_continues_the_same(options: dict[str, Any], sequence: Sequence, cut: int) -> None:
    cut = min(cut, len(sequence))
    config = config_of(options)
    whole, first, second = (Stabiliser(CLASSES, config) for _ in range(3))
    expected = run(whole, sequence)
    start = run(first, sequence[:cut])
    second.restore(first.snapshot())
    assert start + run(second, sequence[cut:], start[-1][0] if start else 0) == expected
    mine, theirs = whole.snapshot(), second.snapshot()
    assert mine.keys() == theirs.keys() == Stabiliser(CLASSES, config).snapshot().keys()
    for name, value in mine.items():
        assert value.tobytes() == theirs[name].tobytes(), name
        assert value.shape == Stabiliser(CLASSES, config).snapshot()[name].shape


@given(configs, steps, steps)
@settings(max_examples=50)
def test_a_reset_one_is_as_new(options: dict[str, Any], before: Sequence, sequence: Sequence) -> None:
    used, new = (Stabiliser(CLASSES, config_of(options)) for _ in range(2))
    end = run(used, before)
    used.reset()
    assert used.label == ""
    t_ns = end[-1][0] if end else 0
    assert run(used, sequence, t_ns) == run(new, sequence, t_ns)


@given(configs, steps, st.integers(0, 10**18))
@settings(max_examples=50)
def test_only_differences_of_time_count(options: dict[str, Any], sequence: Sequence, shift_ns: int) -> None:
    plain, shifted = (Stabiliser(CLASSES, config_of(options)) for _ in range(2))
    assert [row[1] for row in run(plain, sequence)] == [row[1] for row in run(shifted, sequence, shift_ns)]


@given(configs, steps)
def test_no_label_without_its_conditions(options: dict[str, Any], sequence: Sequence) -> None:
    """Class b is never the most probable one: whatever the kind and its surroundings, it is never named."""
    never = [(np.array([p[0] + p[1] / 2, 0.0, p[2] + p[1] / 2]), dt_ms) for p, dt_ms in sequence]
    config = config_of(options)
    if config.kind == "thresholds":
        # The best class may take over when the label gives way, so that "never the best" is the condition here.
        assert all(int(np.argmax(p)) != 1 for p, _ in never)
    assert all(label != "b" for _, label, _ in run(Stabiliser(CLASSES, config), never))


@given(configs, steps)
@settings(max_examples=50)
def test_the_label_is_known_since_its_change(options: dict[str, Any], sequence: Sequence) -> None:
    since, before = 0, ""
    for t_ns, label, since_ns in run(Stabiliser(CLASSES, config_of(options)), sequence):
        since = t_ns if label != before else since
        assert since_ns == since
        before = label


@given(steps, st.floats(5.0, 500.0), st.integers(2, 4))
@settings(max_examples=50)
def test_smoothing_does_not_depend_on_how_often_it_is_asked(sequence: Sequence, tau_ms: float, n: int) -> None:
    """A step that is split into several with the same probabilities changes nothing."""
    raw = {"kind": "thresholds", "default": {"enter": 0.0, "exit": 0.0, "min_dwell_ms": 0.0}}
    whole, split = (Stabiliser(CLASSES, config_of({**raw, "smoothing_ms": tau_ms})) for _ in range(2))
    t_ns = 0
    for place, (p, dt_ms) in enumerate(sequence):
        for part in range(1, n if place else 2):  # nothing is known before the first step
            split.step(p, t_ns + dt_ms * MS * part // n)
        t_ns += dt_ms * MS
        whole.step(p, t_ns)
        split.step(p, t_ns)
        assert np.allclose(whole.snapshot()["stabiliser.smoothed"], split.snapshot()["stabiliser.smoothed"], atol=1e-9)


def test_smoothing_is_an_exponential_of_time() -> None:
    stabiliser = Stabiliser(CLASSES, config_of({"kind": "thresholds", "smoothing_ms": {"a": 100.0}}))
    stabiliser.step(np.array([1.0, 0.0, 0.0]), 0)
    stabiliser.step(np.array([0.0, 1.0, 0.0]), 70 * MS)
    stabiliser.step(np.array([0.0, 1.0, 0.0]), 100 * MS)
    assert np.allclose(stabiliser.snapshot()["stabiliser.smoothed"], [np.exp(-1.0), 1.0, 0.0])


@given(steps)
def test_a_majority_is_that_of_the_time_in_the_window(sequence: Sequence) -> None:
    """Against a count by the millisecond."""
    config = config_of({"kind": "majority", "default": {"window_ms": 120, "share": 0.55}})
    winners: list[int] = []  # of every millisecond that is spoken for
    label, first = -1, True
    for (p, dt_ms), (_, found, _) in zip(sequence, run(Stabiliser(CLASSES, config), sequence), strict=True):
        if not first:
            winners += [int(np.argmax(p))] * dt_ms
        first = False
        shares = [winners[-120:].count(place) / 120 for place in range(3)]
        best = max(range(3), key=lambda place: shares[place])
        if shares[best] >= 0.55:
            label = best
        assert found == [*CLASSES, ""][label]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([9, 10, 10, 11, 14, 15, 20, 31, 70])), max_size=60))
def test_one_frame_after_a_gap_has_the_vote_of_one_step(sequence: list[tuple[int, int]]) -> None:
    """Against a count by the millisecond: what lies between steps that are missing is nobody's."""
    config = config_of({"kind": "majority", "default": {"window_ms": 120, "share": 0.4}})
    stabiliser = Stabiliser(CLASSES, config, step_ns=10 * MS)
    winners: list[int] = []
    label, t_ms = -1, 0
    for place, (winner, dt_ms) in enumerate(sequence):
        t_ms += dt_ms
        if place:
            votes = dt_ms if dt_ms < 15 else 10
            winners += [-1] * (dt_ms - votes) + [winner] * votes
        shares = [winners[-120:].count(one) / 120 for one in range(3)]
        best = max(range(3), key=lambda one: (shares[one], one == label))
        if shares[best] >= 0.4:
            label = best
        assert stabiliser.step(np.eye(3)[winner], t_ms * MS) == [*CLASSES, ""][label]


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_on_a_tie_the_label_holds(first: str, second: str) -> None:
    rows = {"a": np.array([0.9, 0.1, 0.0]), "b": np.array([0.1, 0.9, 0.0])}
    stabiliser = Stabiliser(CLASSES, config_of({"kind": "majority", "default": {"window_ms": 100, "share": 0.5}}))
    assert run(stabiliser, [(rows[first], 10)] * 20)[-1][1] == first
    assert [label for _, label, _ in run(stabiliser, [(rows[second], 10)] * 6, 200 * MS)] == [first] * 5 + [second]


def test_one_frame_after_missing_ones_is_no_majority_of_its_own() -> None:
    config = config_of({"kind": "majority", "default": {"window_ms": 300, "share": 0.6}})
    stabiliser = Stabiliser(CLASSES, config)
    run(stabiliser, [(np.array([0.9, 0.1, 0.0]), 30)] * 20)
    assert stabiliser.step(np.array([0.1, 0.9, 0.0]), 750 * MS) == "a"


@pytest.mark.parametrize("kind", ["majority", "thresholds"])
def test_impossible_rates_of_steps_are_refused(kind: str) -> None:
    config = {**KINDS[kind], "kind": kind, **({} if kind == "majority" else {"close_gaps_ms": 50})}
    config["default"] = {"min_dwell_ms": 0} if kind == "thresholds" else config["default"]
    stabiliser = Stabiliser(CLASSES, config_of(config))
    rows = [np.array([0.9, 0.1, 0.0]), np.array([0.1, 0.9, 0.0])]
    with pytest.raises(ClockError, match="more than 1000 steps per second"):
        for k in range(1000):
            stabiliser.step(rows[k % 2], k * 1000)


def test_the_old_form_is_thresholds() -> None:
    old = {"default": {"enter": 0.5, "exit": 0.4, "min_dwell_ms": 33.0}, "per_class": {}}

    class Holder(StrictModel):
        stabiliser: StabiliserConfig

    held = Holder.model_validate({"stabiliser": old})
    assert isinstance(held.stabiliser, ThresholdsConfig)
    assert missing_keys(held) == []
    assert Holder.model_validate_json(held.model_dump_json()) == held
    assert missing_keys(Holder.model_validate({"stabiliser": {"kind": "majority"}})) != []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "magic"}, "'thresholds', 'sequential', 'majority', 'hidden_markov', 'cusum'"),
        ({"kind": "cusum", "default": {"bound_nat_seconds": 0}}, "greater than 0"),
        ({"kind": "cusum", "default": {"clip_nat": 0}}, "greater than 0"),
        ({"kind": "cusum", "default": {"drift_nat": -0.1}}, "greater than or equal to 0"),
        ({"kind": "majority", "default": {"enter": 0.5}}, "default.enter"),
        ({"kind": "sequential", "default": {"false_alarm": 0.0}}, "greater than 0"),
        ({"kind": "sequential", "default": {"decorrelation_ms": 0}}, "greater than 0"),
        ({"default": {"enter": 0.3, "exit": 0.5}}, r"exit 0\.5 is above enter 0\.3"),
        ({"smoothing_ms": -1}, "smoothing_ms"),
        ({"close_gaps_ms": {"a": -1}}, "close_gaps_ms"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config_of(options)


def test_every_class_that_is_named_is_known() -> None:
    config = config_of(
        {"kind": "majority", "per_class": {"x": {}}, "smoothing_ms": {"y": 1}, "close_gaps_ms": {"a": 1}}
    )
    assert config.unknown(CLASSES) == ["x", "y"]


def test_delays_are_said_in_words() -> None:
    thresholds = {"default": {"min_dwell_ms": 60}, "per_class": {"c": {"min_dwell_ms": 0}}, "close_gaps_ms": 40}
    said = Stabiliser(CLASSES, config_of(thresholds)).delays_in_words()
    assert said == "labels come later than probabilities by a 100 ms, b 100 ms, c 40 ms"
    sequential = {"kind": "sequential", "per_class": {"b": {"prior": 0.95}}, "smoothing_ms": {"a": 50}}
    # log(1000) over log(0.9 / 0.1) - log(1 / 2) nats, a tenth of a second each
    assert (
        Stabiliser(CLASSES, config_of(sequential))
        .delays_in_words()
        .endswith(
            "a 289 ms (at worst without a bound), b (not at a probability of 0.9), c 239 ms (at worst without a bound)"
        )
    )
