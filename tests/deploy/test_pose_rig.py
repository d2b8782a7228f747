"""Rigs with a pose source in real processes: played, classified, recorded, verified, and replayed to the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from ethostream.acquisition.camera import CameraFormat
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.deploy.config import load_run
from ethostream.deploy.pose_checks import check_inputs, pose_source_of
from ethostream.deploy.process_table import PosesOfRun, live_table
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.pose.pose_pipeline import PosePipeline
from ethostream.streaming.event_log import EventLog, EventLogWriter
from ethostream.streaming.messages import Behavior, Decision, FrameSet, Message, PipelineState, Pose, ReplaySet
from ethostream.streaming.pose_format import PoseFormat, points_bytes, points_of, set_id_of
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.replay_plan import every_pose
from ethostream.streaming.topics import BEHAVIOR, DECISION, FRAME_SET, PIPELINE_STATE, POSE, Topic
from ethostream.streaming.wire import encode
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import ConfigError
from pose_worlds import ALIKE, CLASSES, KEYPOINTS, RATE_HZ, animals_at, write_pose_bundle
from small_rig import Quiet, kill

pytestmark = pytest.mark.timeout(120)

N = 80
NAMES = ["tail", "ear", *KEYPOINTS[:-1]]
"""Of the file: another order than the model's, and one that it does not know."""
RULES = [
    *({"name": f"on_{name}", "on_enter": name, "require_complete": False, "actuator": "log"} for name in CLASSES),
    *(
        {
            "name": f"while_{name}",
            "on_while": {"behavior": name, "every_ms": 100},
            "jitter_ms": 30,
            "sham": {"fraction": 0.4},
            "actuator": "log",
        }
        for name in CLASSES
    ),
]


def write_points(path: Path, n_frames: int, n_animals: int = 2) -> Path:
    """A DeepLabCut CSV of animals that wander."""
    points = animals_at(n_frames, n_animals, seed=4)
    ear = points[:, :, :1] + np.array([5, 5, 0], np.float32)
    order = [[*KEYPOINTS, "ear"].index(name) for name in NAMES]
    whole = np.concatenate([points, ear], axis=2)[:, :, order]
    columns = [(f"m{a}", name, c) for a in range(n_animals) for name in NAMES for c in ("x", "y", "likelihood")]
    head = [["scorer", *["net"] * len(columns)]]
    head += [
        [level, *names]
        for level, names in zip(("individuals", "bodyparts", "coords"), zip(*columns, strict=True), strict=True)
    ]
    rows = [[i, *("" if np.isnan(v) else repr(float(v)) for v in one.ravel())] for i, one in enumerate(whole)]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [*head, *rows]))
    return path


def write_files(folder: Path, bundle: Path, source: dict[str, Any] | None = None, **parts: Any) -> tuple[Path, Path]:
    rig = {
        "name": "posed",
        "pose": {"tracker": {"kind": "file", "path": "points.csv", "rate_hz": RATE_HZ, **(source or {})}},
        "recording": {"reserve_mb": 10},
        "monitor": {"enabled": False},
        **parts,
    }
    task = {"bundle": str(bundle), "rules": RULES, "actuators": {"log": {"kind": "log"}}}
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    return folder / "rig.yaml", folder / "task.yaml"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_bundle(tmp_path_factory.mktemp("bundle") / "tiny-pose", ALIKE)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> RunResult:
    """A rig without a camera, from the first frame of a file to the last."""
    folder = tmp_path_factory.mktemp("rig")
    write_points(folder / "points.csv", N)
    rig, task = write_files(folder, bundle)
    return run_rig(load_run(rig, task), Quiet(), None, folder / "out", folder / "report.json")


def messages(result: RunResult, topic: Any) -> list[Any]:
    assert result.recording is not None
    return [one.message for one in Recording.open(result.recording).messages([topic])]


def test_every_frame_of_the_file_is_recorded(played: RunResult) -> None:
    assert played.outcome.failures == [] and played.outcome.reason == "sources ended"
    assert played.verified is not None and played.verified.ok, played.verified and played.verified.errors
    one = played.verified.poses["tracker"]
    assert (one.n_frames, one.written, one.declared, one.undeclared) == (N, N, {}, 0)
    poses: list[Pose] = messages(played, POSE)
    assert played.recording is not None
    table = read_pose(played.recording.parents[1] / "points.csv")
    assert [pose.seq for pose in poses] == list(range(N))
    np.testing.assert_array_equal(np.stack([points_of(pose) for pose in poses]), table.points)
    period_ns = np.diff([pose.t_exposure_ns for pose in poses])
    assert set(period_ns.tolist()) <= {33_333_333, 33_333_334}
    report = played.report
    assert report["poses"]["tracker"]["captured"] == N and report["poses"]["tracker"]["state"] == "stopped"
    assert report["cameras"] == {} and report["recording"]["written"] == N
    assert report["seconds"] == pytest.approx((N - 1) / RATE_HZ, abs=1e-3)


