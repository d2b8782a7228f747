"""Cropping in one place and stepping in another gives what the model gives that sees the frames: every bit."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.model import BehaviorModel, ModelStep
from ethostream.inference.set_cropper import SetCropper
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import ConfigError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Scene = Callable[..., NDArray[np.uint8]]
PERIOD_NS = round(1e9 / 30.0)
START_NS = 1_700_000_000_000_000_000
Views = dict[str, tuple[int, int]]


@pytest.fixture(scope="module", params=["mean", "joined"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    write = request.getfixturevalue("write_module_bundle")
    return Bundle.load(write(tmp_path_factory.mktemp("bundle"), fusion=request.param, n_views=2))


@pytest.fixture(params=[(60, 80), (90, 120)], ids=["one batch", "two batches"])
def views(request: pytest.FixtureRequest) -> Views:
    return {"cam0": (60, 80), "cam1": request.param}


def model_of(bundle: Bundle, views: Views) -> BehaviorModel:
    return BehaviorModel(bundle.manifest, bundle.embedder, bundle.head_step, views, 30.0, FakeClock())


def values(step: ModelStep | None) -> list[Any]:
    assert step is not None
    return [
        one.tobytes() if isinstance(one, np.ndarray) else one
        for one in (getattr(step, field.name) for field in fields(step))
    ]


moves_st = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 3, 15]), st.sampled_from([["cam0", "cam1"]] * 3 + [["cam0"], ["cam1"]])),
    min_size=2,
    max_size=25,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=moves_st, cut=st.integers(0, 25))
def test_crops_made_elsewhere_give_the_same_steps(
    bundle: Bundle, views: Views, scene: Scene, moves: list[tuple[int, list[str]]], cut: int
) -> None:
    whole, apart = model_of(bundle, views), model_of(bundle, views)
    cropper = SetCropper(bundle.manifest, views)
    step = 0
    for place, (ahead, cameras) in enumerate(moves):
        if place == cut:
            # The croppers' state goes with the model's: both as they were, in objects that have seen other things.
            state = cropper.snapshot()
            other = SetCropper(bundle.manifest, views)
            other.step({"cam0": scene(99, (60, 80))})
            other.restore(state)
            apart.cropper.restore(state)
            saved, apart, cropper = apart.snapshot(), model_of(bundle, views), other
            expected = whole.snapshot()
            assert {key: value.tobytes() for key, value in saved.items()} == {
                key: value.tobytes() for key, value in expected.items()
            }
            apart.restore(saved)
        step += ahead
        t_ns = START_NS + step * PERIOD_NS
        images = {name: scene(2 * step, views[name], seed=int(name[-1])) for name in cameras}
        cropped = cropper.step(images)
        sent = {place: bytes(batch[row]) for places, batch in cropped.batches for row, place in enumerate(places)}
        pixels = {place: np.frombuffer(one, np.uint8).reshape(cropper.box_shape(place)) for place, one in sent.items()}
        mine = apart.step_crops(apart.cropper.take(cropped.crops, pixels), t_ns, 0)
        assert values(mine) == values(whole.step(images, t_ns))


def test_a_set_without_crops_is_no_step(bundle: Bundle, views: Views) -> None:
    model = model_of(bundle, views)
    with pytest.raises(ConfigError, match="without any of the views"):
        model.step_crops(model.cropper.take({}, {}), START_NS, 0)
