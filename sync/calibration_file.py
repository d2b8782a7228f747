"""A calibrated rig as a TOML file: written for every reader of Anipose's files, read strictly.

Layout (that of aniposelib): a table ``[cam_0]``, ``[cam_1]`` ... per camera with ``name``, ``size`` [width, height] px,
``matrix``, ``distortions`` (OpenCV order), ``rotation`` (Rodrigues vector) and ``translation`` (mm), both world to
camera, and ``fisheye`` = true where the lens is one; then ``[metadata]`` with ``adjusted``, ``error`` (px) and what
else is known of the calibration. Nothing else stands at the top level: other readers take every table for a camera.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w

from .camera_model import Array, CameraModel
from .errors import CalibrationError
from .whole_file import write_whole

_REQUIRED = ("name", "size", "matrix", "distortions", "rotation", "translation")
_OPTIONAL = ("fisheye",)
_TABLE = re.compile(r"^cam_\d+$")
_MAX_PX = 100_000
"""Wider pictures than this are a mistake of units."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a calibration file holds.

    Attributes:
        models: cameras in the order of the file.
        metadata: as it stands there.
    """

    models: tuple[CameraModel, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def model(self, camera: str) -> CameraModel:
        """The camera of a name.

        Raises:
            CalibrationError: it was not calibrated.
        """
        for model in self.models:
            if model.name == camera:
                return model
        raise CalibrationError(f"no calibration of camera {camera!r}; there are {', '.join(self.names) or 'none'}")

    def subset(self, cameras: Sequence[str]) -> "Calibration":
        """The cameras of these names, in this order.

        Raises:
            CalibrationError: one was not calibrated.
        """
        return Calibration(tuple(self.model(camera) for camera in cameras), self.metadata)

    @property
    def on_floor(self) -> bool:
        """Whether the world is the floor: z up, 0 on the floor. Else it is the frame of one camera."""
        return self.metadata.get("world") == "floor"


def utc_text(utc_ns: int) -> str:
    """An instant of rig time as ISO 8601, to the second."""
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_calibration(path: Path, models: Sequence[CameraModel], metadata: Mapping[str, Any]) -> None:
    """Write a file that `read_calibration` and aniposelib read; whoever reads sees the old file or the new.

    Args:
        path: of the file.
        models: cameras, lengths in mm.
        metadata: of TOML types, without None.

    Raises:
        CalibrationError: it cannot be written, or `read_calibration` would refuse it.
    """
    tables: dict[str, Any] = {}
    for number, model in enumerate(models):
        table: dict[str, Any] = {
            "name": model.name,
            "size": [model.width, model.height],
            "matrix": model.matrix.tolist(),
            "distortions": model.distortion.tolist(),
            "rotation": np.asarray(cv2.Rodrigues(model.rotation)[0], np.float64).ravel().tolist(),
            "translation": model.translation_mm.tolist(),
        }
        if model.fisheye:
            table["fisheye"] = True
        tables[f"cam_{number}"] = table
    tables["metadata"] = dict(metadata)
    text = tomli_w.dumps(tables)
    _parse(text, path)
    try:
        write_whole(path, text)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def read_calibration(path: Path) -> Calibration:
    """Read and check a calibration file, of this program or of Anipose.

    Raises:
        CalibrationError: no such file, no TOML, a key that is missing, unknown or wrong, or cameras that cannot all be
            right; the message names file, camera and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{path}: is not UTF-8 text; a calibration is a TOML file") from error
    return _parse(text, path)


def _parse(text: str, path: Path) -> Calibration:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CalibrationError(f"{path}: is not valid TOML: {error}") from error
    metadata = data.pop("metadata", {})
    if not isinstance(metadata, dict):
        raise CalibrationError(f"{path}: metadata is {type(metadata).__name__}, expected a table")
    models: list[CameraModel] = []
    for key in sorted(data, key=lambda name: (len(name), name)):
        if not _TABLE.match(key) or not isinstance(data[key], dict):
            raise CalibrationError(
                f"{path}: {key} at the top level; only tables cam_0, cam_1 ... and metadata stand there"
            )
        models.append(_camera(data[key], f"{path}: {key}"))
    if not models:
        raise CalibrationError(f"{path}: holds no camera; a calibration has a table cam_0")
    _check_together(models, path)
    return Calibration(tuple(models), metadata)


