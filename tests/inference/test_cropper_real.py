"""The cropper on real videos. Where the animal is, other means tell: black fur on a light floor, or keypoints."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from ethostream.inference.crop_rule import BackgroundCrop
from ethostream.inference.cropper import make_cropper
from ethostream.streaming.video import VideoReader
from numpy.typing import NDArray


def body(image: NDArray[np.uint8], level: int) -> tuple[float, float] | None:
    """Centre of the largest patch of black fur."""
    mask = (image < level).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((15, 15), np.uint8))
    _, _, stats, centers = cv2.connectedComponentsWithStats(mask)
    if len(stats) < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return float(centers[best][0]), float(centers[best][1])


def follow(path: Path, rule: BackgroundCrop, level: int, inside: tuple[slice, slice]) -> tuple[float, int]:
    """Share of frames in which the body's centre lies in the crop, and in how many frames it was told."""
    hits: list[bool] = []
    with VideoReader(path, "mono8") as reader:
        cropper = make_cropper(rule, "cam", reader.shape, reader.rate_hz)
        for _, image in reader:
            crop = cropper.step(image)
            place = body(np.ascontiguousarray(image[inside]), level)
            if place is not None:
                x, y = place[0] + (inside[1].start or 0), place[1] + (inside[0].start or 0)
                rows, columns = crop.slices
                hits.append(crop.valid and rows.start <= y < rows.stop and columns.start <= x < columns.stop)
    return float(np.mean(hits)), len(hits)


@pytest.mark.parametrize("polarity", ["dark", pytest.param("both", marks=pytest.mark.long)])
def test_a_black_mouse_on_a_moving_belt(test_data: Path, polarity: str) -> None:
    rule = BackgroundCrop.model_validate({"polarity": polarity})
    floor = (slice(40, 440), slice(20, 620))
    share, n = follow(test_data / "openfield_top" / "m3v1mp4.mp4", rule, level=70, inside=floor)
    assert n > 2000
    assert share > 0.995


# Median over the clip of the mean of the proofread keypoints that come with it; the mouse moves little.
PROOFREAD_PX = {"back": (876.0, 581.0), "mid": (508.0, 662.0), "side": (586.0, 654.0), "top": (543.0, 626.0)}


@pytest.mark.parametrize("view", PROOFREAD_PX)
def test_a_white_mouse_in_its_cluttered_cage(test_data: Path, view: str) -> None:
    path = test_data / "four_cameras" / view / f"minimal_{view}.mp4"
    x, y = PROOFREAD_PX[view]
    hits: list[bool] = []
    with VideoReader(path, "mono8") as reader:
        cropper = make_cropper(BackgroundCrop(polarity="light"), view, reader.shape, reader.rate_hz)
        for _, image in reader:
            crop = cropper.step(image)
            hits.append(crop.valid and abs(crop.center_x_px - x) < 100.0 and abs(crop.center_y_px - y) < 100.0)
    assert len(hits) == 120
    assert np.mean(hits) > 0.95
