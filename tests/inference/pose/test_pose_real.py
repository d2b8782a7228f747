"""Recorded rats: tracks with holes, exchanged animals and animals given twice, through every kind of feature."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.inference.model_input import PoseInput
from ethostream.inference.pose.pose_front import PoseFront
from ethostream.inference.pose.registry import pose_specs_of
from numpy.typing import NDArray

N_FRAMES = 2500
BODY = ["top", "body", "tail"]
OTHER = [f"partner.{name}" for name in BODY]
LEAD: dict[str, Any] = {"animals": ["led"], "lead": {"points": ["top"], "near": [BODY]}}
STEPS: list[tuple[str, int, dict[str, Any]]] = [
    ("pose_distances", 1, {"cross": True, "nearest": [[["top"], BODY]], "animals": ["sorted"], "squash": "log"}),
    ("pose_egocentric", 1, {"origin": "body", "axis": ["tail", "top"], "mirrored": True, **LEAD}),
    ("pose_angles", 1, {"between": [[["body", "top"], ["top", OTHER]]], "sine": False, **LEAD}),
    ("pose_motion", 1, {"places": [BODY], "lags_s": [0.1, 1.0], "along": [[BODY, OTHER]], "change": True, **LEAD}),
    ("pose_turning", 1, {"segments": [["tail", "top"]], "mirrored": True, "animals": ["sorted"]}),
    ("pose_position", 1, {"place": BODY, "animals": ["sorted"]}),
    ("pose_presence", 1, {"animals": ["sorted", "sum"], "twins": True}),
    ("pose_spread", 1, {"animals": ["sorted"]}),
    ("pose_context", 1, {"of": ["*nearest(*", "*speed(*"], "smooth_s": [0.3, 10.0], "highest_s": [2.0]}),
]


@pytest.fixture(scope="module")
def points(test_data: Path) -> NDArray[np.float32]:
    """Where the tracker first gives one animal twice, and around it."""
    path = next((test_data / "social_pose" / "dlc_csv").glob("5DLC*.csv"))
    return read_pose(path).points[6000 : 6000 + N_FRAMES]


@pytest.fixture(scope="module")
def front() -> PoseFront:
    pose = PoseInput.model_validate(
        {
            "keypoints": ["top", "body", "tail", "tail-m", "tail-e"],
            "n_animals": 2,
            "identity": "nearest",
            "fill": {"twin_px": 2.0},
            "scale": {"path": BODY, "start_px": 200.0, "weight_s": 30.0},
        }
    )
    return PoseFront(pose, pose_specs_of(STEPS, pose, 30.0), 30.0)


def whole(front: PoseFront, points: NDArray[np.float32]) -> NDArray[np.float32]:
    front.reset()
    return front.block(points)


def test_every_value_is_finite_and_nearly_every_one_varies(front: PoseFront, points: NDArray[np.float32]) -> None:
    x = whole(front, points)
    assert np.isfinite(x).all()
    still = [name for name, spread in zip(front.names, np.ptp(x, axis=0), strict=True) if spread == 0.0]
    assert len(still) < 0.1 * front.dims, still


def test_cuts_and_steps_give_the_same_bits(front: PoseFront, points: NDArray[np.float32]) -> None:
    expected = whole(front, points)
    edges = np.unique(np.random.default_rng(2).integers(0, N_FRAMES, 40)).tolist()
    front.reset()
    parts = [front.block(part) for part in np.split(points, edges)]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    front.reset()
    assert np.stack([front.step(frame) for frame in points[:300]]).tobytes() == expected[:300].tobytes()


def test_animals_that_change_places_change_nothing(front: PoseFront, points: NDArray[np.float32]) -> None:
    assert np.array_equal(whole(front, points), whole(front, points[:, ::-1]))


def test_the_tracker_gives_one_animal_twice_and_no_speed_is_out_of_this_world(
    front: PoseFront, points: NDArray[np.float32]
) -> None:
    x = whole(front, points)
    twin = x[:, front.names.index("twin")]
    assert 0 < twin.sum() < 0.2 * N_FRAMES
    speeds = x[:, [place for place, name in enumerate(front.names) if name == "first.speed(top+body+tail,1s)"]]
    assert np.median(speeds) < 1.0 and (speeds >= 0.0).all() and speeds.max() <= 8.0
