"""DeepLabCut's HDF5: a pandas table as PyTables writes it, read without either, and without unpickling anything."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from .deeplabcut_columns import MULTI_LEVELS, SINGLE_LEVELS, sort_columns
from .pickled_names import read_pickled_names
from .pose_table import PoseTable, make_pose_table

if TYPE_CHECKING:
    import h5py

_CURE: Final = "give the .h5 that DeepLabCut's analysis wrote, or the CSV beside it"
_BLOCK: Final = "values_block_"
_MOST_BYTES: Final = 3 * 2**30
_MOST_TIMES: Final = 100
"""A table with its missing rows may take so many bytes, or so many times those of the file: more is a wild number."""


def holds_pandas(file: "h5py.File") -> bool:
    """Whether an open HDF5 file is one that pandas wrote."""
    return any("pandas_type" in node.attrs for node in file.values())


def read_deeplabcut_hdf5(path: Path, file: "h5py.File") -> PoseTable:
    """Read the one table of an open file.

    Rows carry the number of their frame. Frames without a row have no points: older releases of pandas leave out rows
    in which every value is missing.

    Raises:
        DataError: several tables, another layout, or column names that cannot be read without running code.
    """
    group = _table_group(path, file)
    table: Any = group["table"]
    names: tuple[str, ...] = table.dtype.names or ()
    blocks = [name for name in names if name.startswith(_BLOCK)]
    if not blocks or {*names} - {*blocks, "index"}:
        raise DataError(f"{path}: is a table of {', '.join(names)}, and one of points is needed; {_CURE}")
    try:
        rows: NDArray[Any] = table[:]
    except OSError as error:
        raise DataError(f"{path}: its table cannot be read ({error}); {_CURE}") from error
    if not len(rows):
        raise DataError(f"{path}: holds no frame; {_CURE}")
    head: list[tuple[str, ...]] = []
    values: list[NDArray[np.float64]] = []
    for block in blocks:
        part = rows[block].reshape(len(rows), -1)
        columns = _column_names(path, table, f"{block}_kind")
        if part.dtype.kind != "f" or part.shape[1] != len(columns):
            raise DataError(
                f"{path}: {block} holds {part.shape[1]} columns of {part.dtype} under {len(columns)} names; {_CURE}"
            )
        head += columns
        values.append(part.astype(np.float64))
    levels = _levels(path, head)
    found = sort_columns(list(zip(*head, strict=True)), levels, str(path))
    points = found.points(_by_frame(path, rows["index"], np.concatenate(values, axis=1)))
    return make_pose_table(path, found.animals, found.keypoints, points)


def _table_group(path: Path, file: "h5py.File") -> "h5py.Group":
    groups = [name for name, node in file.items() if "pandas_type" in node.attrs]
    if len(groups) != 1:
        raise DataError(f"{path}: holds {len(groups)} tables ({', '.join(groups)}), and one is needed; {_CURE}")
    group: Any = file[groups[0]]
    if _text(group.attrs["pandas_type"]) != "frame_table" or "table" not in group:
        raise DataError(
            f"{path}: {groups[0]!r} is not in pandas' table format, as DeepLabCut's labelled training images are; "
            f"{_CURE}"
        )
    return cast("h5py.Group", group)


def _column_names(path: Path, table: Any, attribute: str) -> list[tuple[str, ...]]:
    where = f"{path}: {attribute}"
    if attribute not in table.attrs:
        raise DataError(f"{where} is not there, so its columns have no names; {_CURE}")
    pickled: object = table.attrs[attribute]
    data = pickled.tobytes() if isinstance(pickled, np.void) else pickled
    names = read_pickled_names(data if isinstance(data, bytes) else str(data).encode(), where)
    if not isinstance(names, list) or not all(
        isinstance(one, tuple) and all(isinstance(name, str) for name in one) for one in names
    ):
        raise DataError(f"{where} names no columns by scorer, body part and coordinate; {_CURE}")
    return names


def _levels(path: Path, head: list[tuple[str, ...]]) -> tuple[str, ...]:
    lengths = {len(one) for one in head}
    for levels in (SINGLE_LEVELS, MULTI_LEVELS):
        if lengths == {len(levels)}:
            return levels
    raise DataError(f"{path}: its columns have {sorted(lengths)} names each, and three or four are needed; {_CURE}")


def _by_frame(path: Path, numbers: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with a row for every frame from 0 to the last."""
    if numbers.dtype.kind not in "iu":
        raise DataError(f"{path}: its rows are not numbered by frame ({numbers.dtype}); {_CURE}")
    back = np.flatnonzero(np.diff(numbers.astype(np.int64)) <= 0)
    if len(back) or numbers[0] < 0:
        row = int(back[0]) + 1 if len(back) else 0
        raise DataError(f"{path}: row {row}: frame number {numbers[row]} is out of turn; {_CURE}")
    most = max(_MOST_BYTES // (8 * values.shape[1]), _MOST_TIMES * len(values))
    if numbers[-1] >= most:
        row = len(numbers) - 1
        raise DataError(
            f"{path}: row {row}: frame number {numbers[row]}, and there are {len(numbers)} rows: with "
            f"those left out it would take more than {_MOST_BYTES / 2**30:g} GiB; split the file if it is right"
        )
    whole = np.full((int(numbers[-1]) + 1, values.shape[1]), np.nan)
    whole[numbers] = values
    return whole


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