def test_the_model_took_every_pose_and_says_what_it_says_offline(played: RunResult, bundle: Path) -> None:
    """One step per message, none left out; the same object over the recorded messages gives the same numbers."""
    behaviors: list[Behavior] = messages(played, BEHAVIOR)
    poses: list[Pose] = messages(played, POSE)
    assert [one.set_id for one in behaviors] == [set_id_of(pose) for pose in poses]
    assert all(one.n_skipped == 0 and one.gap_frames == 0 for one in behaviors)
    assert [(one.sources[0].camera, one.sources[0].seq) for one in behaviors] == [("tracker", i) for i in range(N)]
    form = PoseFormat(rate_hz=RATE_HZ, animals=["m0", "m1"], keypoints=NAMES)
    offline = PosePipeline(Bundle.load(bundle), TaskConfig(bundle=bundle), "tracker", form, FakeClock(), armed=False)
    for pose, live in zip(poses, behaviors, strict=True):
        result = offline.step(pose, set_id_of(pose))
        assert result is not None
        assert (result[0].p, result[0].label, result[0].raw) == (live.p, live.label, live.raw)
    assert len({one.label for one in behaviors} - {""}) >= 2, "a model that says one thing proves little"
    assert sum(one.action == "fired" for one in messages(played, DECISION)) > 3
    assert played.report["inference"]["steps"] == N
    assert played.report["latency_ms"]["exposure_to_behavior"]["n"] == N


def test_the_replay_says_the_same(played: RunResult) -> None:
    assert played.recording is not None
    result = run_replay(played.recording, Quiet(), None, None, None, False, None)
    assert result.outcome.failures == []
    replay = result.report["replay"]
    assert replay["exact"] is True, replay
    n_decisions = len(messages(played, DECISION))
    assert 0 < replay["behaviors"] <= N and 0 < replay["decisions"] <= n_decisions
    assert result.report["poses"]["tracker"]["captured"] == N


def test_other_points_are_found_out(played: RunResult, tmp_path: Path) -> None:
    """The comparison can fail: the model of the replay reads the recorded poses."""
    assert played.recording is not None
    copy = tmp_path / "copy"
    shutil.copytree(played.recording, copy)
    writer = EventLogWriter(tmp_path / "new.mcap")
    for one in EventLog(copy / "events.mcap").messages():
        body = one.body
        if isinstance(one.message, Pose) and one.message.seq == 50:
            changed = msgspec.structs.replace(one.message, points=one.message.points[::-1])
            body = encode(POSE, one.source, one.seq, changed)
        writer.append(one.topic, one.camera, one.seq, body, one.log_time_ns)
    writer.close()
    (tmp_path / "new.mcap").replace(copy / "events.mcap")
    result = run_replay(copy, Quiet(), None, None, None, False, None)
    assert result.report["replay"]["exact"] is False and result.report["replay"]["different"] > 0


def test_another_task_gets_every_recorded_pose(played: RunResult) -> None:
    assert played.recording is not None
    plan = [one for one in every_pose(Recording.open(played.recording), "tracker") if isinstance(one, ReplaySet)]
    assert [one.set_id for one in plan] == list(range(N))
    assert not [one for one in every_pose(Recording.open(played.recording), "other") if isinstance(one, ReplaySet)]


def test_beside_a_camera_and_with_a_source_that_is_killed(tmp_path: Path, bundle: Path) -> None:
    """Sets are assembled by a process of their own; the missing poses are declared, and the replay is exact."""
    write_points(tmp_path / "points.csv", 40)
    camera = {"kind": "simulated", "width": 160, "height": 120, "rate_hz": 30, "view": 0}
    rig, task = write_files(tmp_path, bundle, {"loop": True}, cameras={"cam0": camera})
    live = run_rig(load_run(rig, task), Quiet(kill("pose.tracker")), 5.0, tmp_path / "out", None)
    assert live.outcome.failures == [] and live.outcome.restarts == {"pose.tracker": 1}
    assert live.verified is not None and live.verified.ok, live.verified and live.verified.errors
    one = live.verified.poses["tracker"]
    assert set(one.epochs) == {0, 1} and one.away > 0 and one.undeclared == 0
    assert live.report["sets"]["complete"] > 100
    # What a process sends as it is killed may reach one reader and not the other.
    assert abs(live.report["inference"]["steps"] - one.written) <= 1
    behaviors: list[Behavior] = messages(live, BEHAVIOR)
    sets: list[FrameSet] = messages(live, FRAME_SET)
    assert sum(behavior.reset for behavior in behaviors) == 2, "at its beginning, and after the gap"
    assert {len(one.sources) for one in sets} == {1} and {one.sources[0].camera for one in sets} == {"cam0"}
    assert live.recording is not None
    (live.recording / "cam0.mkv").write_bytes(b"no video")  # nobody looks at frames
    replay = run_replay(live.recording, Quiet(), None, None, None, False, None)
    assert replay.outcome.failures == []
    found = replay.report["replay"]
    assert found["different"] == 0 and found["missing"] == found["unreplayable"] <= 1, found
    assert found["behaviors"] - found["not_compared"] > 50, found
    assert replay.report["nodes"]["replay"]["counters"]["frames"] == 0
    assert replay.report["cameras"]["cam0"]["captured"] == live.report["cameras"]["cam0"]["captured"]


