"""Recordings of a rig as data to learn from: their labels, and cameras that are in step or are not."""

from pathlib import Path

import pytest
import yaml
from ethostream.acquisition.simulated_world import SimulatedWorld
from ethostream.deploy.config import load_run
from ethostream.deploy.rig_run import run_rig
from ethostream.sync.errors import DataError
from ethostream.training.config.labels import LabelOptions
from ethostream.training.config.recordings import VideoData
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.layouts import find_dataset
from ethostream.training.data.video_sources import open_sources
from ethostream.training.label_files.reading import read_labels
from ethostream.training.splits import TimeBlockSplit
from small_rig import Quiet, write_rig

pytestmark = pytest.mark.long

SEED, SECONDS = 31, 1.5


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording in which both cameras have every frame, and one in which the second lost one."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, faults in (("whole", {}), ("lossy", {"drop_instants": [9]})):
        rig = write_rig(tmp_path_factory.mktemp(name), 2, {"seed": SEED})
        content = yaml.safe_load(rig.read_text())
        content["cameras"]["cam1"]["faults"] = faults
        rig.write_text(yaml.safe_dump(content))
        result = run_rig(load_run(rig, None), Quiet(), SECONDS, folder, None)
        assert result.recording is not None
        result.recording.rename(folder / name)
    return folder


def test_what_the_simulator_knows_labels_every_frame(recordings: Path) -> None:
    found = read_labels(recordings / "whole" / "events.mcap")
    assert found.kind == "simulator" and list(found.streams) == ["cam0", "cam1"]
    world = SimulatedWorld(SEED)
    for bouts in found.streams.values():
        assert bouts[0].start_frame == 0
        named = [(k, bout.behavior) for bout in bouts for k in range(bout.start_frame, bout.stop_frame)]
        assert [k for k, _ in named] == list(range(len(named))) and len(named) >= 30
        assert [name for _, name in named] == [world.at(k / 30).behavior for k in range(len(named))]


def test_cameras_in_step_are_views_and_others_stand_alone(recordings: Path) -> None:
    found = find_dataset(recordings)
    assert found.layout == "recordings"
    entries = {one.recording_name: one for one in found.entries if isinstance(one, VideoData)}
    whole = [one for name, one in entries.items() if name.startswith("whole")]
    lossy = {name: one for name, one in entries.items() if name.startswith("lossy")}
    assert {one.label_kind for one in found.entries} == {"simulator"}
    assert len(whole) + len(lossy) == len(entries)
    assert [list(one.views) for one in whole] == [["cam0", "cam1"]] and whole[0].group is None
    assert {name: (list(one.views), one.group) for name, one in lossy.items()} == {
        "lossy-cam0": (["cam0"], "lossy"),
        "lossy-cam1": (["cam1"], "lossy"),
    }
    assert found.notes == [
        "lossy: frames are missing, so that its cameras are not in step; each is a recording by itself"
    ]
    config = TrainConfig(
        name="x",
        classes=["locomote", "rear", "groom", "still"],
        data=[*found.entries],
        labels=LabelOptions(),
        any_views=True,
        split=TimeBlockSplit(pattern=["train", "test"]),
    )
    sources = open_sources(config, found.root)
    for source in sources:
        assert source.rate_hz == pytest.approx(30.0, rel=0.02)
        assert (source.labels >= 0).all() and len(source.labels) == source.n_frames
        assert sum(1 for _ in source.open_frames()) == source.n_frames


def test_a_file_of_labels_goes_before_what_the_simulator_knows(recordings: Path) -> None:
    labels = recordings / "whole" / "labels.csv"
    labels.write_text("start_frame,stop_frame,behaviour\n0,10,asleep\n", encoding="utf-8")
    try:
        found = find_dataset(recordings / "whole")
        assert [one.labels for one in found.entries] == [Path("labels.csv")]
        assert found.entries[0].label_kind is None
    finally:
        labels.unlink()


def test_an_event_log_alone_is_no_recording(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "events.mcap").write_bytes((recordings / "whole" / "events.mcap").read_bytes())
    with pytest.raises(DataError, match="is an event log of no recording that can be read"):
        read_labels(tmp_path / "events.mcap")
