"""The rig's pipeline with a model that looks ahead: every message says of which frame it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.pipeline import BehaviorPipeline
from ethostream.streaming.messages import Behavior, FrameSet, SourceFrame
from ethostream.sync.clock import FakeClock
from numpy.typing import NDArray

Scene = Callable[..., NDArray[np.uint8]]
Bundles = tuple[Bundle, Bundle]
SHAPE = (60, 80)
PERIOD_NS = round(1e9 / 30.0)
START_NS = 1_700_000_000_000_000_000
LATE_NS = {4: 700, 7: -300}
"""Jitter of single frames."""


def exposed_ns(step: int) -> int:
    return START_NS + step * PERIOD_NS + LATE_NS.get(step, 0)


def play(pipeline: BehaviorPipeline, scene: Scene, steps: list[int]) -> list[Behavior]:
    said: list[Behavior] = []
    for step in steps:
        t_ns = exposed_ns(step)
        source = SourceFrame("cam0", 0, step, t_ns, 2000, t_ns + 5_000_000)
        frame_set = FrameSet(step, "complete", (source,), (), t_ns + 1_000_000, t_ns + 6_000_000)
        image = scene(step * 2, SHAPE, ink=round(80 + 75 * np.sin(step / 7.0)))
        answer = pipeline.step(frame_set, {"cam0": image}, 0, t_decided_ns=t_ns + 20_000_000)
        assert answer is not None
        said.append(answer[0])
    return said


def open_pipeline(bundle: Bundle) -> BehaviorPipeline:
    return BehaviorPipeline(bundle, TaskConfig(), {"cam0": SHAPE}, FakeClock(START_NS), 30.0, armed=False)


@pytest.fixture(scope="module")
def bundles(write_module_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("look_ahead")
    plain = Bundle.load(write_module_bundle(folder / "plain", n_views=1))
    ahead = write_module_bundle(folder / "ahead", n_views=1, look_ahead_frames=3)
    return plain, Bundle.load(ahead, max_look_ahead_frames=3)


def test_a_message_says_of_which_frame_it_is(bundles: Bundles, scene: Scene) -> None:
    steps = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]
    plain, ahead = (play(open_pipeline(bundle), scene, steps) for bundle in bundles)
    assert [one.p for one in ahead] == [one.p for one in plain]
    assert [one.label for one in ahead] == [one.label for one in plain]
    assert {one.t_label_ns for one in plain} == {0}
    assert [one.t_spoken_of_ns for one in plain] == [one.t_exposure_ns for one in plain]
    # Before the start, and for step 8, which was missing, the grid of steps; else the very frame.
    expected = [START_NS + n * PERIOD_NS for n in (-3, -2, -1)]
    expected += [exposed_ns(n) for n in (0, 1, 2, 3, 4, 7)] + [exposed_ns(7) + PERIOD_NS]
    assert [one.t_spoken_of_ns for one in ahead] == expected
    assert [one.t_exposure_ns for one in ahead] == [exposed_ns(n) for n in steps]


def test_a_restored_pipeline_knows_the_times_of_before(bundles: Bundles, scene: Scene) -> None:
    whole, first, second = (open_pipeline(bundles[1]) for _ in range(3))
    expected = play(whole, scene, list(range(9)))
    start = play(first, scene, list(range(5)))
    play(second, scene, [2, 3])  # what it held before must not matter
    second.restore(first.snapshot())
    assert start + play(second, scene, list(range(5, 9))) == expected


def test_a_run_states_the_delay(bundles: Bundles) -> None:
    plain, ahead = (open_pipeline(bundle).model.stabiliser for bundle in bundles)
    assert ahead.added_delay_ms == {name: ms + 100.0 for name, ms in plain.added_delay_ms.items()}
    assert "100 ms of it is look-ahead" in ahead.delays_in_words()
    assert "look-ahead" not in plain.delays_in_words()
