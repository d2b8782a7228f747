"""Every feature against a case that can be reckoned by hand. Keypoints: nose, neck, hip, tail; body length 10 px."""

from math import atan2, cos, log, log1p, pi, sin, sqrt
from typing import Any

import numpy as np
import pytest
from ethostream.inference.cropper import State
from ethostream.inference.pose.pose_front import PoseFront
from ethostream.inference.pose.registry import (
    layout_of,
    make_pose_feature,
    pose_specs_of,
)
from ethostream.sync.errors import ConfigError
from numpy.typing import NDArray
from pose_worlds import ALIKE, KEYPOINTS, RATE_HZ, Steps, pose_input

NAN = float("nan")
FIRST = [(20.0, 0.0), (10.0, 0.0), (0.0, 0.0), (-10.0, 0.0)]
SECOND = [(20.0, 40.0), (20.0, 30.0), (20.0, 20.0), (20.0, 10.0)]
Animal = list[tuple[float, float]]


def front(steps: Steps, n_animals: int = 2, rate_hz: float = RATE_HZ, **changes: Any) -> PoseFront:
    options: dict[str, Any] = {
        "identity": "tracker",
        "fill": {"max_fill_ms": 1000.0},
        "scale": {"path": ["nose", "neck"], "start_px": 10.0, "weight_s": None},
    }
    pose = pose_input(n_animals, **(options | changes))
    return PoseFront(pose, pose_specs_of(steps, pose, rate_hz), rate_hz)


def frames(*animals: list[Animal] | Animal, n: int = 1) -> NDArray[np.float32]:
    """Animals that stand (one list of points) or move (a list of them by frame); likelihood 0.8."""
    rows = [one if isinstance(one[0], list) else [one] * n for one in animals]
    points = np.array(rows, np.float32).swapaxes(0, 1)
    return np.concatenate([points, np.full((*points.shape[:-1], 1), 0.8, np.float32)], axis=-1)


def values(which: PoseFront, points: NDArray[np.float32]) -> dict[str, float]:
    """Of the last frame, by name."""
    return dict(zip(which.names, map(float, which.block(points)[-1]), strict=True))


def shifted(animal: Animal, by: float, along: int = 0) -> Animal:
    return [(x + by * (along == 0), y + by * (along == 1)) for x, y in animal]


def test_presence() -> None:
    steps: Steps = [("pose_presence", 1, {"since_s": [0.5], "likelihood": True, "animals": ["each", "sum"]})]
    points = frames(FIRST, SECOND, n=4)
    points[:, 0, 1:, 0] = NAN
    points[1:, 1, :, :2] = NAN
    found = values(front(steps), points)
    assert [found[f"animal0.seen({name})"] for name in KEYPOINTS] == [1, 0, 0, 0]
    assert [found[f"sum.seen({name})"] for name in KEYPOINTS] == [1, 0, 0, 0]
    assert found["animal0.seen_share"] == 0.25 and found["animal1.seen_share"] == 0
    assert found["animal0.since(0.5s)"] == 0
    assert found["animal1.since(0.5s)"] == pytest.approx(0.1 / 0.6)
    assert found["animal0.likelihood"] == pytest.approx(0.2)
    each = front([("pose_presence", 1, {"point_likelihood": True, "per_point": False, "since_s": []})])
    last = values(each, points)
    assert [last[f"animal0.likelihood({name})"] for name in KEYPOINTS] == pytest.approx([0.8, 0, 0, 0])


def test_a_likelihood_below_the_least_is_a_missing_point() -> None:
    steps: Steps = [("pose_presence", 1, {"per_point": False, "since_s": []})]
    points = frames(FIRST, SECOND)
    assert values(front(steps, fill={"min_likelihood": 0.9}), points)["animal0.seen_share"] == 0
    assert values(front(steps, fill={"min_likelihood": 0.7}), points)["animal0.seen_share"] == 1


