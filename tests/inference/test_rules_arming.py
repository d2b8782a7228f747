"""Rules are armed only while person, schedule and line agree, and the line is known."""

from typing import Any

import pytest
from ethostream.inference.rules.arming_config import ArmingConfig
from ethostream.inference.rules.engine import Rules
from ethostream.streaming.messages import SyncPulse
from ethostream.sync.errors import ConfigError
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_streams import CLASSES, MS, RULE, pulse, tell

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
