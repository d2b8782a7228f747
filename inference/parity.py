"""Outputs stored with the model, and the test that this machine gives the same: from raw frames to the label."""

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import FakeClock
from ..sync.errors import BundleError, ParityError
from .backend import Graph, Precision, Provider
from .head import run_sequence
from .manifest import Manifest
from .model import BehaviorModel

PARITY_TOLERANCE: Final[dict[Provider, float]] = {
    "cpu": 1e-5,
    "cuda": 1e-3,
    "tensorrt": 1e-3,
    "tensorrt_native": 1e-3,
}
"""Largest relative error, max|a-b| / max|b|; GPU convolutions may run in TF32."""

HALF_TOLERANCE: Final = 1e-2
"""The same for an embedder in float16, which keeps 11 bits (5e-4) of each weight and of what each layer passes on."""

INT8_TOLERANCE: Final = 1e-2
"""The same for an int8 embedder. Another processor may round a sum that lies between two levels of an activation the
other way, and the layers behind carry it on: 0.1 % (small_cnn) to 0.4 % (ResNet-18) of the largest value between
integer and emulated kernels. Sums of 8-bit weights may overflow on a processor without VNNI: refused where it shows."""

_EXACT: Final = ("crops", "labels")
_CLOSE: Final = ("embeddings", "features", "p_slots", "p")


def run_parity_input(
    manifest: Manifest, embedder: Graph, head_step: Graph, frames: NDArray[np.uint8], times_ns: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Run stored frames through a fresh model.

    Args:
        manifest: of the bundle.
        embedder: opened.
        head_step: opened.
        frames: (n_views, t, h, w) uint8 grey.
        times_ns: (t,) int64 exposure times, at the model's rate.

    Returns:
        ``crops`` (t, v, 5) int64 x, y, width, height, valid; ``embeddings`` (t, v, d); ``features`` (t, v, f);
        ``x`` (t, b, dims); ``p_slots`` (t, b, c); ``p`` (t, c); ``labels`` (t,) int64, -1 for none.

    Raises:
        BundleError: a stored frame is no step of the model.
    """
    names = parity_views(manifest, len(frames))
    shape = frames.shape[2:]
    model = BehaviorModel(
        manifest, embedder, head_step, dict.fromkeys(names, shape), manifest.rate_hz, FakeClock(), None
    )
    steps = [
        model.step({name: frames[view, place] for view, name in enumerate(names)}, int(t_ns))
        for place, t_ns in enumerate(times_ns)
    ]
    done = [step for step in steps if step is not None]
    if len(done) != len(steps) or any(step.gap_frames for step in done):
        raise BundleError(f"bundle {manifest.name}: the parity times are not evenly spaced at {manifest.rate_hz:g} Hz")
    boxes = [[(c.x_px, c.y_px, c.width_px, c.height_px, int(c.valid)) for c in step.crops] for step in done]
    labels = [manifest.classes.index(step.label) if step.label else -1 for step in done]
    return {
        "crops": np.array(boxes, np.int64),
        "embeddings": np.stack([step.embeddings for step in done]),
        "features": np.stack([step.features for step in done]),
        "x": np.stack([step.x for step in done]),
        "p_slots": np.stack([step.p_slots for step in done]),
        "p": np.stack([step.p for step in done]),
        "labels": np.array(labels, np.int64),
    }


def parity_views(manifest: Manifest, n: int) -> list[str]:
    """Names of the stored views: those of the training, as far as there are any."""
    names = manifest.video.view_names
    return names[:n] if len(names) >= n else [f"view{place}" for place in range(n)]


def make_parity(
    manifest: Manifest, embedder: Graph, head_step: Graph, frames: NDArray[np.uint8], times_ns: NDArray[np.int64]
) -> bytes:
    """The bytes of ``parity.npz``: the frames, and what the model answers on this machine.

    Use a few seconds of small frames in which the animal moves; see `run_parity_input` for the shapes.
    """
    expected = run_parity_input(manifest, embedder, head_step, frames, times_ns)
    buffer = io.BytesIO()
    classes = np.array(manifest.classes)
    np.savez_compressed(buffer, allow_pickle=False, frames=frames, times_ns=times_ns, classes=classes, **expected)
    return buffer.getvalue()


def check_parity(
    manifest: Manifest,
    embedder: Graph,
    head_step: Graph,
    head_sequence: Graph,
    stored: bytes,
    provider: Provider,
    precision: Precision = "fp32",
) -> dict[str, float]:
    """Run the stored input and compare every output, and the step head with the sequence head.

    Returns:
        Relative error of each output.

    Raises:
        ParityError: one differs; the message says which and by how much.
        BundleError: the stored arrays cannot be read, or are of other classes.
    """
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        frames, times_ns = arrays["frames"], arrays["times_ns"]
        expected = {name: arrays[name] for name in (*_EXACT, *_CLOSE)}
    except (ValueError, KeyError, OSError) as error:
        raise BundleError(f"bundle {manifest.name}: parity.npz cannot be used ({error}); export it again") from error
    # Bundles made before the classes were stored go without.
    made_with = [str(name) for name in arrays.get("classes", manifest.classes)]
    if made_with != list(manifest.classes):
        raise BundleError(
            f"bundle {manifest.name}: classes are {', '.join(manifest.classes)}, and the model was made with "
            f"{', '.join(made_with)} in this order; the manifest was changed: export the bundle again"
        )
    found = run_parity_input(manifest, embedder, head_step, frames, times_ns)
    sequence = run_sequence(head_sequence, manifest.head, np.ascontiguousarray(found["x"].swapaxes(0, 1)))
    found["head_sequence"], expected["head_sequence"] = sequence.swapaxes(0, 1), expected["p_slots"]
    errors: dict[str, float] = {}
    for name in ("crops", "embeddings", "features", "p_slots", "head_sequence", "p", "labels"):
        allowed = 0.0 if name in _EXACT else tolerance(manifest, provider, precision)
        errors[name] = relative_error(found[name], expected[name])
        if not errors[name] <= allowed:
            raise ParityError(
                f"bundle {manifest.name} on provider {provider!r} ({precision}): {name} differs from what was stored "
                f"with the model by {errors[name]:.2g} relative (allowed {allowed:.0e}); this machine would not give "
                f"the scores of the bundle: {_cure(manifest)}"
            )
    return errors


def _cure(manifest: Manifest) -> str:
    if manifest.quantisation is not None and manifest.quantisation.weight_bits == 8:
        return (
            "the embedder is int8: take the float32 bundle that it came from, provider 'cpu', or quantise that again "
            "with weight_bits 7, which sums the same on every processor"
        )
    return "try provider 'cpu', or export the bundle again with this version"


def tolerance(manifest: Manifest, provider: Provider, precision: Precision = "fp32") -> float:
    """Largest relative error that passes for this model there, its embedder computed in ``precision``."""
    close = HALF_TOLERANCE if precision == "fp16" else PARITY_TOLERANCE[provider]
    return close if manifest.quantisation is None else max(close, INT8_TOLERANCE)


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """max|a-b| / max|b|; infinite where shapes differ or something is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    difference = float(np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64)), initial=0.0))
    largest = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0))
    if not np.isfinite(difference):
        return float("inf")
    return difference / largest if largest > 0.0 else difference
