"""The background behind an animal that is already there in the first frame."""

from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .crop_rule import BackgroundCrop

SHRINK: Final = 4
"""The search runs on an image four times smaller: it need not be exact."""
KERNEL: Final = 0.5
"""Side of the median's window as a fraction of the image's shorter side; an animal fills less than half of it."""
PEAK_FRACTION: Final = 0.5
"""Where the animal is: at least this fraction of the strongest contrast of an animal's size."""
MARGIN: Final = 3
"""What is painted over is grown by this many small pixels, so that no rim of the animal stays."""
INPAINT_RADIUS: Final = 3
RADIUS_FRACTION: Final = 0.5
"""A blob is a body when its largest inscribed circle has at least this fraction of the largest one's radius ..."""
MIN_COMPACT: Final = 0.15
"""... and this fraction of the area of the blob itself."""


def bootstrap_background(sample: NDArray[np.uint8], rule: BackgroundCrop) -> NDArray[np.float32]:
    """The first frame with everything painted over that may be the animal.

    What differs from the median around it is a blob. (The classical top-hat transforms also answer beside a strong
    blob of the other polarity.) Of ``both`` the polarity with the stronger contrast is taken. Blobs of an animal's size
    and width that reach half of the strongest contrast are filled from around them (Telea 2004); edges of the cage are
    no bodies. A wrong guess is mended later: what does not move is learnt.

    Args:
        sample: (h, w) uint8, the point-sampled first frame.
        rule: polarity, threshold and sizes.

    Returns:
        (h, w) float32.
    """
    rows, columns = sample.shape
    small = cv2.resize(sample, (max(columns // SHRINK, 1), max(rows // SHRINK, 1)), interpolation=cv2.INTER_AREA)
    polarities: list[Literal["dark", "light"]] = ["dark", "light"] if rule.polarity == "both" else [rule.polarity]
    around = cv2.medianBlur(small, max(3, int(KERNEL * min(small.shape)) | 1))
    contrasts = [cv2.subtract(around, small) if one == "dark" else cv2.subtract(small, around) for one in polarities]
    peaks = [float(np.quantile(contrast, 1.0 - rule.min_area)) for contrast in contrasts]
    best = int(np.argmax(peaks))
    mask = _blobs(contrasts[best], max(rule.threshold, PEAK_FRACTION * peaks[best]), rule)
    filled = cv2.inpaint(small, mask, INPAINT_RADIUS, cv2.INPAINT_TELEA)
    changed = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_NEAREST)
    paint = cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.where(changed, paint, sample).astype(np.float32)


def _blobs(contrast: NDArray[Any], threshold: float, rule: BackgroundCrop) -> NDArray[Any]:
    full = (contrast > threshold).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(full, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA] / contrast.size
    fits = (areas >= rule.min_area) & (areas <= rule.max_area)
    radius = inscribed_radius(full)
    widest = np.array([np.max(radius, where=labels == label, initial=0.0) for label in range(len(stats))])
    widest[~fits | (np.pi * widest**2 < MIN_COMPACT * stats[:, cv2.CC_STAT_AREA])] = 0.0
    widest[0] = 0.0
    fits = (widest > 0.0) & (widest >= RADIUS_FRACTION * widest.max())
    mask = fits[labels.astype(np.intp)].astype(np.uint8)
    return cv2.dilate(mask, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))


def inscribed_radius(full: NDArray[Any]) -> NDArray[np.float32]:
    """For each pixel the distance to the nearest one outside, where the outside of the image counts as outside.

    Its maximum over a blob is the radius of the largest circle that fits: large for a body, small for a tail or a rim.
    """
    framed = cv2.copyMakeBorder(full, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1].astype(np.float32, copy=False)
