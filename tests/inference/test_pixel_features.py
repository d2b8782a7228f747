"""Motion energy and optical flow of a crop, and where the box is: measured on scenes whose motion is known."""

from typing import Any

import cv2
import numpy as np
import pytest
from ethostream.inference.cropper import Crop
from ethostream.inference.features import (
    BoxPosition,
    advance_of,
    code_hash,
    make_feature_step,
    open_feature_steps,
    spec_of,
)
from ethostream.inference.pixel_features import MotionEnergy, OpticalFlow
from ethostream.sync.errors import ConfigError
from numpy.typing import NDArray

SIDE = 128
RATE_HZ = 30.0
FAST = {"scales_s": [1e-3]}  # no smoothing to speak of


def _scene(seed: int = 0) -> NDArray[np.uint8]:
    """Something with texture everywhere, larger than the box."""
    noise = np.random.default_rng(seed).integers(0, 256, (512, 512)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4.0)).astype(np.uint8)


def _stretched(scene: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)


def _crop(x: int, y: int) -> Crop:
    return Crop(x, y, SIDE, SIDE, True, x + SIDE / 2, y + SIDE / 2, 400.0, 1.0, 0.0)


def _run(name: str, parameters: dict[str, Any], frames: list[tuple[Crop, NDArray[np.uint8]]]) -> NDArray[np.float32]:
    step = make_feature_step(name, 1, parameters)
    advance, state = advance_of(step), step.initial()
    values = np.zeros(step.dims, np.float32)
    for crop, image in frames:
        state, values = advance(state, crop, image[crop.slices], 1.0 / RATE_HZ)
    assert values.shape == (step.dims,)
    return values


def _moved(scene: NDArray[np.uint8], matrix: list[list[float]]) -> NDArray[np.uint8]:
    size = scene.shape[::-1]
    return np.asarray(cv2.warpAffine(scene, np.array(matrix), size, borderMode=cv2.BORDER_REFLECT)).astype(np.uint8)


@pytest.mark.parametrize(("right", "down"), [(4.0, 0.0), (0.0, -6.0), (3.0, 5.0)])
def test_flow_finds_how_far_the_scene_moved(right: float, down: float) -> None:
    scene = _stretched(_scene())
    after = _moved(scene, [[1.0, 0.0, right], [0.0, 1.0, down]])
    values = _run("optical_flow", FAST, [(_crop(190, 190), scene), (_crop(190, 190), after)])
    expected = np.array([right, down]) / SIDE * RATE_HZ
    assert values[:2] == pytest.approx(expected, abs=0.06)
    assert abs(values[3]) < 0.1 * RATE_HZ
    # Each cell moves as fast as the whole.
    assert values[5:] == pytest.approx(np.full(4, np.hypot(*expected)), rel=0.15)


def test_flow_tells_turning_from_growing() -> None:
    scene = _stretched(_scene(1))
    middle = 190 + SIDE / 2

    def about_the_middle(a: float, b: float) -> NDArray[np.uint8]:
        """Grown by ``a`` and turned clockwise on the screen by ``b``."""
        return _moved(scene, [[a, -b, middle * (1.0 - a + b)], [b, a, middle * (1.0 - b - a)]])

    turned = _run("optical_flow", FAST, [(_crop(190, 190), scene), (_crop(190, 190), about_the_middle(1.0, 0.05))])
    grown = _run("optical_flow", FAST, [(_crop(190, 190), scene), (_crop(190, 190), about_the_middle(1.05, 0.0))])
    assert turned[4] == pytest.approx(0.05 * RATE_HZ, rel=0.2)
    assert abs(turned[3]) < 0.3
    assert grown[3] == pytest.approx(0.05 * RATE_HZ, rel=0.2)
    assert abs(grown[4]) < 0.3


@pytest.mark.parametrize("name", ["optical_flow", "motion_energy"])
def test_a_box_that_moves_over_a_still_scene_measures_next_to_nothing(name: str) -> None:
    scene = _stretched(_scene(2))
    still = _run(name, FAST, [(_crop(190, 190), scene), (_crop(190, 190), scene)])
    panned = _run(name, FAST, [(_crop(190, 190), scene), (_crop(198, 186), scene)])
    moved = _run(name, FAST, [(_crop(190, 190), scene), (_crop(190, 190), np.roll(scene, (4, -8), (0, 1)))])
    assert not still.any() or name == "optical_flow"
    assert np.abs(still).max() < 0.02 * np.abs(moved).max()
    assert np.median(np.abs(panned)) < 0.35 * np.median(np.abs(moved))


