"""Which features there are, what a manifest says of them, and that their hash covers what decides on their values."""

import dis
import inspect
from types import CodeType, FunctionType
from typing import Any

import pytest
from ethostream.inference.pose.motion_features import PoseMotion
from ethostream.inference.pose.pose_feature import PoseFeature
from ethostream.inference.pose.pose_front import PoseFront
from ethostream.inference.pose.registry import (
    SHARED,
    feature_hash,
    layout_of,
    make_pose_feature,
    pose_feature_names,
    pose_spec_of,
    pose_specs_of,
)
from ethostream.sync.errors import BundleError, ConfigError
from ethostream.sync.strict import StrictModel
from pose_worlds import ALIKE, IN_ORDER, RATE_HZ, pose_input

LAYOUT = layout_of(pose_input(), RATE_HZ)
HOME = "ethostream.inference.pose."
FIXED = {"PARTNER", "inf", "pi"}
"""Part of names that stand in a manifest, where a change would not stay unseen; and mathematics."""


def test_every_feature_is_in_the_recipes_of_the_tests() -> None:
    assert {name for name, _, _ in ALIKE} == set(pose_feature_names())
    assert set(pose_feature_names()) - {name for name, _, _ in IN_ORDER} == {"pose_contact"}


def test_a_manifest_says_what_a_step_remembers() -> None:
    spec = pose_spec_of("pose_motion", 1, {"places": ["nose", "hip"], "lags_s": [0.1, 1.0]}, pose_input(), RATE_HZ)
    assert {one.name: (one.shape, one.dtype) for one in spec.state} == {
        "past": ([30, 2, 2, 2], "float64"),
        "past_age": ([30, 2, 2], "float64"),
        "started": ([1], "int64"),
    }
    assert spec.dims == 8 and spec.parameters["max_speed"] == 8.0
    assert pose_spec_of(spec.name, 1, spec.parameters, pose_input(), RATE_HZ) == spec


def test_steps_that_are_not_there() -> None:
    with pytest.raises(BundleError, match="pose_whiskers v1 is not known"):
        pose_specs_of([("pose_whiskers", 1, {})], pose_input(), RATE_HZ)
    with pytest.raises(BundleError, match="pose_motion v2 is not known"):
        pose_specs_of([("pose_motion", 2, {"places": ["nose"]})], pose_input(), RATE_HZ)
    with pytest.raises(ConfigError, match="lag: unknown key"):
        pose_specs_of([("pose_motion", 1, {"places": ["nose"], "lag": 1.0})], pose_input(), RATE_HZ)


def test_a_change_in_what_a_feature_rests_on_changes_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(pose_input(), RATE_HZ)
    feature = make_pose_feature("pose_motion", 1, {"places": ["nose"]}, layout)
    before = feature_hash(feature)
    assert feature_hash(make_pose_feature("pose_motion", 1, {"places": ["hip"]}, layout)) == before
    monkeypatch.setattr(PoseMotion, "rests_on", PoseMotion.rests_on[:-1])
    assert feature_hash(feature) != before


def functions_of(part: Any) -> list[FunctionType]:
    """A function itself, or what is written in a class; not what `dataclass` makes."""
    members = vars(part).values() if inspect.isclass(part) else [part]
    plain = [getattr(one, "fget", None) or getattr(one, "__func__", one) for one in members]
    own = [one for one in plain if isinstance(one, FunctionType) and one.__globals__["__name__"].startswith(HOME)]
    return [one for one in own if not one.__code__.co_filename.startswith("<")]


def globals_of(part: Any) -> dict[str, Any]:
    """What the code of a class or function looks up in its module, by name."""
    found: dict[str, Any] = {}
    for function in functions_of(part):
        waiting: list[CodeType] = [function.__code__]
        for code in waiting:
            waiting += [one for one in code.co_consts if isinstance(one, CodeType)]
            names = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
            found |= {name: function.__globals__[name] for name in names if name in function.__globals__}
    return found


def decides(value: Any) -> bool:
    """A function, number or class with code of ours. Parameters stand in the manifest themselves."""
    if inspect.isclass(value) and (issubclass(value, StrictModel) or not functions_of(value)):
        return False
    return isinstance(value, int | float | str) or getattr(value, "__module__", "").startswith(HOME)


def features() -> list[PoseFeature]:
    made: list[PoseFeature] = []
    for name, version, parameters in ALIKE:
        before = [output for one in made for output in one.names]
        made.append(make_pose_feature(name, version, parameters, LAYOUT, before))
    return made


@pytest.mark.parametrize("feature", features(), ids=lambda one: one.name)
def test_the_hash_covers_every_function_and_number_that_decides_on_the_values(feature: PoseFeature) -> None:
    """Followed through the code itself: what it calls, and what that calls."""
    hashed = (type(feature), *feature.rests_on, *SHARED)
    looked_up = {name: value for part in hashed for name, value in globals_of(part).items() if decides(value)}
    assert "length" in looked_up
    assert {name for name, value in looked_up.items() if value not in hashed} <= FIXED


def test_what_stands_before_the_features_is_part_of_their_hash() -> None:
    assert {name for name, value in globals_of(PoseFront).items() if decides(value)} <= {
        *(part.__name__ for part in SHARED), "layout_of", "open_pose_features", "_PARTS", "under",
    }  # fmt: skip
