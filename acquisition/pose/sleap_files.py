"""SLEAP's files: the analysis HDF5 as it is, a project (``.slp``) through sleap-io."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from .pose_table import LIKELIHOOD, ONE_ANIMAL, PoseTable, make_pose_table

if TYPE_CHECKING:
    import h5py

_ORDER: Final = ("frame", "track", "node", "xy")
_STORED: Final = ("track", "xy", "node", "frame")
"""Order of the axes where the file does not say: as SLEAP itself writes them."""
_CURE: Final = "export it again from SLEAP"


def holds_sleap_analysis(file: "h5py.File") -> bool:
    """Whether an open HDF5 file is SLEAP's analysis export."""
    return "tracks" in file and "node_names" in file


def read_sleap_analysis(path: Path, file: "h5py.File") -> PoseTable:
    """Read SLEAP's analysis export; row i is frame i of the video. Points placed by hand have likelihood 1.

    Raises:
        DataError: axes that are not known, or arrays that do not fit each other.
    """
    tracks: Any = file["tracks"]
    stored = _stored_order(path, tracks)
    xy = np.asarray(tracks[:], np.float64).transpose([stored.index(axis) for axis in _ORDER])
    points = np.full((*xy.shape[:3], 3), np.nan)
    if xy.shape[3] != LIKELIHOOD:
        raise DataError(f"{path}: tracks have {xy.shape[3]} coordinates, and x and y are needed; {_CURE}")
    points[..., :LIKELIHOOD] = xy
    points[..., LIKELIHOOD] = _scores(path, file, [axis for axis in stored if axis != "xy"], xy.shape[:3])
    animals = _names(file, "track_names")
    return _table(path, animals, _names(file, "node_names"), points)


def _stored_order(path: Path, tracks: Any) -> tuple[str, ...]:
    """Which axis of the file is which."""
    said: object = tracks.attrs.get("dims")
    try:
        stored = _STORED if said is None else tuple(json.loads(said if isinstance(said, bytes) else str(said)))
    except ValueError:
        stored = ()
    if getattr(tracks, "ndim", 0) != len(_ORDER) or set(stored) != set(_ORDER):
        raise DataError(f"{path}: tracks have the axes {said or _STORED}, and {_ORDER} are needed; {_CURE}")
    return stored


def _scores(path: Path, file: "h5py.File", stored: list[str], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Scores of the points [t, animals, keypoints]; 1 where there is none, as for points placed by hand."""
    if "point_scores" not in file:
        return np.ones(shape)
    kept: Any = file["point_scores"]
    if getattr(kept, "ndim", 0) != len(stored):
        raise DataError(f"{path}: point_scores have not the axes {', '.join(stored)}; {_CURE}")
    scores = np.asarray(kept[:], np.float64).transpose([stored.index(axis) for axis in _ORDER[:3]])
    if scores.shape != shape:
        raise DataError(f"{path}: point_scores are of {scores.shape}, points of {shape}; {_CURE}")
    return np.nan_to_num(scores, nan=1.0)


def _names(file: "h5py.File", dataset: str) -> tuple[str, ...]:
    if dataset not in file:
        return ()
    kept: Any = file[dataset]
    return tuple(one.decode() if isinstance(one, bytes) else str(one) for one in kept[:].ravel())


def read_sleap_project(path: Path) -> PoseTable:
    """Read a ``.slp`` of one video. Points placed by hand go before predicted ones, with likelihood 1.

    Raises:
        DataError: sleap-io is not installed, several videos, or animals that are not tracked.
    """
    try:
        import sleap_io
    except ImportError as error:
        raise DataError(
            f"{path}: a SLEAP project is read with sleap-io, which is not installed; pip install 'ethostream[sleap]', "
            "or export an analysis .h5 from SLEAP"
        ) from error
    try:
        labels: Any = cast("Any", sleap_io).load_slp(str(path), open_videos=False)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a SLEAP project ({error}); {_CURE}") from error
    if len(labels.videos) != 1 or not labels.skeletons:
        raise DataError(
            f"{path}: holds {len(labels.videos)} videos, and one is needed; save the one that is meant by itself"
        )
    points = np.asarray(labels.numpy(return_confidence=True), np.float64)
    animals = tuple(str(one.name) for one in labels.tracks)
    if not points.shape[1]:
        raise DataError(
            f"{path}: several animals, and none has a track, so nothing says which is which from frame to frame; track "
            "them in SLEAP"
        )
    if points.shape[1] == 1 and len(animals) != 1:
        animals = ()  # one animal, of which the tracker made several tracks
    shape = labels.videos[0].shape
    n_more = 0 if not shape else int(shape[0]) - len(points)
    if n_more > 0:  # frames after the last one with an animal
        points = np.concatenate([points, np.full((n_more, *points.shape[1:]), np.nan)])
    return _table(path, animals, tuple(str(name) for name in labels.skeletons[-1].node_names), points)


def _table(path: Path, animals: tuple[str, ...], keypoints: tuple[str, ...], points: NDArray[np.float64]) -> PoseTable:
    if not animals and points.shape[1] == 1:
        animals = (ONE_ANIMAL,)
    return make_pose_table(path, animals, keypoints, points)
