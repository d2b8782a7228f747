"""Cameras that the recorder has to cope with: started again, changed, gone, silent, unknown."""

from typing import Any

import msgspec
from ethostream.streaming.messages import Alarm, RecordingStatus
from ethostream.streaming.topics import FRAME
from ethostream.streaming.verify import verify

MakeRig = Any


def test_camera_that_starts_again_goes_on_in_the_same_file(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (0, 1, 2, 4, 5):
        camera.frame(seq)
    rig.turn()
    camera.restart()  # killed: no last status, and frame 3 is declared by nobody else
    for seq in range(8):
        camera.frame(seq, t_ns=1_700_000_010_000_000_000 + seq * 16_666_667)
    result = rig.end_well()
    assert len(result.warnings) == 2
    assert any("epoch 0: ended without a last status" in line for line in result.warnings)
    # 9.917 s from its frame 5 to the first one after it came back, at 60 Hz, both of them there.
    assert result.cameras["cam0"].away == result.cameras["cam0"].epochs[0].away == 594
    assert [one.written for one in result.cameras["cam0"].epochs.values()] == [5, 8]
    assert result.cameras["cam0"].declared == {"bus": 1}
    assert rig.of(RecordingStatus)[-1].first_seq == {"cam0/0": 0, "cam0/1": 0}
    rig.assert_pixels()


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
    result = rig.end_well()
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
    rig.assert_pixels()


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
    assert "without camera b" in rig.of(Alarm)[0].text
    assert rig.of(RecordingStatus)[0].first_seq == {"a/0": 0}
    stranger = rig.cameras["b"].frame(0, arrives=False)
    rig.deliver(FRAME, msgspec.structs.replace(stranger, camera="zoo"), "zoo")
    rig.deliver(FRAME, stranger, "zoo")
    assert [one.text.split(":")[0] for one in rig.of(Alarm)[1:]] == ["frame of zoo", "frame of b"]
    rig.cameras["a"].status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
