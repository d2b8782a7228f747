"""Frames that never came, and of which a message says so, for the rows of a table."""

from collections.abc import Iterable, Iterator, Mapping

from .frame_account import is_estimate
from .messages import Gap
from .seq_set import SeqSet


def never_came(gaps: Iterable[Gap], received: Mapping[int, SeqSet]) -> Iterator[tuple[int, int | str, str]]:
    """Epoch, number and reason of each frame of one source that was declared and has not come, as declared.

    A frame that several messages name is there once, with the first reason. Where the number of frames is an estimate,
    no device has numbered them: they are one entry with the number "", and the reason says how many.

    Args:
        gaps: of one camera or pose source.
        received: what came after all, by epoch.
    """
    listed: dict[int, SeqSet] = {}
    for gap in gaps:
        reason = f"{gap.source}: {gap.reason}"
        if is_estimate(gap):
            yield gap.epoch, "", reason
            continue
        run = SeqSet([(gap.first_seq, gap.first_seq + gap.n)])
        before = listed.get(gap.epoch, SeqSet())
        listed[gap.epoch] = before.union(run)
        for seq in run.minus(received.get(gap.epoch, SeqSet()).union(before)):
            yield gap.epoch, seq, reason
