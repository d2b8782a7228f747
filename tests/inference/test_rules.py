import itertools
import sys
from typing import Any

import numpy as np
import pytest
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.arming_config import ArmingConfig
from ethostream.inference.rules.config import RuleConfig
from ethostream.inference.rules.engine import Rules
from ethostream.inference.rules.zones import inside
from ethostream.streaming.messages import Behavior, Box, Decision, SyncPulse, Tracks
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_streams import ARMING, CLASSES, MS, ZONES, behavior, engine, pulse, tell, tracks

RULE = RuleConfig(name="puff", on_enter="groom", actuator="valve", refractory_ms=500.0, max_age_ms=50.0)


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


def rule(**changes: Any) -> RuleConfig:
    fields = {"name": "puff", "actuator": "valve", **changes}
    return RuleConfig.model_validate(fields)


def reasons(rules: Rules, stream: list[Behavior]) -> list[tuple[int, str, str]]:
    """(set, action, reason) of every decision over a stream."""
    return [(one.set_id, one.action, one.reason) for each in stream for one in rules.step(each)]


def bouts(*parts: tuple[str, int], step_ms: int = 10) -> list[Behavior]:
    """Behaviours of so many ms each, one step every ``step_ms``."""
    found: list[Behavior] = []
    t_ms = 0
    for label, length_ms in parts:
        found += [behavior(label, t_ms + k * step_ms, label_since_ns=t_ms * MS) for k in range(length_ms // step_ms)]
        t_ms += length_ms
    return found


def test_a_behaviour_that_has_lasted_long_enough() -> None:
    rules = Rules([rule(on_enter={"behavior": "groom", "after_ms": 50})], CLASSES, armed=True)
    stream = bouts(("still", 30), ("groom", 40), ("rear", 30), ("groom", 100))
    assert reasons(rules, stream) == [(150, "fired", "onset")]


def test_the_end_of_a_behaviour_and_how_long_it_was() -> None:
    at_end = rule(on_exit="groom", when={"dwell": {"min_ms": 60}})
    stream = bouts(("groom", 50), ("still", 20), ("groom", 80), ("rear", 20))
    rules = Rules([at_end], CLASSES, armed=True)
    decisions = [one for each in stream for one in rules.step(each)]
    assert [(one.set_id, one.action, one.reason) for one in decisions] == [
        (50, "withheld", "dwell"), (150, "fired", "end"),
    ]  # fmt: skip
    assert {one.behavior for one in decisions} == {"groom"}


def test_while_it_lasts_and_what_passes_between_two_steps_is_one_opportunity() -> None:
    lasting = rule(on_while={"behavior": "groom", "every_ms": 40, "after_ms": 20})
    stream = bouts(("still", 20), ("groom", 130), ("still", 20))
    assert reasons(Rules([lasting], CLASSES, armed=True), stream) == [(t, "fired", "lasting") for t in (40, 80, 120)]
    sparse = bouts(("groom", 300), step_ms=100)
    at_once = rule(on_while={"behavior": "groom", "every_ms": 30})
    assert [one[0] for one in reasons(Rules([at_once], CLASSES, armed=True), sparse)] == [0, 100, 200]


@pytest.mark.parametrize(
    ("between", "parts", "fired"),
    [
        (True, [("still", 50), ("rear", 30), ("groom", 20)], [80]),
        (False, [("still", 50), ("rear", 30), ("groom", 20)], []),
        (False, [("still", 50), ("groom", 20)], [50]),
        (True, [("still", 200), ("groom", 20)], []),  # too late
        (True, [("still", 50), ("rear", 60), ("still", 20), ("groom", 20)], [130]),  # the later beginning counts
        (True, [("still", 20), ("groom", 20), ("rear", 20), ("groom", 20)], [20]),  # used up
    ],
)
def test_a_sequence(between: bool, parts: list[tuple[str, int]], fired: list[int]) -> None:
    steps = [{"behavior": "still"}, {"behavior": "groom", "within_ms": 100}]
    one = rule(on_sequence={"steps": steps, "others_between": between})
    assert [made[0] for made in reasons(Rules([one], CLASSES, armed=True), bouts(*parts))] == fired


def test_how_often_within_a_time() -> None:
    often = rule(on_rate={"behavior": "groom", "n": 3, "within_s": 0.1})
    stream = bouts(*[("groom", 20), ("still", 20)] * 7)
    # Onsets every 40 ms: the third lies 80 ms after the first, and then the count begins anew.
    assert [one[0] for one in reasons(Rules([often], CLASSES, armed=True), stream)] == [80, 200]


def test_set_times_come_whatever_the_animal_does_and_one_that_was_missed_is_stale() -> None:
    yoked = rule(on_times={"session_s": [0.5, 0.1, 0.115]}, max_age_ms=50)
    rules = Rules([yoked], CLASSES, armed=True)
    rules.begin(0)
    # Decided 9 ms after exposure: 0.1 s and 0.115 s have passed at the first set decided then or later.
    assert reasons(rules, [behavior("", t) for t in (50, 90, 100, 110, 600)]) == [
        (100, "fired", "time"), (110, "fired", "time"), (600, "withheld", "stale"),
    ]  # fmt: skip


def test_a_gap_forgets_what_led_to_an_opportunity_and_no_limit() -> None:
    steps = [{"behavior": "still"}, {"behavior": "groom", "within_ms": 10_000}]
    rules = Rules([rule(on_sequence={"steps": steps}), RULE.model_copy(update={"name": "b"})], CLASSES, armed=True)
    stream = [behavior("still", 0), behavior("groom", 100), behavior("still", 200)]
    stream += [behavior("still", 300, reset=True, gap_frames=9), behavior("groom", 400)]
    assert [(made[0], made[2]) for made in reasons(rules, stream)] == [
        (100, "sequence"), (100, "onset"), (400, "sequence"), (400, "refractory"),
    ]  # fmt: skip
    rules = Rules([rule(on_exit="groom")], CLASSES, armed=True)
    cut = [behavior("groom", 0), behavior("still", 500, reset=True, gap_frames=9)]
    assert reasons(rules, cut) == []  # an end that nobody saw


def test_probability_of_another_class_and_the_label_of_the_moment() -> None:
    p = rule(on_enter="groom", when={"probability": {"behavior": "rear", "max": 0.2}})
    label = rule(name="b", on_times={"session_s": [0.0]}, when={"label": ["rear"]})
    rules = Rules([p, label], CLASSES, armed=True)
    assert reasons(rules, [behavior("groom", 0, p=(0.1, 0.6, 0.3))]) == [
        (0, "withheld", "probability"), (0, "withheld", "label"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([], "position unknown"),
        ([tracks(950, 50)], "onset"),
        ([tracks(950, 150)], "zone"),
        ([tracks(950, 50, valid=False)], "position unknown"),
        ([tracks(899, 50)], "position unknown"),  # 101 ms old
        ([tracks(950, 50), tracks(980, 150)], "zone"),  # the newest counts
    ],
)
def test_a_zone_in_millimetres(told: list[Tracks], reason: str) -> None:
    inside = rule(on_enter="groom", when={"zones": [{"zone": "nest"}]})
    rules = Rules([inside], CLASSES, armed=True, zones=ZONES)
    rules.step(behavior("still", 890))
    for one in told:
        rules.tracked(one)
    assert rules.step(behavior("groom", 1000))[0].reason == reason


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ((Box("cam0", 30, 30, 20, 20, True),), "onset"),  # its middle lies at 40, 40
        ((Box("cam0", 45, 30, 20, 20, True),), "zone"),
        ((Box("cam0", 30, 30, 20, 20, False),), "position unknown"),
        ((Box("cam1", 30, 30, 20, 20, True),), "position unknown"),
    ],
)
def test_a_zone_in_pixels_of_a_view(boxes: tuple[Box, ...], reason: str) -> None:
    inside = rule(on_enter="groom", when={"zones": [{"zone": "left"}]})
    rules = Rules([inside], CLASSES, armed=True, zones=ZONES)
    assert rules.step(behavior("groom", 0, boxes=boxes))[0].reason == reason


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_a_polygon_is_inside_where_it_winds_round_the_point(x: float, y: float) -> None:
    """Against the sum of angles, on a star that is not convex."""
    star = [(1.0, 0.0), (0.2, 0.2), (0.0, 1.0), (-0.2, 0.2), (-1.0, 0.0), (-0.2, -0.2), (0.0, -1.0), (0.2, -0.2)]
    corners = np.array(star) - (x, y)
    edges = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * edges[:, 1] - corners[:, 1] * edges[:, 0]
    if np.abs(cross).min() < 1e-6:
        return  # on an edge, or in line with one
    turns = np.arctan2(cross, (corners * edges).sum(axis=1)).sum() / (2 * np.pi)
    assert inside(star, x, y) == (abs(turns) > 0.5)


