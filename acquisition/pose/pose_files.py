"""Every file of keypoints that can be read, recognised by what it is."""

from pathlib import Path

from ...sync.errors import DataError
from .deeplabcut_csv import read_deeplabcut_csv
from .deeplabcut_hdf5 import holds_pandas, read_deeplabcut_hdf5
from .pose_table import PoseTable
from .sleap_files import holds_sleap_analysis, read_sleap_analysis, read_sleap_project

KINDS = "DeepLabCut (.csv, .h5) and SLEAP (.slp, analysis .h5)"


def read_pose(path: Path) -> PoseTable:
    """Read the keypoints of one recording.

    Args:
        path: a CSV or HDF5 of DeepLabCut, of one animal or of several, or a project or analysis HDF5 of SLEAP.

    Raises:
        DataError: it is not there or none of these, or it is damaged; the message names line and column where there
            are any.
    """
    match path.suffix.lower():
        case ".csv":
            return read_deeplabcut_csv(path)
        case ".h5" | ".hdf5":
            return _read_hdf5(path)
        case ".slp":
            if not path.is_file():
                raise DataError(f"{path}: is no file; give a file of {KINDS}")
            return read_sleap_project(path)
        case other:
            what = "is a folder" if path.is_dir() else f"{other or 'no ending'} is not known"
            raise DataError(f"{path}: {what}; files of {KINDS} are read")


def _read_hdf5(path: Path) -> PoseTable:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{path}: HDF5 is read with h5py, which is not installed; pip install 'ethostream[pose]'"
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        why = error.strerror or "it is no HDF5 file, or was cut"
        raise DataError(f"{path}: cannot be read ({why}); give a file of {KINDS}") from error
    try:
        with file:
            if holds_sleap_analysis(file):
                return read_sleap_analysis(path, file)
            if holds_pandas(file):
                return read_deeplabcut_hdf5(path, file)
    except MemoryError as error:
        raise DataError(f"{path}: this machine has not the memory that its table needs ({error})") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        # All that h5py raises on what is not as it was written.
        raise DataError(f"{path}: is damaged ({error}); export it again, or restore it from a copy") from error
    raise DataError(f"{path}: holds neither a table of DeepLabCut nor an analysis of SLEAP; files of {KINDS} are read")
