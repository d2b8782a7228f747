"""What something remembers, as bytes: an ``.npz`` without pickle."""

import io
import zipfile

import numpy as np

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