def _camera(table: dict[str, Any], where: str) -> CameraModel:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise CalibrationError(f"{where}: name is {name!r}, expected the camera's name as text")
    where = f"{where} ({name})"
    if missing := [key for key in _REQUIRED if key not in table]:
        raise CalibrationError(f"{where}: lacks {', '.join(missing)}; calibrate again, or add the key")
    if unknown := sorted(set(table) - {*_REQUIRED, *_OPTIONAL}):
        raise CalibrationError(f"{where}: unknown key {', '.join(unknown)}; remove it or check its spelling")
    fisheye = table.get("fisheye", False)
    if not isinstance(fisheye, bool):
        raise CalibrationError(f"{where}: fisheye is {fisheye!r}, expected true or false")
    size = _numbers(table, "size", (2,), where)
    if (size != np.round(size)).any() or (size < 1).any() or (size > _MAX_PX).any():
        raise CalibrationError(f"{where}: size is {table['size']!r}, expected [width, height] in whole pixels")
    matrix = _numbers(table, "matrix", (3, 3), where)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and (matrix[2] == (0, 0, 1)).all() and matrix[1, 0] == 0):
        raise CalibrationError(
            f"{where}: matrix is {table['matrix']!r}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0"
        )
    if matrix[0, 1] != 0:
        raise CalibrationError(f"{where}: matrix has a skew of {matrix[0, 1]:g}; lenses with skew are not supported")
    distortion = _numbers(table, "distortions", None, where)
    allowed = (4,) if fisheye else (4, 5, 8)
    if len(distortion) not in allowed:
        raise CalibrationError(
            f"{where}: distortions has {len(distortion)} numbers; a {'fisheye' if fisheye else 'Brown-Conrady'} lens "
            f"takes {' or '.join(map(str, allowed))}"
        )
    rotation = np.asarray(cv2.Rodrigues(_numbers(table, "rotation", (3,), where))[0], np.float64)
    translation = _numbers(table, "translation", (3,), where)
    return CameraModel(name, int(size[0]), int(size[1]), matrix, distortion, rotation, translation, fisheye)


def _numbers(table: dict[str, Any], key: str, shape: tuple[int, ...] | None, where: str) -> Array:
    try:
        value = np.array(table[key], np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{where}: {key} is {table[key]!r}, expected numbers") from error
    if (value.ndim != 1 if shape is None else value.shape != shape) or not np.isfinite(value).all():
        wanted = "a list" if shape is None else " x ".join(map(str, shape))
        raise CalibrationError(f"{where}: {key} is {table[key]!r}, expected {wanted} finite numbers")
    return value


def _check_together(models: Sequence[CameraModel], path: Path) -> None:
    for first, second in combinations(models, 2):
        if first.name == second.name:
            raise CalibrationError(f"{path}: two cameras are called {first.name}; every camera needs its own name")
        same_place = np.allclose(first.rotation, second.rotation, atol=1e-9) and np.allclose(
            first.translation_mm, second.translation_mm, atol=1e-6
        )
        if not same_place:
            continue
        same_lens = np.array_equal(first.matrix, second.matrix) and np.array_equal(first.distortion, second.distortion)
        if same_lens:
            raise CalibrationError(
                f"{path}: cameras {first.name} and {second.name} have identical parameters (matrix, distortions, "
                "rotation and translation): one was copied over the other, or not calibrated; calibrate the rig again"
            )
        raise CalibrationError(
            f"{path}: cameras {first.name} and {second.name} have the same rotation and translation, as if they stood "
            "in one place: their poses were not calibrated; calibrate the rig again"
        )
