import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.label_files import read_labels
from ethostream.training.label_files.frame_labels import Bout, behavior_matrix, labelled_frames

DEEPETHOGRAM = ",background,attack,sniff\n0,1,0,0\n1,0,1,1\n2,0,0,1\n3,-1,-1,-1\n4,1,0,0\n"
POSE = ",Nose_x,Nose_y,Nose_p,Tail_x,Tail_y,Tail_p,"


def _write(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_deepethogram_labels_may_overlap_and_may_be_missing(tmp_path: Path) -> None:
    path = _write(tmp_path, DEEPETHOGRAM)
    found = read_labels(path)
    assert found.kind == "deepethogram"
    assert found.streams[""] == [
        Bout(0, 1, "background", None, 2), Bout(1, 2, "attack", None, 3), Bout(1, 3, "sniff", None, 3),
        Bout(4, 5, "background", None, 6),
    ]  # fmt: skip
    assert (found.n_frames, found.names) == (5, ["background", "attack", "sniff"])
    assert found.unlabelled == {"": [(3, 4)]}
    matrix = behavior_matrix(found.streams[""], 5, found.names, path)
    assert matrix.astype(int).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert labelled_frames(found.streams[""], 5, unlabelled=found.unlabelled[""]).tolist() == [1, 1, 1, 0, 1]


def test_deepethogram_rows_that_are_half_labelled_are_said(tmp_path: Path) -> None:
    found = read_labels(_write(tmp_path, DEEPETHOGRAM.replace("2,0,0,1", "2,-1,-1,1.0")))
    assert found.unlabelled == {"": [(3, 4)]}
    assert found.notes == ["1 frames have a behaviour and, beside it, -1: taken as labelled, the others absent"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEEPETHOGRAM.replace("2,0,0,1\n", ""), r"line 4: column 1 \(the row number\): '3' where row 2 should stand"),
        (DEEPETHOGRAM.replace("2,0,0,1", "2,0,,1"), r"line 4: column attack: '' is none of -1, 0, 1"),
        (DEEPETHOGRAM.replace("2,0,0,1", "2,0,0.5,1"), r"line 4: column attack: '0.5' is none of"),
        (DEEPETHOGRAM.replace("attack", "sniff"), r"line 1: a behaviour has no name, or two have one"),
        ("0,1\n0,1\n", r"line 1: is not the header of DeepEthogram labels"),
    ],
)
def test_deepethogram_faults_name_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_labels(_write(tmp_path, text), "deepethogram")


def _simba(columns: str, rows: list[str]) -> str:
    return POSE + columns + "\n" + "".join(f"{k},1.5,2.5,0.9,3,4,1,{row}\n" for k, row in enumerate(rows))


def test_simba_targets_are_named_by_the_project(tmp_path: Path) -> None:
    text = _simba("Low_prob,Attack,Sniff", ["0,0,1", "1,0,1", "1,1,0"])
    path = _write(tmp_path, text, "project/csv/targets_inserted/video.csv")
    _write(tmp_path, "[SML settings]\nno_targets = 2\ntarget_name_1 = Attack\ntarget_name_2 = Sniff\n",
           "project/project_config.ini")  # fmt: skip
    found = read_labels(path)
    assert found.kind == "simba"
    assert found.streams[""] == [Bout(0, 2, "Sniff", None, 2), Bout(2, 3, "Attack", None, 4)]
    assert (found.names, found.n_frames, found.notes) == (["Attack", "Sniff"], 3, [])

    _write(tmp_path, "[SML settings]\ntarget_name_1 = Chase\n", "project/project_config.ini")
    with pytest.raises(DataError, match=r"video\.csv: line 1: column Chase is missing, a target of project_config"):
        read_labels(path)
    _write(tmp_path, "[General settings]\n", "project/project_config.ini")
    with pytest.raises(DataError, match=r"project_config\.ini: its section \[SML settings\] cannot be read"):
        read_labels(path)


def test_simba_targets_without_a_project_are_said_or_given(tmp_path: Path) -> None:
    path = _write(tmp_path, _simba("Speed,Low_prob,Attack", ["1.5,0,1", "0,1,1"]))
    found = read_labels(path)
    assert found.names == ["Low_prob", "Attack"]
    assert "columns Low_prob, Attack were taken for behaviours" in found.notes[0]
    given = read_labels(path, behaviors=["Attack"])
    assert (given.names, given.notes, given.streams) == (["Attack"], [], {"": [Bout(0, 2, "Attack", None, 2)]})


@pytest.mark.parametrize(
    ("text", "behaviors", "expected"),
    [
        (_simba("Speed", ["1.5", "0"]), None, r"line 1: no column at the end holds 0 and 1 alone.*targets_inserted"),
        (_simba("Speed", ["1.5", "0"]), ["Attack"], r"line 1: column Attack is missing"),
        (_simba("Attack", ["0", ""]), ["Attack"], r"line 3: column Attack: '' is none of 0, 1"),
        (_simba("Attack", ["0", "1"]).replace("\n1,", "\n7,"), None, r"line 3: .*'7' where row 1 should stand"),
    ],
)
def test_simba_faults_name_line_and_column(
    tmp_path: Path, text: str, behaviors: list[str] | None, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        read_labels(_write(tmp_path, text), behaviors=behaviors)


def test_of_hundreds_of_columns_the_targets_alone_are_kept(tmp_path: Path) -> None:
    features = ",".join(f"f{k}" for k in range(200))
    rows = [",".join(["0.123456"] * 200) + f",{k % 2},{int(k > 500)}" for k in range(1000)]
    path = _write(tmp_path, _simba(f"{features},Attack,Sniff", rows))
    tracemalloc.start()
    try:
        found = read_labels(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.names == ["Attack", "Sniff"]
    assert found.streams[""][-1].stop_frame == 1000
    assert most < path.stat().st_size  # not even the text is held


def test_many_frames_are_read_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    there = rng.random((4000, 3)) < 0.4
    rows = "".join(f"{k},{','.join(map(str, row))}\n" for k, row in enumerate(there.astype(int).tolist()))
    path = _write(tmp_path, ",a,b,c\n" + rows)
    found = read_labels(path)
    assert np.array_equal(behavior_matrix(found.streams[""], 4000, found.names, path), there)