def test_places_that_share_a_point_stay_apart() -> None:
    """Also over steps: a place is measured once in a block, whoever asks."""
    pairs = [["nose", "tail"], [["nose", "neck"], "tail"], ["nose", "hip"], ["partner.nose", "neck"]]
    steps: Steps = [("pose_distances", 1, {"pairs": pairs[:2]}), ("pose_distances", 1, {"pairs": pairs[2:]})]
    found = values(front(steps), frames(FIRST, SECOND))
    assert found == pytest.approx(
        {
            "animal0.distance(nose,tail)": 3.0,
            "animal1.distance(nose,tail)": 3.0,
            "animal0.distance(nose+neck,tail)": 2.5,
            "animal1.distance(nose+neck,tail)": 2.5,
            "animal0.distance(nose,hip)": 2.0,
            "animal1.distance(nose,hip)": 2.0,
            "animal0.distance(partner.nose,neck)": sqrt(10**2 + 40**2) / 10,
            "animal1.distance(partner.nose,neck)": sqrt(30**2) / 10,
        }
    )


def test_distances() -> None:
    steps: Steps = [
        (
            "pose_distances",
            1,
            {
                "pairs": [["nose", "tail"], [["neck", "hip"], "partner.nose"], ["hip", "partner.hip"]],
                "nearest": [[["nose"], ["hip", "tail"]], [["nose", "tail"], ["nose", "tail"]]],
            },
        )
    ]
    found = values(front(steps), frames(FIRST, SECOND))
    assert found == pytest.approx(
        {
            "animal0.distance(nose,tail)": 3.0,
            "animal1.distance(nose,tail)": 3.0,
            "animal0.distance(neck+hip,partner.nose)": sqrt(15**2 + 40**2) / 10,
            "animal1.distance(neck+hip,partner.nose)": 2.5,
            "animal0.nearest(nose,hip+tail)": 1.0,
            "animal1.nearest(nose,hip+tail)": sqrt(20**2 + 40**2) / 10,
            "distance(hip,partner.hip)": sqrt(20**2 + 20**2) / 10,
            "nearest(nose+tail,nose+tail)": 1.0,
        }
    )


def test_orders_of_animals() -> None:
    lead = {"points": ["nose"], "near": ["hip", "tail"]}
    options = {"pairs": [["neck", "partner.nose"]], "animals": ["sorted", "sum", "led"], "lead": lead}
    steps: Steps = [("pose_distances", 1, options)]
    far, near = sqrt(10**2 + 40**2) / 10, 3.0
    for points in (frames(FIRST, SECOND), frames(SECOND, FIRST)):
        found = values(front(steps), points)
        orders = ("low", "high", "sum", "first", "second")
        assert list(found) == [f"{order}.distance(neck,partner.nose)" for order in orders]
        # The nose of the first is nearer to the tail of the second than the other way round.
        assert list(found.values()) == pytest.approx([near, far, near + far, far, near])


@pytest.mark.parametrize(
    ("squash", "expected"), [("none", 3.0), ("root", sqrt(3.0 / 0.5)), ("log", log(1.0 + 3.0 / 0.5))]
)
def test_squashes(squash: str, expected: float) -> None:
    steps: Steps = [("pose_distances", 1, {"pairs": [["nose", "tail"]], "squash": squash, "squash_unit": 0.5})]
    assert values(front(steps), frames(FIRST, SECOND))["animal0.distance(nose,tail)"] == pytest.approx(expected)


def test_squash_keeps_the_sign() -> None:
    steps: Steps = [("pose_egocentric", 1, {"origin": "neck", "axis": ["hip", "neck"], "squash": "root"})]
    found = values(front(steps), frames(FIRST, SECOND))
    assert found["animal0.ahead(tail)"] == pytest.approx(-sqrt(2.0 / 0.1))


