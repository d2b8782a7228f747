"""What a replay hands to a model on frame sets, and when: driven message by message, over real videos."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming.messages import Alarm, Behavior, FrameHeader, PipelineState, SourceFrame
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.replay_node import ReplayNodeConfig
from ethostream.streaming.topics import BEHAVIOR, PIPELINE_STATE
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from replay_bench import Bench

N_SETS, N_BEFORE = 60, 20


def source(header: FrameHeader) -> SourceFrame:
    t = header.t_exposure_ns
    return SourceFrame(header.camera, header.epoch, header.seq, t, header.exposure_us, t)


def answer(set_id: int, headers: list[FrameHeader], previous: int) -> Behavior:
    t = headers[0].t_exposure_ns
    return Behavior(
        set_id, "complete", tuple(source(one) for one in headers), (), "tiny@0", (1.0,), "still", "still", t, 0, 0,
        True, (), t, t, t, t, t, t, t, previous_set_id=previous,
    )  # fmt: skip


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[[Recording], Bench]]:
    made: list[Bench] = []

    def play(recording: Recording) -> Bench:
        made.append(Bench(tmp_path, recording))
        made[-1].play(recording)
        return made[-1]

    yield play
    for one in made:
        one.close()


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_camera_that_was_killed_holds_up_nothing(make_rig: Any, play: Any, comes_back: bool) -> None:
    """The model had its last frames and the recorder did not: no later frame of it need ever show that."""
    rig = make_rig(cameras=("a", "b"))
    a, b = rig.cameras["a"], rig.cameras["b"]
    rig.deliver(PIPELINE_STATE, PipelineState(0, "tiny@0", b"s"), source="inference")
    previous = -1
    for n in range(N_SETS):
        headers = [a.frame(n)]
        if n < N_BEFORE:
            headers.append(b.frame(n, arrives=n < N_BEFORE - 2))
        elif comes_back and n >= 2 * N_BEFORE:
            if n == 2 * N_BEFORE:
                b.restart()
            headers.append(b.frame(n))
        rig.deliver(BEHAVIOR, answer(n, headers, previous), source="inference")
        previous = n
    rig.close()
    bench = play(Recording.open(rig.folder))
    lost = [N_BEFORE - 2, N_BEFORE - 1]
    # All of it, while the recording is gone through: at its end the frames would be gone from shared memory.
    assert bench.handed == [n for n in range(N_SETS) if n not in lost]
    assert bench.context.counters["unreplayable"] == 2
    (alarm,) = [one.text for one in bench.said if isinstance(one, Alarm)]
    assert alarm == "sets from 18 on cannot be replayed: the recording lacks a frame of b"


def test_a_model_on_frame_sets_needs_frames(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a model on frame sets needs them"):
        validate(ReplayNodeConfig, {"recording": str(tmp_path), "exact": True, "frames": False}, "replay")
