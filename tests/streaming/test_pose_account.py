"""Poses in a recording: each is there or declared, by the recorder, by `repair`, and as `verify` proves."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.streaming.event_log import EventLog, EventLogWriter, LoggedMessage
from ethostream.streaming.messages import Alarm, CameraStatus, Gap, Pose, RecordingStatus
from ethostream.streaming.pose_format import PoseFormat, points_bytes, points_of, set_id_of
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.repair import repair
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, POSE
from ethostream.streaming.verify import verify
from ethostream.sync.errors import WireError

FORM = PoseFormat(rate_hz=60.0, animals=["a", "b"], keypoints=["nose", "tail", "body"])
N = 120
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 16_666_667


def points(seq: int) -> Any:
    return np.random.default_rng(seq).normal(size=(2, 3, 3)).astype(np.float32)


def pose(seq: int, source: str = "tracker", epoch: int = 0) -> Pose:
    t = START_NS + seq * PERIOD_NS
    return Pose(source, epoch, seq, t, t + 1, ("a", "b"), ("nose", "tail", "body"), points_bytes(points(seq)))


class Source:
    """A pose source as the recorder sees it."""

    def __init__(self, rig: Any, name: str = "tracker") -> None:
        self._rig = rig
        self._name = name
        self._seqs: list[int] = []

    def play(self, seqs: range, lost: tuple[int, ...] = (), epoch: int = 0) -> None:
        for seq in seqs:
            self._seqs.append(seq)
            if seq not in lost:
                self._rig.deliver(POSE, pose(seq, self._name, epoch), self._name, f"pose.{self._name}")

    def status(self, state: Any = "running", epoch: int = 0) -> None:
        one = CameraStatus(
            self._name,
            epoch,
            state,
            min(self._seqs),
            max(self._seqs),
            len(self._seqs),
            0,
            0,
            60.0,
            START_NS,
            0,
            "poses",
        )
        self._rig.deliver(CAMERA_STATUS, one, self._name, f"pose.{self._name}")


@pytest.fixture
def rig(make_rig: Any) -> Any:
    """No camera, one pose source."""
    return make_rig(cameras=(), poses={"tracker": FORM}, video=False)


def test_points_travel_as_they_are() -> None:
    values = points(3)
    values[0, 1] = [np.nan, np.nan, 0]
    one = msgspec.structs.replace(pose(3), points=points_bytes(values))
    np.testing.assert_array_equal(points_of(one), values)
    assert FORM.suits(one) and set_id_of(one) < set_id_of(pose(0, epoch=1))
    short = msgspec.structs.replace(one, points=one.points[:-4])
    assert not FORM.suits(short)
    with pytest.raises(WireError, match="frame 3: 68 bytes of points for 2 animals with 3 keypoints"):
        points_of(short)


def test_what_is_lost_on_the_way_is_declared(rig: Any) -> None:
    source = Source(rig)
    source.play(range(N), lost=(17, 18, 60))
    source.status("stopped")
    assert rig.recorder.quiet
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert not result.warnings and not result.cameras
    one = result.poses["tracker"]
    assert (one.n_frames, one.written, one.declared, one.undeclared) == (N, N - 3, {"bus": 3}, 0)
    recording = Recording.open(rig.folder)
    assert recording.info.poses == {"tracker": FORM} and recording.info.written == {"tracker": N - 3}
    recording.need_video("a recording without cameras lacks none")
    kept = [logged.message for logged in recording.messages([POSE])]
    assert kept == [pose(seq) for seq in range(N) if seq not in (17, 18, 60)]
    said = [one for one in rig.of(RecordingStatus) if one.state == "stopped"]
    assert said[-1].first_seq == {"tracker/0": 0} and said[-1].written == {"tracker": N - 3}


def test_beside_cameras_and_over_epochs(make_rig: Any) -> None:
    rig = make_rig(cameras=("cam0",), poses={"tracker": FORM})
    source = Source(rig)
    for seq in range(40):
        rig.cameras["cam0"].frame(seq)
    source.play(range(40))
    source.status("lost")
    again = Source(rig)
    again.play(range(100, 130), epoch=1)
    again.status("stopped", epoch=1)
    result = rig.end_well()
    one = result.poses["tracker"]
    assert {epoch: (each.first_seq, each.written) for epoch, each in one.epochs.items()} == {0: (0, 40), 1: (100, 30)}
    assert one.away == 60, "from frame 39 to frame 100 at its rate"
    assert result.cameras["cam0"].written == 40


def test_a_source_that_says_no_last_word_is_named(rig: Any) -> None:
    Source(rig).play(range(20))
    assert not rig.recorder.quiet
    rig.close()
    assert any("pose source tracker: ended without a last status" in one.text for one in rig.of(Alarm))
    assert any(one.startswith("pose source tracker, epoch 0: ended without") for one in verify(rig.folder).errors)


def rewrite(folder: Path, keep: Any) -> None:
    """The event log without the messages that ``keep`` turns down, and a count that fits."""
    writer = EventLogWriter(folder / "new.mcap")
    for one in EventLog(folder / "events.mcap").messages():
        kept: LoggedMessage | None = keep(one)
        if kept is not None:
            writer.append(kept.topic, kept.camera, kept.seq, kept.body, kept.log_time_ns)
    n = writer.n_messages
    writer.close()
    (folder / "new.mcap").replace(folder / "events.mcap")
    info = json.loads((folder / "recording.json").read_text())
    info["n_messages"] = n
    (folder / "recording.json").write_text(json.dumps(info))


def test_a_pose_that_nothing_accounts_for_is_a_fault(rig: Any) -> None:
    source = Source(rig)
    source.play(range(N))
    source.status("stopped")
    rig.close()
    assert verify(rig.folder).ok
    gone = (33, 34)
    rewrite(rig.folder, lambda one: None if isinstance(one.message, Pose) and one.message.seq in gone else one)
    result = verify(rig.folder)
    assert result.poses["tracker"].undeclared == 2
    assert any("pose source tracker, epoch 0: 2 frame(s) are missing" in error for error in result.errors)
    assert any(f"{N - 2} frames, {N} were written" in error for error in result.errors)


def test_points_that_are_not_those_that_were_announced_are_a_fault(rig: Any) -> None:
    source = Source(rig)
    source.play(range(5))
    odd = msgspec.structs.replace(pose(5), points=b"")
    rig.deliver(POSE, odd, "tracker", "pose.tracker")
    source._seqs.append(5)
    source.status("stopped")
    rig.close()
    assert any("1 message(s) have other animals or keypoints" in error for error in verify(rig.folder).errors)


def test_a_pose_of_a_stranger_is_not_accounted(rig: Any) -> None:
    source = Source(rig)
    source.play(range(5))
    rig.deliver(POSE, pose(0, "other"), "other", "pose.other")
    rig.deliver(POSE, pose(9), "other", "pose.tracker")
    source.status("stopped")
    assert len(rig.of(Alarm)) == 2 and all("not part of this recording" in one.text for one in rig.of(Alarm))
    rig.close()
    assert verify(rig.folder).ok


def test_what_a_crash_took_is_declared_by_repair(rig: Any, tmp_path: Path) -> None:
    source = Source(rig)
    source.play(range(60), lost=(7, 50))
    rig.turn()
    shutil.copytree(rig.folder, tmp_path / "torn")
    assert not verify(tmp_path / "torn").ok
    note = repair(tmp_path / "torn").note
    assert note is not None and [(run.first_seq, run.n) for run in note.missing["tracker"]] == [(7, 1), (50, 1)]
    result = verify(tmp_path / "torn")
    assert result.ok, result.errors
    assert result.poses["tracker"].declared == {"torn": 2} and result.poses["tracker"].written == 58
    assert any("pose source tracker, epoch 0: frames 7 to 7 (1) were taken" in line for line in result.warnings)


def test_frames_under_the_name_of_a_pose_source_are_refused(make_rig: Any) -> None:
    rig = make_rig(cameras=("cam0",), poses={"tracker": FORM})
    header = rig.cameras["cam0"].frame(0)
    rig.deliver(FRAME, msgspec.structs.replace(header, camera="tracker"), "tracker", "camera.tracker")
    assert any("frame of tracker" in one.text for one in rig.of(Alarm))
    source = Source(rig)
    source.play(range(3))
    source.status("stopped")
    rig.end_well()


def test_what_is_said_of_a_source_is_not_said_of_a_camera(make_rig: Any) -> None:
    """Lost on the way, away, killed before its last word, and not yet heard."""
    rig = make_rig(cameras=("cam0",), poses={"tracker": FORM, "slow": FORM})
    for seq in range(300):
        rig.cameras["cam0"].frame(seq)
    source = Source(rig)
    source.play(range(100), lost=(17,))
    source.status()
    source.play(range(200, 250), lost=(230,), epoch=1)
    rig.turn(3100)
    rig.turn()
    (begun,) = [one.text for one in rig.of(Alarm) if "has begun without" in one.text]
    assert "without pose source slow" in begun and "camera" not in begun
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    reasons = [one.reason for one in rig.of(Gap) if one.camera == "tracker"]
    assert any("lost between pose source and recorder" in one for one in reasons)
    assert any("the pose source was away for" in one for one in reasons)
    assert any("the pose source process ended before" in one for one in reasons)
    assert not any("camera" in one for one in reasons)
