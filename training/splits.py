"""How training, validation and test data are kept apart: by recording, or by blocks of time with a guard between them.

Neighbouring frames are near copies of each other, so a split by single frames is refused: it would score the memory of
a model and not its skill.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..sync.errors import DataError
from ..sync.strict import StrictModel

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
UNUSED = -1
"""Part index of a guard frame."""


class RecordingSplit(StrictModel):
    """Whole recordings; each entry of ``data`` says with ``part`` where it belongs."""

    by: Literal["recording"] = "recording"


class TimeBlockSplit(StrictModel):
    """Every recording's labelled span is cut into equal blocks in time.

    Attributes:
        pattern: the part of each block, in order; its length is the number of blocks.
        guard_s: seconds left out on each side of a border between two parts, so that no behaviour bout, crop or
            feature straddles it.
    """

    by: Literal["time_block"] = "time_block"
    pattern: list[Part] = Field(min_length=2)
    guard_s: float = Field(default=0.5, ge=0.0)

    @model_validator(mode="after")
    def _has_training_data(self) -> Self:
        if "train" not in self.pattern or "test" not in self.pattern:
            raise ValueError("pattern: needs at least one block for 'train' and one for 'test'")
        return self


class FrameSplit(StrictModel):
    """Always refused; it exists so that the refusal can say why."""

    by: Literal["frame", "random"]

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, _: object) -> object:
        raise ValueError(
            "a random split by frame puts near copies of the training frames into the test set, and its scores mean "
            "nothing for a new recording; use 'by: recording' or 'by: time_block'"
        )


SplitRule = Annotated[RecordingSplit | TimeBlockSplit | FrameSplit, Field(discriminator="by")]


def split_by_block(
    rule: TimeBlockSplit, labelled: NDArray[np.bool_], rate_hz: float, name: str = "recording"
) -> NDArray[np.int8]:
    """The part of every frame, int8 [n_frames]: an index into ``PARTS``, or ``UNUSED``.

    Blocks divide the span from the first to the last labelled frame; a frame outside it, within ``guard_s`` of a border
    between different parts, or without a label is ``UNUSED``.

    Args:
        rule: pattern and guard.
        labelled: bool [n_frames].
        rate_hz: frames per second.
        name: for messages.

    Raises:
        DataError: no labelled frame, or blocks so short that the guards leave nothing of one.
    """
    frames = np.flatnonzero(labelled)
    parts = np.full(len(labelled), UNUSED, np.int8)
    if not len(frames):
        raise DataError(f"{name}: no frame is labelled; there is nothing to split")
    guard = round(rule.guard_s * rate_hz)
    edges = np.linspace(frames[0], frames[-1] + 1, len(rule.pattern) + 1).round().astype(int)
    for place, part in enumerate(rule.pattern):
        start, stop = int(edges[place]), int(edges[place + 1])
        if place and rule.pattern[place - 1] != part:
            start += guard
        if place + 1 < len(rule.pattern) and rule.pattern[place + 1] != part:
            stop -= guard
        if stop <= start:
            raise DataError(
                f"{name}: block {place + 1} of {len(rule.pattern)} ({part}) is shorter than its guards of "
                f"{rule.guard_s} s; use fewer blocks or a smaller split.guard_s"
            )
        parts[start:stop] = PARTS.index(part)
    parts[~labelled] = UNUSED
    return parts


def parts_of(
    rule: RecordingSplit | TimeBlockSplit | FrameSplit,
    part: Part | None,
    labels: NDArray[np.integer],
    rate_hz: float,
    name: str,
) -> NDArray[np.int8]:
    """The part of every frame of one recording, int8 [n_frames], whichever way the data are split.

    Args:
        rule: of the configuration.
        part: of the recording, with a split by recording.
        labels: class of every frame, below 0 where there is none.
        rate_hz: frames per second.
        name: of the recording, for messages.

    Raises:
        DataError: the blocks of a time-block split do not fit.
    """
    if isinstance(rule, TimeBlockSplit):
        return split_by_block(rule, labels >= 0, rate_hz, name)
    if part is None:
        raise DataError(f"{name}: belongs to no part; give it 'part: train', 'validation' or 'test'")
    return np.full(len(labels), PARTS.index(part), np.int8)


def runs_of(mask: NDArray[np.bool_], min_frames: int = 1) -> list[tuple[int, int]]:
    """Stretches (start, stop exclusive) of True that are at least ``min_frames`` long."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [
        (int(start), int(stop))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        if stop - start >= min_frames
    ]


def stretches_of(name: str, mask: NDArray[np.bool_]) -> list[str]:
    """What a mask holds of a recording, as manifests name it: all of it, or ``name[first:stop]`` of each stretch."""
    return [name] if mask.all() else [f"{name}[{start}:{stop}]" for start, stop in runs_of(mask)]


def refuse_shared(members: Sequence[tuple[str, Part, str]]) -> None:
    """Refuse a recording that stands in two parts.

    Args:
        members: (name, part, fingerprint) of every recording; the fingerprint finds copies under another name.

    Raises:
        DataError: the same data are in two parts.
    """
    seen: dict[str, tuple[str, Part]] = {}
    for name, part, fingerprint in members:
        other = seen.setdefault(fingerprint, (name, part))
        if other[1] != part:
            raise DataError(
                f"{name} ({part}) and {other[0]} ({other[1]}) are the same recording; one recording belongs to one "
                "part, or the test scores what was learnt by heart"
            )
