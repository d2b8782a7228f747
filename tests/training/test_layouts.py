"""Folders of recordings: the known layout, dataset.yaml, and what a command says of either."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.recordings import PoseData, VideoData
from ethostream.training.data.dataset_file import read_dataset
from ethostream.training.data.layouts import FolderOptions, find_dataset, labels_for
from ethostream.training.label_files.frame_labels import Bout, frame_labels
from social_sessions import write_session


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (2, 10):
        for path in (tmp_path / "dlc_csv" / f"{number}DLC_x.csv", tmp_path / "annotations" / f"{number}_annot.txt"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return tmp_path


def _write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_sessions_are_paired_by_their_number(folder: Path) -> None:
    (folder / "dlc_csv" / "3DLC_x.csv").touch()
    (folder / "annotations" / "44_annot.txt").touch()
    (folder / "annotations" / "readme.txt").touch()
    found = find_dataset(folder, FolderOptions(stream="S1"))
    assert found.layout == "social_pose"
    assert [(one.name, one.path, one.labels) for one in found.entries if isinstance(one, PoseData)] == [
        ("2", Path("dlc_csv/2DLC_x.csv"), Path("annotations/2_annot.txt")),
        ("10", Path("dlc_csv/10DLC_x.csv"), Path("annotations/10_annot.txt")),
    ]
    assert "left out, since there are no labels: session 3" in found.notes
    assert "left out, since there is no track: session 44" in found.notes


def test_what_the_authors_do_not_state_is_an_assumption_that_is_said(folder: Path) -> None:
    found = find_dataset(folder, FolderOptions(stream="S1"))
    assert all(isinstance(one, PoseData) and one.rate_hz == 30.0 and one.rate_assumed for one in found.entries)
    assert any("assumed: 30 frames/s" in note for note in found.notes)
    assert found.labels.ignore == ["base"]
    assert any("ignored: base of stream S1" in note for note in found.notes)
    given = find_dataset(folder, FolderOptions(stream="S1", fps=25.0, ignore=["none"]))
    assert all(isinstance(one, PoseData) and one.rate_hz == 25.0 and not one.rate_assumed for one in given.entries)
    assert given.labels.ignore == []
    assert not any("assumed" in note or "ignored" in note for note in given.notes)
    assert find_dataset(folder, FolderOptions(stream="S2")).labels.ignore == []
    assert find_dataset(folder, FolderOptions(stream="S2", ignore=["base", "chase"])).labels.ignore == ["base", "chase"]


def test_a_session_that_stands_twice_is_refused(folder: Path) -> None:
    (folder / "dlc_csv" / "02_again.csv").touch()
    with pytest.raises(DataError, match=r"session 2 stands twice: 02_again.csv and 2DLC_x.csv"):
        find_dataset(folder)


def test_no_pair_at_all(tmp_path: Path) -> None:
    write_session(tmp_path, 1, 30)
    (tmp_path / "annotations" / "1_annot.txt").rename(tmp_path / "annotations" / "2_annot.txt")
    with pytest.raises(
        DataError, match=r"no session has both a track in dlc_csv/ \(1\) and labels in annotations/ \(2\)"
    ):
        find_dataset(tmp_path)


def test_an_unknown_folder_is_told_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no dataset.yaml.*social_pose: dlc_csv/ and annotations/"):
        find_dataset(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder; give the folder of the recordings with --data"):
        find_dataset(tmp_path / "absent")


def test_a_dataset_file_goes_before_a_layout(folder: Path) -> None:
    content = {
        "defaults": {"kind": "pose", "rate_hz": 50.0, "stream": "S2"},
        "recordings": [
            {"path": "a.csv", "labels": "a.txt", "groups": {"animal": "r1", "day": 1}},
            {"path": "b.csv", "labels": "b.txt", "rate_hz": 25.0, "groups": {"animal": "r1", "day": 2}},
        ],
        "group_by": "animal",
        "classes": ["dig", "rest"],
        "labels": {"rename": {"digging": "dig"}},
        "roles": {"front": "nose", "back": "rump"},
    }
    _write(folder / "dataset.yaml", content)
    found = find_dataset(folder)
    assert (found.layout, found.classes, found.roles) == ("dataset.yaml", ["dig", "rest"], content["roles"])
    assert [(one.recording_name, one.group, one.stream) for one in found.entries if isinstance(one, PoseData)] == [
        ("a", "r1", "S2"),
        ("b", "r1", "S2"),
    ]
    assert [one.rate_hz for one in found.entries if isinstance(one, PoseData)] == [50.0, 25.0]
    by_day = find_dataset(folder, FolderOptions(stream="S1", group_by="day", ignore=["rest"]))
    assert [(one.group, one.stream) for one in by_day.entries] == [("1", "S1"), ("2", "S1")]
    assert by_day.labels.ignore == ["rest"]
    assert find_dataset(folder / "dataset.yaml").root == folder


def test_group_by_needs_groups_of_every_recording(tmp_path: Path) -> None:
    """A plain group says not what it is a group of, and one without any would be a group of its own."""
    recordings = [{"path": "a.csv", "labels": "a.txt", "group": "r1"}, {"path": "b.csv", "labels": "b.txt"}]
    _write(tmp_path / "dataset.yaml", {"defaults": {"kind": "pose"}, "recordings": recordings})
    for place, groups in ((0, None), (1, {"day": 1})):
        if groups is not None:
            recordings[0] = {"path": "a.csv", "labels": "a.txt", "groups": groups}
            _write(tmp_path / "dataset.yaml", {"defaults": {"kind": "pose"}, "recordings": recordings})
        with pytest.raises(ConfigError, match=rf"--group-by day: recordings.{place} of .*dataset.yaml has no 'groups'"):
            find_dataset(tmp_path, FolderOptions(group_by="day"))


def test_a_rate_from_the_command_line_is_for_those_that_have_none(tmp_path: Path) -> None:
    recordings = [{"path": "a.csv", "labels": "a.txt"}, {"path": "b.csv", "labels": "b.txt", "rate_hz": 25}]
    _write(tmp_path / "dataset.yaml", {"defaults": {"kind": "pose"}, "recordings": recordings})
    found = find_dataset(tmp_path, FolderOptions(fps=60.0))
    assert [one.rate_hz for one in found.entries if isinstance(one, PoseData)] == [60.0, 25.0]


def test_a_dataset_of_videos_and_views(tmp_path: Path) -> None:
    recordings = [{"kind": "video", "views": {"left": "l.mp4", "right": "r.mp4"}, "labels": "l.csv", "group": "m1"}]
    found = read_dataset(_write(tmp_path / "dataset.yaml", {"recordings": recordings}))
    entry = found.entries[0]
    assert isinstance(entry, VideoData)
    assert (list(entry.views), entry.group) == (["left", "right"], "m1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"recordings": []}, "recordings"),
        ({"recordings": [{"kind": "pose", "path": "a.csv"}]}, r"recordings.0.pose.labels"),
        ({"recordings": [{"kind": "pose", "path": "a.csv", "labels": "a", "fps": 3}]}, "fps: unknown key"),
        ({"recordings": [{"kind": "pose", "path": "a.csv", "labels": "a", "part": "train"}]}, "does not say what is"),
        (
            {"recordings": [{"kind": "pose", "path": f"{n}/a.csv", "labels": "a"} for n in (1, 2)]},
            "recordings: a stands twice",
        ),
        (
            {"recordings": [{"kind": "pose", "path": "a", "labels": "a", "groups": {"animal": "x", "day": "y"}}]},
            "is grouped by animal, day; say which one counts",
        ),
        (
            {"group_by": "cage", "recordings": [{"kind": "pose", "path": "a", "labels": "a", "groups": {"day": "y"}}]},
            r"recordings.0.groups: has no 'cage' \(day\)",
        ),
        (
            {
                "recordings": [
                    {"kind": "pose", "path": "a", "labels": "a"},
                    {"kind": "video", "path": "b", "labels": "b"},
                ]
            },
            "holds pose and video",
        ),
        ({"recordings": [{"kind": "pose", "path": "a", "labels": "a"}], "roles": {"left": "ear"}}, "roles"),
    ],
)
def test_a_faulty_dataset_file_is_named_with_the_key(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_dataset(_write(tmp_path / "dataset.yaml", content))


def test_options_that_a_bundle_cannot_follow_are_refused_before_anything_is_read() -> None:
    options = LabelOptions(ignore=["base", "walk"], rest="still")
    with pytest.raises(ConfigError, match=r"labels.rest: still is not among the classes of bundle 'm' \(rear, walk\)"):
        labels_for(options, ["rear", "walk"], "m")
    assert labels_for(options, ["still", "walk"], "m").ignore == ["base"]
    ranked = LabelOptions(ignore=["base", "walk"], priority=["sniff", "base", "walk", "rear"])
    assert labels_for(ranked, ["rear", "walk"], "m").priority == ["base", "walk", "rear"]


def test_the_cure_names_all_that_is_to_be_ignored(tmp_path: Path) -> None:
    bouts = [Bout(0, 3, "base", line=2), Bout(3, 5, "sniff", line=3)]
    with pytest.raises(DataError, match=r"line 3: 'sniff' is not among .*--ignore base --ignore sniff\)"):
        frame_labels(bouts, 5, ["rear", "walk"], tmp_path / "labels.csv", ignore=["base"])
