"""What must hold at an opportunity: probability, label, place, other rules, the session's time."""

import numpy as np
import pytest
from ethostream.inference.rules.engine import Rules
from ethostream.inference.rules.zones import inside
from ethostream.streaming.messages import Box, Tracks
from hypothesis import given
from hypothesis import strategies as st
from rule_streams import CLASSES, MS, ZONES, behavior, reasons, rule, tracks


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
