"""Which features of pose there are: by name and version, and their code by a hash, as for `inference/features.py`."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...sync.errors import BundleError
from ...sync.strict import StrictModel, validate
from ..features import code_hash
from ..graph_spec import FeatureStepSpec, StateTensor
from ..model_input import PoseInput
from .arrangement import Arrangement
from .body_length import BodyLength
from .context_features import PoseContext, PoseContextParameters
from .distance_features import PoseContact, PoseContactParameters, PoseDistances, PoseDistancesParameters
from .filling import Filling
from .history import frames_since, held, latest
from .identities import Identities, as_one, nearest_order, way_between
from .layout import PoseLayout, ResolvedPlace
from .measures import cross, dot, length, limited, squash, total, unit
from .motion_features import PoseMotion, PoseMotionParameters, PoseTurning, PoseTurningParameters
from .pose_block import PoseBlock
from .pose_feature import PoseFeature
from .position_features import PosePosition, PosePositionParameters
from .posture_features import (
    PoseAngles,
    PoseAnglesParameters,
    PoseEgocentric,
    PoseEgocentricParameters,
    PoseSpread,
    PoseSpreadParameters,
)
from .preparation import Preparation
from .presence_features import PosePresence, PosePresenceParameters

SHARED: Final[tuple[Callable[..., object], ...]] = (
    Preparation, Identities, as_one, nearest_order, way_between, Filling, latest, held, frames_since, BodyLength,
    PoseLayout, ResolvedPlace, PoseBlock, Arrangement, total, dot, cross, length, unit, limited, squash,
)  # fmt: skip
"""What every feature rests on: its input, the names in it, and plane geometry."""

StepOptions = tuple[str, int, Mapping[str, Any]]
"""Name, version and parameters of a feature step."""


@dataclass(frozen=True, slots=True)
class _Kind:
    feature: Callable[[Any, PoseLayout, tuple[str, ...]], PoseFeature]
    parameters: type[StrictModel]


_KINDS: Final[dict[tuple[str, int], _Kind]] = {
    (feature.name, feature.version): _Kind(feature, parameters)
    for feature, parameters in (
        (PosePresence, PosePresenceParameters),
        (PoseDistances, PoseDistancesParameters),
        (PoseContact, PoseContactParameters),
        (PoseEgocentric, PoseEgocentricParameters),
        (PoseAngles, PoseAnglesParameters),
        (PoseSpread, PoseSpreadParameters),
        (PoseMotion, PoseMotionParameters),
        (PoseTurning, PoseTurningParameters),
        (PosePosition, PosePositionParameters),
        (PoseContext, PoseContextParameters),
    )
}


def pose_feature_names() -> list[str]:
    """Names of all features of pose."""
    return list(dict.fromkeys(name for name, _ in _KINDS))


def layout_of(pose: PoseInput, rate_hz: float) -> PoseLayout:
    """Names and rate of a model's input."""
    return PoseLayout(tuple(pose.keypoints), pose.n_animals, rate_hz)


def make_pose_feature(
    name: str, version: int, parameters: Mapping[str, Any], layout: PoseLayout, before: Sequence[str] = ()
) -> PoseFeature:
    """A feature by name and version.

    Args:
        name: as in `pose_feature_names`.
        version: of its code.
        parameters: of the step.
        layout: of the model.
        before: names of the outputs of the steps before it.

    Raises:
        BundleError: this version of ethostream has no such feature.
        ConfigError: parameters that it does not know, or that do not suit the layout.
    """
    kind = _kind(name, version)
    given = validate(kind.parameters, dict(parameters), f"feature step {name}")
    return kind.feature(given, layout, tuple(before))


def pose_spec_of(
    name: str,
    version: int,
    parameters: Mapping[str, Any],
    pose: PoseInput,
    rate_hz: float,
    before: Sequence[str] = (),
) -> FeatureStepSpec:
    """What the manifest says of a feature of pose, for a bundle that is being written.

    Raises:
        BundleError, ConfigError: as `make_pose_feature`.
    """
    feature = make_pose_feature(name, version, parameters, layout_of(pose, rate_hz), before)
    state = [
        StateTensor.model_validate({"name": key, "shape": list(one.shape), "dtype": one.dtype.name, "initial": 0.0})
        for key, one in feature.initial().items()
        if one.size
    ]
    given = validate(_kind(name, version).parameters, dict(parameters), f"feature step {name}").model_dump(mode="json")
    return FeatureStepSpec(
        name=name,
        version=version,
        hash=feature_hash(feature),
        parameters=given,
        dims=len(feature.names),
        state=state,
    )


def pose_specs_of(steps: Sequence[StepOptions], pose: PoseInput, rate_hz: float) -> list[FeatureStepSpec]:
    """What the manifest says of several, in their order: a later one may read what an earlier one gives."""
    specs: list[FeatureStepSpec] = []
    names: list[str] = []
    for name, version, parameters in steps:
        specs.append(pose_spec_of(name, version, parameters, pose, rate_hz, names))
        names += make_pose_feature(name, version, parameters, layout_of(pose, rate_hz), names).names
    return specs


def open_pose_features(specs: Sequence[FeatureStepSpec], layout: PoseLayout) -> list[PoseFeature]:
    """The features of a bundle, compared with the code that it was trained with.

    Raises:
        BundleError: one is unknown, its code is not the code of the training, or its memory has another form.
        ConfigError: its parameters do not suit the layout.
    """
    features: list[PoseFeature] = []
    names: list[str] = []
    for spec in specs:
        feature = make_pose_feature(spec.name, spec.version, spec.parameters, layout, names)
        here = feature_hash(feature)
        if here != spec.hash:
            raise BundleError(
                f"feature step {spec.name} v{spec.version}: the code here (hash {here[:12]}) is not that of the "
                f"training ({spec.hash[:12]}); train again, or use the ethostream that trained it"
            )
        if len(feature.names) != spec.dims:
            raise BundleError(
                f"feature step {spec.name}: gives {len(feature.names)} numbers, the manifest says {spec.dims}"
            )
        mine = {key: (list(one.shape), one.dtype.name) for key, one in feature.initial().items() if one.size}
        theirs = {one.name: (list(one.shape), one.dtype) for one in spec.state}
        if mine != theirs:
            raise BundleError(
                f"feature step {spec.name}: remembers {_in_words(mine)}, the manifest says {_in_words(theirs)}; it was "
                "made for another rate or other keypoints: export the bundle again"
            )
        features.append(feature)
        names += feature.names
    return features


def feature_hash(feature: PoseFeature) -> str:
    """SHA-256 of the tokens of its class and of what that rests on."""
    digest = hashlib.sha256()
    for part in (type(feature), *feature.rests_on, *SHARED):
        digest.update(code_hash(part).encode())
    return digest.hexdigest()


def _kind(name: str, version: int) -> _Kind:
    known = _KINDS.get((name, version))
    if known is None:
        have = ", ".join(f"{one} v{number}" for one, number in _KINDS)
        raise BundleError(
            f"feature step {name} v{version} is not known for pose (known: {have}); correct the name, or install a "
            "newer ethostream"
        )
    return known


def _in_words(state: Mapping[str, tuple[list[int], str]]) -> str:
    return ", ".join(f"{key} {shape}" for key, (shape, _) in state.items()) or "nothing"
