"""The process of a pose source: every frame at its time, counted, with a last word."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.pose.config import PoseFileConfig
from ethostream.acquisition.pose.pose_node import PoseLoop
from ethostream.acquisition.pose.pose_source import FilePoseSource, PoseFrame, format_of
from ethostream.acquisition.pose.pose_table import PoseTable, make_pose_table
from ethostream.streaming.messages import CameraStatus, Message, Pose
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.pose_format import points_bytes, points_of
from ethostream.streaming.topics import POSE, Topic
from ethostream.streaming.wire import decode, encode
from ethostream.sync.clock import NS_PER_S, ClockAnchor, FakeClock
from ethostream.sync.errors import ConfigError, WireError
from hypothesis import given
from hypothesis import strategies as st

N = 45
RATE_HZ = 29.97
HEAD = "scorer,n,n,n,n,n,n\nbodyparts,nose,nose,nose,tail,tail,tail\ncoords,x,y,likelihood,x,y,likelihood\n"


def period_ns(i: int) -> int:
    return i * NS_PER_S * 100 // 2997


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [f"{i},{i},{2 * i},0.5,,," if i % 7 == 3 else f"{i},{i},{2 * i},0.5,3,4,1" for i in range(N)]
    (tmp_path / "a.csv").write_text(HEAD + "\n".join(rows) + "\n")
    return tmp_path / "a.csv"


class Bench:
    """A real node context under a clock that moves when somebody sleeps on it; what the node says is kept."""

    def __init__(self, folder: Path, epoch: int) -> None:
        anchor = ClockAnchor.take()
        spec = NodeSpec(
            node="pose.a", entry="-", epoch=epoch, session=uuid.uuid4().hex[:8], anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns, endpoints={"pose.a": f"ipc://{folder}/a"}, parent_pid=os.getppid(),
        )  # fmt: skip
        self.context = NodeContext(spec)
        self.clock = FakeClock(self.context.clock.now_ns())
        self.context.clock = self.clock
        self.said: list[Message] = []
        self.stop_after = 10**9
        self.context.on_publish = self._keep

    def _keep(self, topic: Topic, camera: str, body: bytes) -> None:
        self.said.append(decode(topic.key(camera), body).message)
        if len(self.poses) >= self.stop_after:
            self.context.request_stop()

    def run(self, source: FilePoseSource, late_ns: int = 0) -> int:
        """Play it; the rig has begun ``late_ns`` ago. Returns when it began."""
        t_start_ns = self.clock.now_ns() - late_ns
        source.start(t_start_ns)
        PoseLoop(self.context, "a", source).run()
        return t_start_ns

    @property
    def poses(self) -> list[Pose]:
        return [one for one in self.said if isinstance(one, Pose)]

    @property
    def last_word(self) -> CameraStatus:
        return [one for one in self.said if isinstance(one, CameraStatus)][-1]


@pytest.fixture
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made: list[Bench] = []

    def make(epoch: int = 0) -> Bench:
        made.append(Bench(tmp_path_factory.mktemp("b"), epoch))
        return made[-1]

    yield make
    for one in made:
        one.context.close()


def config(path: Path, **options: Any) -> PoseFileConfig:
    return PoseFileConfig.model_validate({"kind": "file", "path": path, "rate_hz": RATE_HZ, **options})


def test_each_frame_comes_at_its_time(path: Path, make_bench: Any) -> None:
    bench = make_bench()
    source = FilePoseSource("a", config(path), bench.clock)
    t_start_ns = bench.run(source)
    poses = bench.poses
    assert [one.seq for one in poses] == list(range(N))
    assert [one.t_exposure_ns for one in poses] == [t_start_ns + period_ns(i) for i in range(N)]
    assert [one.t_received_ns for one in poses] == [one.t_exposure_ns for one in poses]
    assert {(one.source, one.epoch, one.animals, one.keypoints) for one in poses} == {
        ("a", 0, ("animal",), ("nose", "tail"))
    }
    for i, one in enumerate(poses):
        nan = [np.nan, np.nan, 0]
        np.testing.assert_array_equal(points_of(one), [[[i, 2 * i, 0.5], nan if i % 7 == 3 else [3, 4, 1]]])
    last = bench.last_word
    assert (last.state, last.first_seq, last.last_seq, last.captured, last.n_behind) == ("stopped", 0, N - 1, N, 0)
    assert last.counts == "poses" and last.rate_hz == RATE_HZ
    running = [one for one in bench.said if isinstance(one, CameraStatus) and one.state == "running"]
    assert 3 <= len(running) <= 5, "one each half second"


def test_a_late_host_gives_every_frame_with_its_own_time(path: Path, make_bench: Any) -> None:
    bench = make_bench()
    t_start_ns = bench.run(FilePoseSource("a", config(path), bench.clock), late_ns=2 * NS_PER_S)
    assert [one.t_exposure_ns for one in bench.poses] == [t_start_ns + period_ns(i) for i in range(N)]
    assert bench.last_word.n_behind == N


def test_a_process_that_was_started_again_goes_on_where_the_others_are(path: Path, make_bench: Any) -> None:
    bench = make_bench(epoch=1)
    t_start_ns = bench.run(FilePoseSource("a", config(path), bench.clock, again=True), late_ns=NS_PER_S)
    assert [one.seq for one in bench.poses] == list(range(30, N))
    assert bench.poses[0].t_exposure_ns == t_start_ns + period_ns(30) and bench.poses[0].epoch == 1
    assert (bench.last_word.first_seq, bench.last_word.captured, bench.last_word.n_behind) == (30, N - 30, 0)


def test_a_loop_goes_on_in_time_and_number(path: Path, make_bench: Any) -> None:
    bench = make_bench()
    bench.stop_after = 2 * N + 5
    t_start_ns = bench.run(FilePoseSource("a", config(path, loop=True), bench.clock))
    assert [one.seq for one in bench.poses] == list(range(2 * N + 5))
    assert bench.poses[-1].t_exposure_ns == t_start_ns + period_ns(2 * N + 4)
    assert bench.poses[N + 2].points == bench.poses[2].points
    assert bench.last_word.state == "stopped"


def test_a_slow_source_stays_alive_between_frames(path: Path, make_bench: Any) -> None:
    bench = make_bench()
    bench.run(FilePoseSource("a", config(path, rate_hz=0.5), bench.clock))
    assert len(bench.poses) == N
    times = [one.t_ns for one in bench.said if not isinstance(one, Pose)]
    assert max(np.diff(times)) <= NS_PER_S // 4, "a heartbeat is due five times a second"


class Broken(FilePoseSource):
    """Fails at frame 5."""

    def read(self) -> PoseFrame | None:
        frame = super().read()
        if frame is not None and frame.seq == 5:
            raise ValueError("a bug")
        return frame


def test_a_crash_is_a_lost_source(path: Path, make_bench: Any) -> None:
    bench = make_bench()
    with pytest.raises(ValueError, match="a bug"):
        bench.run(Broken("a", config(path), bench.clock))
    assert (bench.last_word.state, bench.last_word.captured, bench.last_word.last_seq) == ("lost", 5, 4)


def test_a_rate_that_nobody_says_is_asked_for(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pose\.a\.rate_hz: .*a\.csv does not say"):
        FilePoseSource("a", config(path, rate_hz=None), FakeClock())


def test_animals_are_chosen_by_name_and_in_that_order(tmp_path: Path, make_bench: Any) -> None:
    names = ("m1", "m2", "single")
    head = [f"{level},{','.join(row)}" for level, row in (
        ("scorer", "n" * 9), ("individuals", [one for one in names for _ in range(3)]),
        ("bodyparts", ["nose"] * 6 + ["corner"] * 3), ("coords", ["x", "y", "likelihood"] * 3),
    )]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join([*head, "0,1,2,0.5,3,4,0.5,5,6,0.5"]) + "\n")
    bench = make_bench()
    bench.run(FilePoseSource("a", config(tmp_path / "a.csv", animals=["m2", "m1"]), bench.clock))
    (pose,) = bench.poses
    assert pose.animals == ("m2", "m1")
    np.testing.assert_array_equal(points_of(pose)[:, 0], np.array([[3, 4, 0.5], [1, 2, 0.5]], np.float32))
    for wrong, words in ((["m1", "m3"], r"pose\.a\.animals: m3.*has m1, m2, single"), (["m1", "m1"], "m1 .*twice")):
        with pytest.raises(ConfigError, match=words):
            FilePoseSource("a", config(tmp_path / "a.csv", animals=wrong), FakeClock())


def many_tracks(path: Path, n_animals: int) -> PoseTable:
    points = np.zeros((2, n_animals, 13, 3), np.float32)
    return make_pose_table(
        path, tuple(f"track_{i}" for i in range(n_animals)), tuple(f"k{i}" for i in range(13)), points
    )


def test_more_points_than_a_message_holds_are_refused_when_the_file_is_read(path: Path) -> None:
    """Broken tracks of SLEAP are hundreds of animals: the bus would refuse the first frame, again and again."""
    with pytest.raises(ConfigError, match=r"pose\.a: .*430 animals with 13 keypoints.*65536.*pose\.NAME\.animals"):
        format_of("a", config(path), many_tracks(path, 430))
    names = [f"track_{i}" for i in range(2)]
    assert format_of("a", config(path, animals=names), many_tracks(path, 430)).animals == names


@given(st.integers(300, 420))
def test_what_is_let_through_can_be_published(n_animals: int) -> None:
    table = many_tracks(Path("a.csv"), n_animals)
    names, keypoints = table.animals, table.keypoints
    pose = Pose("a", 2**31, 2**40, 2**62, 2**62, names, keypoints, points_bytes(table.points[0]))
    try:
        format_of("a", config(table.path), table)
    except ConfigError:
        with pytest.raises(WireError):
            encode(POSE, "pose.a", 2**62, pose)
    else:
        encode(POSE, "pose.a", 2**40, pose)
