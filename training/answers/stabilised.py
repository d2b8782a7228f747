"""The label of every step from probabilities, by the very object that runs on the rig."""

import numpy as np
from numpy.typing import NDArray

from ...inference.stabilisation.config import StabiliserConfig
from ...inference.stabilisation.stabiliser import Stabiliser


def stabilised_labels(
    classes: list[str], config: StabiliserConfig, p: NDArray[np.floating], t_ns: NDArray[np.int64]
) -> NDArray[np.int16]:
    """The label of every step, int16 [t]; below 0 before the first.

    Args:
        classes: of the model.
        config: options.
        p: probabilities [t, c].
        t_ns: exposure times [t], rising.
    """
    return Stabiliser(classes, config).run(p, t_ns).astype(np.int16)
