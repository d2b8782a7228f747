"""Arrays that stay on the disk, and that another process of a training maps by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...sync.errors import DataError


class MappedArray(np.memmap[Any, np.dtype[Any]]):
    """An array mapped from a file; what is changed in it is not written.

    To a process that learns along (``fit.devices`` above 1) the whole array goes as the name of its file, so that its
    content is in memory once and not once per process. A part of it, or one whose file is gone, goes as its content.

    Attributes:
        whole: path, type, first byte and shape of what the file holds; None: it is a part of that.
    """

    whole: tuple[str, str, int, tuple[int, ...]] | None

    def __array_finalize__(self, obj: Any) -> None:
        """A view of it is no longer the whole file."""
        super().__array_finalize__(obj)
        self.whole = None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:  # type: ignore[override]
        """How it goes to another process."""
        if self.whole is not None and Path(self.whole[0]).exists():
            return map_again, self.whole
        return np.asarray, (np.array(self),)


def map_array(path: Path, dtype: np.dtype[Any], begin: int, shape: tuple[int, ...]) -> MappedArray:
    """Map a file.

    Args:
        path: of the file.
        dtype: of the values.
        begin: byte that they begin at.
        shape: of the array.

    Raises:
        OSError, ValueError: it cannot be mapped.
    """
    array = cast(MappedArray, MappedArray(path, dtype, mode="c", offset=begin, shape=shape))  # typed as its parent
    array.whole = (str(path.resolve()), dtype.str, begin, shape)
    return array


def map_again(path: str, dtype: str, begin: int, shape: tuple[int, ...]) -> MappedArray:
    """`map_array` in another process.

    Raises:
        DataError: it is not there any more.
    """
    try:
        return map_array(Path(path), np.dtype(dtype), begin, shape)
    except (OSError, ValueError) as error:
        raise DataError(
            f"feature cache: {path} cannot be mapped by a second process ({error}); was the cache cleared meanwhile? "
            "Give the same command again"
        ) from error
