"""How training, validation and test data are kept apart: by recording, by group, by blocks of time, or in folds.

Neighbouring frames are near copies of each other, so a split by single frames is refused: it would score the memory of
a model and not its skill. Recordings of one animal or day are more alike than those of others: a group keeps them
together.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..sync.errors import DataError
from ..sync.strict import StrictModel
from .stretches import runs_of

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Unit = Literal["recording", "group"]
UNUSED = -1
"""Part index of a guard frame."""


class RecordingSplit(StrictModel):
    """Whole recordings; each entry of ``data`` says with ``part`` where it belongs."""

    by: Literal["recording"] = "recording"


class TimeBlockSplit(StrictModel):
    """Every recording's labelled span is cut into equal blocks in time.

    Attributes:
        pattern: the part of each block, in order; its length is the number of blocks.
        guard_s: seconds left out on each side of a border between two parts. What lasts longer straddles it all the
            same: a long bout, a feature or a head that remembers further back. Splits by recording have no borders.
    """

    by: Literal["time_block"] = "time_block"
    pattern: list[Part] = Field(min_length=2)
    guard_s: float = Field(default=0.5, ge=0.0)

    @model_validator(mode="after")
    def _has_training_data(self) -> Self:
        if "train" not in self.pattern or "test" not in self.pattern:
            raise ValueError("pattern: needs at least one block for 'train' and one for 'test'")
        return self


class GroupSplit(StrictModel):
    """Whole groups, such as an animal or a day: each stands in one part with all of its recordings.

    Attributes:
        validation, test: names of groups; all others are trained on.
    """

    by: Literal["group"] = "group"
    validation: list[str] = Field(default_factory=list)
    test: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := sorted(set(self.validation) & set(self.test)):
            raise ValueError(f"group {', '.join(both)} stands in 'validation' and in 'test'; one group, one part")
        return self


class LeaveOneOutSplit(StrictModel):
    """As many trainings as there are recordings, each without one of them, which it is then scored on.

    Attributes:
        unit: ``group``: all recordings of a group are left out together, and one without a group is a group of its own;
            ``recording`` tears groups apart.
    """

    by: Literal["leave_one_out"] = "leave_one_out"
    unit: Unit = "group"


class KFoldSplit(StrictModel):
    """Several trainings, each without one fold of the recordings, which it is then scored on.

    Attributes:
        folds: how many.
        unit: what is never torn apart; a recording without a group is a group of its own.
        seed: of the order in which recordings or groups are dealt out.
    """

    by: Literal["k_fold"] = "k_fold"
    folds: int = Field(default=4, ge=2, le=100)
    unit: Unit = "group"
    seed: int = Field(default=0, ge=0)


FoldSplit = LeaveOneOutSplit | KFoldSplit
"""Splits in which every recording is once the part that was not seen."""


class FrameSplit(StrictModel):
    """Always refused; it exists so that the refusal can say why."""

    by: Literal["frame", "random"]

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, _: object) -> object:
        raise ValueError(
            "a random split by frame puts near copies of the training frames into the test set, and its scores mean "
            "nothing for a new recording; use 'by: recording', 'group', 'time_block', 'leave_one_out' or 'k_fold'"
        )


SplitRule = Annotated[
    RecordingSplit | GroupSplit | TimeBlockSplit | LeaveOneOutSplit | KFoldSplit | FrameSplit,
    Field(discriminator="by"),
]


def part_of(rule: SplitRule, part: Part | None, group: str | None, name: str) -> Part | None:
    """The part of a whole recording; None where the rule is not about whole recordings, or makes folds of them.

    Args:
        rule: of the configuration.
        part: that the entry states, with a split by recording.
        group: of the recording.
        name: of the recording, for messages.

    Raises:
        DataError: the split is by group and the recording has none.
    """
    if isinstance(rule, RecordingSplit):
        return part
    if not isinstance(rule, GroupSplit):
        return None
    if group is None:
        raise DataError(f"{name}: has no group, and the split is by group; give it 'group: NAME'")
    return "test" if group in rule.test else "validation" if group in rule.validation else "train"


def unit_of(name: str, group: str | None, unit: Unit = "group") -> tuple[Unit, str]:
    """What a recording is never torn from, by kind and name: its group, or else itself.

    Args:
        name: of the recording.
        group: of the recording; None or "": it has none.
        unit: ``recording``: groups may be torn apart.
    """
    return ("group", group) if unit == "group" and group else ("recording", name)


def folds_of(rule: FoldSplit, names: Sequence[str], groups: Sequence[str | None]) -> list[list[int]]:
    """Which recordings each training is scored on: their places, ascending; every recording stands in one fold.

    Args:
        rule: leave-one-out or k-fold.
        names: of the recordings.
        groups: of the same recordings; None: a group of its own.

    Raises:
        DataError: fewer recordings or groups than folds, or only one.
    """
    units: dict[tuple[Unit, str], list[int]] = {}
    for place, (name, group) in enumerate(zip(names, groups, strict=True)):
        units.setdefault(unit_of(name, group, rule.unit), []).append(place)
    n_folds = rule.folds if isinstance(rule, KFoldSplit) else len(units)
    if len(units) < max(n_folds, 2):
        raise DataError(
            f"split {rule.by}: {max(n_folds, 2)} folds need as many {rule.unit}s, and there are {len(units)} "
            f"({', '.join(name for _, name in units)}); add recordings, or ask for fewer folds (--folds N of crossval "
            "and search, split.folds of a training file, --set split.folds=N of a preset)"
        )
    members = [units[key] for key in sorted(units, key=lambda key: _natural(key[1]))]
    if isinstance(rule, KFoldSplit):
        members = [members[place] for place in np.random.default_rng(rule.seed).permutation(len(members))]
    return [sorted(place for unit in members[fold::n_folds] for place in unit) for fold in range(n_folds)]


def _natural(name: str) -> list[tuple[int, str]]:
    """Order in which session 2 comes before session 12."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def split_by_block(
    rule: TimeBlockSplit, labelled: NDArray[np.bool_], rate_hz: float, name: str = "recording"
) -> NDArray[np.int8]:
    """The part of every frame, int8 [n_frames]: an index into ``PARTS``, or ``UNUSED``.

    Blocks divide the span from the first to the last labelled frame; a frame outside it or within ``guard_s`` of a
    border between different parts is ``UNUSED``. A frame without a label is of its block, as one of a whole recording
    is of that recording's part: it is seen, and neither learnt from nor scored.

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
    return parts


class Divided(Protocol):
    """What a split asks of a recording."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def part(self) -> Part | None:
        """Of the whole recording (`part_of`), with a split by recording or group."""
        ...

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [n_frames]."""
        ...

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        ...


def parts_of(rule: SplitRule, recording: Divided) -> NDArray[np.int8]:
    """The part of every frame of one recording, int8 [n_frames], whichever way the data are split.

    Args:
        rule: of the configuration.
        recording: one.

    Raises:
        DataError: the blocks of a time-block split do not fit, or the rule makes folds, each with parts of its own.
    """
    if isinstance(rule, TimeBlockSplit):
        return split_by_block(rule, recording.known, recording.rate_hz, recording.name)
    if isinstance(rule, LeaveOneOutSplit | KFoldSplit):
        raise DataError(
            f"split {rule.by}: is several trainings, and this needs one; use 'by: recording', 'group' or 'time_block' "
            "here, or `ethostream crossval`"
        )
    if recording.part is None:
        raise DataError(f"{recording.name}: belongs to no part; give it 'part: train', 'validation' or 'test'")
    return np.full(len(recording.known), PARTS.index(recording.part), np.int8)


def part_mask(rule: SplitRule, recording: Divided, part: Part) -> NDArray[np.bool_]:
    """Frames of a recording that belong to a part, labelled or not where it is split by recording, bool [n_frames].

    Raises:
        DataError: as `parts_of`.
    """
    return parts_of(rule, recording) == PARTS.index(part)


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