def test_a_rule_that_waits_for_another() -> None:
    first = rule(on_enter="groom")
    then = rule(name="then", on_enter="rear", when={"rules": [{"rule": "puff", "within_ms": 100}]})
    never = rule(name="never", on_enter="rear", when={"rules": [{"rule": "puff", "not_within_ms": 100}]})
    rules = Rules([first, then, never], CLASSES, armed=True)
    stream = [behavior("rear", 0), behavior("groom", 100), behavior("rear", 200), behavior("rear", 201)]
    stream += [behavior("still", 290), behavior("rear", 301)]
    assert [(one.set_id, one.rule, one.reason) for each in stream for one in rules.step(each)] == [
        (0, "then", "other rule"), (0, "never", "onset"), (100, "puff", "onset"), (200, "then", "onset"),
        (200, "never", "other rule"), (301, "then", "other rule"), (301, "never", "onset"),
    ]  # fmt: skip


def test_a_session_window_counts_from_the_common_start_to_the_decision() -> None:
    rules = Rules([rule(on_enter="groom", when={"session": {"from_s": 1, "to_s": 2}})], CLASSES, armed=True)
    rules.begin(10_000 * MS)
    stream = [behavior(label, t) for t in (10_980, 10_995, 11_985, 11_995) for label in ("still", "groom")]
    assert [made[2] for made in reasons(rules, stream)] == ["session time", "onset", "onset", "session time"]


