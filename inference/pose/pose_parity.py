"""Outputs stored with a pose model, and the test that this machine gives the same: from raw keypoints to the label."""

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import FakeClock
from ...sync.errors import BundleError, ParityError
from ..backend import Graph, Provider
from ..head import run_sequence
from ..manifest import Manifest
from ..parity import relative_error, tolerance
from ..stabilisation.stabiliser import Stabiliser
from .pose_model import PoseModel, open_front

_STORED: Final = ("x", "p", "labels")


def run_pose_parity_input(
    manifest: Manifest,
    head_step: Graph | None,
    head_sequence: Graph,
    points: NDArray[np.float32],
    times_ns: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Run stored keypoints through a fresh model.

    Args:
        manifest: of the bundle.
        head_step: opened; None: the head is not causal.
        head_sequence: opened.
        points: (t, animals, keypoints, 3) float32 raw.
        times_ns: (t,) int64 exposure times, at the model's rate.

    Returns:
        ``x`` (t, dims); ``p`` (t, c); ``labels`` (t,) int64, -1 for none; of a causal head ``head_sequence`` (t, c).

    Raises:
        BundleError: a stored frame is no step of the model.
    """
    if head_step is None:
        x = open_front(manifest).block(points)
        p = run_sequence(head_sequence, manifest.head, x[None])[0]
        labels = Stabiliser(manifest.classes, manifest.stabiliser).run(p, times_ns)
        return {"x": x, "p": p, "labels": labels}
    model = PoseModel(manifest, head_step, manifest.rate_hz, FakeClock())
    steps = [model.step(frame, int(t_ns)) for frame, t_ns in zip(points, times_ns, strict=True)]
    done = [step for step in steps if step is not None]
    if len(done) != len(steps) or any(step.gap_frames for step in done):
        raise BundleError(f"bundle {manifest.name}: the parity times are not evenly spaced at {manifest.rate_hz:g} Hz")
    x = np.concatenate([step.x for step in done])
    return {
        "x": x,
        "p": np.stack([step.p for step in done]),
        "labels": np.array([manifest.classes.index(step.label) if step.label else -1 for step in done], np.int64),
        "head_sequence": run_sequence(head_sequence, manifest.head, x[None])[0],
    }


def make_pose_parity(
    manifest: Manifest,
    head_step: Graph | None,
    head_sequence: Graph,
    points: NDArray[np.float32],
    times_ns: NDArray[np.int64],
) -> bytes:
    """The bytes of ``parity.npz``: the keypoints, and what the model answers on this machine.

    Use some hundred frames in which the animals move and points are missing; see `run_pose_parity_input` for shapes.

    Raises:
        BundleError: there are no frames, or one is no step of the model.
    """
    if not len(points):
        raise BundleError(f"bundle {manifest.name}: parity needs frames, and none are given; give some hundred")
    found = run_pose_parity_input(manifest, head_step, head_sequence, points, times_ns)
    names = {"keypoints": np.array(manifest.pose.keypoints), "classes": np.array(manifest.classes)}
    buffer = io.BytesIO()
    kept = {name: found[name] for name in _STORED}
    np.savez_compressed(buffer, allow_pickle=False, points=points, times_ns=times_ns, **names, **kept)
    return buffer.getvalue()


def check_pose_parity(
    manifest: Manifest, head_step: Graph | None, head_sequence: Graph, stored: bytes, provider: Provider
) -> dict[str, float]:
    """Run the stored keypoints and compare every output, and the step head with the sequence head.

    Returns:
        Relative error of each output.

    Raises:
        ParityError: one differs; the message says which and by how much.
        BundleError: the stored arrays cannot be read, or are of other keypoints.
    """
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        points, times_ns = arrays["points"], arrays["times_ns"]
        named = {what: [str(name) for name in arrays[what]] for what in ("keypoints", "classes")}
        expected = {name: arrays[name] for name in _STORED}
    except (ValueError, KeyError, OSError) as error:
        raise BundleError(f"bundle {manifest.name}: parity.npz cannot be used ({error}); export it again") from error
    for what, here in (("keypoints", manifest.pose.keypoints), ("classes", manifest.classes)):
        if named[what] != here:
            raise BundleError(
                f"bundle {manifest.name}: {what} are {', '.join(here)}, and the model was made with "
                f"{', '.join(named[what])} in this order; the manifest was changed: export the bundle again"
            )
    found = run_pose_parity_input(manifest, head_step, head_sequence, points, times_ns)
    if "head_sequence" in found:
        expected["head_sequence"] = expected["p"]
    errors: dict[str, float] = {}
    for name in (name for name in ("x", "p", "head_sequence", "labels") if name in found):
        allowed = 0.0 if name == "labels" else tolerance(manifest, provider)
        errors[name] = relative_error(found[name], expected[name])
        if not errors[name] <= allowed:
            raise ParityError(
                f"bundle {manifest.name} on provider {provider!r}: {name} differs from what was stored with the model "
                f"by {errors[name]:.2g} relative (allowed {allowed:.0e}); this machine would not give the scores of "
                "the bundle: try provider 'cpu', or export the bundle again with this version"
            )
    return errors
