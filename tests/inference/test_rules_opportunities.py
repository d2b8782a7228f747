"""What makes an opportunity: on what, how often, and how long after."""

import pytest
from ethostream.inference.rules.engine import Rules
from rule_streams import CLASSES, RULE, behavior, bouts, reasons, rule


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
