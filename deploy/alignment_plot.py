"""Residuals of an alignment as a picture, so that drift, steps and doubtful stretches are seen."""

from pathlib import Path

import cv2
import numpy as np

from ..streaming.alignment_table import CameraAlignment
from ..sync.errors import RecordingError

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 1200, 320, 90, 40, 40
_PAPER, _INK, _GRID, _DOT, _MISSING = (255, 255, 255), (40, 40, 40), (225, 225, 225), (180, 90, 20), (40, 40, 210)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_plot(path: Path, cameras: list[CameraAlignment]) -> None:
    """One panel per camera: residual in µs over the other device's time; red ticks are frames without a pulse.

    Raises:
        RecordingError: it cannot be written.
    """
    panels = [_panel(one) for one in cameras]
    written, data = cv2.imencode(".png", np.vstack(panels))
    try:
        if not written:
            raise OSError(0, "the picture cannot be encoded")
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written ({error.strerror}); give another place") from error


def _panel(one: CameraAlignment) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    found = one.alignment
    image = np.full((_HEIGHT, _WIDTH, 3), _PAPER, np.uint8)
    paired = found.pulse_of_frame >= 0
    times, residual = found.frame_time_s, found.residual_us
    reach = max(1.0, float(np.max(np.abs(residual[paired])))) * 1.1
    begin, span = float(times[0]), max(1e-9, float(times[-1] - times[0]))
    right, bottom = _WIDTH - 20, _HEIGHT - _BOTTOM
    x = (_LEFT + (times - begin) / span * (right - _LEFT)).astype(int)
    for level in (-1.0, -0.5, 0.0, 0.5, 1.0):
        y = round((_TOP + bottom) / 2 - level * (bottom - _TOP) / 2)
        cv2.line(image, (_LEFT, y), (right, y), _GRID, 1)
        cv2.putText(image, f"{level * reach:.3g} us", (8, y + 4), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    heights = ((_TOP + bottom) / 2 - residual[paired] / reach * (bottom - _TOP) / 2).astype(int)
    image[heights, x[paired]] = _DOT
    image[np.minimum(heights + 1, _HEIGHT - 1), x[paired]] = _DOT
    for place in x[~paired & found.inside]:
        cv2.line(image, (int(place), bottom), (int(place), bottom + 6), _MISSING, 1)
    title = f"{one.camera}: {found.n_paired} of {len(times)} frames paired, drift {found.drift_ppm:+.2f} ppm"
    cv2.putText(image, title, (_LEFT, 24), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    for share in (0.0, 0.5, 1.0):
        label = f"{begin + share * span:.2f} s"
        cv2.putText(
            image, label, (int(_LEFT + share * (right - _LEFT - 60)), _HEIGHT - 12), _FONT, 0.4, _INK, 1, cv2.LINE_AA
        )
    return image
