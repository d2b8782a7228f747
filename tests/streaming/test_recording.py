"""The recorder against `verify`: every frame is written or declared, whatever happens to it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.streaming.messages import Alarm, FrameHeader, Gap, RecordingStatus
from ethostream.streaming.recording_info import read_info
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RESERVE_FILE
from ethostream.streaming.topics import ALARM, CAMERA_STATUS, FRAME, GAP
from ethostream.streaming.verify import VerifyResult, verify
from ethostream.sync.errors import RecordingError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MakeRig = Any


def assert_sums(result: VerifyResult) -> None:
    for camera in result.cameras.values():
        assert camera.n_device == camera.written + sum(camera.declared.values()) + camera.undeclared


def assert_pixels(rig: Any) -> None:
    recording = Recording.open(rig.folder)
    for name, camera in rig.cameras.items():
        for header, image in recording.frames(name):
            assert np.array_equal(image, camera.images[header.epoch, header.seq]), (header.epoch, header.seq)


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
    assert_pixels(rig)
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


def test_device_drops_duplicates_and_late_frames(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (0, 1, 2, 5, 4, 4, 6, 2, 9, *range(10, 60)):
        camera.frame(seq)
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    cam = result.cameras["cam0"]
    assert (cam.n_device, cam.written, cam.declared, cam.duplicates) == (60, 57, {"device": 3}, 2)
    assert_pixels(rig)
    assert [header.seq for header, _ in Recording.open(rig.folder).frames("cam0")][:6] == [0, 1, 2, 5, 4, 6]


def test_frames_lost_on_the_bus_are_declared(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(200):
        if seq != 50:  # dropped by the device
            camera.frame(seq, arrives=seq not in (0, 1, 20, 21, 22, 51, 199))
        if seq % 30 == 29:
            camera.status()
    early = [one for one in rig.of(Gap) if one.source == "bus"]
    assert [(one.first_seq, one.n) for one in early] == [(0, 2), (20, 3), (51, 1)]
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert result.cameras["cam0"].declared == {"device": 1, "bus": 7}
    assert_pixels(rig)


def test_lost_declaration_of_the_device_is_made_good(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (*range(10), *range(12, 40)):
        camera.frame(seq)
    camera.ledger.declare(end=True)  # said, and lost on the way
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert result.cameras["cam0"].declared == {"bus": 2}


def test_missing_frames_that_no_counter_explains_stay_undeclared(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (*range(10), *range(12, 40)):
        camera.frame(seq)
    camera.ledger.declare(end=True)
    camera.ledger.dropped = 0  # a camera node that miscounts
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert not result.ok
    assert result.cameras["cam0"].undeclared == 2
    assert "10-11" in result.errors[0]


def test_lapped_frames_are_declared(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    camera.restart(n_slots=4)
    late = [camera.frame(seq, arrives=False) for seq in range(10)]
    for header in late:  # the recorder hears of them when the ring has gone round
        camera.deliver(header)
    rig.turn()
    for seq in range(10, 14):
        camera.frame(seq)
        rig.turn()
    camera.status(stopped=True)
    rig.close()
    gaps = [one for one in rig.of(Gap) if one.source == "recorder"]
    assert [(one.first_seq, one.n) for one in gaps] == [(0, 6)]
    assert "overwritten" in gaps[0].reason
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert result.cameras["cam0"].declared == {"recorder": 6}
    assert [header.seq for header, _ in Recording.open(rig.folder).frames("cam0")] == list(range(6, 14))
    assert_pixels(rig)


def test_camera_that_starts_again_goes_on_in_the_same_file(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (0, 1, 2, 4, 5):
        camera.frame(seq)
    rig.turn()
    camera.restart()  # killed: no last status, and frame 3 is declared by nobody else
    for seq in range(8):
        camera.frame(seq, t_ns=1_700_000_010_000_000_000 + seq * 16_666_667)
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert len(result.warnings) == 2
    assert any("epoch 0: ended without a last status" in line for line in result.warnings)
    # 9.917 s from its frame 5 to the first one after it came back, at 60 Hz, both of them there.
    assert result.cameras["cam0"].away == result.cameras["cam0"].epochs[0].away == 594
    assert [one.written for one in result.cameras["cam0"].epochs.values()] == [5, 8]
    assert result.cameras["cam0"].declared == {"bus": 1}
    assert rig.of(RecordingStatus)[-1].first_seq == {"cam0/0": 0, "cam0/1": 0}
    assert_pixels(rig)


def test_changed_format_is_declared_and_alarmed_once(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(3):
        camera.frame(seq)
    camera.status(stopped=True)
    rig.turn()
    rig.shape = (12, 16)
    camera.restart()
    for seq in range(4):
        camera.frame(seq)
    camera.status(stopped=True)
    rig.close()
    assert len(rig.of(Alarm)) == 1
    assert "delivers 16x12" in rig.of(Alarm)[0].text
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert (result.cameras["cam0"].written, result.cameras["cam0"].declared) == (3, {"recorder": 4})


def test_ring_that_is_gone_is_declared(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    header = camera.frame(0, arrives=False)
    camera.sender.close()
    camera.deliver(header)
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert result.cameras["cam0"].declared == {"recorder": 1}
    assert "cannot be opened" in rig.of(Alarm)[0].text


def test_ring_stays_readable_after_its_camera_has_gone(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(20):
        camera.frame(seq)
    camera.sender.close()
    camera.status(stopped=True)
    rig.close()
    assert verify(rig.folder).cameras["cam0"].written == 20
    assert_pixels(rig)


def test_camera_without_a_last_word_is_an_error(make_rig: MakeRig) -> None:
    rig = make_rig()
    for seq in range(5):
        rig.cameras["cam0"].frame(seq)
    rig.close()
    assert "without a last status" in rig.of(Alarm)[0].text
    result = verify(rig.folder)
    assert not result.ok
    assert "ended without a last status" in result.errors[0]


def test_unknown_camera_and_silent_camera(make_rig: MakeRig) -> None:
    rig = make_rig(cameras=("a", "b"))
    rig.cameras["a"].frame(0)
    rig.turn(4000)
    assert "without b" in rig.of(Alarm)[0].text
    assert rig.of(RecordingStatus)[0].first_seq == {"a/0": 0}
    stranger = rig.cameras["b"].frame(0, arrives=False)
    rig.deliver(FRAME, msgspec.structs.replace(stranger, camera="zoo"), "zoo")
    rig.deliver(FRAME, stranger, "zoo")
    assert [one.text.split(":")[0] for one in rig.of(Alarm)[1:]] == ["frame of camera zoo", "frame of camera b"]
    rig.cameras["a"].status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors


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
    assert_pixels(rig)


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
    assert_pixels(rig)


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


events = st.lists(
    st.sampled_from(["ok"] * 8 + ["device", "bus", "duplicate", "lap", "swap", "restart", "status"]),
    min_size=1,
    max_size=150,
)


@given(events)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_frame_is_written_or_declared(make_rig: MakeRig, script: list[str]) -> None:
    rig = make_rig(shape=(4, 8))
    camera = rig.cameras["cam0"]
    seq, n_lapped, t_ns = 0, 0, 1_700_000_000_000_000_000
    for event in script:
        t_ns += 16_666_667
        if event == "device":
            seq += 1
        elif event == "restart":
            camera.declare(end=True)
            camera.status(stopped=True)
            rig.turn(20)
            camera.restart()
            seq = 0
        elif event == "status":
            camera.status()
        elif event == "duplicate" and seq:
            camera.frame(seq - 1, t_ns=t_ns)
        elif event == "swap":
            camera.frame(seq + 1, t_ns=t_ns + 16_666_667)
            camera.frame(seq, t_ns=t_ns)
            t_ns += 16_666_667
            seq += 2
        elif event == "lap":
            header = camera.frame(seq, arrives=False, t_ns=t_ns)
            n_lapped += 1
            camera.deliver(msgspec.structs.replace(header, generation=header.generation - 2))
            seq += 1
        else:
            camera.frame(seq, arrives=event != "bus", t_ns=t_ns)
            seq += 1
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert not [error for error in result.errors if "missing" in error or "belong" in error], (result, script)
    assert result.ok, (result.errors, script)
    assert_sums(result)
    cam = result.cameras["cam0"]
    assert cam.undeclared == 0
    assert cam.declared.get("recorder", 0) == n_lapped


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


def test_first_frames_out_of_order_are_written(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (3, 1, 4, 0, 3, *range(5, 60)):
        camera.frame(seq)
    camera.status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    cam = result.cameras["cam0"]
    assert (cam.n_device, cam.written, cam.declared, cam.duplicates) == (60, 59, {"device": 1}, 1)
    assert_pixels(rig)
