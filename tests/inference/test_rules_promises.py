"""What no rule ever does, on any stream; and that a snapshot anywhere, or another process, changes no decision."""

import itertools
from collections import Counter
from typing import Any

import pytest
from ethostream.inference.rules.arming_config import ArmingConfig
from ethostream.inference.rules.chance import Chance
from ethostream.inference.rules.config import RuleConfig
from ethostream.inference.rules.engine import Rules
from ethostream.inference.rules.limits import Limits
from ethostream.inference.rules.reasons import CAUSES, WITHHELD
from ethostream.streaming.messages import Behavior, Decision
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_streams import ARMING, CLASSES, MS, TRIGGERS, Event, behavior, engine, stream, streams, tell

MINUTE_NS = 60_000 * MS
NO_LIMIT: dict[str, Any] = {"refractory_ms": 0, "max_count": None, "max_per_min": None, "max_duty": None}


def play(rules: Rules, events: list[Event]) -> list[tuple[Event, bool, list[Decision]]]:
    """Each event, whether rules were armed when it had been dealt with, and what was decided."""
    return [(event, rules.armed, made) for event in events for made in [tell(rules, event)]]


@settings(max_examples=60)
@given(streams(), st.sampled_from([None, ARMING]))
def test_nothing_fires_on_input_that_is_not_to_be_trusted_or_while_disarmed(
    events: list[Event], arming: ArmingConfig | None
) -> None:
    for event, armed, made in play(engine(arming=arming, **NO_LIMIT), events):
        for one in made:
            assert isinstance(event, Behavior)
            assert one.reason in (WITHHELD if one.action == "withheld" else CAUSES)
            assert (one.trial, one.t_due_ns) == (-1, 0) if one.action == "withheld" else one.t_due_ns > 0
            if one.action != "withheld":
                assert armed
                assert event.warm and event.status == "complete" and event.gap_frames <= 2
                assert event.t_decided_ns - event.t_exposure_ns <= 50 * MS
                assert one.sources == event.sources


ALONE: dict[str, dict[str, Any]] = {
    "refractory": {"refractory_ms": 150},
    "max count": {"max_count": 5},
    "max rate": {"max_per_min": 12},
    "max duty": {"max_per_min": 60, "max_duty": {"share": 0.15, "over_s": 1.0, "pulse_ms": 50.0}},
}
"""Each limit by itself, and nothing else that could keep it; but the rate that duty stands beside is looser."""


@pytest.mark.parametrize("limit", ALONE)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), jumps=st.sampled_from([0.0, 0.2]))
def test_no_limit_is_ever_broken_and_each_is_used_to_the_full(limit: str, seed: int, jumps: float) -> None:
    """By when the actuator acts, jitter included, and by exposure; shams count."""
    rules = engine(**NO_LIMIT | ALONE[limit])
    decisions = [one for _, _, made in play(rules, stream(seed, 400, 0.0, jumps)) for one in made]
    held: set[str] = set()
    for name in TRIGGERS:
        trials = [one for one in decisions if one.rule == name and one.action != "withheld"]
        held |= {one.reason for one in decisions if one.rule == name}
        assert [one.trial for one in trials] == list(range(len(trials)))
        assert all(20 * MS <= one.t_due_ns - one.t_decided_ns < 320 * MS for one in trials)
        due = sorted(one.t_due_ns for one in trials)
        if limit == "refractory":
            assert all(b - a >= 150 * MS for a, b in itertools.pairwise(due))
            assert all(b.t_exposure_ns - a.t_exposure_ns >= 150 * MS for a, b in itertools.pairwise(trials))
        elif limit == "max count":
            assert len(trials) <= 5
        elif limit == "max rate":
            assert all(sum(first <= one < first + MINUTE_NS for one in due) <= 12 for first in due)
        else:
            for first in due:
                for begin in (first, first + 50 * MS - 1000 * MS):  # a window that begins or ends with a pulse
                    on = sum(max(0, min(one + 50 * MS, begin + 1000 * MS) - max(one, begin)) for one in due)
                    assert on <= 150 * MS
    assert limit in held or jumps
    if limit == "max count" and not jumps:
        assert max(Counter(one.rule for one in decisions if one.action != "withheld").values()) == 5


@settings(max_examples=40)
@given(streams(), st.integers(0, 150))
def test_a_snapshot_anywhere_changes_no_decision(events: list[Event], cut: int) -> None:
    whole, first, second = engine(arming=ARMING), engine(arming=ARMING), engine(arming=ARMING)
    play(second, [behavior("groom", 1), behavior("rear", 30)])  # what it held before must not matter
    expected = [made for _, _, made in play(whole, events)]
    start = [made for _, _, made in play(first, events[:cut])]
    second.restore(first.snapshot())
    second.take_changes()
    assert start + [made for _, _, made in play(second, events[cut:])] == expected
    state, wanted = second.snapshot(), whole.snapshot()
    assert {name: value.tolist() for name, value in state.items()} == {k: v.tolist() for k, v in wanted.items()}


