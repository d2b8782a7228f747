from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import pytest
from ethostream.inference.crop_rule import BackgroundCrop, FixedBox, FixedCrop, FullCrop
from ethostream.inference.cropper import Crop, Cropper, make_cropper
from ethostream.inference.grey import grey_view
from ethostream.sync.errors import BundleError, ConfigError
from numpy.typing import NDArray

SHAPE = (240, 320)
RATE_HZ = 30.0
FLOOR = np.random.default_rng(1).normal(0.0, 6.0, SHAPE) + np.linspace(120.0, 180.0, SHAPE[1])[None, :]
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]


def frame(
    x: float | None, y: float = 0.0, t: int = 0, noise: float = 4.0, light: float = 0.0, contrast: float = -90.0
) -> NDArray[np.uint8]:
    """A textured floor with a blob at (x, y), sensor noise and an offset of the light."""
    image = FLOOR + light + np.random.default_rng(t).normal(0.0, noise, SHAPE)
    if x is not None:
        image = image + contrast * (((COLUMNS - x) / 24.0) ** 2 + ((ROWS - y) / 13.0) ** 2 < 1.0)
    return image.clip(0, 255).astype(np.uint8)


def walk(t: int) -> tuple[float, float]:
    return 160.0 + 90.0 * np.cos(t / 25.0), 120.0 + 60.0 * np.sin(t / 25.0)


def background(polarity: Literal["dark", "light", "both"] = "both") -> Cropper:
    return make_cropper(BackgroundCrop(polarity=polarity), "cam", SHAPE, RATE_HZ)


def distance(crop: Crop, place: tuple[float, float]) -> float:
    return float(np.hypot(crop.center_x_px - place[0], crop.center_y_px - place[1]))


def share_inside(crops: Iterable[tuple[Crop, tuple[float, float]]]) -> float:
    return float(np.mean([crop.valid and distance(crop, place) < 8.0 for crop, place in crops]))


@pytest.mark.parametrize("polarity", ["dark", "light", "both"])
def test_it_finds_an_animal_that_is_there_from_the_first_frame(polarity: Literal["dark", "light", "both"]) -> None:
    contrast = 70.0 if polarity == "light" else -90.0
    crop = background(polarity).step(frame(100.0, 90.0, contrast=contrast))
    assert crop.valid
    assert distance(crop, (100.0, 90.0)) < 6.0


@pytest.mark.parametrize("noise", [0.0, 4.0, 12.0])
def test_it_follows_through_sensor_noise(noise: float) -> None:
    cropper = background()
    seen = [(cropper.step(frame(*walk(t), t=t, noise=noise)), walk(t)) for t in range(200)]
    assert share_inside(seen) == 1.0


def test_slow_and_sudden_common_light_changes_are_followed() -> None:
    cropper = background()
    light = [25.0 * np.sin(t / 60.0) + (20.0 if t > 150 else 0.0) for t in range(300)]
    seen = [(cropper.step(frame(*walk(t), t=t, light=light[t])), walk(t)) for t in range(300)]
    assert share_inside(seen) > 0.98


@pytest.mark.long
def test_an_animal_that_lies_still_for_two_minutes_does_not_fade() -> None:
    cropper = background("dark")
    for t in range(60):
        cropper.step(frame(*walk(t), t=t))
    place = walk(59)
    still = [(cropper.step(frame(*place, t=t)), place) for t in range(60, 60 + 120 * 30)]
    assert share_inside(still) == 1.0
    areas = [crop.area_px for crop, _ in still]
    assert min(areas[-100:]) > 0.9 * max(areas[:100])
    after = [
        (cropper.step(frame(place[0] + 2.0 * t, place[1], t=t)), (place[0] + 2.0 * t, place[1])) for t in range(40)
    ]
    assert share_inside(after) > 0.95  # and it leaves no ghost behind that is followed instead


def test_a_thing_that_is_put_down_is_not_taken_for_the_animal() -> None:
    cropper = background()
    seen: list[tuple[Crop, tuple[float, float]]] = []
    for t in range(300):
        image = frame(*walk(t), t=t)
        if t > 100:
            image[20:50, 20:70] = 60
        seen.append((cropper.step(image), walk(t)))
    assert share_inside(seen) > 0.97


def test_when_nothing_is_seen_the_box_stays_and_says_so() -> None:
    cropper = background()
    for t in range(60):
        last = cropper.step(frame(*walk(t), t=t))
    gone = [cropper.step(frame(None, t=60 + t)) for t in range(30)]
    assert not any(crop.valid for crop in gone)
    assert {(crop.x_px, crop.y_px) for crop in gone} == {(last.x_px, last.y_px)}
    assert all(crop.area_px == 0.0 for crop in gone)
    back = [cropper.step(frame(100.0, 100.0, t=90 + t)) for t in range(3)]
    assert back[-1].valid
    assert distance(back[-1], (100.0, 100.0)) < 6.0