LEVEL = {"line": {"kind": "level", "line": "in0"}}
EDGE = {"line": {"kind": "edge", "line": "in0", "for_s": 0.5}}


@pytest.mark.parametrize(
    ("arming", "events", "armed"),
    [
        (LEVEL, [], False),  # no board, no arming
        (LEVEL, [pulse(0, "trigger")], False),  # its level is not known yet
        (LEVEL, [pulse(0)], True),
        (LEVEL, [pulse(0), pulse(5, rising=False)], False),
        ({"line": {**LEVEL["line"], "armed_when": "low"}}, [pulse(0, rising=False)], True),
        (LEVEL, [pulse(0), 2001], False),  # the board has fallen silent
        (LEVEL, [pulse(0), pulse(1500, "trigger"), 2001], True),
        (LEVEL, [pulse(0), 2001, pulse(2100, "trigger")], False),  # who knows what the line did meanwhile
        (LEVEL, [pulse(0), pulse(5, "trigger", n_lost=1)], False),  # it may have been the edge that disarms
        (LEVEL, [pulse(0), pulse(5, "trigger", n_lost=1), pulse(9, "trigger")], False),
        (LEVEL, [pulse(0), pulse(5, n_lost=1)], True),  # what was lost came before this edge
        (LEVEL, [pulse(0), 1900, (False, 1950 * MS), (True, 2100 * MS)], False),  # silent, and nobody looked since
        (EDGE, [pulse(0), pulse(5, "trigger", n_lost=1)], True),
        (EDGE, [pulse(0)], True),
        (EDGE, [pulse(0), 499], True),
        (EDGE, [pulse(0), 500], False),
        (EDGE, [pulse(0), pulse(300, rising=False), pulse(400), 800], True),
        ({"at_start": False}, [], False),
        ({"at_start": False}, [(True, 5)], True),
        ({}, [(False, 5)], False),
        ({**LEVEL, "at_start": False}, [pulse(0)], False),
        ({**LEVEL, "windows": [{"from_s": 1}]}, [pulse(0)], False),
        ({**LEVEL, "windows": [{"from_s": 1}]}, [pulse(0), 1000], True),
    ],
)
def test_person_schedule_and_line_have_to_agree(
    arming: dict[str, Any], events: list[SyncPulse | tuple[bool, int] | int], armed: bool
) -> None:
    rules = Rules([RULE], CLASSES, True, arming=ArmingConfig.model_validate(arming))
    rules.begin(0)
    for event in events:
        if isinstance(event, int):
            rules.tick(event * MS)
        else:
            tell(rules, event)
    assert rules.armed == armed
    said = [one.armed for one in rules.take_changes()]
    assert said[-1] == armed


