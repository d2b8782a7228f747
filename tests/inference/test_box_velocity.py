"""The signed companion of ``box_motion``."""

import numpy as np
import pytest
from ethostream.inference.cropper import Crop
from ethostream.inference.features import BoxVelocity, code_hash, make_feature_step, spec_of


def _crop(x: float, y: float) -> Crop:
    return Crop(0, 0, 100, 100, True, x, y, 400.0, 1.0, 0.0)


def test_constant_motion_gives_its_signed_velocity_at_every_scale() -> None:
    step = make_feature_step("box_velocity", 1, {"scales_s": [0.05, 0.2]})
    state = step.initial()
    values = np.zeros(4, np.float32)
    for place in range(200):
        state, values = step.step(state, _crop(500.0 - 2.0 * place, 3.0 * place), 1 / 50)
    assert step.dims == 4
    # 2 px left and 3 px down per step at 50 steps a second, in sides of 100 px.
    assert values == pytest.approx([-1.0, 1.5, -1.0, 1.5], abs=1e-5)


def test_first_step_is_at_rest_and_the_state_is_not_changed_in_place() -> None:
    step = make_feature_step("box_velocity", 1, {})
    state = step.initial()
    after, values = step.step(state, _crop(50.0, 60.0), 0.1)
    assert not values.any()
    assert not any(value.any() for value in state.values())
    assert after["center"].tolist() == [50.0, 60.0]
    spec = spec_of("box_velocity", 1, {})
    assert {one.name: one.shape for one in spec.state} == {key: list(one.shape) for key, one in state.items()}


def test_the_code_of_version_1_does_not_change() -> None:
    assert code_hash(BoxVelocity) == "805843c9fb4e9c235e6c347d13e922a9a6d12a68cd90d4081a47b99cfe1b921a"
