"""The background behind an animal that is already there in the first frame."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .crop_rule import BackgroundCrop

SHRINK: Final = 4
"""The search runs on an image four times smaller: it need not be exact."""
KERNEL: Final = 0.4
"""Side of the closing kernel as a fraction of the image's shorter side; wider than an animal, narrower than a cage."""
MARGIN: Final = 3
"""What is painted over is grown by this many small pixels, so that no rim of the animal stays."""


def bootstrap_background(sample: NDArray[np.uint8], rule: BackgroundCrop) -> NDArray[np.float32]:
    """The first frame with everything painted over that may be the animal.

    A morphological closing removes what is dark and narrower than its kernel, an opening what is light (the top-hat
    transforms of Serra 1982). Only blobs of an animal's size that differ enough are replaced; the rest stays as it is.

    Args:
        sample: (h, w) uint8, the point-sampled first frame.
        rule: polarity, threshold and sizes.

    Returns:
        (h, w) float32.
    """
    rows, columns = sample.shape
    small = cv2.resize(sample, (max(columns // SHRINK, 1), max(rows // SHRINK, 1)), interpolation=cv2.INTER_AREA)
    side = max(3, int(KERNEL * min(small.shape)) | 1)
    kernel = np.ones((side, side), np.uint8)
    filled = small.copy()
    for polarity, operation in (("dark", cv2.MORPH_CLOSE), ("light", cv2.MORPH_OPEN)):
        if rule.polarity not in (polarity, "both"):
            continue
        smooth = cv2.morphologyEx(small, operation, kernel)
        mask = _blobs(cv2.absdiff(smooth, small), rule)
        filled = np.where(mask, smooth, filled)
    changed = cv2.resize((filled != small).astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    paint = cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.where(changed, paint, sample).astype(np.float32)


def _blobs(distance: NDArray[Any], rule: BackgroundCrop) -> NDArray[np.bool_]:
    full = (distance > rule.threshold).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(full, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA] / distance.size
    fits = (areas >= rule.min_area) & (areas <= rule.max_area)
    fits[0] = False
    mask = fits[labels.astype(np.intp)].astype(np.uint8)
    return cv2.dilate(mask, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)).astype(np.bool_)
