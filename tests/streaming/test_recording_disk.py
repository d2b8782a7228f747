"""A disk that fills up while it is recorded: video stops, messages go on, every frame is accounted for."""

from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming.messages import Alarm, Gap, RecordingStatus
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.verify import verify

MakeRig = Any


def test_disk_below_reserve_stops_video_and_events_go_on(make_rig: MakeRig, small_disk: Path) -> None:
    rig = make_rig(folder=small_disk / "rec", cameras=("a", "b"), shape=(240, 320), reserve_mb=2)
    n = 0
    while not any(one.state == "video_stopped" for one in rig.of(RecordingStatus)):
        assert n < 200
        for camera in rig.cameras.values():
            camera.frame(n)
        n += 1
        rig.turn(300)
    for seq in range(n, n + 20):
        for camera in rig.cameras.values():
            camera.frame(seq)
        rig.turn(300)
    for camera in rig.cameras.values():
        camera.status(stopped=True)
    rig.close()
    severities = [one.severity for one in rig.of(Alarm)]
    assert severities == ["warning", "error"]
    assert "reserve" in rig.of(Alarm)[1].text
    result = verify(rig.folder, decode=True)
    assert result.ok, result.errors
    assert len(result.warnings) == 1
    for camera in result.cameras.values():
        assert camera.n_device == n + 20
        assert camera.declared["recorder"] >= 20
        assert camera.written > 5
    assert {one.reason for one in rig.of(Gap)} == {"disk full"}
    assert rig.of(RecordingStatus)[-1].state == "stopped"
    assert "reserve" in Recording.open(rig.folder).info.video_stopped
    rig.assert_pixels()


def test_no_space_at_all_never_crashes_and_takes_back_what_did_not_reach_the_disk(
    make_rig: MakeRig, small_disk: Path
) -> None:
    rig = make_rig(folder=small_disk / "rec", cameras=("a", "b"), shape=(240, 320), reserve_mb=1)
    filler = small_disk / "filler"  # another program takes the whole disk between two looks at it
    for seq in range(8):
        for camera in rig.cameras.values():
            camera.frame(seq)
    rig.turn(300)
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            if file.write(bytes(4096)) < 4096:
                raise OSError("No space left")
    for seq in range(8, 100):
        for camera in rig.cameras.values():
            camera.frame(seq)
        while rig.recorder.n_waiting:
            rig.recorder.poll()
    rig.turn(300)
    for camera in rig.cameras.values():
        camera.status(stopped=True)
    rig.close()
    assert any(one.severity == "error" for one in rig.of(Alarm))
    assert {one.reason for one in rig.of(Gap)} == {"disk full"}
    result = verify(rig.folder, decode=True)
    assert result.ok, result.errors
    for camera in result.cameras.values():
        assert camera.n_device == 100
        assert camera.declared["recorder"] > 50
    rig.assert_pixels()
