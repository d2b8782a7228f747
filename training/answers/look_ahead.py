"""Answers of a model that looks ahead come late; offline each is put back to the frame that it is of."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...inference.manifest import Manifest

ScalarT = TypeVar("ScalarT", bound=np.generic)


def answer_lag(manifest: Manifest, rate_hz: float) -> int:
    """How many frames of a recording answers come late; 0 where nothing, or everything at once, is looked ahead.

    Args:
        manifest: of the bundle; its look-ahead counts its own steps.
        rate_hz: of the recording: that of the model, or a whole multiple of it.
    """
    return (manifest.look_ahead_frames or 0) * max(1, round(rate_hz / manifest.rate_hz))


def moved_back(values: NDArray[ScalarT], n_frames: int) -> NDArray[ScalarT]:
    """What was said ``n_frames`` later of each frame, [t, ...]; the last frames keep the last answer that there is."""
    if not n_frames:
        return values
    return values[np.minimum(np.arange(len(values)) + n_frames, len(values) - 1)]


def as_given(values: NDArray[ScalarT], n_frames: int) -> NDArray[ScalarT]:
    """What is said at each frame, and is of the one ``n_frames`` before, [t, ...]: `moved_back` undone.

    The first frames, of which nobody knows what was said at them, get the first answer that there is.
    """
    if not n_frames:
        return values
    return values[np.maximum(np.arange(len(values)) - n_frames, 0)]
