"""One or two animals with more behaviours: what they do, where they are, and that they keep apart."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from ethostream.acquisition.simulated_behaviors import EXTENDED_BEHAVIORS, SPOUT_MM
from ethostream.acquisition.simulated_body import ellipsoids
from ethostream.acquisition.simulated_motion import BEHAVIORS, CAGE_MM, KEYPOINTS
from ethostream.acquisition.simulated_scene import SimulatedScene
from ethostream.acquisition.simulated_truth import body_centroid_mm
from ethostream.acquisition.simulated_world import SimulatedWorld

RATE_HZ = 15
NOSE, HEAD, NECK, SPINE, HIP, TAIL_BASE = (
    KEYPOINTS.index(name) for name in ("nose", "head", "neck", "spine", "hip", "tail_base")
)
BODY = [NOSE, HEAD, NECK, SPINE, HIP, TAIL_BASE]
PAWS = [KEYPOINTS.index("forepaw_left"), KEYPOINTS.index("forepaw_right")]


@pytest.fixture(scope="module")
def minutes():
    """Five minutes of two animals."""
    scene = SimulatedScene(8, 2, "extended")
    return [scene.at(k / RATE_HZ) for k in range(300 * RATE_HZ)]


@pytest.fixture(scope="module")
def bouts(minutes):
    """(behaviour, states) of the first animal's whole bouts."""
    found = defaultdict(list)
    for state in minutes:
        found[state.animals[0].bout].append(state.animals[0])
    found.pop(max(found))
    return [(states[0].behavior, states) for states in found.values()]


def settled(bouts, behavior):
    """Poses of each bout of one behaviour, without its first and last 0.4 s."""
    chosen = [np.array([one.pose for one in states[6:-6]]) for name, states in bouts if name == behavior]
    return [poses for poses in chosen if len(poses) > 3]


def test_all_behaviors_occur_early_and_in_shares_of_a_mouse(minutes):
    names = [state.animals[0].behavior for state in minutes]
    assert set(names[: 40 * RATE_HZ]) == set(EXTENDED_BEHAVIORS)
    assert all(names.count(name) / len(names) > 0.01 for name in EXTENDED_BEHAVIORS)
    assert 0.25 < names.count("locomote") / len(names) < 0.6


def test_a_behavior_never_follows_itself(bouts):
    assert all(a != b for (a, _), (b, _) in pairwise(bouts))


def test_a_drinking_mouse_has_its_nose_at_the_spout(bouts):
    drinks = settled(bouts, "drink")
    assert drinks
    for poses in drinks:
        assert np.linalg.norm(poses[:, NOSE] - SPOUT_MM, axis=1).max() < 14.0


def test_a_mouse_that_rears_at_a_wall_stands_up_with_its_paws_on_it(bouts):
    rears = settled(bouts, "wall_rear")
    assert rears
    for poses in rears:
        assert np.all(poses[:, NECK, 2] > poses[:, HIP, 2] + 25.0)
        near = np.minimum(poses[:, PAWS, :2], np.array(CAGE_MM[:2]) - poses[:, PAWS, :2]).min(axis=2)
        assert near.max() < 12.0


def test_a_turn_changes_the_heading_and_not_the_place(bouts):
    turns = [states for name, states in bouts if name == "turn" and len(states) > 6]
    assert turns
    for states in turns:
        assert abs(states[-1].heading_rad - states[0].heading_rad) > 0.6
        middle = np.array([one.pose[SPINE, :2] for one in states])
        assert np.ptp(middle, axis=0).max() < 60.0


def test_both_stay_inside_and_nothing_jumps(minutes):
    for before, after in pairwise(minutes):
        for one, then in zip(before.animals, after.animals, strict=True):
            assert np.all(then.pose >= 0)
            assert np.all(then.pose <= CAGE_MM)
            assert np.linalg.norm(then.pose[SPINE] - one.pose[SPINE]) < 60.0  # 0.9 m/s


def test_two_animals_keep_apart(minutes):
    apart = np.array(
        [
            np.linalg.norm(one.pose[BODY][:, None] - other.pose[BODY][None], axis=-1).min()
            for one, other in (state.animals for state in minutes)
        ]
    )
    # The trunk is 33 mm wide: nearer than 20 mm is inside each other.
    assert (apart < 20.0).mean() < 0.01
    assert np.median(apart) > 60.0


def test_two_animals_do_different_things(minutes):
    assert 0.1 < np.mean([one.behavior == other.behavior for one, other in (s.animals for s in minutes)]) < 0.6


def test_time_may_be_asked_for_in_any_order():
    forward = SimulatedScene(5, 2, "extended")
    states = {t: forward.at(t) for t in np.arange(0.0, 60.0, 1.7).tolist()}
    backward = SimulatedScene(5, 2, "extended")
    for t in sorted(states, reverse=True):
        for one, other in zip(states[t].animals, backward.at(t).animals, strict=True):
            assert (one.behavior, one.bout) == (other.behavior, other.bout)
            assert np.array_equal(one.pose, other.pose)


def test_one_basic_animal_is_the_mouse_of_the_shipped_model():
    scene, world = SimulatedScene(7), SimulatedWorld(7)
    for t in (0.0, 3.0, 11.5):
        (one,) = scene.at(t).animals
        assert np.array_equal(one.pose, world.at(t).pose)


def test_two_basic_animals_do_the_basic_things():
    scene = SimulatedScene(7, 2)
    states = [scene.at(t) for t in np.arange(0.0, 40.0, 0.5).tolist()]
    assert {one.behavior for state in states for one in state.animals} == set(BEHAVIORS)


def test_the_centroid_is_that_of_the_union_of_the_body_parts(minutes):
    rng = np.random.default_rng(0)
    for k in (100, 900, 2300):
        for animal in (0, 1):
            one = minutes[k].animals[animal]
            centre, axis, half, radius = ellipsoids(one.pose, one.breath)
            low, high = (centre - half[:, None]).min(axis=0), (centre + half[:, None]).max(axis=0)
            points = rng.uniform(low, high, (150_000, 3))
            inside = np.zeros(len(points), bool)
            for c, a, h, r in zip(centre, axis, half, radius, strict=True):
                along = (points - c) @ a
                inside |= (along / h) ** 2 + (((points - c) ** 2).sum(axis=1) - along**2) / r**2 <= 1.0
            assert np.linalg.norm(points[inside].mean(axis=0) - body_centroid_mm(minutes[k], animal)) < 0.8
