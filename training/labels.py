"""Bout labels: ``start_frame,stop_frame,behaviour,confidence``; frames count from 0 and ``stop_frame`` is exclusive."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import DataError

COLUMNS = ("start_frame", "stop_frame", "behaviour", "confidence")
UNLABELLED = -1
"""Class index of a frame that no bout covers."""


@dataclass(frozen=True, slots=True)
class Bout:
    """One stretch of one behaviour: ``start_frame <= i < stop_frame``; ``line`` is where it stands in its file."""

    start_frame: int
    stop_frame: int
    behavior: str
    confidence: float | None = None
    line: int = 0


def read_bouts(path: Path, n_frames: int | None = None) -> list[Bout]:
    """Read one label file; the column ``confidence`` may be absent or empty, columns that are not known are refused.

    Args:
        path: the CSV.
        n_frames: length of the video, to refuse bouts beyond its end; None: not checked.

    Returns:
        Bouts in order of time.

    Raises:
        DataError: the file cannot be read, a value is wrong, two bouts overlap or one ends beyond the video; the
            message names file, line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not CSV text in UTF-8 ({error}); export the labels as CSV") from error
    if not rows or not any(rows[0]):
        raise DataError(f"{path}: line 1: is empty; expected the header {','.join(COLUMNS)}")
    header = [name.strip() for name in rows[0]]
    _check_header(path, header)
    bouts = [
        _bout(path, line, dict(zip(header, row, strict=False)), len(row), len(header), n_frames)
        for line, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]
    bouts.sort(key=lambda bout: (bout.start_frame, bout.stop_frame))
    for before, after in pairwise(bouts):
        if after.start_frame < before.stop_frame:
            raise DataError(
                f"{path}: line {after.line}: column start_frame: {after.start_frame} lies in the bout of line "
                f"{before.line} ({before.behavior}, {before.start_frame} to {before.stop_frame}); stop_frame is "
                "exclusive, one frame has one behaviour"
            )
    return bouts


def frame_labels(
    bouts: Sequence[Bout],
    n_frames: int,
    classes: Sequence[str],
    path: Path,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
) -> NDArray[np.int16]:
    """One class index per frame, int16 [n_frames]; ``UNLABELLED`` where no bout is, or one that is ignored.

    Args:
        bouts: from `read_bouts`.
        n_frames: length of the video.
        classes: names in the order of the model.
        path: the label file, for messages.
        rename: label name → class name, applied first.
        ignore: label names whose frames count as unlabelled.

    Raises:
        DataError: a behaviour is neither a class nor ignored, or a bout ends beyond the video.
    """
    labels = np.full(n_frames, UNLABELLED, np.int16)
    index = {name: place for place, name in enumerate(classes)}
    renamed = rename or {}
    for bout in bouts:
        if bout.stop_frame > n_frames:
            raise _beyond(path, bout.line, bout.stop_frame, n_frames)
        name = renamed.get(bout.behavior, bout.behavior)
        if name in ignore or bout.behavior in ignore:
            continue
        if name not in index:
            raise DataError(
                f"{path}: line {bout.line}: column behaviour: {bout.behavior!r} is not among the classes "
                f"({', '.join(classes)}); add it to 'classes', or list it under 'rename' or 'ignore'"
            )
        labels[bout.start_frame : bout.stop_frame] = index[name]
    return labels


def bouts_of(labels: NDArray[np.integer], classes: Sequence[str]) -> list[Bout]:
    """The bouts of a frame-wise label array; the inverse of `frame_labels`."""
    edges = np.flatnonzero(np.diff(labels, prepend=np.int64(-2), append=np.int64(-2)))
    return [
        Bout(int(start), int(stop), classes[int(labels[start])])
        for start, stop in pairwise(edges)
        if labels[start] != UNLABELLED
    ]


def _check_header(path: Path, header: list[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise DataError(f"{path}: line 1: column {unknown[0]!r} is not known; the columns are {','.join(COLUMNS)}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}: line 1: a column stands twice in {','.join(header)}")
    for name in COLUMNS[:3]:
        if name not in header:
            raise DataError(f"{path}: line 1: column {name} is missing; the columns are {','.join(COLUMNS)}")


def _bout(path: Path, line: int, row: dict[str, str], n_cells: int, n_columns: int, n_frames: int | None) -> Bout:
    if n_cells != n_columns:
        raise DataError(f"{path}: line {line}: has {n_cells} values, the header names {n_columns} columns")
    start = _frame(path, line, "start_frame", row["start_frame"])
    stop = _frame(path, line, "stop_frame", row["stop_frame"])
    if stop <= start:
        raise DataError(
            f"{path}: line {line}: column stop_frame: {stop} is not after start_frame {start}; stop_frame is exclusive"
        )
    if n_frames is not None and stop > n_frames:
        raise _beyond(path, line, stop, n_frames)
    behavior = row["behaviour"].strip()
    if not behavior:
        raise DataError(f"{path}: line {line}: column behaviour: is empty; name the behaviour")
    confidence = row.get("confidence", "").strip()
    try:
        value = float(confidence) if confidence else None
    except ValueError as error:
        raise DataError(f"{path}: line {line}: column confidence: {confidence!r} is not a number") from error
    return Bout(start, stop, behavior, value, line)


def _frame(path: Path, line: int, column: str, text: str) -> int:
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdigit()):
        raise DataError(
            f"{path}: line {line}: column {column}: {text!r} is not a frame number; frames are whole numbers from 0"
        )
    return int(cleaned)


def _beyond(path: Path, line: int, stop: int, n_frames: int) -> DataError:
    return DataError(
        f"{path}: line {line}: column stop_frame: {stop} is beyond the video, which has {n_frames} frames (stop_frame "
        f"is exclusive, so at most {n_frames}); are these the labels of this video?"
    )
