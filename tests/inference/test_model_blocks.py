"""Many frames at once are answered as one by one: labels, state and what comes afterwards."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from ethostream.acquisition.simulated_camera import render_session
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.inference.model import EMBED_CROPS, BehaviorModel, ModelStep
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import ConfigError
from numpy.typing import NDArray

SHAPE = (120, 160)
N_FRAMES = 3 * EMBED_CROPS + 7
Set = tuple[Mapping[str, NDArray[np.uint8]], int]


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return Bundle.load(resolve_bundle("demo"))


@pytest.fixture(scope="module")
def sets() -> list[Set]:
    """Two views of unlike size at 60 Hz, of which the model takes every second; one is missing now and then."""
    found: list[Set] = []
    for k, (images, _) in enumerate(render_session(5, N_FRAMES, 60.0, 2, SHAPE[1], SHAPE[0])):
        views = {"a": images[0], "b": np.ascontiguousarray(images[1][:, :120])}
        if k % 11 == 4:
            del views["b"]
        found.append((views, round(k * 1e9 / 60.0) + 1_000_000_000 * (k > 30)))  # and a gap
    return found


def make(bundle: Bundle) -> BehaviorModel:
    shapes = {"a": SHAPE, "b": (SHAPE[0], 120)}
    return BehaviorModel(bundle.manifest, bundle.embedder, bundle.head_step, shapes, 60.0, FakeClock(0))


def same(one: ModelStep | None, other: ModelStep | None) -> bool:
    if one is None or other is None:
        return one is other
    exact = (one.views, one.crops, one.raw, one.label, one.label_since_ns, one.gap_frames, one.reset, one.warm)
    return (
        exact
        == (
            other.views, other.crops, other.raw, other.label, other.label_since_ns, other.gap_frames, other.reset,
            other.warm,
        )
        and np.allclose(one.p, other.p, atol=1e-5)
        and np.allclose(one.features, other.features, rtol=1e-5, atol=1e-5)
    )  # fmt: skip


@pytest.mark.parametrize("cuts", [[], [1], [30, 31, 36]])
def test_blocks_say_what_single_steps_say(demo: Bundle, sets: list[Set], cuts: list[int]) -> None:
    single, blocks = make(demo), make(demo)
    expected = [single.step(images, t_ns) for images, t_ns in sets]
    edges = [0, *cuts, len(sets)]
    got = [one for a, b in itertools.pairwise(edges) for one in blocks.steps(sets[a:b])]
    assert len(got) == len(sets) and got.count(None) == expected.count(None) > 10
    assert all(same(one, other) for one, other in zip(got, expected, strict=True))
    assert any(one is not None and one.reset for one in got) == any(one is not None and one.reset for one in expected)
    assert {len(one.views) for one in got if one is not None} == {1, 2}


def test_a_block_and_a_step_go_on_from_the_same_state(demo: Bundle, sets: list[Set]) -> None:
    single, mixed = make(demo), make(demo)
    expected = [single.step(images, t_ns) for images, t_ns in sets]
    mixed.steps(sets[:20])
    got = [mixed.step(images, t_ns) for images, t_ns in sets[20:30]] + mixed.steps(sets[30:])
    assert all(same(one, other) for one, other in zip(got, expected[20:], strict=True))


def test_no_frames_are_no_answers(demo: Bundle) -> None:
    assert make(demo).steps([]) == []


def test_a_block_with_a_set_of_none_of_the_views_is_refused_before_anything_is_stepped(
    demo: Bundle, sets: list[Set]
) -> None:
    model, other = make(demo), make(demo)
    with pytest.raises(ConfigError, match="without any of the views a, b"):
        model.steps([*sets[:3], ({}, sets[3][1]), *sets[4:6]])
    assert [one is None or one.p.tolist() for one in model.steps(sets[:6])] == [
        one is None or one.p.tolist() for one in other.steps(sets[:6])
    ]
