"""Features of keypoints, computed once: folds, trainings and scores share those of a recording. Needs no torch."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.features import code_hash
from ...inference.graph_spec import FeatureStepSpec
from ...inference.model_input import PoseInput
from ...inference.pose.pose_blocks import run_front_blocks
from ...inference.pose.pose_front import PoseFront
from ..config.pose import PoseRule
from ..data.pose_recordings import PoseRecording, feature_specs, features_of, pose_input
from .key import CacheKey, array_sha256, versions_of
from .store import FeatureCache

_ARRAY: Final = "x"


def pose_key(
    pose: PoseInput, specs: Sequence[FeatureStepSpec], rate_hz: float, points: NDArray[np.float32]
) -> CacheKey:
    """What features of keypoints depend on: the points themselves, the rule, and the code of every step.

    Args:
        pose: what the model takes.
        specs: its feature steps, with the hashes of their code and of what that rests on.
        rate_hz: of the model.
        points: float32 [t, animals, keypoints, 3], as the front is given them.
    """
    recipe = {
        "pose": pose.model_dump(mode="json"),
        "features": [one.model_dump(mode="json") for one in specs],
        "rate_hz": rate_hz,
        "front": code_hash(PoseFront),
        "versions": versions_of("numpy"),
    }
    return CacheKey("pose", array_sha256(points), recipe)


def pose_features(rule: PoseRule, recording: PoseRecording, cache: FeatureCache | None) -> NDArray[np.float32]:
    """As `features_of`: the same numbers, from the cache if they are there.

    Args:
        rule: without anything left open.
        recording: its points are at the rate of the rule.
        cache: None: they are computed.

    Raises:
        DiskFullError, ConfigError: the cache cannot be written.
    """
    if cache is None:
        return features_of(rule, recording.points)
    assert rule.rate_hz is not None
    key = pose_key(pose_input(rule), feature_specs(rule), rule.rate_hz, recording.points)
    found = cache.find(key)
    if found is not None:
        return found[_ARRAY]
    x = features_of(rule, recording.points)
    cache.write(key, recording.name, {_ARRAY: x})
    return x


def bundle_features(bundle: Bundle, recording: PoseRecording, cache: FeatureCache | None) -> NDArray[np.float32] | None:
    """The input of a bundle's head over a whole recording, float32 [t, dims]; None: there is no cache to look into.

    Args:
        bundle: of keypoints.
        recording: at the rate of the bundle.
        cache: that trainings with the same features share.

    Raises:
        DiskFullError, ConfigError: the cache cannot be written.
    """
    if cache is None:
        return None
    manifest = bundle.manifest
    key = pose_key(manifest.pose, manifest.features, manifest.rate_hz, recording.points)
    found = cache.find(key)
    if found is not None:
        return found[_ARRAY]
    x = np.concatenate(list(run_front_blocks(manifest, recording.points)))
    cache.write(key, recording.name, {_ARRAY: x})
    return x
