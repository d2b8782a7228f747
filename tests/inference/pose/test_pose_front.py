"""Features over blocks: the same however they are cut, causal, finite, and alike where animals change places."""

import re
from typing import Any

import numpy as np
import pytest
from ethostream.inference.pose.pose_front import PoseFront
from ethostream.inference.state_bytes import differing, pack_state, unpack_state
from ethostream.sync.errors import ConfigError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pose_worlds import ALIKE, IN_ORDER, RATE_HZ, Steps, animals_at, any_points, cuts_of, front_of, pose_input

MOVING = re.compile(r"((low|high|sum|animal\d)\.)?(speed|turn)\(|change\(|deviation\(|relative_speed\(")
FRONTS: dict[str, PoseFront] = {
    "alike": front_of(ALIKE),
    "in_order": front_of(IN_ORDER, identity="tracker", fill={"max_fill_ms": 0.0}),
}


def whole(front: PoseFront, points: NDArray[np.float32]) -> NDArray[np.float32]:
    front.reset()
    return front.block(points)


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", FRONTS)
@given(points=any_points(), places=st.lists(st.integers(0, 60), max_size=12))
@settings(max_examples=40, deadline=None)
def test_values_do_not_depend_on_how_a_recording_is_cut(
    kind: str, points: NDArray[np.float32], places: list[int]
) -> None:
    front = FRONTS[kind]
    expected = whole(front, points)
    front.reset()
    parts = [front.block(points[cut]) for cut in cuts_of(len(points), places)]
    assert same_bits(np.concatenate(parts), expected)


@pytest.mark.parametrize("kind", FRONTS)
def test_a_block_of_one_frame_is_the_live_step(kind: str) -> None:
    """Long enough that every memory is full, and blocks reach the widths at which numpy takes other paths."""
    front, points = FRONTS[kind], animals_at(300, seed=3)
    expected = whole(front, points)
    front.reset()
    assert same_bits(np.stack([front.step(frame) for frame in points]), expected)
    front.reset()
    parts = [front.block(points[first : first + 7]) for first in range(0, len(points), 7)]
    assert same_bits(np.concatenate(parts), expected)


