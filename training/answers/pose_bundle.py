"""A bundle of keypoints, opened for use offline. Light to import."""

from pathlib import Path

from ...inference.bundle import Bundle
from ...inference.bundle_files import read_bundle_files
from ...inference.bundled import resolve_bundle
from ...inference.manifest import MANIFEST_FILE
from ...inference.manifest_file import read_manifest
from ...sync.errors import ConfigError


def load_pose_bundle(path: Path) -> Bundle:
    """A bundle that takes keypoints.

    Raises:
        ConfigError: it takes video.
        BundleError: it cannot be used.
    """
    resolved = resolve_bundle(path)
    manifest = read_manifest(read_bundle_files(resolved)[MANIFEST_FILE], f"{resolved}/{MANIFEST_FILE}")
    if not manifest.takes_pose:
        raise ConfigError(
            f"bundle {manifest.name!r} takes video; give a training file of videos, or a bundle of keypoints"
        )
    return Bundle.load(resolved, max_look_ahead_frames=None)
