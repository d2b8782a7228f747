"""What a preset of video learns from and is scored on, where nobody says it: parts that a data set is dealt into."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..config.recordings import VideoData
from ..splits import unit_of

FEWEST_RECORDINGS: Final = 3
"""From so many recordings or groups on whole ones are kept apart."""
SHARE: Final = 0.2
"""Of the recordings or groups, for validation and for the test each."""
BLOCKS: Final = [
    *("train", "train", "validation", "train", "test"),
    *("train", "train", "validation", "train", "test"),
]
"""Of a single recording: parts of its ten equal blocks of time."""
GUARD_S: Final = 0.5
ABOUT_SPLIT: Final = "split: "
"""How a note begins that says how a data set is split; of scores of another split it is not true."""
SEED: Final = 0


def dealt_out(entries: Sequence[VideoData]) -> tuple[dict[str, Any], list[str | None], str]:
    """How a data set is split.

    Whole recordings are kept apart, and those of one group together, where there are `FEWEST_RECORDINGS` of them; else
    blocks of time, which say less of a new animal.

    Args:
        entries: recordings.

    Returns:
        ``split`` of the training file, the part of each entry (None with blocks), and that in words.
    """
    of_entries = [unit_of(one.recording_name, one.group) for one in entries]
    units = list(dict.fromkeys(of_entries))
    if len(units) < FEWEST_RECORDINGS:
        words = (
            f"{ABOUT_SPLIT}{len(units)} recording(s) or group(s) are too few to keep whole ones apart: every recording "
            f"is cut into {len(BLOCKS)} blocks of time, and the scores are of an animal that was learnt from"
        )
        return {"by": "time_block", "pattern": list(BLOCKS), "guard_s": GUARD_S}, [None] * len(entries), words
    order = [units[place] for place in np.random.default_rng(SEED).permutation(len(units))]
    n = max(1, round(SHARE * len(units)))
    part = {
        unit: "test" if place < n else "validation" if place < 2 * n else "train" for place, unit in enumerate(order)
    }
    parts: list[str | None] = [part[unit] for unit in of_entries]
    of_test = [one.recording_name for one, where in zip(entries, parts, strict=True) if where == "test"]
    return {"by": "recording"}, parts, f"{ABOUT_SPLIT}kept apart for the test: {', '.join(of_test)}"
