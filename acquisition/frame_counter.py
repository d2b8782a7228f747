"""A device's frame counter, continued over wraps and over frames that arrived damaged. Pure."""

from ..sync.errors import CameraLostError

GIGE_WRAP = 65_535
"""GigE Vision 1.x counts blocks 1 ... 65535, and then 1 again: zero is left out."""

_WRAPS = (65_536, 2**32)
_NEAR = 4_096
"""A counter that falls from this close below a wrap to this close above its start has wrapped."""

_MAX_LATE = 32
"""Frames that come this late are late; a counter that goes back further was reset."""


class FrameCounter:
    """Turns the ids of delivered frames into a ``seq`` that never wraps.

    Args:
        name: the camera, for messages.
        skips_zero: a 16-bit counter goes from 65535 to 1 (GigE Vision 1.x) and not to 0.
    """

    def __init__(self, name: str, *, skips_zero: bool = False) -> None:
        self._name = name
        self._skips_zero = skips_zero
        self._offset = 0
        self._last_id = -1

    def seq(self, frame_id: int, n_damaged: int = 0) -> int:
        """The ``seq`` of a frame.

        Args:
            frame_id: as the device gives it.
            n_damaged: frames that arrived damaged, and were thrown away, since the last call. A device whose counter
                does not pass over them is corrected, so that they are missing from ``seq`` either way.

        Raises:
            CameraLostError: the counter went back, and it was no wrap.
        """
        if self._last_id < 0:
            self._last_id = frame_id
            return frame_id
        wrap = self._wrap(frame_id)
        ahead = frame_id + wrap - self._last_id
        if ahead < -_MAX_LATE:
            raise CameraLostError(
                f"camera {self._name}: its frame counter went back from {self._last_id} to {frame_id}; the device was "
                "reset. It must be opened again, which begins a new epoch"
            )
        if ahead <= 0:
            return frame_id + self._offset
        self._offset += wrap + max(0, n_damaged - (ahead - 1))
        self._last_id = frame_id
        return frame_id + self._offset

    def _wrap(self, frame_id: int) -> int:
        """What the counter lost by wrapping between the last frame and this one; 0 where it did not."""
        if frame_id > _NEAR or frame_id >= self._last_id:
            return 0
        for wrap in _WRAPS:
            if wrap - _NEAR <= self._last_id < wrap:
                return GIGE_WRAP if wrap == _WRAPS[0] and self._skips_zero else wrap
        return 0
