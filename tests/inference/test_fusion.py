"""Views become one answer: what excludes each other sums to one, and what does not is left as it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.crop_rule import FullCrop
from ethostream.inference.fusion import Fusion, fuse
from ethostream.inference.graph_spec import HeadOutput, HeadSpec, StateTensor
from ethostream.inference.model import BehaviorModel
from ethostream.sync.clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

OUTPUTS: list[HeadOutput] = ["softmax", "independent"]


def test_the_largest_of_independent_probabilities_is_not_scaled() -> None:
    """Nothing goes on; scaled to sum 1 this would be (0.67, 0.33), and a behaviour."""
    quiet = np.array([[0.02, 0.01], [0.01, 0.01]], np.float32)
    np.testing.assert_array_equal(fuse(quiet, "max", "independent"), np.array([0.02, 0.01], np.float32))
    both = np.full((2, 2), 0.9, np.float32)
    np.testing.assert_array_equal(fuse(both, "max", "independent"), both[0])
    np.testing.assert_array_equal(fuse(np.zeros((2, 2), np.float32), "max", "independent"), np.zeros(2))


def test_the_largest_of_exclusive_probabilities_sums_to_one() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], np.float32)
    np.testing.assert_allclose(fuse(p, "max", "softmax"), [1 / 3, 2 / 3, 0.0], rtol=1e-6)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("fusion", ["mean", "max", "joined"])
def test_a_single_view_is_the_answer(fusion: Fusion, output: HeadOutput) -> None:
    p = np.array([[0.2, 0.3, 0.5]], np.float32)
    found = fuse(p, fusion, output)
    np.testing.assert_array_equal(found, p[0])
    found[:] = 0.0
    assert p.any(), "the answer is nobody else's array"


@given(arrays(np.float32, (3, 4, 2), elements=st.floats(0.0, 1.0, width=32)), st.sampled_from(["mean", "max"]))
def test_independent_answers_lie_between_those_of_the_views(p: NDArray[np.float32], fusion: Fusion) -> None:
    """So a camera that drops moves no behaviour beyond what some view says of it."""
    found = fuse(p, fusion, "independent")
    assert found.shape == (4, 2)
    assert (found <= p.max(axis=0) * 1.0000002).all() and (found >= p.min(axis=0) * 0.9999998).all()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_model_of_several_views_says_what_its_output_allows(
    output: HeadOutput, write_tiny_bundle: Callable[..., Path], scene: Callable[..., NDArray[np.uint8]]
) -> None:
    sizes = {"state_0": 5, "state_1": 1}
    state = [StateTensor(name=name, shape=[n], dtype="float32", initial=0.0) for name, n in sizes.items()]
    head = HeadSpec.build("other", 3, 3, state, output=output)
    bundle = Bundle.load(write_tiny_bundle(fusion="max", features=[], crop=FullCrop(), warm_up_frames=0, head=head))
    shapes = {"cam0": (60, 80), "cam1": (60, 80)}
    model = BehaviorModel(bundle.manifest, bundle.embedder, bundle.head_step, shapes, 30.0, FakeClock())
    images = {"cam0": scene(0, (60, 80), ink=0), "cam1": scene(0, (60, 80), ink=150)}
    step = model.step(images, 10**9)
    assert step is not None and len(step.p_slots) == 2
    largest = step.p_slots.max(axis=0)
    assert largest.sum() > 1.0001
    np.testing.assert_allclose(step.p, largest if output == "independent" else largest / largest.sum(), rtol=1e-6)
