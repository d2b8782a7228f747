"""What an event log says of one source: which frames came, which were declared, which nothing accounts for. Pure.

`verify` judges by it, and `repair` declares what is left.
"""

from collections import defaultdict
from collections.abc import Iterable

from .frame_account import is_estimate
from .frame_index import CameraIndex
from .messages import CameraStatus, FrameHeader, Gap, Pose
from .recording_reader import LoggedMessage
from .seq_set import SeqSet

SUPERVISOR = "supervisor"
"""The source of messages about processes that have failed; `node.SUPERVISOR`, without its sockets."""
REPAIR = "repair"
"""The source of messages that `repair` has added."""
TORN = "torn"
"""Kind of declaration: by `repair`, since a crash took the frame or the word of it."""


class CameraEvidence:
    """What the event log says of one camera, or pose source. One thread.

    Attributes:
        index: its headers.
        status: the last status of each epoch.
        gaps: declared frames by kind (``device``, ``bus``, ``torn``) and epoch; those of the recorder are in ``index``.
        crashed: epochs that ended with their process, as its supervisor has declared.
        away: frames that a camera which was away is estimated to have missed, by the epoch before.
    """

    def __init__(self) -> None:
        self.index = CameraIndex()
        self.status: dict[int, CameraStatus] = {}
        self.gaps: dict[str, dict[int, SeqSet]] = {"device": {}, "bus": {}, TORN: {}}
        self.crashed: set[int] = set()
        self.away: dict[int, int] = {}

    def add(self, logged: LoggedMessage) -> None:
        """Take its next message."""
        message = logged.message
        if isinstance(message, FrameHeader | Pose):
            self.index.add_header(message, logged.place)
        elif isinstance(message, CameraStatus):
            self.status[message.epoch] = message
        elif isinstance(message, Gap):
            if logged.source == SUPERVISOR:
                self.crashed.add(message.epoch)
            self.add_gap(message, TORN if logged.source == REPAIR else message.source)

    def add_gap(self, gap: Gap, kind: str) -> None:
        """Take a declaration."""
        if is_estimate(gap):
            self.away[gap.epoch] = self.away.get(gap.epoch, 0) + gap.n
            return
        self.index.add_gap(gap)
        if kind in self.gaps:
            self.gaps[kind].setdefault(gap.epoch, SeqSet()).add_run(gap.first_seq, gap.first_seq + gap.n)

    @property
    def epochs(self) -> list[int]:
        """All that was heard of."""
        kinds = self.gaps.values()
        return sorted({*self.status, *self.index.filter.received, *(epoch for gaps in kinds for epoch in gaps)})

    def received(self, epoch: int) -> SeqSet:
        """Frames whose header came."""
        return self.index.filter.received.get(epoch, SeqSet())

    def named_by(self, positions: Iterable[int]) -> dict[int, SeqSet]:
        """Frames by epoch whose headers stand at ``positions`` of ``index``; -1 is none."""
        found = defaultdict[int, SeqSet](SeqSet)
        for position in positions:
            if position >= 0:
                found[self.index.epochs[position]].add(self.index.seqs[position])
        return found

    def span(self, epoch: int) -> tuple[int, int] | None:
        """First and last frame of the device, from its status and its headers; None where it delivered nothing."""
        received, status = self.received(epoch), self.status.get(epoch)
        ends = [(received.first, received.last)] if len(received) else []
        if status is not None and status.first_seq >= 0:
            ends.append((status.first_seq, status.last_seq))
        return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None

    def account(self, epoch: int, kept: SeqSet) -> tuple[SeqSet, dict[str, int]]:
        """Frames of the device that are neither ``kept`` nor declared, and how many are declared by each kind."""
        span = self.span(epoch)
        left = SeqSet() if span is None else SeqSet([(span[0], span[1] + 1)]).minus(kept)
        declared: dict[str, int] = {}
        for kind, gaps in (
            (TORN, self.gaps[TORN]),
            ("recorder", self.index.lost),
            ("device", self.gaps["device"]),
            ("bus", self.gaps["bus"]),
        ):
            rest = left.minus(gaps.get(epoch, SeqSet()))
            if len(rest) != len(left):
                declared[kind] = len(left) - len(rest)
            left = rest
        return left, declared