@pytest.mark.long
def test_a_pose_that_only_the_model_got_ends_no_replay(played: RunResult, tmp_path: Path, bundle: Path) -> None:
    """More poses stand behind it than the processes of a replay keep: those of five seconds of a source at 900 Hz."""
    assert played.recording is not None
    copy = tmp_path / "copy"
    shutil.copytree(played.recording, copy)
    info = json.loads((copy / "recording.json").read_text())
    info["poses"]["tracker"]["rate_hz"] = 900.0
    info["config"]["task"]["rules"] = []
    (copy / "recording.json").write_text(json.dumps(info))
    form = FORM.model_copy(update={"rate_hz": 900.0})
    model = Bundle.load(bundle)
    pipeline = PosePipeline(model, TaskConfig(bundle=bundle), "tracker", form, FakeClock(), armed=False)
    points = read_pose(played.recording.parents[1] / "points.csv").points
    (copy / "events.mcap").unlink()
    writer = EventLogWriter(copy / "events.mcap")

    def log(topic: Topic, message: Message) -> None:
        n = writer.n_messages
        writer.append(topic, "tracker", n, encode(topic, "test", n, message), n)

    n_answers = 0
    for epoch, seq in [*((0, seq) for seq in range(61)), *((1, seq) for seq in range(900, 5500))]:
        t_ns = 1_700_000_000_000_000_000 + seq * 10**9 // 900
        values = points_bytes(points[seq // 30 % len(points)])
        pose = Pose("tracker", epoch, seq, t_ns, t_ns + 1, tuple(form.animals), tuple(form.keypoints), values)
        if (epoch, seq) in ((0, 0), (1, 900)):
            log(PIPELINE_STATE, PipelineState(set_id_of(pose), model.identity, pipeline.snapshot()))
        if (epoch, seq) != (0, 60):  # on which the model steps
            log(POSE, pose)
        result = pipeline.step(pose, set_id_of(pose), 0, t_ns + 2)
        if result is not None:
            log(BEHAVIOR, result[0])
            n_answers += 1
    writer.close()
    replay = run_replay(copy, Quiet(), None, None, None, False, None)
    assert replay.outcome.failures == []
    found = replay.report["replay"]
    assert (found["different"], found["missing"], found["unreplayable"], found["not_compared"]) == (0, 1, 1, 0), found
    assert found["behaviors"] == n_answers - 1 > 150


FORM = PoseFormat(rate_hz=RATE_HZ, animals=["m0", "m1"], keypoints=NAMES)


@pytest.mark.parametrize(
    ("task", "poses", "words"),
    [
        ({}, {}, "takes pose, and the rig's pose sources are: none; give the rig file one"),
        ({}, {"a": FORM, "b": FORM}, "pose sources are: a, b; name the one"),
        ({"pose_source": "c"}, {"a": FORM, "b": FORM}, "pose_source=c: the rig has no such source .it has: a, b"),
        ({"views": ["a"]}, {"a": FORM}, "views: is about frames"),
        ({}, {"a": FORM.model_copy(update={"keypoints": NAMES[1:]})}, "pose.a: has no keypoint tail"),
        ({}, {"a": FORM.model_copy(update={"animals": ["m0"]})}, "pose.a: has 1 animal"),
    ],
)
def test_a_source_that_does_not_suit_the_model_is_refused(
    bundle: Path, task: dict[str, Any], poses: dict[str, PoseFormat], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        pose_source_of(TaskConfig.model_validate({"bundle": bundle, **task}), poses)


def test_which_source_the_model_takes(bundle: Path) -> None:
    task = TaskConfig(bundle=bundle)
    assert pose_source_of(task, {"a": FORM}) == "a"
    assert pose_source_of(task.model_copy(update={"pose_source": "b"}), {"a": FORM, "b": FORM}) == "b"
    assert pose_source_of(TaskConfig(bundle=Path("demo")), {"a": FORM}) is None
    with pytest.raises(ConfigError, match="pose_source=a: the task's model takes no pose"):
        pose_source_of(TaskConfig(bundle=Path("demo"), pose_source="a"), {"a": FORM})


def test_a_rig_has_what_its_task_looks_at(tmp_path: Path, bundle: Path) -> None:
    rig, _ = write_files(tmp_path, bundle)
    run = load_run(rig)
    check_inputs(TaskConfig(bundle=bundle), run.rig)
    with pytest.raises(ConfigError, match="bundle demo: looks at frames, and the rig has no camera"):
        check_inputs(TaskConfig(bundle=Path("demo")), run.rig)
    remote = {"crops": "tcp://127.0.0.1:17650", "model": "tcp://127.0.0.1:17651"}
    rig, _ = write_files(tmp_path, bundle, remote_model=remote, time={"serve": "tcp://127.0.0.1:17700"})
    with pytest.raises(ConfigError, match=r"remote_model: bundle .* takes pose"):
        check_inputs(TaskConfig(bundle=bundle), load_run(rig).rig)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pose": {}}, "cameras: there is none, and no pose source either"),
        ({"cameras": {"tracker": {"kind": "simulated", "view": 0}}}, r"pose\.tracker: a camera is called so as well"),
        ({"pose": {"a/b": {"kind": "file", "path": "x.csv"}}}, "use letters, digits"),
        ({"pose": {"a": {"kind": "file", "path": "x.csv", "rate": 3}}}, r"pose\.a\.rate: unknown key"),
        ({"pose": {"a": {"kind": "file", "path": "x.csv", "rate_hz": 0}}}, r"pose\.a\.rate_hz"),
    ],
)
def test_a_wrong_rig_is_named(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    rig, _ = write_files(tmp_path, tmp_path, **parts)
    with pytest.raises(ConfigError, match=words):
        load_run(rig)


def test_the_file_lies_beside_the_rig(tmp_path: Path) -> None:
    rig, _ = write_files(tmp_path, tmp_path)
    assert load_run(rig).rig.pose["tracker"].path == tmp_path / "points.csv"


def test_an_animal_alone_has_zones_in_pixels(tmp_path: Path) -> None:
    """The view of such a zone is the source."""
    from ethostream.deploy.pose_checks import views_of_pose

    alone = PoseFormat(rate_hz=RATE_HZ, animals=["m0"], keypoints=NAMES)
    assert views_of_pose(PosesOfRun({"a": alone}, "a")) == ["a"]
    assert views_of_pose(PosesOfRun({"a": FORM}, "a")) == []
    bundle = write_pose_bundle(tmp_path / "one", [("pose_spread", 1, {})], n_animals=1)
    assert pose_source_of(TaskConfig(bundle=bundle), {"a": alone}) == "a"


def test_what_goes_out_waits_for_sets_and_decisions(tmp_path: Path, bundle: Path) -> None:
    """With a model on pose they come from two processes; the first sets would be missing else."""
    cameras = {"cam0": {"kind": "simulated", "width": 160, "height": 120, "rate_hz": 30, "view": 0}}
    run = load_run(*write_files(tmp_path, bundle, cameras=cameras, lsl={"outlet": True}))
    formats = {"cam0": CameraFormat(160, 120, "mono8", 30.0, "simulated")}
    rows = {row.node: row for row in live_table(run, formats, 30.0, None, PosesOfRun({"tracker": FORM}, "tracker"))}
    assert set(rows["lsl_outlet"].upstream) == {"sets", "inference"}


def test_decisions_are_of_poses(played: RunResult) -> None:
    decisions: list[Decision] = messages(played, DECISION)
    taken = {one.set_id: one for one in messages(played, BEHAVIOR)}
    assert decisions and all(one.sources == taken[one.set_id].sources for one in decisions)


def test_the_doctor_reads_the_files(tmp_path: Path) -> None:
    from ethostream.deploy.doctor import ask_poses

    write_points(tmp_path / "points.csv", 12)
    rig, _ = write_files(tmp_path, tmp_path)
    (found,) = ask_poses(load_run(rig).rig.pose)
    assert (found.level, found.text) == ("ok", "2 animal(s), 5 keypoints, 12 frames at 30 Hz")
    rig, _ = write_files(tmp_path, tmp_path, {"path": "gone.csv"})
    (found,) = ask_poses(load_run(rig).rig.pose)
    assert found.level == "error" and "gone.csv: cannot be read" in found.text
