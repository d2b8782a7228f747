"""BehaviorDEPOT's ``hBehavior`` (MATLAB 5 to 7.3): for each behaviour a vector of 0 and 1, one value per frame.

Where a behaviour has bouts and no vector, its bouts are read: frames from 1, the last one named. The struct
``Behavior`` of the same program is what its classifiers said, not a person, and is refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..stretches import runs_of
from .file_head import FileHead
from .frame_labels import Bout
from .frame_numbers import half_open
from .label_file import LabelFile, ReadOptions
from .matlab_structs import HEADERS, read_struct

_VARIABLE = "hBehavior"


def matches(head: FileHead) -> bool:
    """Whether it is a MATLAB file."""
    return head.data.startswith(HEADERS)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read the behaviours of ``hBehavior``.

    Raises:
        DataError: there is none, it holds no behaviour, vectors differ in length or hold other values than 0 and 1.
        ConfigError: it is of version 7.3 and h5py is not installed.
    """
    fields = read_struct(path, _VARIABLE)
    total, rate_hz = _number(fields.get("TotalFrames")), _number(fields.get("FrameRate"))
    lengths: dict[str, int] = {}
    bouts: list[Bout] = []
    names: list[str] = []
    for name, field in fields.items():
        if not isinstance(field, dict):
            continue
        vector, pairs = field.get("Vector"), field.get("Bouts")
        if isinstance(vector, np.ndarray):
            spans = _spans_of_vector(path, name, vector)
            lengths[name] = vector.size
        elif isinstance(pairs, np.ndarray):
            spans = _spans_of_bouts(path, name, pairs)
        else:
            continue
        names.append(name)
        bouts += [Bout(start, stop, name) for start, stop in spans]
    if not names:
        raise DataError(f"{path}: {_VARIABLE} holds no behaviour; expected {_VARIABLE}.NAME.Vector, 0 or 1 per frame")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(
            f"{path}: the vectors of its behaviours have different lengths ({said}); are they of one video?"
        )
    n_frames = next(iter(lengths.values())) if lengths else None if total is None else int(total)
    notes: list[str] = []
    if total is not None and n_frames != total:
        notes.append(f"TotalFrames says {total:g} frames and the vectors have {n_frames}; the vectors count")
    return LabelFile(
        path,
        "matlab",
        {"": sorted(bouts, key=lambda bout: (bout.start_frame, bout.stop_frame))},
        names,
        n_frames=n_frames,
        rate_hz=rate_hz if rate_hz is not None and rate_hz > 0.0 else None,
        notes=notes,
    )


def _spans_of_vector(path: Path, name: str, vector: NDArray[Any]) -> list[tuple[int, int]]:
    where = f"{path}: {_VARIABLE}.{name}.Vector"
    if vector.ndim != 1:
        raise DataError(f"{where}: has the shape {vector.shape}; expected one value per frame")
    if (wrong := np.flatnonzero((vector != 0) & (vector != 1))).size:
        raise DataError(f"{where}: value {wrong[0] + 1} is {vector[wrong[0]]:g}; expected 0 or 1 for each frame")
    return runs_of(vector == 1)


def _spans_of_bouts(path: Path, name: str, pairs: NDArray[Any]) -> list[tuple[int, int]]:
    where = f"{path}: {_VARIABLE}.{name}.Bouts"
    if pairs.size % 2 or pairs.ndim > 2 or (pairs.size and pairs.shape[-1] != 2):
        raise DataError(f"{where}: has the shape {pairs.shape}; expected one row per bout, start and stop")
    rows = pairs.reshape(-1, 2)
    if not np.isfinite(rows).all() or (rows != np.floor(rows)).any():
        raise DataError(f"{where}: holds values that are no frame numbers; expected whole numbers from 1")
    return [
        half_open(f"{where}: row {row}", int(start), int(stop), "one_based_inclusive")
        for row, (start, stop) in enumerate(rows, start=1)
    ]


def _number(value: Any) -> float | None:
    if isinstance(value, np.ndarray) and value.size == 1 and np.isfinite(value).all():
        return float(value.flat[0])
    return None