def test_contact() -> None:
    pairs = [[["nose"], ["tail", "hip"]], [["nose", "tail"], ["nose", "tail"]]]
    steps: Steps = [("pose_contact", 1, {"pairs": pairs, "below": [1.5]})]
    found = values(front(steps), frames(FIRST, SECOND))
    assert found == pytest.approx(
        {
            "animal0.contact(nose,tail+hip,1.5)": 1.0,
            "animal0.overlap(nose,tail+hip,1.5)": 0.5,
            "animal1.contact(nose,tail+hip,1.5)": 0.0,
            "animal1.overlap(nose,tail+hip,1.5)": 0.0,
            "contact(nose+tail,nose+tail,1.5)": 1.0,
            "overlap(nose+tail,nose+tail,1.5)": 0.25,
        }
    )


def test_egocentric() -> None:
    steps: Steps = [
        ("pose_egocentric", 1, {"origin": "hip", "axis": ["hip", "neck"], "points": ["nose"], "partner": ["nose"]})
    ]
    found = values(front(steps), frames(FIRST, SECOND))
    # The first looks along x; the second down the image, where its left is along x.
    assert found == pytest.approx(
        {
            "animal0.ahead(nose)": 2.0,
            "animal0.aside(nose)": 0.0,
            "animal0.ahead(partner.nose)": 2.0,
            "animal0.aside(partner.nose)": 4.0,
            "animal1.ahead(nose)": 2.0,
            "animal1.aside(nose)": 0.0,
            "animal1.ahead(partner.nose)": -2.0,
            "animal1.aside(partner.nose)": 0.0,
        }
    )


def test_egocentric_does_not_change_when_the_picture_is_turned_or_moved() -> None:
    steps: Steps = [("pose_egocentric", 1, {"origin": "hip", "axis": ["hip", "neck"]})]
    points = frames(FIRST, SECOND)
    turned = points.copy()
    c, s = cos(0.7), sin(0.7)
    turned[..., 0] = 300 + c * points[..., 0] - s * points[..., 1]
    turned[..., 1] = 200 + s * points[..., 0] + c * points[..., 1]
    assert values(front(steps), turned) == pytest.approx(values(front(steps), points), abs=1e-5)


def test_an_axis_without_length_gives_zero() -> None:
    steps: Steps = [("pose_egocentric", 1, {"origin": "hip", "axis": ["hip", "hip"]})]
    assert set(values(front(steps), frames(FIRST, SECOND)).values()) == {0.0}


@pytest.mark.parametrize(("mirrored", "sine"), [(False, -1.0), (True, 1.0)])
def test_angles(mirrored: bool, sine: float) -> None:
    between = [[["hip", "neck"], ["partner.neck", "partner.hip"]], [["hip", "neck"], ["nose", ["partner.nose"]]]]
    steps: Steps = [("pose_angles", 1, {"between": between, "mirrored": mirrored})]
    found = values(front(steps), frames(FIRST, SECOND))
    assert found["animal0.cos(hip>neck,partner.neck>partner.hip)"] == pytest.approx(0.0, abs=1e-7)
    assert found["animal0.sin(hip>neck,partner.neck>partner.hip)"] == pytest.approx(sine)
    assert found["animal0.cos(hip>neck,nose>partner.nose)"] == pytest.approx(0.0, abs=1e-7)
    assert found["animal1.cos(hip>neck,nose>partner.nose)"] == pytest.approx(-1.0)


def test_spread() -> None:
    found = values(front([("pose_spread", 1, {"points": ["nose", "tail"]})]), frames(FIRST, SECOND))
    assert found["animal0.spread"] == pytest.approx(1.5)
    x, y = np.array([20, -10, 20, 20]) / 10, np.array([0, 0, 40, 10]) / 10
    a, b = np.var(x), np.var(y)
    c = np.mean((x - x.mean()) * (y - y.mean()))
    assert found["group_spread"] == pytest.approx(sqrt(a + b))
    assert found["group_elongation"] == pytest.approx(sqrt((a - b) ** 2 + 4 * c**2) / (a + b))


