"""The account of a Basler camera's frames: its own counter, and what its driver's statistics add to that. Pure."""

from dataclasses import dataclass

from .frame_counter import FrameCounter

NO_BLOCK_ID = 2**64 - 1
"""What the SDK gives where the transport knows no block IDs."""


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What the driver counted since the camera was started.

    Attributes:
        failed: buffers that were delivered incomplete.
        underruns: frames for which no buffer was free, or that the host missed.
    """

    failed: int = 0
    underruns: int = 0


class FrameAccount:
    """Numbers the frames of one camera, so that every loss that anything knows of is a jump in the numbers.

    The device's block ID is the number, continued over its wrap. A device that gives none is counted by deliveries:
    an incomplete one takes a number too, and so does each underrun of the driver's statistics, whose place is only
    known to be before the frame that is delivered next.

    A device that does give IDs shows its losses in them. What the statistics know on top of that is added once all
    frames that were under way when they were read have come: then no jump can still be on its way.

    Args:
        name: the camera, for messages.
        gige: block IDs count from 1 and skip 0 when they wrap.
        settle_frames: frames that may be under way: the buffers of the driver.
    """

    def __init__(self, name: str, *, gige: bool, settle_frames: int) -> None:
        self._counter = FrameCounter(name, skips_zero=gige)
        self._gige = gige
        self._settle = settle_frames
        self._by_id: bool | None = None
        self._n_results = 0
        self._last = -1
        self._read_at = 0
        self._read = StreamStatistics()
        self._settled = 0
        self.shown = 0
        """Frames that the device's numbers, or incomplete deliveries, showed to be lost."""
        self.added = 0
        """Frames that only the driver's statistics know to be lost."""

    def failed(self) -> None:
        """One incomplete buffer was delivered."""
        self._n_results += 1

    def frame(self, block_id: int, statistics: StreamStatistics) -> int:
        """The ``seq`` of a good frame; a device that loses nothing counts from 0.

        Args:
            block_id: as the SDK gives it.
            statistics: read just before.

        Raises:
            CameraLostError: the device's counter went back.
        """
        self._n_results += 1
        raw = self._number(block_id)
        self.shown += max(0, raw - self._last - 1)
        self._last = max(self._last, raw)
        at_once = statistics.underruns if self._by_id is False else 0
        if self._n_results > self._read_at + self._settle:
            lost = self._read.failed + (self._read.underruns if self._by_id else 0)
            self._settled += max(0, lost - self.shown - self._settled)
            self._read_at, self._read = self._n_results, statistics
        self.added = at_once + self._settled
        return raw + self.added

    def unexplained(self, statistics: StreamStatistics) -> int:
        """Losses in the statistics that ``seq`` does not show, or not yet."""
        return max(0, statistics.failed + statistics.underruns - self.shown - self.added)

    def _number(self, block_id: int) -> int:
        if self._by_id is None:
            # A counter from 0 says 0 and then 1; a transport without IDs says 0, or all ones, for ever.
            if block_id == NO_BLOCK_ID or (block_id == 0 and (self._gige or self._n_results > 1)):
                self._by_id = False
            elif block_id > 0:
                self._by_id = True
        if self._by_id is False:
            return self._n_results - 1
        return self._counter.seq(block_id) - (1 if self._gige else 0)
