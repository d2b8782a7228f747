import numpy as np
import pytest
from ethostream.inference.cropper import Crop
from ethostream.inference.features import BoxMotion, code_hash, make_feature_step, spec_of
from ethostream.sync.errors import BundleError, ConfigError

SIDE = 100


def crop(x: float, area: float = 900.0, elongation: float = 2.0, motion: float = 8.0) -> Crop:
    return Crop(0, 0, SIDE, SIDE, True, x, 50.0, area, elongation, motion)


def run(places: list[float], dt_s: float) -> np.ndarray:
    step = make_feature_step("box_motion", 1, {"scales_s": [0.05, 0.5]})
    state, rows = step.initial(), []
    for place in places:
        state, values = step.step(state, crop(place), dt_s)
        rows.append(values)
    return np.array(rows)


def test_a_steady_walk_has_its_speed_in_sides_per_second() -> None:
    values = run([2.0 * t for t in range(200)], dt_s=1 / 30)
    assert values.shape == (200, 8)
    assert values.dtype == np.float32
    assert values[-1, [0, 4]] == pytest.approx(2.0 * 30 / SIDE, rel=1e-5)
    assert values[-1, [1, 2, 3]] == pytest.approx([0.3, np.log(2.0), 0.5])


def test_speed_does_not_depend_on_the_rate() -> None:
    slow, fast = run([4.0 * t for t in range(100)], 1 / 30), run([2.0 * t for t in range(200)], 1 / 60)
    assert slow[-1] == pytest.approx(fast[-1], rel=1e-4)


def test_it_is_causal() -> None:
    places = list(np.random.default_rng(0).normal(0.0, 20.0, 50))
    assert np.array_equal(run(places, 1 / 30)[:30], run(places[:30], 1 / 30))


def test_the_state_of_the_manifest_is_the_state_of_the_step() -> None:
    spec = spec_of("box_motion", 1, {})
    state = make_feature_step("box_motion", 1, {}).initial()
    assert {one.name: tuple(one.shape) for one in spec.state} == {name: value.shape for name, value in state.items()}
    assert spec.dims == 8
    assert spec.parameters == {"scales_s": [0.1, 0.5]}


def test_a_step_leaves_the_state_it_was_given_alone() -> None:
    step = make_feature_step("box_motion", 1, {})
    state, _ = step.step(step.initial(), crop(1.0), 0.1)
    kept = {name: value.copy() for name, value in state.items()}
    step.step(state, crop(50.0), 0.1)
    assert all(np.array_equal(kept[name], state[name]) for name in kept)


def test_the_code_of_version_1_has_not_changed() -> None:
    """Bundles name this hash. Where this fails, keep the old class and add one with the next version."""
    assert code_hash(BoxMotion) == "2e46138c4f3b4a176cdc80f5e86297ff0c9a5f9db2c8ca8d91bff84c22e11ada"


def test_comments_and_layout_do_not_change_the_hash() -> None:
    class One:
        """Says one thing."""

        def f(self, a: int) -> int:
            return a + 1

    first = code_hash(One)

    class One:  # type: ignore[no-redef]
        """Says another."""

        # and explains
        def f(self, a: int) -> int:
            """More."""
            return a + 1

    class Two:
        def f(self, a: int) -> int:
            return a + 2

    assert code_hash(Two) != first


def test_unknown_steps_and_parameters_are_refused() -> None:
    with pytest.raises(BundleError, match="box_motion v9 is not known"):
        make_feature_step("box_motion", 9, {})
    with pytest.raises(ConfigError, match="window: unknown key"):
        make_feature_step("box_motion", 1, {"window": 3})
