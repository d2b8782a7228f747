"""The cropper on real videos. Where the animal is, is told by its fur: much darker (or lighter) than all around it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from ethostream.inference.crop_rule import BackgroundCrop
from ethostream.inference.cropper import make_cropper
from ethostream.streaming.video import VideoReader
from numpy.typing import NDArray


def body(image: NDArray[np.uint8], dark: bool, level: int) -> tuple[float, float] | None:
    """Centre of the largest patch of fur."""
    mask = (image < level if dark else image > level).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((15, 15), np.uint8))
    _, _, stats, centers = cv2.connectedComponentsWithStats(mask)
    if len(stats) < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return float(centers[best][0]), float(centers[best][1])


def follow(path: Path, rule: BackgroundCrop, dark: bool, level: int, inside: tuple[slice, slice]) -> tuple[float, int]:
    """Share of frames in which the body's centre lies in the crop, and in how many frames it was told."""
    hits: list[bool] = []
    with VideoReader(path, "mono8") as reader:
        cropper = make_cropper(rule, "cam", reader.shape, reader.rate_hz)
        for _, image in reader:
            crop = cropper.step(image)
            place = body(np.ascontiguousarray(image[inside]), dark, level)
            if place is not None:
                x, y = place[0] + (inside[1].start or 0), place[1] + (inside[0].start or 0)
                rows, columns = crop.slices
                hits.append(crop.valid and rows.start <= y < rows.stop and columns.start <= x < columns.stop)
    return float(np.mean(hits)), len(hits)


@pytest.mark.parametrize("polarity", ["dark", "both"])
def test_a_black_mouse_on_a_moving_belt(test_data: Path, polarity: str) -> None:
    rule = BackgroundCrop.model_validate({"polarity": polarity})
    floor = (slice(40, 440), slice(20, 620))
    share, n = follow(test_data / "openfield_top" / "m3v1mp4.mp4", rule, dark=True, level=70, inside=floor)
    assert n > 2000
    assert share > 0.995


@pytest.mark.parametrize("view", ["back", "mid", "side", "top"])
def test_a_white_mouse_in_its_cluttered_cage(test_data: Path, view: str) -> None:
    path = test_data / "four_cameras" / view / f"minimal_{view}.mp4"
    whole = (slice(0, 1024), slice(0, 1280))
    share, n = follow(path, BackgroundCrop(polarity="light"), dark=False, level=110, inside=whole)
    assert n > 100
    assert share > 0.95
