"""Which numbers of a lens are fitted, and which are held."""

from dataclasses import dataclass

import numpy as np

from ...sync.camera_model import Array
from ...sync.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class LensFreedom:
    """Which numbers of a lens are fitted.

    Attributes:
        n_coefficients: of the distortion: 4, 5 or 8; 4 where fisheye.
        fix_aspect: one focal length for both axes.
        fix_centre: the principal point stays in the middle of the picture.
        fix_tangential: no tangential distortion (Brown-Conrady).
        fix_k3: the third radial coefficient stays 0 (Brown-Conrady with 5).
        fisheye: which lens model.
    """

    n_coefficients: int = 5
    fix_aspect: bool = False
    fix_centre: bool = False
    fix_tangential: bool = False
    fix_k3: bool = False
    fisheye: bool = False

    def __post_init__(self) -> None:
        allowed = (4,) if self.fisheye else (4, 5, 8)
        if self.n_coefficients not in allowed:
            raise CalibrationError(
                f"{self.n_coefficients} distortion coefficients: {'a fisheye lens' if self.fisheye else 'a lens'} "
                f"takes {' or '.join(map(str, allowed))}"
            )
        if self.fisheye and (self.fix_tangential or self.fix_k3):
            raise CalibrationError("fix_tangential and fix_k3 are not of the fisheye lens; leave them out")

    def basis(self, matrix: Array) -> Array:
        """(4 + n_coefficients, k) float64: how k free numbers move fx, fy, cx, cy and the coefficients."""
        unit = np.eye(4 + self.n_coefficients)
        columns: list[Array] = []
        if self.fix_aspect:
            columns.append(unit[0] + unit[1] * (matrix[1, 1] / matrix[0, 0]))
        else:
            columns += [unit[0], unit[1]]
        if not self.fix_centre:
            columns += [unit[2], unit[3]]
        held = {2, 3} if self.fix_tangential else set[int]()
        if self.fix_k3:
            held.add(4)
        columns += [unit[4 + i] for i in range(self.n_coefficients) if i not in held]
        return np.stack(columns, axis=1)
