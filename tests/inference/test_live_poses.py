"""The process of a model on pose: what it takes, what it saves and declares, and that a replay repeats it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ethostream.inference.live_poses import LivePoses
from ethostream.inference.node_config import InferenceNodeConfig, PoseTaken
from ethostream.inference.replayed_poses import ReplayedPoses
from ethostream.inference.running_pose_model import RunningPoseModel
from ethostream.streaming.messages import (
    Alarm,
    Behavior,
    CameraStatus,
    Gap,
    Message,
    PipelineState,
    Pose,
    RecordingStatus,
    ReplaySet,
)
from ethostream.streaming.node import SUPERVISOR, NodeContext, NodeSpec
from ethostream.streaming.pose_format import PoseFormat, points_bytes, set_id_of, source_frame_of
from ethostream.streaming.topics import CAMERA_STATUS, GAP, PIPELINE_STATE, POSE, RECORDING, REPLAY_SET, TOPICS, Topic
from ethostream.streaming.wire import Received, decode
from ethostream.sync.clock import NS_PER_MS, ClockAnchor, FakeClock
from ethostream.sync.errors import RecordingError
from pose_worlds import ALIKE, KEYPOINTS, RATE_HZ, animals_at, write_pose_bundle

FORM = PoseFormat(rate_hz=RATE_HZ, animals=["a", "b"], keypoints=KEYPOINTS)
POINTS = animals_at(40, seed=2)
START_NS = 1_700_000_000_000_000_000


def pose(seq: int, **changes: Any) -> Pose:
    t = START_NS + round(seq * 1e9 / RATE_HZ)
    points = points_bytes(POINTS[seq % len(POINTS)])
    one = Pose("tracker", 0, seq, t, t + NS_PER_MS, ("a", "b"), tuple(KEYPOINTS), points)
    return msgspec.structs.replace(one, **changes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_bundle(tmp_path_factory.mktemp("bundle") / "tiny-pose", ALIKE)


class Bench:
    """The process without its sockets: what it publishes is kept."""

    def __init__(self, folder: Path, bundle: Path, replay: bool, epoch: int) -> None:
        anchor = ClockAnchor.take()
        self.context = NodeContext(
            NodeSpec(
                node="inference", entry="-", epoch=epoch, session=uuid.uuid4().hex[:8], anchor_utc_ns=anchor.utc_ns,
                anchor_monotonic_ns=anchor.monotonic_ns, parent_pid=1,
                endpoints={name: f"ipc://{folder}/{name}" for name in ("inference", SUPERVISOR)},
            )
        )  # fmt: skip
        self.clock = self.context.clock = FakeClock(START_NS)
        self.said: list[Message] = []
        self.context.on_publish = self._keep
        taken = PoseTaken(source="tracker", format=FORM)
        config = InferenceNodeConfig.model_validate(
            {"task": {"bundle": str(bundle)}, "views": {}, "rate_hz": RATE_HZ, "replay": replay, "pose": taken}
        )
        self.model = RunningPoseModel(self.context, config)
        self.node: Any = (
            ReplayedPoses(self.context, taken, self.model)
            if replay
            else LivePoses(self.context, config, taken, self.model)
        )

    def _keep(self, topic: Topic, camera: str, body: bytes) -> None:
        self.said.append(decode(topic.key(camera), body).message)

    def give(self, topic: Topic, message: Message, n_lost: int = 0, late_ms: int = 1) -> None:
        """As if it had come from the bus; a pose is taken so long after it was received."""
        if isinstance(message, Pose):
            self.clock.set_ns(message.t_received_ns + late_ms * NS_PER_MS)
        camera = "tracker" if topic.per_camera else ""
        self.node._accept(Received(topic, camera, "test", 0, message, b"", None, n_lost))

    def of(self, kind: type[Message]) -> list[Any]:
        return [one for one in self.said if type(one) is kind]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(replay: bool = False, epoch: int = 0) -> Bench:
        made.append(Bench(tmp_path_factory.mktemp("b"), bundle, replay, epoch))
        return made[-1]

    yield make
    for one in made:
        one.model.close()
        one.context.close()


def begun(first_seq: int) -> RecordingStatus:
    return RecordingStatus("r", "/r", "started", {"tracker/0": first_seq}, {}, {}, 10**9, START_NS)


def test_every_pose_is_a_step_and_its_state_is_saved_where_the_recording_begins(make_bench: MakeBench) -> None:
    bench = make_bench()
    for seq in range(3):
        bench.give(POSE, pose(seq))
    bench.give(RECORDING, begun(5))
    for seq in range(3, 10):
        bench.give(POSE, pose(seq))
    bench.give(RECORDING, begun(5))
    bench.give(POSE, pose(10))
    behaviors: list[Behavior] = bench.of(Behavior)
    assert [one.set_id for one in behaviors] == [set_id_of(pose(seq)) for seq in range(11)]
    assert all(one.sources == (source_frame_of(pose(seq)),) for seq, one in enumerate(behaviors))
    (state,) = bench.of(PipelineState)
    assert state.set_id == set_id_of(pose(5)) and state.bundle == bench.model.identity
    assert bench.said.index(state) == bench.said.index(behaviors[5]) - 1
    assert bench.context.counters["steps"] == 11 and bench.context.counters["skipped"] == 0


def test_poses_that_never_came_are_told(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.give(POSE, pose(0))
    bench.give(POSE, pose(3), n_lost=2)
    bench.give(POSE, pose(5), n_lost=1)
    behaviors = bench.of(Behavior)
    assert [(one.n_skipped, one.gap_frames) for one in behaviors] == [(0, 0), (2, 2), (1, 1)]
    assert [one.text for one in bench.of(Alarm)] == [
        "poses of tracker were lost on the way to the model; the machine is too busy"
    ]
    assert (bench.context.counters["lost"], bench.context.counters["skipped"]) == (3, 3)


def test_other_keypoints_are_left_out_and_told(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.give(POSE, pose(0))
    bench.give(POSE, pose(1, keypoints=tuple(reversed(KEYPOINTS))))
    bench.give(POSE, pose(2, points=b""))
    bench.give(POSE, pose(3))
    assert [(one.sources[0].seq, one.n_skipped) for one in bench.of(Behavior)] == [(0, 0), (3, 2)]
    (alarm,) = bench.of(Alarm)
    assert "delivers other animals or keypoints" in alarm.text


def states_at(bench: Bench) -> list[tuple[int, int]]:
    """Epoch and frame of the poses just before which a state was saved."""
    following = [bench.said[at + 1] for at, one in enumerate(bench.said) if isinstance(one, PipelineState)]
    assert [one.set_id for one in following if isinstance(one, Behavior)] == [
        one.set_id for one in bench.of(PipelineState)
    ]
    return [(one.sources[0].epoch, one.sources[0].seq) for one in following if isinstance(one, Behavior)]


def lacking(first_seq: int, n: int, source: Any = "bus") -> Gap:
    return Gap(source, "tracker", 0, first_seq, n, "lost", START_NS)


def test_after_poses_that_the_recorder_lacks_a_replay_can_go_on(make_bench: MakeBench) -> None:
    """Else one lost message in the first minute of a day would leave nothing to compare."""
    bench = make_bench()
    assert GAP in bench.node._topics
    bench.give(GAP, lacking(0, 1))  # no recording has begun: there is nothing to go on in
    bench.give(POSE, pose(0))
    bench.give(POSE, pose(1))
    bench.give(RECORDING, begun(2))
    for seq in range(2, 160):
        bench.give(POSE, pose(seq))
    assert states_at(bench) == [(0, 2)]
    # The model may be behind: what the recorder lacks is then still to come.
    bench.give(GAP, lacking(162, 2))
    for seq in range(160, 168):
        bench.give(POSE, pose(seq))
    assert states_at(bench) == [(0, 2), (0, 164)]
    # States are large: one at most in five seconds, however much is lost.
    bench.give(GAP, lacking(165, 1, "recorder"))
    bench.give(GAP, lacking(166, 1, "recorder"))
    for seq in range(168, 330):
        bench.give(POSE, pose(seq))
    assert states_at(bench) == [(0, 2), (0, 164), (0, 314)]
    # What the source itself did not deliver is nowhere, and a replay has all that the model had.
    bench.give(GAP, lacking(320, 1, "device"))
    for seq in range(330, 480):
        bench.give(POSE, pose(seq))
    assert len(states_at(bench)) == 3


def test_a_source_that_is_started_again_begins_where_a_replay_can(make_bench: MakeBench) -> None:
    """Its last pose before may have come here and not have reached the recorder, and nobody could declare that."""
    bench = make_bench()
    bench.give(RECORDING, begun(0))
    for seq in range(5):
        bench.give(POSE, pose(seq))
    for seq in range(30, 35):
        bench.give(POSE, pose(seq, epoch=1))
    assert states_at(bench) == [(0, 0), (1, 30)]


def test_a_model_that_is_behind_says_so_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    for seq in range(10):
        bench.give(POSE, pose(seq), late_ms=40)
    assert not bench.of(Alarm)
    assert (bench.context.counters["age_ms"], bench.context.counters["late"]) == (40, 0)
    for seq in range(10, 20):
        bench.give(POSE, pose(seq), late_ms=1500)
    (alarm,) = bench.of(Alarm)
    assert "1.5 s behind pose source tracker" in alarm.text
    bench.give(POSE, pose(20), late_ms=3)
    assert (bench.context.counters["age_ms"], bench.context.counters["late"]) == (3, 10)
    assert len(bench.of(Behavior)) == 21, "every pose is stepped on all the same"


def test_one_that_is_started_again_saves_its_state_at_once(make_bench: MakeBench) -> None:
    bench = make_bench(epoch=1)
    bench.give(POSE, pose(7))
    assert [type(one) for one in bench.said] == [PipelineState, Behavior]


def test_the_last_word_of_the_source_ends_the_waiting(make_bench: MakeBench) -> None:
    bench = make_bench()
    for state, speaking in (("running", True), ("stopped", False)):
        status = CameraStatus("tracker", 0, state, 0, 5, 6, 0, 0, RATE_HZ, START_NS, 0, "poses")  # type: ignore[arg-type]
        bench.give(CAMERA_STATUS, status)
        assert bench.node._speaking is speaking


def test_a_replay_repeats_it_bit_for_bit(make_bench: MakeBench) -> None:
    live, replay = make_bench(), make_bench(replay=True)
    for seq in range(4):
        live.give(POSE, pose(seq))
    live.give(RECORDING, begun(0))
    for seq in range(4, 40):
        live.give(POSE, pose(seq), n_lost=int(seq == 9))
    (state,) = live.of(PipelineState)
    wanted = [one for one in live.of(Behavior) if one.set_id >= state.set_id]
    replay.give(PIPELINE_STATE, state)
    for one in wanted:
        (source,) = one.sources
        replay.give(POSE, pose(source.seq))
        asked = ReplaySet(one.set_id, one.status, one.sources, one.missing, one.n_skipped, one.t_decided_ns)
        replay.give(REPLAY_SET, asked)
        assert replay.said[-1] == asked, "the replay node waits for it"
    measured = ("t_taken_ns", "t_cropped_ns", "t_embedded_ns", "t_head_ns")
    same = [msgspec.structs.replace(one, **dict.fromkeys(measured, 0)) for one in wanted]
    again = [msgspec.structs.replace(one, **dict.fromkeys(measured, 0)) for one in replay.of(Behavior)]
    assert again == same and len(again) == 36
    assert not replay.of(Alarm)


def test_a_pose_that_was_never_handed_over_ends_the_replay(make_bench: MakeBench) -> None:
    bench = make_bench(replay=True)
    asked = ReplaySet(3, "complete", (source_frame_of(pose(3)),), (), 0, START_NS)
    with pytest.raises(RecordingError, match="pose 0/3 of tracker never came"):
        bench.give(REPLAY_SET, asked)


def test_the_topic_is_recorded_and_counts_every_loss() -> None:
    assert TOPICS["pose"] is POSE and POSE.logged and POSE.delivery == "every" and POSE.per_camera
