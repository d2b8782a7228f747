"""Keypoints of DeepLabCut and SLEAP: every row is a frame, what is missing is missing in one way, faults are named."""

import csv
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ethostream.acquisition.pose.pickled_names import read_pickled_names
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.sync.errors import DataError
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

SOCIAL = "{}DLC_dlcrnetms5_DLC_ratJan24shuffle1_5000_el_filtered.csv"


def plainly(path: Path, n_head: int) -> NDArray[np.float64]:
    """The numbers of a CSV cell by cell, the slow way."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[n_head:]
    return np.array([[float(cell or "nan") for cell in row] for row in rows])


@pytest.mark.parametrize("session", [1, 2])
def test_every_row_of_a_multi_animal_csv_is_a_frame(test_data: Path, session: int) -> None:
    """In session 1 (as in 42) the first rows are empty; in both points are missing and have a likelihood."""
    path = test_data / "social_pose" / "dlc_csv" / SOCIAL.format(session)
    table = read_pose(path)
    values = plainly(path, 4)
    assert values[:, 0].tolist() == list(range(len(values)))
    assert table.n_frames == len(values) > 13_000 and table.rate_hz is None and table.path == path
    assert table.animals == ("individual1", "individual2")
    assert table.keypoints == ("top", "body", "tail", "tail-m", "tail-e")
    given = values[:, 1:].reshape(-1, 2, 5, 3)
    missing = np.isnan(given[..., :2]).any(axis=-1)
    np.testing.assert_array_equal(table.points[..., :2], given[..., :2].astype(np.float32))
    assert table.points.dtype == np.float32
    assert (table.points[..., 2] == np.where(missing, 0.0, np.nan_to_num(given[..., 2])).astype(np.float32)).all()
    assert missing.mean() > 0.05 and (given[missing][:, 2] > 0).any(), "a missing point may have had a likelihood"
    assert np.isnan(table.points[0, ..., :2]).all() == (session == 1)


@pytest.mark.parametrize(
    ("name", "n_frames", "first", "last"),
    [
        ("dlc_csv_fixtures/testDLC_csv_table.csv", 97, "Nose", "Right_fhip"),
        ("dlc_csv_fixtures/testDLC_csv_table_multi.csv", 98, "B_Nose", "W_Right_fhip"),
        ("openfield_below/cropped_video.csv", 750, "Nose", "Tailroot"),
        ("freezing_pose/demo/demo1/demo1_tracking.csv", 6000, "Nose", "Tail"),
    ],
)
def test_a_csv_of_one_animal(test_data: Path, name: str, n_frames: int, first: str, last: str) -> None:
    table = read_pose(test_data / name)
    assert (table.n_frames, table.keypoints[0], table.keypoints[-1]) == (n_frames, first, last)
    assert table.animals == ("animal",)
    values = plainly(test_data / name, 3)[:, 1:].astype(np.float32)
    np.testing.assert_array_equal(table.points.reshape(n_frames, -1), values)


def test_the_hdf5_of_deeplabcut_is_read_row_for_row(test_data: Path) -> None:
    (path,) = (test_data / "openfield_top").glob("*.h5")
    table = read_pose(path)
    with h5py.File(path) as file:
        kept: Any = file["df_with_missing/table"]
        values = kept["values_block_0"]
    assert table.keypoints == ("snout", "leftear", "rightear", "tailbase") and table.animals == ("animal",)
    assert table.n_frames == 2330
    np.testing.assert_array_equal(table.points.reshape(2330, 12), values.astype(np.float32))


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


HEAD = [("net", animal, point, coord) for animal in ("m1", "m2") for point in ("nose", "tail") for coord in "xy"]


def write_hdf5(path: Path, numbers: list[int], values: NDArray[np.float64], head: Any, protocol: int = 0) -> Path:
    """As pandas writes a table: a compound dataset whose column names are a pickle."""
    row = np.dtype([("index", "<i8"), ("values_block_0", "<f8", (values.shape[1],))])
    rows = np.zeros(len(numbers), row)
    rows["index"], rows["values_block_0"] = numbers, values
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame_table")
        table = group.create_dataset("table", data=rows)
        table.attrs["values_block_0_kind"] = np.void(pickle.dumps(head, protocol))
        if protocol == 0:
            table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(head, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_rows_that_pandas_left_out_are_frames_without_points(tmp_path: Path, protocol: int) -> None:
    values = np.arange(24.0).reshape(3, 8)
    table = read_pose(write_hdf5(tmp_path / "a.h5", [1, 2, 5], values, HEAD, protocol))
    assert table.animals == ("m1", "m2") and table.keypoints == ("nose", "tail")
    assert table.n_frames == 6
    np.testing.assert_array_equal(table.points[[1, 2, 5], ..., :2].reshape(3, 8), values.astype(np.float32))
    assert (table.points[[1, 2, 5], ..., 2] == 1).all(), "a file without likelihoods vouches for every point"
    assert np.isnan(table.points[[0, 3, 4], ..., :2]).all() and (table.points[[0, 3, 4], ..., 2] == 0).all()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_that_would_run_code_are_refused(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    path = write_hdf5(tmp_path / "a.h5", [0], np.zeros((1, 8)), [Touch(made)], protocol)
    with pytest.raises(DataError, match=r"a\.h5: values_block_0_kind: .*could run code.*as CSV"):
        read_pose(path)
    assert not made.exists()
    pickle.loads(pickle.dumps([Touch(made)], protocol))  # noqa: S301 - the same bytes, unpickled: the test can fail
    assert made.exists()


@given(st.binary(max_size=60))
def test_any_bytes_are_names_or_refused(data: bytes) -> None:
    try:
        read_pickled_names(data, "here")
    except DataError:
        return


@pytest.mark.parametrize(
    ("numbers", "head", "words"),
    [
        ([0, 0], HEAD, "row 1: frame number 0 is out of turn"),
        ([-1, 0], HEAD, "row 0: frame number -1"),
        ([0, 1], HEAD[:4], "8 columns of float64 under 4 names"),
        ([0, 1], [one[:2] for one in HEAD], "have .2. names each"),
        ([0, 1], list("abcdefgh"), "names no columns"),
    ],
)
def test_a_wrong_hdf5_is_named(tmp_path: Path, numbers: list[int], head: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"a\.h5.*{words}"):
        read_pose(write_hdf5(tmp_path / "a.h5", numbers, np.zeros((2, 8)), head))


def test_hdf5_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.h5").write_bytes(b"x" * 200)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with h5py.File(tmp_path / "fixed.h5", "w") as file:
        file.create_group("df_with_missing").attrs["pandas_type"] = "frame"
    for name, words in (("none", "no HDF5"), ("other", "neither a table of DeepLabCut"), ("fixed", "table format")):
        with pytest.raises(DataError, match=words):
            read_pose(tmp_path / f"{name}.h5")


def test_the_analysis_of_sleap(test_data: Path) -> None:
    path = test_data / "four_cameras" / "top" / "minimal_top_proofread.analysis.h5"
    table = read_pose(path)
    assert table.n_frames == 120 and table.animals == ("track_0",) and len(table.keypoints) == 15
    assert {"Nose", "TTI", "Haunch_left"} <= set(table.keypoints)
    with h5py.File(path) as file:
        kept: Any = file["tracks"]
        tracks = kept[:]
    np.testing.assert_array_equal(table.points[:, 0, :, 0], tracks[0, 0].T.astype(np.float32))
    np.testing.assert_array_equal(table.points[:, 0, :, 1], tracks[0, 1].T.astype(np.float32))
    seen = ~np.isnan(table.points[..., 0])
    assert 0.5 < seen.mean() <= 1 and (table.points[~seen][:, 2] == 0).all() and (table.points[seen][:, 2] > 0).all()


@pytest.mark.parametrize("order", [("frame", "track", "node", "xy"), ("track", "xy", "node", "frame")])
def test_an_analysis_says_how_its_axes_lie(tmp_path: Path, order: tuple[str, ...]) -> None:
    axes = ("frame", "track", "node", "xy")
    points = np.arange(7 * 2 * 3 * 2, dtype=float).reshape(7, 2, 3, 2)
    points[3, 1] = np.nan
    scores = np.linspace(0.1, 0.9, 7 * 2 * 3).reshape(7, 2, 3)
    scores[0] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = [axis for axis in order if axis != "xy"]
        file["tracks"] = points.transpose([axes.index(axis) for axis in order])
        file["tracks"].attrs["dims"] = json.dumps(order)
        file["point_scores"] = scores.transpose([axes.index(axis) for axis in stored])
        file["track_names"], file["node_names"] = [b"a", b"b"], [b"n0", b"n1", b"n2"]
    table = read_pose(tmp_path / "a.h5")
    assert (table.animals, table.keypoints) == (("a", "b"), ("n0", "n1", "n2"))
    np.testing.assert_array_equal(table.points[..., :2], points.astype(np.float32))
    assert (table.points[0, ..., 2] == 1).all(), "placed by hand"
    np.testing.assert_array_equal(table.points[1:3, ..., 2], scores[1:3].astype(np.float32))
    assert (table.points[3, 1, :, 2] == 0).all()


@pytest.mark.parametrize("view", ["back", "top"])
def test_a_sleap_project_says_the_same_as_its_analysis(test_data: Path, view: str) -> None:
    pytest.importorskip("sleap_io", reason="sleap-io is not installed (extra sleap)")
    folder = test_data / "four_cameras" / view
    project = read_pose(folder / f"minimal_{view}_proofread.slp")
    analysis = read_pose(folder / f"minimal_{view}_proofread.analysis.h5")
    assert set(project.keypoints) == set(analysis.keypoints)
    order = [project.keypoints.index(name) for name in analysis.keypoints]
    assert project.n_frames == analysis.n_frames
    np.testing.assert_array_equal(project.points[:, :, order, :2], analysis.points[..., :2])


@pytest.mark.parametrize(("ending", "module", "extra"), [("slp", "sleap_io", "sleap"), ("h5", "h5py", "pose")])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a.{ending}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"pip install 'ethostream\[{extra}\]'"):
        read_pose(tmp_path / f"a.{ending}")


def write_csv(path: Path, points: NDArray[np.float32], missing: str = "") -> Path:
    """A CSV of several animals, as DeepLabCut writes it."""
    _, n_animals, n_points, _ = points.shape
    columns = [
        (f"a{a}", f"k{k}", c) for a in range(n_animals) for k in range(n_points) for c in ("x", "y", "likelihood")
    ]
    head = [["scorer", *["net"] * len(columns)]]
    head += [
        [name, *parts]
        for name, parts in zip(("individuals", "bodyparts", "coords"), zip(*columns, strict=True), strict=True)
    ]
    rows = [
        [str(i), *(missing if np.isnan(value) else repr(float(value)) for value in frame.ravel())]
        for i, frame in enumerate(points)
    ]
    path.write_text("".join(",".join(row) + "\n" for row in [*head, *rows]))
    return path


@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["", "nan", "NaN"]),
    st.sampled_from(["\n", "\r\n", "\n\n"]), st.randoms(use_true_random=False),
)  # fmt: skip
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, t: int, a: int, k: int, missing: str, end: str, random: Any
) -> None:
    points = np.array([random.uniform(-5, 2000) for _ in range(t * a * k * 3)], np.float32).reshape(t, a, k, 3)
    points[..., 2] = np.array([random.random() for _ in range(t * a * k)]).reshape(t, a, k)
    gone = np.array([random.random() < 0.4 for _ in range(t * a * k)]).reshape(t, a, k)
    points[gone] = np.nan
    path = write_csv(tmp_path_factory.mktemp("csv") / "a.csv", points, missing)
    text = path.read_text().rstrip("\n")
    path.write_text(text.replace("\n", "\r\n") + end if end == "\r\n" else text + end, newline="")
    table = read_pose(path)
    np.testing.assert_array_equal(table.points[..., :2], points[..., :2])
    np.testing.assert_array_equal(table.points[..., 2], np.where(gone, 0, points[..., 2]).astype(np.float32))


@pytest.mark.parametrize(
    ("line", "new", "words"),
    [
        (6, "1,1.0,2.0,0.5,x,2.0,0.5", "line 6, column 5: 'x' is no number"),
        (6, "1,1.0,2.0,0.5,1.0,2.0", "line 6 has 6 columns, the head has 7"),
        (6, "", "line 6 is empty"),
        (6, "2,1.0,2.0,0.5,1.0,2.0,0.5", "line 6, column 1: frame number 2, and 1 comes here"),
        (6, ",1.0,2.0,0.5,1.0,2.0,0.5", "line 6, column 1: frame number nan"),
        (6, "img001.png,1.0,2.0,0.5,1.0,2.0,0.5", "line 6, column 1: 'img001.png' is no number"),
        (6, "1,1.0,2.0,0.5,inf,2.0,0.5", "line 6, column 5: is infinite"),
        (6, "1,1.0,2.0,0.5,1_0,2.0,0.5", "line 6, column 5: '1_0'"),
        (1, "frame,net,net,net,net,net,net", "line 1 begins 'frame"),
        (1, "scorer,net,net,net,old,old,old", "several networks .net, old."),
        (2, "individuals,a0,a0,a0,a1,a1", "line 2 has 6 columns, line 4 has 7"),
        (2, "individuals,a0,a0,a0,a0,a0,a0", "column 5 is 'x' of 'k0' of 'a0' once more"),
        (4, "coords,x,y,z,x,y,likelihood", "column 4 is 'z'"),
        (4, "coords,x,likelihood,y,x,likelihood,likelihood", "once more"),
    ],
)
def test_a_wrong_csv_is_named_by_line_and_column(tmp_path: Path, line: int, new: str, words: str) -> None:
    path = write_csv(tmp_path / "a.csv", np.ones((3, 2, 1, 3), np.float32))
    assert read_pose(path).n_frames == 3
    lines = path.read_text().splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"a\.csv: .*{words}"):
        read_pose(path)


def test_what_is_no_pose_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.csv").write_text(
        "\n".join(write_csv(tmp_path / "a.csv", np.ones((1, 1, 1, 3), np.float32)).read_text().splitlines()[:4])
    )
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.txt").write_text("x")
    for name, words in (
        ("head.csv", "no frame below its head"),
        ("binary.csv", "it is no text"),
        ("a.txt", ".txt is not known"),
        ("gone.csv", "cannot be read"),
        ("gone.h5", "cannot be read"),
        ("gone.slp", "is no file"),
    ):
        with pytest.raises(DataError, match=words):
            read_pose(tmp_path / name)


def test_animals_with_points_of_their_own_have_all_and_lack_the_others(tmp_path: Path) -> None:
    """DeepLabCut's unique body parts stand under an individual of their own."""
    head = [
        "scorer,n,n,n,n,n,n",
        "individuals,m1,m1,m1,single,single,single",
        "bodyparts,nose,nose,nose,port,port,port",
    ]
    (tmp_path / "a.csv").write_text("\n".join([*head, "coords" + ",x,y,likelihood" * 2, "0,1,2,0.5,3,4,0.7"]))
    table = read_pose(tmp_path / "a.csv")
    assert (table.animals, table.keypoints) == (("m1", "single"), ("nose", "port"))
    gone = [float("nan"), float("nan"), 0.0]
    np.testing.assert_array_equal(table.points[0], np.array([[[1, 2, 0.5], gone], [gone, [3, 4, 0.7]]], np.float32))


