"""Missing points, animals that are exchanged or given twice, and the unit of length."""

from typing import Any

import numpy as np
import pytest
from ethostream.inference.pose.body_length import BodyLength
from ethostream.inference.pose.config import BodyScale
from ethostream.inference.pose.filling import Filled, Filling
from ethostream.inference.pose.identities import Identified, Identities
from ethostream.inference.pose.layout import PoseLayout
from numpy.typing import NDArray

NAN = float("nan")


def filled(places: list[list[tuple[float, float] | None]], max_fill: int) -> Filled:
    """One animal; its points by frame, None where missing."""
    raw = np.array([[[point or (0.0, 0.0) for point in frame]] for frame in places], np.float64)
    seen = np.array([[[point is not None for point in frame]] for frame in places])
    return Filling(1, len(places[0]), max_fill).block(Filling(1, len(places[0]), max_fill).initial(), raw, seen)[1]


def test_a_point_is_held_and_then_goes_to_the_middle_of_those_that_are_there() -> None:
    a, b, c = (0.0, 0.0), (10.0, 0.0), (20.0, 6.0)
    found = filled([[a, b, c], [None, b, c], [None, b, c], [None, (12.0, 0.0), c], [None, None, None], [a, b, c]], 2)
    assert found.xy[:, 0, 0].tolist() == [[0, 0], [0, 0], [0, 0], [16, 3], [16, 3], [0, 0]]
    assert found.since[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0]
    assert found.age[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 0]
    assert found.xy[4, 0].tolist() == [[16, 3], [12, 0], [20, 6]]


def test_a_point_that_was_never_seen_is_in_the_middle_at_once() -> None:
    found = filled([[None, None], [None, (8.0, 2.0)], [(4.0, 4.0), None]], 5)
    assert found.xy[:, 0].tolist() == [[[0, 0], [0, 0]], [[8, 2], [8, 2]], [[4, 4], [8, 2]]]
    assert found.since[0, 0, 0] > Filling.never_frames and found.age[1, 0, 0] == 0


def test_an_animal_that_was_never_seen_is_where_the_others_are() -> None:
    filling = Filling(2, 1, 3)
    xy, seen = np.zeros((3, 2, 1, 2)), np.zeros((3, 2, 1), np.bool_)
    xy[0, 0], seen[0, 0] = (6.0, 8.0), True
    xy[2, 1], seen[2, 1] = (1.0, 1.0), True
    found = filling.block(filling.initial(), xy, seen)[1]
    assert found.xy[:, 1, 0].tolist() == [[6, 8], [6, 8], [1, 1]]
    assert found.xy[:, 0, 0].tolist() == [[6, 8], [6, 8], [6, 8]]


def identified(frames: list[list[tuple[float, float] | None]], **options: Any) -> Identified:
    """Two animals of one point."""
    identities = Identities(options.get("identity", "nearest"), options.get("twin_px"))
    raw = np.array([[[point or (0.0, 0.0)] for point in frame] for frame in frames], np.float64)
    seen = np.array([[[point is not None] for point in frame] for frame in frames])
    return identities.block(identities.initial(), raw, seen, seen.astype(np.float64))[1]


def places(found: Identified) -> list[list[float | None]]:
    """x of either animal, None where missing."""
    where: NDArray[np.float64] = found.xy[:, :, 0, 0]
    return [[x if there else None for x, there in zip(row, seen, strict=True)]
            for row, seen in zip(where.tolist(), found.seen[:, :, 0].tolist(), strict=True)]  # fmt: skip


def test_animals_go_on_where_they_were() -> None:
    a, b = (0.0, 0.0), (100.0, 0.0)
    found = identified([[a, b], [b, a], [b, None], [None, (90.0, 0.0)], [(2.0, 0.0), None], [None, None], [b, a]])
    assert places(found) == [[0, 100], [0, 100], [None, 100], [None, 90], [2, None], [None, None], [0, 100]]


def test_a_single_animal_is_the_only_one_that_was_ever_seen() -> None:
    found = identified([[None, None], [None, (50.0, 0.0)], [(55.0, 0.0), None], [(3.0, 0.0), (54.0, 0.0)]])
    assert places(found) == [[None, None], [None, 50], [None, 55], [3, 54]]


def test_the_tracker_is_believed_where_it_is_asked_for() -> None:
    a, b = (0.0, 0.0), (100.0, 0.0)
    assert places(identified([[a, b], [b, a]], identity="tracker")) == [[0, 100], [100, 0]]


@pytest.mark.parametrize("identity", ["tracker", "nearest"])
def test_an_animal_that_is_given_twice_is_the_nearer_one(identity: str) -> None:
    a, b = (0.0, 0.0), (100.0, 0.0)
    found = identified([[a, b], [(97.0, 0.0), (97.2, 0.0)], [a, b]], identity=identity, twin_px=1.0)
    assert found.twin.tolist() == [False, True, False]
    assert [row[0] is None for row in places(found)] == [False, True, False]
    assert places(found)[1][1] == pytest.approx(97.0, abs=0.3)
    assert not identified([[a, b], [(97.0, 0.0), (97.2, 0.0)]], identity=identity).twin.any()


def test_an_animal_that_is_given_twice_has_the_points_of_both() -> None:
    identities = Identities("tracker", 1.0)
    xy = np.array([[[[4.0, 0.0], [9.0, 0.0], [0.0, 0.0]], [[5.0, 0.0], [0.0, 0.0], [7.0, 1.0]]]])
    seen = np.array([[[True, True, False], [True, False, True]]])
    likelihood = np.where(seen, np.array([[[0.5], [0.75]]]), 0.0)
    found = identities.block(identities.initial(), xy, seen, likelihood)[1]
    assert found.seen.tolist() == [[[True] * 3, [False] * 3]]
    assert found.xy[0, 0].tolist() == [[4.5, 0.0], [9.0, 0.0], [7.0, 1.0]]
    assert found.likelihood.tolist() == [[[0.75, 0.5, 0.75], [0.0] * 3]]


def test_two_animals_that_share_a_place_only_in_part_are_no_twins() -> None:
    identities = Identities("tracker", 2.0)
    xy = np.array([[[[0.0, 0.0], [9.0, 0.0]], [[0.0, 0.0], [30.0, 0.0]]]])
    found = identities.block(identities.initial(), xy, np.ones((1, 2, 2), np.bool_), np.ones((1, 2, 2)))[1]
    assert not found.twin[0] and found.seen.all()


def test_the_body_length_is_the_mean_of_what_was_seen_so_far() -> None:
    layout = PoseLayout(("a", "b", "c"), 1, 10.0)
    body = BodyLength(BodyScale(path=["a", "b", "c"], start_px=20.0, weight_s=0.2), layout)
    xy = np.zeros((3, 1, 3, 2))
    xy[:, 0, 1, 0], xy[:, 0, 2, 0] = [6.0, 8.0, 500.0], [10.0, 16.0, 900.0]
    seen = np.ones((3, 1, 3), np.bool_)
    seen[2, 0, 1] = False
    _, scale = body.block(body.initial(), xy, seen)
    assert scale.tolist() == pytest.approx([(2 * 20 + 10) / 3, (2 * 20 + 10 + 16) / 4, (2 * 20 + 10 + 16) / 4])
    fixed = BodyLength(BodyScale(path=["a", "b"], start_px=20.0, weight_s=None), layout)
    assert fixed.block(fixed.initial(), xy, seen)[1].tolist() == [20.0] * 3