def test_the_spread_of_the_group_does_not_ask_whose_a_point_is() -> None:
    mixed = [FIRST[0], SECOND[1], FIRST[2], SECOND[3]], [SECOND[0], FIRST[1], SECOND[2], FIRST[3]]
    which = front([("pose_spread", 1, {"each": False})])
    expected = values(which, frames(FIRST, SECOND))
    which.reset()
    assert values(which, frames(*mixed)) == pytest.approx(expected)


WALK = [shifted(FIRST, 2.0 * t) for t in range(12)]


def test_motion() -> None:
    """2 px a frame are 6 body lengths a second; the partner walks as fast down the image."""
    along = [["hip", "neck"], ["neck", "partner.neck"]]
    options = {"places": ["neck"], "lags_s": [0.1], "along": along, "together": True}
    steps: Steps = [("pose_motion", 1, options)]
    down = [shifted(SECOND, 2.0 * t, along=1) for t in range(12)]
    found = values(front(steps), frames(WALK, down))
    assert found["animal0.speed(neck,0.1s)"] == pytest.approx(6.0)
    assert found["animal0.speed(neck,0.1s,hip>neck)"] == pytest.approx(6.0)
    toward = (20 - 32, 52) / np.hypot(20 - 32, 52)
    assert found["animal0.speed(neck,0.1s,neck>partner.neck)"] == pytest.approx(6.0 * toward[0], rel=1e-5)
    assert found["animal1.speed(neck,0.1s,neck>partner.neck)"] == pytest.approx(-6.0 * toward[1], rel=1e-5)
    assert found["relative_speed(neck,0.1s)"] == pytest.approx(sqrt(72.0))
    assert found["parallel(neck,0.1s)"] == pytest.approx(0.0, abs=1e-6)
    together = values(front(steps), frames(WALK, [shifted(SECOND, 2.0 * t) for t in range(12)]))
    assert together["parallel(neck,0.1s)"] == pytest.approx(1.0, rel=1e-3)


def test_a_change_of_speed_is_one_of_direction_as_well() -> None:
    """It walks along x, then down the image as fast; over three frames on either side of the corner."""
    corner = [shifted(FIRST, 2.0 * t) for t in range(8)] + [
        shifted(shifted(FIRST, 14.0), 2.0 * t, along=1) for t in range(1, 9)
    ]
    options = {"places": ["neck"], "lags_s": [0.1], "speed": False, "change": True}
    changes = front([("pose_motion", 1, options)], n_animals=1).block(frames(corner))[:, 0]
    assert changes[6:8] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert changes[10] == pytest.approx(sqrt(72.0), rel=1e-5)
    assert changes[13:] == pytest.approx([0.0] * 3, abs=1e-5)


def test_a_speed_that_cannot_be_is_cut() -> None:
    steps: Steps = [("pose_motion", 1, {"places": ["neck"], "lags_s": [0.034], "max_speed": 5.0})]
    found = values(front(steps), frames(WALK, [SECOND] * 12))
    assert found["animal0.speed(neck,0.034s)"] == pytest.approx(5.0)


def test_a_point_that_comes_back_has_moved_for_all_the_time_it_was_missing() -> None:
    steps: Steps = [("pose_motion", 1, {"places": ["neck"], "lags_s": [0.034], "max_speed": 50.0})]
    points = frames(WALK, [SECOND] * 12)
    points[5:11, 0, :, :2] = NAN
    speed = front(steps).block(points)[:, 0]
    assert speed[4] == pytest.approx(6.0)
    assert speed[5:11].tolist() == [0.0] * 6
    assert speed[11] == pytest.approx(6.0)


def test_motion_of_animals_that_were_exchanged() -> None:
    points = frames(WALK, [SECOND] * 12)
    points[8:] = points[8:, ::-1]
    options = {"places": ["neck"], "lags_s": [0.1], "animals": ["sorted"], "max_speed": 90.0}
    matched = front([("pose_motion", 1, options | {"matched": ["neck", "hip"]})]).block(points)
    assert matched[3:] == pytest.approx(np.repeat([[0.0, 6.0]], 9, axis=0), abs=1e-5)
    assert front([("pose_motion", 1, options)]).block(points)[9, 1] > 20.0


