"""The recorder against `verify`: every frame is written or declared, whatever is lost before it comes."""

from typing import Any

import msgspec
from ethostream.streaming.messages import Gap
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.verify import VerifyResult, verify
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MakeRig = Any


def test_device_drops_duplicates_and_late_frames(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (0, 1, 2, 5, 4, 4, 6, 2, 9, *range(10, 60)):
        camera.frame(seq)
    result = rig.end_well()
    cam = result.cameras["cam0"]
    assert (cam.n_device, cam.written, cam.declared, cam.duplicates) == (60, 57, {"device": 3}, 2)
    rig.assert_pixels()
    assert [header.seq for header, _ in Recording.open(rig.folder).frames("cam0")][:6] == [0, 1, 2, 5, 4, 6]


def test_first_frames_out_of_order_are_written(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (3, 1, 4, 0, 3, *range(5, 60)):
        camera.frame(seq)
    result = rig.end_well()
    cam = result.cameras["cam0"]
    assert (cam.n_device, cam.written, cam.declared, cam.duplicates) == (60, 59, {"device": 1}, 1)
    rig.assert_pixels()


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
    result = rig.end_well()
    assert result.cameras["cam0"].declared == {"device": 1, "bus": 7}
    rig.assert_pixels()


def test_lost_declaration_of_the_device_is_made_good(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in (*range(10), *range(12, 40)):
        camera.frame(seq)
    camera.ledger.declare(end=True)  # said, and lost on the way
    result = rig.end_well()
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
    rig.assert_pixels()


def assert_sums(result: VerifyResult) -> None:
    for camera in result.cameras.values():
        assert camera.n_device == camera.written + sum(camera.declared.values()) + camera.undeclared


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