def test_energy_is_where_something_moves() -> None:
    scene = np.full((512, 512), 90, np.uint8)
    other = scene.copy()
    cv2.circle(other, (190 + 20, 190 + 108), 12, 250, -1)  # lower left of the box
    values = _run("motion_energy", FAST, [(_crop(190, 190), scene), (_crop(190, 190), other)]).reshape(3, 3)
    assert np.unravel_index(int(values.argmax()), (3, 3)) == (2, 0)
    assert np.count_nonzero(values > 0.01) == 1


def test_twice_the_time_between_two_steps_is_half_the_motion() -> None:
    scene = _stretched(_scene(3))
    after = np.roll(scene, 4, 1)
    for name in ("optical_flow", "motion_energy"):
        step = make_feature_step(name, 1, FAST)
        advance = advance_of(step)
        state, _ = advance(step.initial(), _crop(190, 190), scene[_crop(190, 190).slices], 1.0 / RATE_HZ)
        once, twice = (
            advance(state, _crop(190, 190), after[_crop(190, 190).slices], steps / RATE_HZ)[1] for steps in (1, 2)
        )
        assert twice == pytest.approx(once / 2.0, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["optical_flow", "motion_energy"])
def test_a_jump_of_the_box_counts_as_a_first_step(name: str) -> None:
    scene = _stretched(_scene(4))
    assert not _run(name, FAST, [(_crop(10, 10), scene), (_crop(300, 300), scene)]).any()
    assert not _run(name, FAST, [(_crop(10, 10), scene)]).any()


def test_a_plain_box_has_no_flow() -> None:
    plain = np.full((512, 512), 77, np.uint8)
    noisy = plain + np.random.default_rng(0).integers(0, 4, plain.shape).astype(np.uint8)
    assert not _run("optical_flow", FAST, [(_crop(190, 190), plain), (_crop(190, 190), noisy)]).any()


@pytest.mark.parametrize("name", ["optical_flow", "motion_energy"])
def test_the_same_answers_after_the_state_was_kept_and_with_any_number_of_threads(name: str) -> None:
    scene = _stretched(_scene(5))
    step = make_feature_step(name, 1, {})
    images = [(_crop(190 + k, 190), np.roll(scene, (k * k, 2 * k), (0, 1))) for k in range(6)]
    threads = cv2.getNumThreads()
    answers: list[list[NDArray[np.float32]]] = []
    try:
        for n_threads in (1, 3):
            cv2.setNumThreads(n_threads)
            # Another object from here on, with a copy of the state: it may remember nothing by itself.
            state, found = step.initial(), []
            for crop, image in images:
                state = {key: value.copy() for key, value in state.items()}
                again = advance_of(make_feature_step(name, 1, {}))
                state, values = again(state, crop, image[crop.slices], 1.0 / RATE_HZ)
                found.append(values)
            answers.append(found)
    finally:
        cv2.setNumThreads(threads)
    assert all(np.array_equal(one, other) for one, other in zip(*answers, strict=True))
    assert answers[0][-1].any()


def test_position_in_sides_of_the_box_and_as_waves() -> None:
    values = _run("box_position", {"n_octaves": 1}, [(_crop(192, 64), np.zeros((512, 512), np.uint8))])
    x, y = 2.0, 1.0
    turn = 2.0 * np.pi / 8.0
    expected = [x, y, *np.sin([turn * x, turn * y]), *np.cos([turn * x, turn * y])]
    assert values == pytest.approx(expected, abs=1e-6)


def test_what_a_manifest_says_of_them_opens_them() -> None:
    specs = [
        spec_of("optical_flow", 1, {"cells": 4}),
        spec_of("motion_energy", 1, {}),
        spec_of("box_position", 1, {}),
    ]
    assert [one.dims for one in open_feature_steps(specs)] == [2 * (5 + 16), 18, 10]
    assert {one.name: one.dtype for one in specs[0].state} == {
        "picture": "uint8", "corner": "float64", "smoothed": "float64", "n_seen": "float64",
    }  # fmt: skip


def test_cells_that_do_not_divide_the_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"size_px: 64 is no multiple of cells \(3\)"):
        make_feature_step("optical_flow", 1, {"cells": 3})


def test_the_code_of_version_1_does_not_change() -> None:
    assert {one.name: code_hash(one)[:16] for one in (OpticalFlow, MotionEnergy, BoxPosition)} == {
        "optical_flow": "fc52340fa4a66165",
        "motion_energy": "1bfeea4ea8762d59",
        "box_position": "f8d2afe5be1ad57c",
    }