@settings(max_examples=40)
@given(streams())
def test_a_replay_that_follows_the_recorded_arming_decides_as_live(events: list[Event]) -> None:
    live, replayed = engine(arming=ARMING), engine(arming=ARMING)
    for change in live.take_changes():
        replayed.arming.recorded(change)
    replayed.arming.follow()
    for event in events:
        made = tell(live, event)
        # As the log has them: what was said of arming stands before the behaviour for which it held.
        for change in live.take_changes():
            replayed.arming.recorded(change)
        if not isinstance(event, tuple):
            assert tell(replayed, event) == made
        assert replayed.armed == live.armed


@settings(max_examples=40)
@given(streams())
def test_there_is_one_decision_per_opportunity(events: list[Event]) -> None:
    """Of `on_enter` and `on_exit`, counted by hand."""
    onsets, ends, label = 0, 0, ""
    for event in events:
        if isinstance(event, Behavior):
            label = "" if event.reset else label
            onsets += event.label != label and event.label == "groom"
            ends += event.label != label and label == "groom"
            label = event.label
    decided = Counter(one.rule for _, _, made in play(engine(), events) for one in made)
    assert (decided["enter"], decided["exit"]) == (onsets, ends)


RULE: dict[str, Any] = {"name": "puff", "on_enter": "groom", "actuator": "valve"}


def trials_of(n: int, seed: int, sham: dict[str, Any], first_trial: int = 0) -> list[Decision]:
    rule = RuleConfig.model_validate(RULE | {"seed": seed, "sham": sham, "jitter_ms": 100})
    rules = Rules([rule], CLASSES, armed=True, first_trial=first_trial)
    labels = itertools.islice(itertools.cycle(["groom", "still"]), 2 * n)
    return [one for k, label in enumerate(labels) for one in rules.step(behavior(label, 33 * k))]


@given(st.integers(0, 2**63 - 1), st.sampled_from([0.1, 0.3, 0.5]), st.sampled_from([10, 30]), st.integers(0, 3))
@settings(max_examples=25)
def test_balanced_shams_are_exact_in_every_block(seed: int, fraction: float, block: int, epoch: int) -> None:
    trials = trials_of(3 * block + 4, seed, {"fraction": fraction, "block": block}, epoch * 1_000_000)
    for begin in range(0, 3 * block, block):
        n_sham = sum(one.action == "sham" for one in trials[begin : begin + block])
        assert n_sham == round(fraction * block)


def test_drawn_shams_keep_to_their_fraction_and_their_order_is_the_seeds() -> None:
    rule = RuleConfig.model_validate(RULE | {"seed": 1, "sham": {"fraction": 0.3}})
    n = 20_000
    n_sham = sum(Chance(rule, 0).is_sham(trial) for trial in range(n))
    assert abs(n_sham - 0.3 * n) < 5 * (n * 0.3 * 0.7) ** 0.5  # five standard deviations of a binomial number
    once, again, other = (trials_of(40, seed, {"fraction": 0.3}) for seed in (7, 7, 8))
    assert once == again
    assert [one.action for one in once] != [one.action for one in other]
    assert len({one.t_due_ns - one.t_decided_ns for one in once}) == 40  # each its own jitter


def test_a_draw_can_be_repeated_by_anybody() -> None:
    """As `chance.py` describes it, in other words."""
    import hashlib

    word = hashlib.blake2b(b"7/puff/jitter/3", digest_size=8).digest()
    expected = 100 * (int.from_bytes(word, "little") // 2**11) / 2**53
    rule = RuleConfig.model_validate(RULE | {"seed": 7, "jitter_ms": 100})
    assert Chance(rule, 0).jitter_ms(3) == pytest.approx(expected)


def test_a_process_that_was_started_again_numbers_its_trials_anew_and_its_replay_alike() -> None:
    trials = trials_of(3, 0, {"fraction": 0.5}, 1_000_000)
    assert [one.trial for one in trials] == [1_000_000, 1_000_001, 1_000_002]
    rule = RuleConfig.model_validate(RULE | {"seed": 3, "jitter_ms": 50, "sham": {"fraction": 0.5, "block": 4}})
    live, replayed = Rules([rule], CLASSES, armed=True, first_trial=2_000_000), Rules([rule], CLASSES, armed=True)
    replayed.restore(live.snapshot())
    for t_ms in range(20):
        message = behavior(CLASSES[t_ms % 2], t_ms)
        assert replayed.step(message) == live.step(message)


def test_a_trial_that_acts_long_after_it_was_decided_is_not_forgotten_for_a_later_one() -> None:
    limits = Limits(RuleConfig.model_validate(RULE | {"max_per_min": 1}))
    limits.add(0, 70_000 * MS)
    limits.add(1, 5_000 * MS)
    assert limits.against(120_000 * MS, 120_000 * MS) == "max rate"
    assert limits.against(130_000 * MS, 130_000 * MS) is None


def test_arming_is_said_at_each_change() -> None:
    rules = Rules([RuleConfig.model_validate(RULE)], CLASSES, True, arming=ArmingConfig.model_validate(
        {"windows": [{"from_s": 1, "to_s": 2}]}
    ))  # fmt: skip
    rules.begin(1000 * MS)
    for t_ms in range(1000, 4000, 100):
        rules.tick(t_ms * MS)
    assert [(one.armed, one.by, one.t_ns // MS) for one in rules.take_changes()] == [
        (False, "start", 1000), (True, "schedule", 2000), (False, "schedule", 3000),
    ]  # fmt: skip
