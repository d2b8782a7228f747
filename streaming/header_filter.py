"""Which headers name a new frame, and which a frame that was there already. Pure."""

from .seq_set import SeqSet

REORDER_WINDOW = 32
"""A frame may arrive this many frames late, the first ones of an epoch too; camera and recorder agree on it."""


class HeaderFilter:
    """Tells new frames from duplicates: seen before in this epoch, or too late to be from before its first frame."""

    def __init__(self) -> None:
        self.received: dict[int, SeqSet] = {}
        """Frame numbers by epoch."""
        self.n_duplicates: dict[int, int] = {}

    def is_new(self, epoch: int, seq: int) -> bool:
        """Account one header; False for a duplicate."""
        received = self.received.get(epoch)
        if received is None:
            received = self.received[epoch] = SeqSet([(seq, seq + 1)])
            return True
        if (seq >= received.first or seq >= received.last - REORDER_WINDOW) and received.add(seq):
            return True
        self.n_duplicates[epoch] = self.n_duplicates.get(epoch, 0) + 1
        return False
