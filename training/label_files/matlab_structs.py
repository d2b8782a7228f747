"""One struct of a MATLAB file as plain numbers: versions 5 to 7.2 through SciPy, 7.3 through h5py (extra ``train``).

Numbers alone are taken: cells, tables, objects and references are passed over, and nothing that is stored is run.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...sync.errors import ConfigError, DataError

HEADERS = (b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")
_HDF5 = HEADERS[1]


def read_struct(path: Path, name: str) -> dict[str, Any]:
    """The fields of the variable ``name``: arrays of numbers, at least 1-D without axes of length 1, and dicts of them.

    Raises:
        DataError: not a MATLAB file, damaged, or without a struct of this name.
        ConfigError: version 7.3, and h5py is not installed.
    """
    try:
        with path.open("rb") as file:
            header = file.read(len(_HDF5))
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read ({error.strerror}); check the path") from error
    if header not in HEADERS:
        raise DataError(f"{path}: is no MATLAB file of version 5 to 7.3; save it with MATLAB's save")
    value, names = (_from_hdf5 if header == _HDF5 else _from_scipy)(path, name)
    if not isinstance(value, dict):
        held = ", ".join(names) or "nothing that can be read"
        raise DataError(f"{path}: holds no struct {name} (it holds {held}); save the struct {name} into it")
    return value


def _from_scipy(path: Path, name: str) -> tuple[Any, list[str]]:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        names = [str(row[0]) for row in whosmat(path, appendmat=False)]
        if name not in names:
            return None, names
        loaded: Mapping[str, Any] = loadmat(path, appendmat=False, variable_names=[name], simplify_cells=True)
    except (OSError, ValueError, TypeError, KeyError, IndexError, MemoryError, MatReadError, zlib.error, struct.error,
            NotImplementedError) as error:  # fmt: skip
        raise _damaged(path, error) from error
    return _plain(loaded[name]), names


def _plain(value: Any) -> Any:
    """What SciPy returns → numbers and dicts; None for anything else."""
    if isinstance(value, dict):
        fields = {str(key): _plain(field) for key, field in value.items()}
        return {key: field for key, field in fields.items() if field is not None}
    array = np.asarray(value)
    return np.atleast_1d(array.squeeze()) if array.dtype.kind in "buif" else None


def _from_hdf5(path: Path, name: str) -> tuple[Any, list[str]]:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"{path}: is a MATLAB 7.3 file, which needs h5py; install ethostream[train]") from error

    def plain(node: Any) -> Any:
        if isinstance(node, h5py.Group):
            fields = {str(key): plain(node[key]) for key in node}
            return {key: field for key, field in fields.items() if field is not None}
        if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "buif":
            return None
        # An empty array is written as its shape.
        if node.attrs.get("MATLAB_empty", 0):
            return np.empty(0)
        return np.atleast_1d(np.asarray(node[()]).T.squeeze())

    try:
        with h5py.File(path, "r") as file:
            names = [str(key) for key in file if not str(key).startswith("#")]
            return (plain(file[name]) if name in names else None), names
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read ({type(error).__name__}: {error}); is it whole? Save it anew in MATLAB")