@pytest.mark.parametrize("kind", FRONTS)
@given(points=any_points(), other=any_points(), at=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_the_future_never_changes_the_past(
    kind: str, points: NDArray[np.float32], other: NDArray[np.float32], at: int
) -> None:
    front = FRONTS[kind]
    past = points[:at]
    changed = np.concatenate([past, other])
    assert same_bits(whole(front, changed)[: len(past)], whole(front, points)[: len(past)])


@pytest.mark.parametrize("kind", FRONTS)
@given(points=any_points(), at=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_every_value_is_finite_and_a_snapshot_goes_on_bit_for_bit(
    kind: str, points: NDArray[np.float32], at: int
) -> None:
    front = FRONTS[kind]
    expected = whole(front, points)
    assert np.isfinite(expected).all()
    front.reset()
    fresh = front.snapshot()
    first = front.block(points[:at])
    kept = unpack_state(pack_state(front.snapshot()))
    assert not differing(fresh, kept)
    front.block(animals_at(5, seed=9))
    front.restore(kept)
    kept.clear()
    assert same_bits(np.concatenate([first, front.block(points[at:])]), expected)


@given(points=any_points(apart=True))
@settings(max_examples=40, deadline=None)
def test_animals_that_change_places_for_good_change_nothing(points: NDArray[np.float32]) -> None:
    front = FRONTS["alike"]
    assert np.array_equal(whole(front, points), whole(front, points[:, ::-1]))


def test_animals_in_order_do_change_places() -> None:
    front, points = FRONTS["in_order"], animals_at(20)
    assert not np.array_equal(whole(front, points), whole(front, points[:, ::-1]))


@given(swaps=st.lists(st.booleans(), min_size=60, max_size=60))
@settings(max_examples=20, deadline=None)
def test_a_tracker_that_exchanges_animals_changes_nothing(swaps: list[bool]) -> None:
    front, points = FRONTS["alike"], animals_at(60, seed=4, missing=0.1)
    points[0, :, :, :2] = np.nan_to_num(points[0, :, :, :2], nan=100.0)
    points[0, :, :, 2] = 1.0
    exchanged = np.where(np.array([False, *swaps[1:]])[:, None, None, None], points[:, ::-1], points)
    assert np.array_equal(whole(front, points), whole(front, exchanged))


@pytest.mark.parametrize("steps", [ALIKE, IN_ORDER])
def test_what_stands_still_stays_as_it_is(steps: Steps) -> None:
    """Of constant input every value is constant, and every speed 0."""
    points = np.repeat(animals_at(1, seed=2, missing=0.0), 200, axis=0)
    front = front_of(steps, scale={"path": ["nose", "hip"], "start_px": 50.0, "weight_s": None})
    x = front.block(points)
    settled = [place for place, name in enumerate(front.names) if not name.startswith(("smooth(", "deviation("))]
    assert np.array_equal(x[:, settled], np.repeat(x[:1, settled], 200, axis=0))
    assert x == pytest.approx(np.repeat(x[:1], 200, axis=0), abs=1e-6)
    moving = [place for place, name in enumerate(front.names) if MOVING.match(name)]
    assert moving and np.abs(x[:, moving]).max() < 1e-6


@pytest.mark.parametrize(("n", "missing"), [(1, 1.1), (50, 1.1), (1, 0.0)])
def test_nothing_seen_and_a_single_frame_are_answered(n: int, missing: float) -> None:
    points = animals_at(n, missing=missing)
    for front in FRONTS.values():
        x = whole(front, points)
        assert x.shape == (len(points), front.dims) and np.isfinite(x).all()


def test_no_frames_give_no_values_and_leave_no_trace() -> None:
    front, points = FRONTS["alike"], animals_at(30)
    expected = whole(front, points)
    front.reset()
    assert front.block(points[:0]).shape == (0, front.dims)
    first = front.block(points[:10])
    front.block(points[:0])
    assert same_bits(np.concatenate([first, front.block(points[10:])]), expected)


def test_every_value_has_a_name_of_its_own() -> None:
    for front in FRONTS.values():
        assert len(front.names) == front.dims == len(set(front.names))


@pytest.mark.parametrize("n_animals", [1, 3])
def test_one_animal_and_three(n_animals: int) -> None:
    steps: Steps = [
        ("pose_presence", 1, {"animals": ["each", "sorted", "sum"]}),
        ("pose_distances", 1, {"own": True, "animals": ["sorted"]}),
        ("pose_motion", 1, {"places": ["neck"], "along": [["hip", "neck"]], "animals": ["sorted", "sum"]}),
        ("pose_egocentric", 1, {"origin": "hip", "axis": ["hip", "neck"]}),
        ("pose_position", 1, {"place": "hip"}),
        ("pose_spread", 1, {}),
        ("pose_context", 1, {"of": ["*speed*"], "smooth_s": [0.5]}),
    ]
    front, points = front_of(steps, n_animals=n_animals), animals_at(60, n_animals)
    x = whole(front, points)
    assert np.isfinite(x).all()
    front.reset()
    assert same_bits(np.concatenate([front.block(points[:13]), front.block(points[13:])]), x)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (("pose_distances", 1, {"pairs": [["nose", "beak"]]}), "'beak' is not among"),
        (("pose_distances", 1, {"pairs": [["nose", "partner.nose"]]}), "between two animals"),
        (("pose_distances", 1, {"nearest": [[["nose"], ["hip"]]]}), "between two animals"),
        (("pose_contact", 1, {"pairs": [[["nose"], ["hip"]]]}), "between two animals"),
        (("pose_motion", 1, {"places": ["nose"], "together": True}), "between two animals"),
        (("pose_motion", 1, {"places": ["nose"], "matched": "hip"}), "between two animals"),
        (("pose_motion", 1, {"places": ["nose"], "lags_s": [0.0]}), "greater than 0"),
        (("pose_motion", 1, {"places": [], "lags_s": [0.1]}), "at least 1 item"),
        (("pose_presence", 1, {"points": []}), "no point"),
        (("pose_presence", 1, {"twins": True}), "between two animals"),
        (("pose_spread", 1, {"each": False, "group": False}), "measures nothing"),
        (("pose_context", 1, {"of": ["*nose*"], "smooth_s": [1.0]}), "no step before it gives"),
        (("pose_position", 1, {"place": "nose", "arena_px": [5.0, 0.0, 5.0, 9.0]}), "is empty"),
        (("pose_egocentric", 1, {"origin": [], "axis": ["hip", "neck"]}), "no keypoints"),
    ],
)
def test_steps_that_do_not_suit_one_animal_are_refused(step: tuple[str, int, dict[str, Any]], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        front_of([step], n_animals=1)


def test_led_needs_to_know_who_leads() -> None:
    with pytest.raises(ConfigError, match="needs lead"):
        front_of([("pose_spread", 1, {"animals": ["led"]})])


def test_points_of_another_form_are_refused() -> None:
    with pytest.raises(ConfigError, match="the model takes"):
        FRONTS["alike"].block(animals_at(3, n_animals=1))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"keypoints": ["nose", "nose"]}, "stands twice"),
        ({"scale": {"path": ["nose", "ear"], "start_px": 9.0}}, "ear"),
        ({"n_animals": 3, "identity": "nearest"}, "for two animals"),
    ],
)
def test_inputs_that_contradict_themselves_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        pose_input(**changes)


def test_times_are_the_same_at_any_rate() -> None:
    """A walk sampled twice as often has the same speeds, since lags are times."""
    steps: Steps = [("pose_motion", 1, {"places": ["neck"], "lags_s": [0.2]})]
    at_30, at_60 = front_of(steps, rate_hz=RATE_HZ), front_of(steps, rate_hz=2 * RATE_HZ)
    walk = np.repeat(animals_at(1, missing=0.0), 120, axis=0)
    walk[..., 0] += np.arange(120)[:, None, None]
    assert at_60.block(walk)[-1] == pytest.approx(at_30.block(walk[::2])[-1], rel=1e-5)
