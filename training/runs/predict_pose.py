"""A bundle over a file of keypoints: one row per frame."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...acquisition.pose.pose_files import read_pose
from ...inference.bundle_files import read_bundle_files
from ...inference.manifest import MANIFEST_FILE
from ...inference.manifest_file import read_manifest
from ...inference.pose.pose_blocks import run_pose_blocks
from ..answers.pose_bundle import load_pose_bundle
from ..data.read_points import points_of, rate_of
from .prediction_csv import prediction_csv


def takes_pose(path: Path) -> bool:
    """Whether a bundle is one of keypoints.

    Raises:
        BundleError: it has no manifest that can be read.
    """
    return read_manifest(read_bundle_files(path)[MANIFEST_FILE], f"{path}/{MANIFEST_FILE}").takes_pose


def predict_pose(bundle_path: Path, path: Path, out: Path, rate_hz: float | None = None) -> dict[str, Any]:
    """Write a CSV with ``frame,time_s,behaviour`` and one column ``p_<class>`` per class.

    A row that the model's rate leaves out repeats the answer before it. With a model that looks ahead a row holds what
    the model says of that very frame, which on a rig comes so much later.

    Args:
        bundle_path: folder, zip or name of a shipped bundle of keypoints.
        path: what DeepLabCut or SLEAP wrote.
        out: the CSV.
        rate_hz: frames per second, where the file does not say; None: those of the model are assumed.

    Returns:
        ``n_frames``, ``bundle``, ``out``, ``rate_hz``, ``rate_assumed`` and ``frames_of`` each behaviour.

    Raises:
        DataError: the file cannot be read, or has other keypoints or animals than the model.
        BundleError: the bundle cannot be used.
        ConfigError: its rate does not suit the model, or the CSV cannot be written.
    """
    bundle = load_pose_bundle(bundle_path)
    manifest = bundle.manifest
    table = read_pose(path)
    assumed = rate_hz is None and table.rate_hz is None
    rate_hz = manifest.rate_hz if assumed else rate_of(table, rate_hz)
    points = points_of(table, manifest.pose)
    found = run_pose_blocks(bundle, points, rate_hz).of_their_frames()
    rows = np.searchsorted(found.frames, np.arange(len(points)), side="right") - 1
    names = [*manifest.classes, ""]  # so that the index of no label names ""
    behaviors = [names[place] for place in found.labels[rows].tolist()]
    # Names of classes hold no comma and no quote: one format for a row is several times quicker than a writer.
    row = "%d,%.6f,%s" + ",%.6f" * len(manifest.classes) + "\n"
    times_s = (np.arange(len(rows)) / rate_hz).tolist()
    with prediction_csv(out, manifest.classes) as file:
        values = zip(range(len(rows)), times_s, behaviors, *found.p[rows].T.tolist(), strict=True)
        file.writelines(row % each for each in values)
    return {
        "bundle": bundle.identity,
        "pose": str(path),
        "out": str(out),
        "n_frames": len(rows),
        "rate_hz": rate_hz,
        "rate_assumed": assumed,
        "frames_of": dict(Counter(behaviors)),
    }
