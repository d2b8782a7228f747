"""The folder of a recording: whole, read while it is written, refused where it holds one already or is damaged."""

import json
from typing import Any

import pytest
from ethostream.streaming.messages import Alarm, FrameHeader, RecordingStatus
from ethostream.streaming.recording_info import read_info
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RESERVE_FILE
from ethostream.streaming.topics import ALARM, CAMERA_STATUS, FRAME, GAP
from ethostream.streaming.verify import verify
from ethostream.sync.errors import RecordingError

MakeRig = Any


def test_whole_recording(make_rig: MakeRig) -> None:
    rig = make_rig(cameras=("left", "right"))
    for seq in range(30):
        for camera in rig.cameras.values():
            camera.frame(seq)
    rig.turn()
    started = [one for one in rig.of(RecordingStatus) if one.state == "started"]
    assert [one.first_seq for one in started] == [{"left/0": 0, "right/0": 0}]
    rig.turn(1100)
    assert rig.of(RecordingStatus)[-1].state == "running"
    assert rig.of(RecordingStatus)[-1].written == {"left": 30, "right": 30}
    assert not rig.recorder.quiet
    for camera in rig.cameras.values():
        camera.status(stopped=True)
    assert rig.recorder.quiet
    rig.close()
    assert rig.of(RecordingStatus)[-1].state == "stopped"
    assert not rig.of(Alarm)
    result = verify(rig.folder, decode=True)
    assert result.ok, result.errors
    assert not result.warnings
    assert json.loads(json.dumps(result.to_json()))["cameras"]["left"]["written"] == 30
    assert result.cameras["right"].decoded_frames == 30
    recording = Recording.open(rig.folder)
    assert recording.closed
    assert recording.info.written == {"left": 30, "right": 30}
    assert len(list(recording.frames("left"))) == 30
    rig.assert_pixels()
    assert sorted(path.name for path in rig.folder.iterdir()) == [
        "events.mcap", "left.mkv", "recording.json", "right.mkv"
    ]  # fmt: skip


def test_messages_come_back_in_order_of_arrival_and_by_topic(make_rig: MakeRig) -> None:
    rig = make_rig(cameras=("a", "b"))
    sent: list[tuple[str, int]] = []
    for seq in range(20):
        for name in ("a", "b") if seq % 3 else ("b", "a"):
            rig.cameras[name].frame(seq)
            sent.append((name, seq))
    for camera in rig.cameras.values():
        camera.status(stopped=True)
    rig.close()
    recording = Recording.open(rig.folder)
    logged = list(recording.messages([FRAME]))
    assert [(one.camera, one.message.seq) for one in logged if isinstance(one.message, FrameHeader)] == sent
    assert {one.source for one in logged} == {"camera.a", "camera.b"}
    assert [one.seq for one in logged if one.camera == "a"] == list(range(20))
    everything = list(recording.messages())
    assert len(everything) == recording.info.n_messages
    assert {one.topic.name for one in everything} == {"frame", "camera_status", "recording"}
    assert everything[-1].message.state == "stopped"  # pyright: ignore[reportAttributeAccessIssue]
    assert [one.log_time_ns for one in everything] == sorted(one.log_time_ns for one in everything)


def test_gap_and_alarm_topics_are_logged_by_the_recorder_itself(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    camera.restart(n_slots=4)
    late = [camera.frame(seq, arrives=False) for seq in range(6)]
    for header in late:
        camera.deliver(header)
    rig.close()
    recording = Recording.open(rig.folder)
    assert [one.source for one in recording.messages([GAP, ALARM])] == ["recorder", "recorder"]
    assert not list(recording.messages([CAMERA_STATUS]))


def test_second_recording_in_the_folder_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    with pytest.raises(RecordingError, match="holds a recording"):
        make_rig(folder=rig.folder)
    rig.close()


def test_opens_as_torn_before_it_is_closed(make_rig: MakeRig) -> None:
    rig = make_rig()
    assert not Recording.open(rig.folder).closed
    for seq in range(120):
        rig.cameras["cam0"].frame(seq)
        if seq % 30 == 0:
            rig.turn()
    rig.turn()
    recording = Recording.open(rig.folder)
    assert not recording.closed
    assert 60 < len(list(recording.frames("cam0"))) <= 120
    result = verify(rig.folder)
    assert not result.ok
    assert "torn" in result.errors[0]
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    assert verify(rig.folder).ok


def test_info_is_whole_at_any_time(make_rig: MakeRig) -> None:
    rig = make_rig()
    assert read_info(rig.folder).closed is False
    assert (rig.folder / RESERVE_FILE).exists()
    rig.close()
    info = read_info(rig.folder)
    assert info.closed
    assert info.schema_version == 1
    assert json.loads((rig.folder / "recording.json").read_text())["schema"] == 1
    assert not (rig.folder / RESERVE_FILE).exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "schema None"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1}', "name: Field required"),
    ],
)
def test_damaged_info_is_a_named_error(make_rig: MakeRig, text: str, says: str) -> None:
    rig = make_rig()
    rig.close()
    (rig.folder / "recording.json").write_text(text)
    with pytest.raises(RecordingError, match=says):
        Recording.open(rig.folder)
    result = verify(rig.folder)
    assert not result.ok
    assert says in result.errors[0]
