from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import LabelFile, read_labels
from ethostream.training.label_files.frame_labels import Bout, behavior_matrix
from scipy.io import savemat

VECTOR = np.array([0, 1, 1, 0, 0, 1], np.float64)
RATERS = ("expert1", "expert2", "expert3", "novice")


def _version_5(path: Path, value: dict[str, Any], name: str = "hBehavior") -> Path:
    savemat(path, {name: value}, do_compression=True)
    return path


def _version_73(path: Path, value: dict[str, Any], name: str = "hBehavior") -> Path:
    """As MATLAB writes it: 512 bytes of its own before the HDF5 file, arrays with their axes turned round."""

    def put(group: h5py.Group, fields: dict[str, Any]) -> None:
        for key, field in fields.items():
            if isinstance(field, dict):
                put(group.create_group(key), field)
            elif isinstance(field, str):
                group.create_dataset(key, data=np.array([[ord(letter)] for letter in field], np.uint16))
            elif np.size(field) == 0:
                group.create_dataset(key, data=np.array([0, 0], np.uint64)).attrs["MATLAB_empty"] = np.uint8(1)
            else:
                group.create_dataset(key, data=np.atleast_2d(field).T)

    with h5py.File(path, "w", userblock_size=512) as file:
        put(file.create_group(name), value)
        file.create_group("#refs#")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: test".ljust(124) + b"\x00\x02IM")
    return path


WRITERS = [_version_5, _version_73]


@pytest.mark.parametrize("write", WRITERS)
def test_vectors_become_bouts(tmp_path: Path, write: Any) -> None:
    behaviors = {
        "TotalFrames": 6.0,
        "FrameRate": 50.0,
        "VideoName": "cage.avi",
        "Freezing": {"Bouts": np.array([[2.0, 3.0], [6.0, 6.0]]), "Length": [1.0, 0.0], "Count": 2.0, "Vector": VECTOR},
        "Rearing": {"Bouts": np.empty((0, 2)), "Count": 0.0, "Vector": np.zeros(6)},
    }
    found = read_labels(write(tmp_path / "hB.mat", behaviors))
    assert found.kind == "matlab"
    assert found.streams == {"": [Bout(1, 3, "Freezing"), Bout(5, 6, "Freezing")]}
    assert (found.n_frames, found.rate_hz, found.names, found.notes) == (6, 50.0, ["Freezing", "Rearing"], [])


def test_the_rate_of_the_file_may_not_be_contradicted(tmp_path: Path) -> None:
    path = _version_5(tmp_path / "hB.mat", {"FrameRate": 50.0, "Freezing": {"Vector": VECTOR}})
    assert read_labels(path, rate_hz=49.97).rate_hz == 50.0
    with pytest.raises(DataError, match=r"hB\.mat: was labelled on a video of 50 frames/s, and rate_hz says 30"):
        read_labels(path, rate_hz=30.0)
    silent = _version_5(tmp_path / "silent.mat", {"FrameRate": 0.0, "Freezing": {"Vector": VECTOR}})
    assert read_labels(silent, rate_hz=30.0).rate_hz is None


