"""Plane geometry on arrays, one frame as a thousand frames.

Sums run over named terms, never over an axis: numpy may add along an axis in another order when the array has another
shape, and a feature must not depend on how a recording is cut into blocks.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

Squash = Literal["none", "root", "log"]
"""How large values are drawn together: not, as sign(v) sqrt(|v| / unit), or as sign(v) log(1 + |v| / unit)."""


def total(terms: Sequence[Values]) -> Values:
    """The sum of arrays, in their order."""
    first, *others = terms
    for term in others:
        first = first + term
    return first


def dot(v: Values, w: Values) -> Values:
    """Inner product over the last axis of two."""
    return v[..., 0] * w[..., 0] + v[..., 1] * w[..., 1]


def cross(v: Values, w: Values) -> Values:
    """Cross product over the last axis of two; in an image, whose y points down, positive where w is clockwise of v."""
    return v[..., 0] * w[..., 1] - v[..., 1] * w[..., 0]


def length(v: Values) -> Values:
    """Length over the last axis of two."""
    return np.sqrt(dot(v, v))


def unit(v: Values) -> Values:
    """Direction over the last axis of two; nothing points nowhere: zero."""
    size = length(v)
    return v / np.where(size > 0.0, size, 1.0)[..., None]


def limited(v: Values, largest: float) -> Values:
    """Vectors no longer than ``largest``, in their direction."""
    size = length(v)
    return v * (largest / np.maximum(size, largest))[..., None]


def squash(values: Values, how: Squash, of: float) -> Values:
    """Draw large values together; ``of`` is the unit."""
    if how == "none":
        return values
    size = np.ascontiguousarray(np.abs(values) / of)
    return np.copysign(np.sqrt(size) if how == "root" else np.log1p(size), values)
