"""What a replay hands to a model on pose, and when: driven message by message, without processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming.messages import Alarm, Behavior, FrameHeader, Message, PipelineState, Pose
from ethostream.streaming.pose_format import PoseFormat, set_id_of, source_frame_of
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import BEHAVIOR, FRAME, PIPELINE_STATE, POSE, Topic
from ethostream.streaming.wire import encode
from replay_bench import Bench

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_333_333
FORM = PoseFormat(rate_hz=30.0, animals=["a"], keypoints=["nose"])
CAMERA = RecordedFormat(width=32, height=24, pixel_format="mono8", rate_hz=30.0)


def pose(epoch: int, seq: int) -> Pose:
    t = START_NS + seq * PERIOD_NS
    return Pose("tracker", epoch, seq, t, t + 1, ("a",), ("nose",), bytes(12))


def answer(one: Pose, previous: int) -> Behavior:
    t = one.t_exposure_ns
    return Behavior(
        set_id_of(one), "complete", (source_frame_of(one),), (), "tiny@0", (1.0,), "still", "still", t, 0, 0, True, (),
        t, t, t, t, t, t, t, previous_set_id=previous,
    )  # fmt: skip


def frame(seq: int) -> FrameHeader:
    t = START_NS + seq * PERIOD_NS
    return FrameHeader("cam0", 0, seq, t, 1000, t, "simulated", 32, 24, "mono8", "ring", 0, 0)


def record(folder: Path, logged: list[tuple[Topic, str, Message]]) -> Recording:
    """A recording that holds these messages, and no video file."""
    config = RecordingConfig(codec="raw", reserve_mb=1)
    writer = RecordingWriter(folder, "s", {"cam0": CAMERA}, config, START_NS, poses={"tracker": FORM})
    for seq, (topic, camera, message) in enumerate(logged):
        writer.events.append(topic, camera, seq, encode(topic, "test", seq, message), START_NS + seq)
    writer.close(START_NS, {}, {})
    return Recording.open(folder)


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Any]:
    made: list[Bench] = []

    def make(logged: list[tuple[Topic, str, Message]], **options: Any) -> Bench:
        recording = record(tmp_path / "rec", logged)
        made.append(Bench(tmp_path, recording, pose="tracker", **options))
        made[-1].play(recording)
        return made[-1]

    yield make
    for one in made:
        one.close()


def told(poses: list[Pose], unrecorded: set[tuple[int, int]]) -> list[tuple[Topic, str, Message]]:
    """What a recorder has of a model that stepped on all of these."""
    logged: list[tuple[Topic, str, Message]] = [
        (PIPELINE_STATE, "", PipelineState(set_id_of(poses[0]), "tiny@0", b"s"))
    ]
    previous = -1
    for one in poses:
        if (one.epoch, one.seq) not in unrecorded:
            logged.append((POSE, "tracker", one))
        logged.append((BEHAVIOR, "", answer(one, previous)))
        previous = set_id_of(one)
    return logged


BEFORE = [pose(0, seq) for seq in range(20)]
AGAIN = [pose(1, seq) for seq in range(60, 120)]


def test_a_pose_that_only_the_model_got_holds_up_nothing(benches: Any) -> None:
    """The last one of a source that was killed: none of its number or later will come to show that it is lost."""
    bench = benches(told([*BEFORE, *AGAIN], unrecorded={(0, 19)}))
    assert bench.handed == [set_id_of(one) for one in [*BEFORE[:-1], *AGAIN]]
    assert bench.context.counters["unreplayable"] == 1
    (alarm,) = [one.text for one in bench.said if isinstance(one, Alarm)]
    assert alarm == "poses from 19 on cannot be replayed: the recording lacks a pose"


def test_the_last_poses_of_an_ended_epoch_may_come_late(benches: Any) -> None:
    """Two publishers are read in turn: some of the new one's may stand before the last of the old one's."""
    logged = told([*BEFORE, *AGAIN], unrecorded={(0, 19)})
    place = logged.index((POSE, "tracker", AGAIN[9]))
    bench = benches([*logged[:place], (POSE, "tracker", BEFORE[19]), *logged[place:]])
    assert bench.handed == [set_id_of(one) for one in [*BEFORE, *AGAIN]]
    assert bench.context.counters["unreplayable"] == 0


def test_frames_that_nobody_looks_at_are_not_decoded(benches: Any) -> None:
    """There is no video in this folder, and nothing asks for it."""
    frames: list[tuple[Topic, str, Message]] = [(FRAME, "cam0", frame(seq)) for seq in range(3)]
    bench = benches([*frames, *told(BEFORE, unrecorded=set())], frames=False)
    assert bench.handed == [set_id_of(one) for one in BEFORE]
    assert not [one for one in bench.said if isinstance(one, FrameHeader)] and bench.context.counters["frames"] == 0