@pytest.mark.parametrize("write", WRITERS)
def test_bouts_are_read_where_there_is_no_vector(tmp_path: Path, write: Any) -> None:
    behaviors = {"TotalFrames": 9.0, "Freezing": {"Bouts": np.array([[2.0, 3.0], [6.0, 6.0], [8.0, 9.0]])}}
    found = read_labels(write(tmp_path / "hB.mat", behaviors))
    assert found.streams[""] == [Bout(1, 3, "Freezing"), Bout(5, 6, "Freezing"), Bout(7, 9, "Freezing")]
    assert found.n_frames == 9
    empty = {"TotalFrames": 9.0, "Rearing": {"Bouts": np.empty((0, 2))}}
    found = read_labels(write(tmp_path / "hB.mat", empty))
    assert (found.streams, found.names, found.n_frames) == ({"": []}, ["Rearing"], 9)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Freezing": {"Vector": VECTOR * 2}}, r"hBehavior\.Freezing\.Vector: value 2 is 2; expected 0 or 1"),
        ({"Freezing": {"Vector": np.array([0, np.nan, 1])}}, r"Freezing\.Vector: value 2 is nan"),
        ({"Freezing": {"Vector": np.zeros((3, 4))}}, r"Freezing\.Vector: has the shape \(3, 4\)"),
        ({"Freezing": {"Vector": VECTOR}, "Rearing": {"Vector": np.zeros(5)}}, r"different lengths \(Freezing 6, Rear"),
        ({"TotalFrames": 6.0, "Other": {"Count": 3.0}}, r"holds no behaviour; expected hBehavior\.NAME\.Vector"),
        (
            {"Freezing": {"Bouts": np.array([[0.0, 3.0], [4.0, 6.0]])}},
            r"Freezing\.Bouts: row 1: column start: there is",
        ),
        (
            {"Freezing": {"Bouts": np.array([[2.0, 3.5], [4.0, 6.0]])}},
            r"Freezing\.Bouts: holds values that are no frame",
        ),
    ],
)
def test_faults_name_the_field_and_the_value(tmp_path: Path, write: Any, fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_labels(write(tmp_path / "hB.mat", fields))


@pytest.mark.parametrize("write", WRITERS)
def test_a_length_that_is_not_that_of_the_vectors_is_said(tmp_path: Path, write: Any) -> None:
    found = read_labels(write(tmp_path / "hB.mat", {"TotalFrames": 7.0, "Freezing": {"Vector": VECTOR}}))
    assert found.n_frames == 6
    assert found.notes == ["TotalFrames says 7 frames and the vectors have 6; the vectors count"]


@pytest.mark.parametrize("write", WRITERS)
def test_another_struct_is_not_taken_for_labels(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "Behavior.mat", {"Freezing": {"Vector": VECTOR}}, "Behavior")
    with pytest.raises(DataError, match=r"holds no struct hBehavior \(it holds Behavior\)"):
        read_labels(path)


def test_objects_are_passed_over_and_never_opened(tmp_path: Path) -> None:
    path = _version_73(tmp_path / "hB.mat", {"Freezing": {"Count": 1.0}})
    with h5py.File(path, "r+") as file:
        group: Any = file["hBehavior/Freezing"]
        group.create_dataset("Vector", data=np.array([file["hBehavior"].ref] * 3, dtype=h5py.ref_dtype))
    with pytest.raises(DataError, match="holds no behaviour"):
        read_labels(path)
    cells = np.array([1.0, "two"], dtype=object)
    with pytest.raises(DataError, match="holds no behaviour"):
        read_labels(_version_5(tmp_path / "cells.mat", {"Freezing": {"Vector": cells}}))


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_was_cut_is_refused(tmp_path: Path, write: Any) -> None:
    whole = write(tmp_path / "hB.mat", {"Freezing": {"Vector": np.tile(VECTOR, 300)}}).read_bytes()
    path = tmp_path / "cut.mat"
    for share in (0.2, 0.5, 0.8, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"cut\.mat: "):
            read_labels(path, "matlab")


def test_a_file_with_a_wrong_byte_is_refused(tmp_path: Path) -> None:
    whole = _version_5(tmp_path / "hB.mat", {"Freezing": {"Vector": np.tile(VECTOR, 300)}}).read_bytes()
    path = tmp_path / "damaged.mat"
    for place in range(140, len(whole), 9):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"damaged\.mat: "):
            read_labels(path)


def _read_rater(test_data: Path, rater: str) -> LabelFile:
    return read_labels(test_data / "freezing_pose" / "demo" / "demo7" / f"hB_{rater}.mat")


def test_real_vectors_of_four_raters(test_data: Path) -> None:
    """Observed agreement beyond chance (Cohen 1960) of the experts, as published with these files: 0.91 to 0.94."""
    vectors: dict[str, Any] = {}
    for rater in RATERS:
        found = _read_rater(test_data, rater)
        assert (found.n_frames, found.names) == (19541, ["Freezing"])
        vectors[rater] = behavior_matrix(found.streams[""], 19541, found.names, found.path)[:, 0]
    for first, second in (("expert1", "expert2"), ("expert1", "expert3"), ("expert2", "expert3")):
        a, b = vectors[first], vectors[second]
        by_chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        assert 0.905 < ((a == b).mean() - by_chance) / (1 - by_chance) < 0.945


def test_a_real_file_of_version_73(test_data: Path) -> None:
    folder = test_data / "freezing_pose" / "demo" / "demo1"
    found = read_labels(folder / "hB_demo1_manual_annotations.mat.mat")
    assert (found.kind, found.n_frames, found.names) == ("matlab", 6000, ["Freezing"])
    with h5py.File(folder / "hB_demo1_manual_annotations.mat.mat") as file:
        dataset: Any = file["hBehavior/Freezing/Bouts"]
        written = np.asarray(dataset[()]).T
    # In the file, bouts count from 1 and name their last frame.
    assert [(bout.start_frame + 1, bout.stop_frame) for bout in found.streams[""]] == sorted(
        (int(start), int(stop)) for start, stop in written
    )
    with pytest.raises(DataError, match="holds no struct hBehavior"):
        read_labels(folder / "demo1_manual_annotations.mat")