def test_an_empty_first_frame_is_not_an_animal() -> None:
    assert not background().step(frame(None)).valid


def test_boxes_keep_their_size_and_stay_inside() -> None:
    cropper = background()
    for t in range(120):
        crop = cropper.step(frame(320.0 * (t % 2), 240.0 * (t % 3) / 2.0, t=t))
        assert (crop.height_px, crop.width_px) == cropper.box_shape == (80, 80)
        assert 0 <= crop.x_px <= SHAPE[1] - 80
        assert 0 <= crop.y_px <= SHAPE[0] - 80


@pytest.mark.parametrize(
    "rule", [BackgroundCrop(), FixedCrop(boxes={"*": FixedBox(x=0.5, y=0.5, side=0.25)}), FullCrop()]
)
@pytest.mark.parametrize("n_before", [0, 1, 37])
def test_a_restored_cropper_continues_bit_for_bit(rule: BackgroundCrop | FixedCrop | FullCrop, n_before: int) -> None:
    one, other = (make_cropper(rule, "cam", SHAPE, RATE_HZ) for _ in range(2))
    for t in range(n_before):
        one.step(frame(*walk(t), t=t, light=t / 5.0))
        other.step(frame(*walk(t + 50), t=t + 9))
    other.restore(one.snapshot())
    for t in range(n_before, n_before + 60):
        image = frame(*walk(t), t=t, light=t / 5.0)
        assert one.step(image) == other.step(image)
    final, restored = one.snapshot(), other.snapshot()
    assert all(np.array_equal(final[key], restored[key]) for key in final)


def test_reset_forgets_everything() -> None:
    used, fresh = background(), background()
    for t in range(50):
        used.step(frame(*walk(t), t=t))
    used.reset()
    for t in range(50, 70):
        assert used.step(frame(*walk(t), t=t)) == fresh.step(frame(*walk(t), t=t))


def test_color_frames_are_seen_through_their_green_channel() -> None:
    grey = frame(100.0, 90.0)
    color = np.stack([np.zeros_like(grey), grey, np.full_like(grey, 255)], axis=-1)
    assert np.array_equal(grey_view(color), grey)
    assert np.shares_memory(grey_view(color), color)
    seen = make_cropper(BackgroundCrop(), "cam", color.shape, RATE_HZ).step(color)
    assert seen == background().step(grey)


def test_motion_is_measured_inside_the_box() -> None:
    cropper = make_cropper(FixedCrop(boxes={"cam": FixedBox(x=0.25, y=0.5, side=0.25)}), "cam", SHAPE, RATE_HZ)
    dark = np.zeros(SHAPE, np.uint8)
    assert cropper.step(dark).motion == 0.0
    outside = dark.copy()
    outside[:, 200:] = 200
    assert cropper.step(outside).motion == 0.0
    inside = outside.copy()
    inside[:, :160] = 10
    assert cropper.step(inside).motion == pytest.approx(10.0)


def test_a_camera_without_a_fixed_box_is_named() -> None:
    rule = FixedCrop(boxes={"top": FixedBox(x=0.5, y=0.5, side=0.5)})
    with pytest.raises(BundleError, match="'side'"):
        make_cropper(rule, "side", SHAPE, RATE_HZ)


def test_a_frame_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(100, 100\)"):
        background().step(np.zeros((100, 100), np.uint8))


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920), (1024, 1280), (1070, 1064), (406, 396), (121, 163)])
def test_any_image_size_is_followed(shape: tuple[int, int], scene: Callable[..., NDArray[np.uint8]]) -> None:
    cropper = make_cropper(BackgroundCrop(), "cam", shape, RATE_HZ)
    for t in range(0, 40, 2):
        crop = cropper.step(scene(t, shape))
    place = shape[1] * (0.5 + 0.3 * np.cos(38 / 20.0)), shape[0] * (0.5 + 0.25 * np.sin(38 / 20.0))
    assert crop.valid
    assert distance(crop, place) < 0.03 * shape[1]


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_learning_may_wait_for_the_next_step(every: int) -> None:
    """The rig learns once its decisions are out: crops and state are those of a cropper that learns at once."""
    prompt, lazy, restored = background(), background(), background()
    for t in range(60):
        image = frame(*walk(t), t)
        assert prompt.step(image) == lazy.step(image)
        prompt.settle()
        if t % every == 0:
            lazy.settle()
            lazy.settle()
    mine, theirs = lazy.snapshot(), prompt.snapshot()
    never = background()
    never.step(frame(*walk(0), 0))
    never.settle()
    assert not np.array_equal(never.snapshot()["background"], theirs["background"]), "something was learnt"
    assert not np.array_equal(never.snapshot()["deviation"], theirs["deviation"])
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    restored.step(frame(None))
    restored.restore(mine)
    assert restored.step(frame(*walk(60), 60)) == prompt.step(frame(*walk(60), 60))
