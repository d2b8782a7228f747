"""What something remembers, as bytes: an ``.npz`` without pickle."""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import BundleError
from .cropper import State


def pack_state(state: State) -> bytes:
    """The bytes of a state."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    return buffer.getvalue()


def unpack_state(payload: bytes) -> State:
    """The state again.

    Raises:
        BundleError: these are no such bytes.
    """
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"a state of {len(payload)} bytes cannot be read ({error})") from error


def differing(mine: State, theirs: State) -> list[str]:
    """Names of what stands in one of two states alone, or in both with another shape or dtype."""
    return [name for name in {**mine, **theirs} if _form(mine.get(name)) != _form(theirs.get(name))]


def _form(value: NDArray[Any] | None) -> tuple[tuple[int, ...], str] | None:
    return None if value is None else (value.shape, value.dtype.str)