@pytest.mark.parametrize("known", ["by the pulse", "before"])
@pytest.mark.parametrize(
    ("arming", "heard_ms", "until_ms", "late_ms"),
    [
        (EDGE, 0, 500, 490),  # its time was over before it was heard of
        (EDGE, 0, 480, 100),
        ({**LEVEL, "windows": [{"to_s": 1}]}, 0, 1000, 990),
        (LEVEL, 0, 2500, 100),  # the board has been silent since, so it may have fallen again
    ],
)
def test_a_pulse_that_comes_late_arms_for_nothing_that_is_past(
    arming: dict[str, Any], heard_ms: int, until_ms: int, late_ms: int, known: str
) -> None:
    rules = Rules([RULE], CLASSES, True, arming=ArmingConfig.model_validate(arming))
    rules.begin(0)
    if known == "before":
        rules.pulse(pulse(heard_ms, rising="for_s" not in arming["line"]), until_ms * MS)
    rules.tick((until_ms + 20) * MS)
    rules.take_changes()
    rules.pulse(pulse(late_ms), (until_ms + 30) * MS)
    left = "for_s" in arming["line"] and late_ms + 500 > until_ms + 20
    assert rules.armed == left
    assert [(one.armed, one.t_ns) for one in rules.take_changes()] == ([(True, (until_ms + 20) * MS)] if left else [])
    rules.tick((late_ms + 500) * MS)
    if "for_s" in arming["line"]:
        assert not rules.armed


def test_a_snapshot_that_kept_less_of_arming_is_restored() -> None:
    live = Rules([RULE], CLASSES, True, arming=ArmingConfig.model_validate(LEVEL))
    live.begin(0)
    live.pulse(pulse(10))
    state = live.snapshot()
    replayed = Rules([RULE], CLASSES, True, arming=ArmingConfig.model_validate(LEVEL))
    replayed.restore({**state, "arming": state["arming"][:8]})
    assert replayed.armed
    replayed.tick(2011 * MS)
    assert not replayed.armed


ABOVE_ALL = st.lists(
    st.tuples(
        st.integers(0, 900),  # ms until it is heard
        st.sampled_from([0, 0, 0, -300, 50, 10**7]),  # ms by which its time is wrong
        st.sampled_from(["in0", "in0", "trigger"]),
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 7]),  # lost
    ),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(ABOVE_ALL)
def test_a_level_arms_only_while_it_is_known_whatever_the_board_says_of_time(
    heard: list[tuple[int, int, str, bool, int]],
) -> None:
    """Known: told by the last edge of the line, nothing lost since, and the board heard of late, by rig time."""
    rules = Rules([RULE], CLASSES, True, arming=ArmingConfig.model_validate(LEVEL))
    rules.begin(0)
    now_ms, level, last_ms = 0, False, -10_000
    for after_ms, wrong_ms, line, rising, n_lost in heard:
        then_ms, now_ms = now_ms, now_ms + after_ms
        for t_ms in (*range(then_ms, now_ms, 40), now_ms):
            rules.tick(t_ms * MS)
            assert not rules.armed or (level and t_ms - last_ms <= 2000), t_ms
        rules.pulse(pulse(now_ms + wrong_ms, line, rising=rising, n_lost=n_lost), now_ms * MS)
        level = rising if line == "in0" else level and not n_lost
        last_ms = now_ms
        assert not rules.armed or level
        if wrong_ms in (0, 50) and line == "in0":
            assert rules.armed == rising
    for later_ms in range(now_ms, now_ms + 5000, 40):
        rules.tick(later_ms * MS)
    assert not rules.armed, "the board has been silent for long"


def test_who_arms_against_the_schedule_is_told_by_whom_the_rules_are_held() -> None:
    rules = Rules([RULE], CLASSES, False, arming=ArmingConfig.model_validate({"windows": [{"from_s": 9}]}))
    rules.begin(0, 100)
    rules.set_armed(True, "person", 200)
    rules.tick(9000 * MS)
    rules.set_armed(False, "person", 9_500 * MS)
    assert [(one.armed, one.by) for one in rules.take_changes()] == [
        (False, "start"), (False, "schedule"), (True, "schedule"), (False, "person"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="cannot be armed by 'robot'"):
        rules.set_armed(True, "robot", 0)


def test_a_process_that_was_started_again_waits_for_a_person_whatever_schedule_and_line_say() -> None:
    rules = Rules([RULE], CLASSES, False, arming=ArmingConfig.model_validate({**LEVEL, "windows": [{"from_s": 0}]}))
    rules.begin(0, 50 * MS)
    for t_ms in range(100, 3000, 100):
        rules.pulse(pulse(t_ms))
        rules.tick(t_ms * MS)
        assert not rules.armed
    rules.set_armed(True, "person", 3000 * MS)
    assert rules.armed


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
