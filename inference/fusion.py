"""One probability per class from those of several views."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .graph_spec import HeadOutput

Fusion = Literal["mean", "max", "joined"]


def fuse(p: NDArray[np.float32], fusion: Fusion, output: HeadOutput) -> NDArray[np.float32]:
    """Fuse views.

    Args:
        p: (n_views, n_classes) or (n_views, n_steps, n_classes) float32; one row for ``joined``.
        fusion: ``mean``; ``max``: the largest of each class; ``joined``: fused before the head.
        output: of the head. Classes that exclude each other (``softmax``) sum to 1 in each row of ``p``, and after
            ``max`` they are scaled to do so again; ``independent`` ones are left as they are.

    Returns:
        The same without the first axis.
    """
    if fusion == "joined" or len(p) == 1:
        return p[0].copy()
    if fusion == "mean":
        return p.mean(axis=0, dtype=np.float32)
    largest = p.max(axis=0)
    return largest if output == "independent" else largest / largest.sum(axis=-1, keepdims=True, dtype=np.float32)