@pytest.mark.parametrize(("squash", "size"), [("none", 3.0), ("root", sqrt(3.0 / 0.5)), ("log", log1p(3.0 / 0.5))])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turning(mirrored: bool, squash: str, size: float) -> None:
    """A tenth of a radian a frame to the left, which is against the clock."""
    turns = [[(50 * cos(-0.1 * t) * k, 50 * sin(-0.1 * t) * k) for k in (2, 1, 0, -1)] for t in range(40)]
    options = {"segments": [["hip", "neck"]], "lags_s": [0.2], "mirrored": mirrored}
    options |= {"squash": squash, "squash_unit": 0.5}
    rate = front([("pose_turning", 1, options)], n_animals=1).block(frames(turns))[6:, 0]
    assert rate == pytest.approx(np.full(34, size if mirrored else -size), rel=1e-4)


def test_position_in_a_given_arena() -> None:
    options = {"place": "hip", "arena_px": [-100.0, -100.0, 100.0, 300.0], "n_octaves": 2}
    found = values(front([("pose_position", 1, options)]), frames(FIRST, SECOND))
    assert found["animal1.x(hip)"] == pytest.approx(0.6) and found["animal1.y(hip)"] == pytest.approx(0.3)
    for name, place in (("x", 0.6), ("y", 0.3)):
        for factor in (1, 2):
            assert found[f"animal1.sin({name}(hip),{factor})"] == pytest.approx(sin(pi * factor * place), abs=1e-6)
            assert found[f"animal1.cos({name}(hip),{factor})"] == pytest.approx(cos(pi * factor * place), abs=1e-6)
    assert found["animal0.wall(hip)"] == pytest.approx(10.0) and found["animal1.wall(hip)"] == pytest.approx(8.0)


def test_folded_positions_are_alike_in_every_corner() -> None:
    options = {"place": "hip", "arena_px": [0.0, 0.0, 200.0, 100.0], "folded": True}
    which = front([("pose_position", 1, options)], n_animals=1)
    corners = [[(20.0, 10.0)] * 4, [(180.0, 10.0)] * 4, [(20.0, 90.0)] * 4, [(180.0, 90.0)] * 4]
    found = [which.block(frames(one)) for one in corners]
    assert all(one == pytest.approx(found[0], abs=1e-6) for one in found)
    assert found[0][0, 0] == pytest.approx(0.8)


def test_an_arena_is_learnt_from_where_animals_were() -> None:
    """It reaches half a body length beyond, and a missing animal does not move its edges."""
    which = front([("pose_position", 1, {"place": "hip", "n_octaves": 0})], n_animals=1)
    seen = which.block(frames([[(0.0, 0.0)] * 4, [(90.0, 10.0)] * 4, [(45.0, 5.0)] * 4]))
    assert seen[0] == pytest.approx([0.5, 0.5, 0.5])
    assert seen[1] == pytest.approx([95 / 100, 15 / 20, 0.5])
    assert seen[2] == pytest.approx([0.5, 0.5, 1.0])
    given = front([("pose_position", 1, {"place": "hip", "n_octaves": 0, "start_px": [0, 0, 200, 100]})], n_animals=1)
    assert given.block(frames([[(50.0, 50.0)] * 4]))[0] == pytest.approx([0.25, 0.5, 5.0])
    nothing = frames([[(NAN, NAN)] * 4, [(90.0, 10.0)] * 4])
    assert which.block(nothing).shape == (2, 3)
    fresh = front([("pose_position", 1, {"place": "hip", "n_octaves": 0})], n_animals=1)
    assert fresh.block(nothing)[1] == pytest.approx([0.5, 0.5, 0.5])


