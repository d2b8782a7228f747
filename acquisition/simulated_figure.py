"""One mouse as shapes in a picture, in fixed-point pixels, and how they are filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_body import GROUP_ELLIPSES, GROUPS
from .simulated_extras import TAIL_GREYS

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]

SHIFT = 4  # cv2's fixed-point bits: outlines move by sixteenths of a pixel
FIXED = 1 << SHIFT
MARGIN_PX = 3
EYE_GREYS = (10, 190)
TRUNK, _HEAD = GROUPS.index("trunk"), GROUPS.index("head")


@dataclass(frozen=True, slots=True)
class Figure:
    """One body.

    Attributes:
        outline: (n_ellipses, n, 2) int32.
        seen: of each ellipse, whether it is drawn.
        order: groups of ellipses, the farthest first.
        tail: (n_layers, n_pieces, n, 2) int32.
        tail_first: the tail is farther than the trunk.
        eyes: (n, n, 2) int32; of each two the second is the glint.
        shadow: (n_spots, n, 2) int32; the shadow is the hull of each two in a row.
    """

    outline: NDArray[np.int32]
    seen: Sequence[bool]
    order: list[int]
    tail: NDArray[np.int32]
    tail_first: bool
    eyes: NDArray[np.int32]
    shadow: NDArray[np.int32]

    def draw(self, image: Image, greys: Sequence[tuple[int]], *, eyes: bool = True) -> None:
        """Fill everything but the shadow; ``greys`` are the colours under the light."""
        if self.tail_first:
            self._draw_tail(image, greys)
        for g in self.order:
            for i, grey in GROUP_ELLIPSES[GROUPS[g]]:
                if self.seen[i]:
                    cv2.fillConvexPoly(image, self.outline[i], greys[grey], cv2.LINE_AA, SHIFT)
            if g == _HEAD and eyes:
                for i, eye in enumerate(self.eyes):
                    cv2.fillConvexPoly(image, eye, greys[EYE_GREYS[i % 2]], cv2.LINE_AA, SHIFT)
        if not self.tail_first:
            self._draw_tail(image, greys)

    def _draw_tail(self, image: Image, greys: Sequence[tuple[int]]) -> None:
        for layer, grey in zip(self.tail, TAIL_GREYS, strict=True):
            for piece in layer:
                cv2.fillConvexPoly(image, piece, greys[grey], cv2.LINE_AA, SHIFT)

    def fill_shadow(self, mask: Image, x0: int = 0, y0: int = 0) -> None:
        """Make ``mask``, whose corner is at (x0, y0) of the picture, 255 in the shadow and 0 elsewhere."""
        mask[...] = 0
        shadow = self.shadow - np.array((x0 * FIXED, y0 * FIXED), np.int32)
        for before, after in pairwise(shadow):
            hull = cv2.convexHull(np.concatenate([before, after]))
            cv2.fillConvexPoly(mask, hull, (255,), cv2.LINE_8, SHIFT)


def to_fixed(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """(n, 2) pixels to fixed-point pixels."""
    return np.rint(pixels * FIXED).astype(np.int32)


def shapes_of(fixed: NDArray[np.int32], parts: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int32]]:
    """(n, 2) points in the shapes (..., 2) of the parts that they were made of, one after another."""
    shapes: list[NDArray[np.int32]] = []
    begin = 0
    for part in parts:
        end = begin + part.size // 2
        shapes.append(fixed[begin:end].reshape(part.shape))
        begin = end
    return shapes


def box_around(fixed: NDArray[np.int32], width: int, height: int) -> Box:
    """x0, y0, x1, y1 of the part of the picture that holds (n, 2) fixed-point pixels; empty where none does."""
    left, top, wide, high = cv2.boundingRect(fixed)
    x0, y0 = max(left // FIXED - MARGIN_PX, 0), max(top // FIXED - MARGIN_PX, 0)
    x1 = max(min((left + wide) // FIXED + MARGIN_PX + 1, width), x0)
    y1 = max(min((top + high) // FIXED + MARGIN_PX + 1, height), y0)
    return x0, y0, x1, y1
