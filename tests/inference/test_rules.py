"""Every onset has one decision: it fires, or is withheld and says why."""

import itertools
import sys
from typing import Any

import pytest
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.engine import Rules
from ethostream.streaming.messages import Decision
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from hypothesis import given
from hypothesis import strategies as st
from rule_streams import ARMING, CLASSES, MS, RULE, behavior, bouts, engine


def test_an_onset_fires_once_with_its_chain() -> None:
    rules = Rules([RULE], CLASSES, armed=True)
    assert rules.step(behavior("still")) == []
    (decision,) = rules.step(behavior("groom", 33))
    assert (decision.action, decision.reason, decision.rule, decision.actuator) == ("fired", "onset", "puff", "valve")
    assert (decision.set_id, decision.p, decision.t_decided_ns) == (33, 0.8, 42 * MS)
    assert decision.sources[0].camera == "cam0"
    assert rules.step(behavior("groom", 66)) == []


@pytest.mark.parametrize(
    ("reason", "armed", "changes"),
    [
        ("disarmed", False, {}),
        ("warm-up", True, {"warm": False}),
        ("partial", True, {"status": "partial", "missing": ("cam1",)}),
        ("stale", True, {"t_decided_ns": 1051 * MS}),
    ],
)
def test_what_must_not_fire_is_withheld_with_its_reason(reason: str, armed: bool, changes: dict[str, Any]) -> None:
    rules = Rules([RULE], CLASSES, armed)
    (decision,) = rules.step(behavior("groom", 1000, **changes))
    assert (decision.action, decision.reason) == ("withheld", reason)
    assert rules.step(behavior("groom", 1033)) == []  # and it is not made up for


def test_a_partial_set_may_be_allowed() -> None:
    rules = Rules([RULE.model_copy(update={"require_complete": False})], CLASSES, armed=True)
    assert rules.step(behavior("groom", status="partial"))[0].action == "fired"


def test_after_a_gap_it_waits_until_the_model_is_warm() -> None:
    rules = Rules([RULE], CLASSES, armed=True)
    rules.step(behavior("groom"))
    (decision,) = rules.step(behavior("groom", 5000, warm=False, reset=True, gap_frames=100))
    assert (decision.action, decision.reason) == ("withheld", "gap")
    rules.step(behavior("still", 5033, warm=True))
    assert rules.step(behavior("groom", 5066))[0].action == "fired"


labels = st.lists(st.tuples(st.sampled_from(["", *CLASSES]), st.integers(1, 400), st.booleans()), max_size=80)


@given(labels)
def test_every_onset_has_exactly_one_decision_and_firings_keep_their_distance(
    sequence: list[tuple[str, int, bool]],
) -> None:
    rules = Rules([RULE, RULE.model_copy(update={"name": "other", "refractory_ms": 0.0})], CLASSES, armed=True)
    t_ms, before = 0, ""
    decisions: list[Decision] = []
    for label, dt_ms, complete in sequence:
        t_ms += dt_ms
        made = rules.step(behavior(label, t_ms, status="complete" if complete else "partial"))
        onset = label == "groom" and before != "groom"
        assert [one.rule for one in made] == (["puff", "other"] if onset else [])
        decisions += made
        before = label
    fired = [one.t_exposure_ns for one in decisions if one.rule == "puff" and one.action == "fired"]
    assert all(later - earlier >= 500 * MS for earlier, later in itertools.pairwise(fired))
    for one in decisions:
        if one.rule == "puff" and one.reason == "refractory":
            assert any(0 <= one.t_exposure_ns - t < 500 * MS for t in fired)


@given(labels, st.integers(0, 80))
def test_restored_rules_decide_the_same(sequence: list[tuple[str, int, bool]], cut: int) -> None:
    whole, first, second = (Rules([RULE], CLASSES, armed=True) for _ in range(3))
    t_ms = 0
    for place, (label, dt_ms, complete) in enumerate(sequence):
        t_ms += dt_ms
        if place == cut:
            second.restore(first.snapshot())
        message = behavior(label, t_ms, status="complete" if complete else "partial")
        expected = whole.step(message)
        assert (first if place < cut else second).step(message) == expected


def test_rules_that_do_not_suit_the_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="'dance' is not among the model's classes"):
        Rules([RULE.model_copy(update={"on_enter": "dance"})], CLASSES, armed=True)
    with pytest.raises(ConfigError, match="stands twice"):
        Rules([RULE, RULE], CLASSES, armed=True)


def test_a_task_names_its_faults() -> None:
    rule = {"name": "puff", "on_enter": "groom", "actuator": "valve"}
    good = {"bundle": "demo", "rules": [rule], "actuators": {"valve": {"kind": "log"}}}
    assert validate(TaskConfig, good, "task").actuators["valve"].kind == "log"
    with pytest.raises(ConfigError, match="actuator 'valve' is not defined"):
        validate(TaskConfig, good | {"actuators": {}}, "task")
    with pytest.raises(ConfigError, match="refractory_s: unknown key"):
        validate(TaskConfig, good | {"rules": [rule | {"refractory_s": 1}]}, "task")
    with pytest.raises(ConfigError, match="kind"):
        validate(TaskConfig, good | {"actuators": {"valve": {"kind": "laser"}}}, "task")
    with pytest.raises(ConfigError, match="set bundle"):
        validate(TaskConfig, good | {"bundle": None}, "task")


def test_a_reset_of_the_model_does_not_shorten_a_refractory_time() -> None:
    rules = Rules([RULE], CLASSES, armed=True)
    assert rules.step(behavior("groom", 100))[0].action == "fired"
    rules.reset()
    (decision,) = rules.step(behavior("groom", 400))
    assert (decision.action, decision.reason) == ("withheld", "refractory")
    rules.reset()
    assert rules.step(behavior("groom", 601))[0].action == "fired"


def test_a_snapshot_keeps_whether_it_was_armed() -> None:
    live = Rules([RULE], CLASSES, armed=False)
    replayed = Rules([RULE], CLASSES, armed=True)
    replayed.restore(live.snapshot())
    assert replayed.step(behavior("groom", 100))[0].reason == "disarmed"


def test_without_an_onset_a_step_costs_next_to_nothing() -> None:
    """Counted in calls, since a clock would judge the machine."""
    rules = engine(arming=ARMING)
    stream = bouts(("still", 20_000), step_ms=5)
    for each in stream[:10]:
        rules.step(each)
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    quiet = [each for each in stream[10:] if not 90 < each.t_exposure_ns / MS < 4000]
    sys.setprofile(count)
    try:
        for each in quiet:
            rules.step(each)
    finally:
        sys.setprofile(None)
    assert calls / len(quiet) < 3
