"""Which images of a frame set a model sees: its cameras' own, and those that are computed from stereo pairs."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..streaming.messages import FrameSet, SourceFrame
from .disparity import DisparityViews


class SetViews:
    """The views of a model in one set after the other. One thread.

    Args:
        views: names of what the model sees: cameras, and views of ``disparity``.
        disparity: computes views from stereo pairs.
        cameras: those whose frames the views are made of; None: as the other two say.
    """

    def __init__(
        self, views: Iterable[str], disparity: DisparityViews | None = None, cameras: Iterable[str] | None = None
    ) -> None:
        self._views = set(views)
        self._disparity = disparity
        if cameras is not None:
            self.cameras = set(cameras)
        else:
            self.cameras = self._views if disparity is None else self._views | disparity.cameras

    def sources(self, frame_set: FrameSet) -> tuple[SourceFrame, ...]:
        """The frames of a set that the views are made of."""
        return tuple(one for one in frame_set.sources if one.camera in self.cameras)

    def images(
        self, sources: Iterable[SourceFrame], images: Mapping[str, NDArray[np.uint8]]
    ) -> dict[str, NDArray[np.uint8]]:
        """View → image, for the views that these frames give.

        Args:
            sources: of `sources`.
            images: camera → frame, (h, w) or (h, w, 3) uint8.
        """
        seen = {one.camera: images[one.camera] for one in sources if one.camera in self._views}
        if self._disparity is not None:
            present = {one.camera: images[one.camera] for one in sources}
            seen |= self._disparity.step(present, self._views)
        return seen
