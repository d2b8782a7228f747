"""Folders of labelled video: found by themselves, dealt out, learnt from with the preset, and scored."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from ethostream.acquisition.simulated_camera import render_session
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.config.recordings import VideoData
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.presets.video_split import BLOCKS, dealt_out
from ethostream.training.runs.evaluate_video_folder import evaluate_folder
from ethostream.training.runs.train_video import train_video

WIDTH, HEIGHT, RATE_HZ, N_FRAMES = 160, 120, 30, 240
CLASSES = ["groom", "locomote", "rear", "still"]


def write_labels(path: Path, behaviors: list[str]) -> None:
    edges = [0, *(i for i in range(1, len(behaviors)) if behaviors[i] != behaviors[i - 1]), len(behaviors)]
    rows = [f"{a},{b},{behaviors[a]},3" for a, b in pairwise(edges)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("start_frame,stop_frame,behaviour,confidence\n" + "\n".join(rows) + "\n", encoding="utf-8")


def write_video(folder: Path, name: str, seed: int, labels: Path | None = None) -> None:
    behaviors: list[str] = []
    with av.open(str(folder / f"{name}.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for images, behavior in render_session(seed, N_FRAMES, RATE_HZ, 1, WIDTH, HEIGHT):
            behaviors.append(behavior)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[0], format="gray")))
        container.mux(stream.encode(None))
    write_labels(labels or folder / f"{name}.csv", behaviors)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder, "day1", 31)
    write_video(folder, "day2", 32, folder / "labels" / "day2.csv")
    write_video(folder, "day3", 33)
    (folder / "bare.mp4").write_bytes(b"")
    return folder


def small(preset: str, folder: Path, *overrides: str) -> TrainConfig:
    """The preset as it is, but for what takes time."""
    quick = ["fit.joint_epochs=0", "fit.head_epochs=2", "embedder.side_px=32", "embedder.width=4", "head.hidden=8"]
    return configure(read_preset(preset), find_dataset(folder), [*quick, "crop.sample_width_px=160", *overrides])


def test_videos_are_paired_with_labels_of_their_name(videos: Path) -> None:
    found = find_dataset(videos)
    assert found.layout == "videos"
    assert [(one.recording_name, str(one.labels)) for one in found.entries] == [
        ("day1", "day1.csv"), ("day2", "labels/day2.csv"), ("day3", "day3.csv"),
    ]  # fmt: skip
    assert found.notes == ["left out, since there are no labels: bare.mp4"]
    with pytest.raises(ConfigError, match="--group-by animal: layout videos has no groups"):
        find_dataset(videos, FolderOptions(group_by="animal"))
    with pytest.raises(ConfigError, match="--fps 30: goes with files of keypoints"):
        find_dataset(videos, FolderOptions(fps=30.0))


def test_a_video_with_two_files_of_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.csv").touch()
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"a.mp4: has several files of labels \(a.csv, a.txt\)"):
        find_dataset(tmp_path)


@pytest.mark.long
def test_the_preset_learns_from_a_folder_and_is_scored_on_what_it_has_not_seen(videos: Path, tmp_path: Path) -> None:
    config = small("video-tcn", videos)
    parts = {one.recording_name: one.part for one in config.data if isinstance(one, VideoData)}
    assert sorted(parts.values(), key=str) == ["test", "train", "validation"]
    assert config.classes == CLASSES and config.any_views
    [unseen] = [name for name, part in parts.items() if part == "test"]
    assert config.notes == [f"split: kept apart for the test: {unseen}"]
    result = train_video(config, videos, tmp_path / "bundle", quiet=True)
    assert list(result["evaluation"]["recordings"]) == [unseen]
    found = evaluate_folder(tmp_path / "bundle", find_dataset(videos))
    assert found.record["split"]["by"] == "unseen recordings" and not found.warning
    assert set(found.record["split"]["left_out"]) == set(parts) - {unseen}
    for key in ("macro_f1", "accuracy", "balanced_accuracy", "bout_f1", "flicker"):
        assert found.record[key] == result["evaluation"][key], key
    assert found.record["causal"] is True
    for name in parts:  # the same files under other names are the same recordings
        if name != unseen:
            (tmp_path / f"again-{name}.mkv").write_bytes((videos / f"{name}.mkv").read_bytes())
            label = videos / f"{name}.csv"
            label = label if label.exists() else videos / "labels" / f"{name}.csv"
            (tmp_path / f"again-{name}.csv").write_bytes(label.read_bytes())
    learnt = evaluate_folder(tmp_path / "bundle", find_dataset(tmp_path))
    assert learnt.record["split"]["by"] == "training data" and "SCORED ON TRAINING DATA" in learnt.warning


def test_a_dataset_file_of_videos(videos: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "defaults": {"kind": "video"},
        "recordings": [{"path": f"{name}.mkv", "labels": f"{name}.csv"} for name in ("day1", "day3")],
        "labels": {"rename": {"groom": "still"}},
        "classes": ["still", "rear", "locomote"],
    }
    (videos / "some.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    config = small("video-tcn", videos / "some.yaml")
    assert config.classes == ["still", "rear", "locomote"]
    assert config.split.model_dump()["pattern"] == BLOCKS  # two recordings are too few to keep whole ones apart
    assert "2 recording(s) or group(s) are too few" in config.notes[0]
    with pytest.raises(
        ConfigError, match=r"pose-tcn takes pose, and the recordings of .* are of video; .*\(video-tcn\)"
    ):
        configure(read_preset("pose-tcn"), find_dataset(videos / "some.yaml"))
    own = small("video-tcn", videos / "some.yaml", "split.guard_s=0.1")
    assert own.split.model_dump()["guard_s"] == 0.1


def test_another_split_takes_the_place_of_the_one_that_is_dealt_out(videos: Path) -> None:
    for override, by in (
        ("split={by: leave_one_out}", "leave_one_out"),
        ("split={by: time_block, pattern: [train, validation, test], guard_s: 0.1}", "time_block"),
    ):
        config = small("video-tcn", videos, override)
        assert config.split.by == by
        assert [one.part for one in config.data if isinstance(one, VideoData)] == [None, None, None]
        assert not config.notes, "they would say which recordings are kept apart"
    dealt = small("video-tcn", videos, "split={by: recording}", "notes=[mine]")
    assert sorted(str(one.part) for one in dealt.data if isinstance(one, VideoData)) == ["test", "train", "validation"]
    assert len(dealt.notes) == 2 and dealt.notes[1] == "mine"
    for notes in ("mine", "null"):
        with pytest.raises(ConfigError, match=r"notes: .*should be a valid list"):
            small("video-tcn", videos, f"notes={notes}")


def test_groups_are_never_torn_apart() -> None:
    entries = [
        VideoData(kind="video", path=Path(f"{k}.mp4"), labels=Path("x.csv"), group=f"animal {k // 2}")
        for k in range(12)
    ]
    split, parts, _ = dealt_out(entries)
    assert split == {"by": "recording"}
    assert all(parts[k] == parts[k + 1] for k in range(0, 12, 2))
    assert [parts.count(part) for part in ("train", "validation", "test")] == [8, 2, 2]
    assert dealt_out(entries)[1] == parts
    assert dealt_out(entries[:4])[0]["by"] == "time_block"