def test_context_against_its_definition() -> None:
    distance = ("pose_distances", 1, {"pairs": [["nose", "tail"]]})
    context = {
        "of": ["distance*"],
        "smooth_s": [0.2],
        "deviation_s": [0.3],
        "change_s": [0.1],
        "earlier_s": [0.1],
        "highest_s": [0.1, 0.2],
        "lowest_s": [0.1],
    }
    reach = np.random.default_rng(1).uniform(5.0, 50.0, 40)
    which = front([distance, ("pose_context", 1, context)], n_animals=1)
    x = which.block(frames([[(r, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)] for r in reach.tolist()])).astype(np.float64)
    d = x[:, 0]

    def smooth(v: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
        weight, now, found = 1 - np.exp(-1 / (tau_s * RATE_HZ)), v[0], []
        for value in v:
            now = now + weight * (value - now)
            found.append(now)
        return np.array(found)

    past = [d[max(0, t - 3)] for t in range(40)]
    expected = [
        smooth(d, 0.2),
        np.sqrt(np.maximum(smooth(d * d, 0.3) - smooth(d, 0.3) ** 2, 0.0)),
        (d - past) / 0.1,
        past,
        [d[max(0, t - 2) : t + 1].max() for t in range(40)],
        [d[max(0, t - 5) : t + 1].max() for t in range(40)],
        [d[max(0, t - 2) : t + 1].min() for t in range(40)],
    ]
    assert x[:, 1:] == pytest.approx(np.stack(expected, axis=1), rel=1e-5, abs=1e-6)
    assert which.names[1] == "smooth(distance(nose,tail),0.2s)"
    limited = front([distance, ("pose_context", 1, {"of": ["*"], "change_s": [0.1], "change_limit": 3.0})], n_animals=1)
    points = frames([[(r, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)] for r in reach.tolist()])
    assert limited.block(points)[:, 1] == pytest.approx(np.clip(x[:, 3], -3.0, 3.0), rel=1e-6)


def test_who_leads_is_told_by_places() -> None:
    near_the_middle = {"points": ["nose"], "near": [["neck", "hip"]]}
    options = {"pairs": [["neck", "partner.nose"]], "animals": ["led"]}
    first, second = (
        values(front([("pose_distances", 1, options | {"lead": lead})]), frames(FIRST, SECOND))
        for lead in (near_the_middle, {"points": ["tail"], "near": [["neck", "hip"]]})
    )
    assert list(first.values()) == list(reversed(second.values()))
    with pytest.raises(ConfigError, match="without partner"):
        front([("pose_distances", 1, options | {"lead": {"points": ["nose"], "near": ["partner.nose"]}})])


def test_a_step_leaves_the_state_it_was_given_alone() -> None:
    which = front(ALIKE, identity="nearest")
    which.block(frames(WALK, [SECOND] * 12))
    kept: State = which.snapshot()
    again = which.snapshot()
    which.block(frames(WALK, [SECOND] * 12))
    assert all(np.array_equal(kept[name], again[name]) for name in kept)
    feature = make_pose_feature("pose_spread", 1, {}, layout_of(pose_input(), RATE_HZ))
    assert feature.initial() == {}


def test_angles_are_those_of_atan2() -> None:
    """The two outputs of an angle are a cosine and a sine."""
    steps: Steps = [("pose_angles", 1, {"between": [[["hip", "neck"], ["neck", "nose"]]]})]
    bent = [(10 + 10 * cos(0.6), 10 * sin(0.6)), (10.0, 0.0), (0.0, 0.0), (-10.0, 0.0)]
    cosine, sine = front(steps, n_animals=1).block(frames(bent))[0].tolist()
    assert atan2(sine, cosine) == pytest.approx(0.6, rel=1e-5)
    options = steps[0][2] | {"doubled": True}
    twice = values(front([("pose_angles", 1, options)], n_animals=1), frames(bent))
    assert twice["cos2(hip>neck,neck>nose)"] == pytest.approx(cos(1.2), rel=1e-5)
    assert twice["sin2(hip>neck,neck>nose)"] == pytest.approx(sin(1.2), rel=1e-5)
    alone = front([("pose_angles", 1, options | {"sine": False})], n_animals=1)
    assert alone.names == ("cos(hip>neck,neck>nose)", "cos2(hip>neck,neck>nose)")