def write_compressed_analysis(path: Path) -> Path:
    """SLEAP's analysis as SLEAP writes it: compressed, so that damage shows when it is unpacked."""
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file.create_dataset("tracks", data=rng.normal(size=(2, 2, 3, 200)), compression="gzip")
        file.create_dataset("point_scores", data=rng.random((2, 3, 200)), compression="gzip")
        file.create_dataset("track_names", data=[b"a", b"b"])
        file.create_dataset("node_names", data=[b"n0", b"n1", b"n2"])
    return path


def test_a_damaged_analysis_is_refused_by_name(tmp_path: Path) -> None:
    """Bytes turned over all through the file: it is read, or refused, and nothing else."""
    whole = write_compressed_analysis(tmp_path / "whole.h5").read_bytes()
    assert read_pose(tmp_path / "whole.h5").n_frames == 200
    refused = 0
    for place in np.linspace(0, len(whole) - 1, 150).astype(int).tolist():
        data = bytearray(whole)
        data[place] ^= 0xFF
        (tmp_path / "a.h5").write_bytes(data)
        try:
            read_pose(tmp_path / "a.h5")
        except DataError as error:
            refused += 1
            assert str(tmp_path / "a.h5") in str(error) and ";" in str(error)
    assert refused > 100


@pytest.mark.parametrize("dataset", ["tracks", "point_scores"])
def test_an_analysis_with_other_axes_is_refused(tmp_path: Path, dataset: str) -> None:
    path = write_compressed_analysis(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[dataset]
        file[dataset] = np.zeros((200, 3))
    with pytest.raises(DataError, match=r"a\.h5: .*axes"):
        read_pose(path)


def test_one_wild_frame_number_asks_for_no_memory(tmp_path: Path) -> None:
    """A flipped bit in the last number would make gigabytes of missing frames."""
    path = write_hdf5(tmp_path / "a.h5", [0, 1, 90_000_000], np.zeros((3, 8)), HEAD)
    with pytest.raises(DataError, match=r"a\.h5: row 2: frame number 90000000.*3 rows"):
        read_pose(path)
    assert read_pose(write_hdf5(tmp_path / "b.h5", [0, 50_000], np.zeros((2, 8)), HEAD)).n_frames == 50_001
