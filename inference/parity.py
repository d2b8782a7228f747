"""Outputs stored with the model, and the test that this machine gives the same: from raw frames to the label."""

import io
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.clock import FakeClock
from ..sync.errors import BundleError, ParityError
from .backend import Graph, Precision, Provider
from .features import OPENCV, OPENCV_PACKAGE, reads_pixels
from .gap import StepGrid
from .head import run_sequence, run_steps
from .manifest import Manifest
from .model import BehaviorModel
from .stabilisation.stabiliser import Stabiliser

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

PIXEL_TOLERANCE: Final = 1e-3
"""Largest error of a feature step that reads pixels, of its largest value or of 1 where that is less. OpenCV resizes
and searches with what the processor has: by AVX-512 and by AVX2 the same, without either up to 2.3e-4 of the largest
(motion energy) and 2.8e-5 (optical flow). OpenCV 5 moves pictures otherwise than 4: 1.5e-3 to 0.17 of the largest."""

PIXEL_P_TOLERANCE: Final = 1e-2
"""Largest error of a probability that such features may lead to; the head by itself is compared on stored input."""

_STORED: Final = ("crops", "embeddings", "features", "x", "p_slots", "p", "labels")


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
    """Run the stored input and compare every output: crops, embeddings, features, probabilities and labels.

    Both graphs of the head are compared on the stored ``x``. Where features are of pixels, which processors round
    differently, the stabiliser is compared on the stored ``p``: a label may then change a frame sooner or later here.

    Returns:
        Relative error of each output, of ``features`` the largest of all steps.

    Raises:
        ParityError: one differs; the message says which and by how much.
        BundleError: the stored arrays cannot be read, or are of other classes.
    """
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        frames, times_ns = arrays["frames"], arrays["times_ns"]
        expected = {name: arrays[name] for name in _STORED}
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
    x = expected["x"]
    found["p_slots"] = run_steps(head_step, manifest.head, x)
    sequence = run_sequence(head_sequence, manifest.head, np.ascontiguousarray(x.swapaxes(0, 1)))
    found["head_sequence"], expected["head_sequence"] = sequence.swapaxes(0, 1), expected["p_slots"]
    close, of_head = tolerance(manifest, provider, precision), PARITY_TOLERANCE[provider]
    of_pixels = any(reads_pixels(one) for one in manifest.features)
    require_opencv(manifest, unknown=True)
    if of_pixels:
        found["labels"] = _labels(manifest, expected["p"], times_ns)
    allowed = {"crops": 0.0, "embeddings": close, "features": close, "p_slots": of_head, "head_sequence": of_head}
    allowed |= {"p": max(close, PIXEL_P_TOLERANCE) if of_pixels else close, "labels": 0.0}
    where = f"bundle {manifest.name} on provider {provider!r} ({precision})"
    errors: dict[str, float] = {}
    for name, most in allowed.items():
        if name == "features" and found[name].shape == expected[name].shape:
            errors[name] = _check_features(manifest, found[name], expected[name], most, where)
            continue
        errors[name] = relative_error(found[name], expected[name])
        # Probabilities follow what moved: pixels only where they did, and by more than the embeddings.
        follows = of_pixels and name == "p" and errors["features"] > max(errors["embeddings"], PARITY_TOLERANCE["cpu"])
        _require(where, name, errors[name], most, _cure(manifest, of_pixels=follows))
    return errors


def opencv_of(manifest: Manifest) -> str | None:
    """Version of OpenCV that a model was trained with, as OpenCV tells it; None: the manifest does not say."""
    versions = manifest.library_versions
    told = versions.get(OPENCV) or versions.get(OPENCV_PACKAGE)
    return None if told is None else ".".join(told.split(".")[:3])  # that of the distribution has a fourth number


def require_opencv(manifest: Manifest, *, unknown: bool) -> None:
    """Refuse another main version of OpenCV than the steps that read pixels were computed with.

    Versions 4 and 5 move pictures otherwise; in a short or quiet input that may be too small to be seen.

    Args:
        manifest: of the bundle.
        unknown: a version that the manifest does not tell may pass, since what it computed is compared.

    Raises:
        ParityError: it is another one; the message names both.
    """
    steps = [one.name for one in manifest.features if reads_pixels(one)]
    made_with = opencv_of(manifest)
    if not steps or (made_with is None and unknown):
        return
    words = f"bundle {manifest.name}: OpenCV computes {', '.join(steps)}, here {cv2.__version__}, and where the model"
    if made_with is None:
        raise ParityError(
            f"{words} was trained a version that is not told, which may be another feature: train again, or, where "
            f"you know it, write it into bundle.json, as {OPENCV!r} of 'library_versions'"
        )
    if made_with.partition(".")[0] != cv2.__version__.partition(".")[0]:
        raise ParityError(
            f"{words} was trained {made_with}, which is another feature: install that one ({_install(made_with)}), or "
            "train again with this one"
        )


def _install(version: str) -> str:
    return f"pip install '{OPENCV_PACKAGE}=={version}.*'"


def _check_features(manifest: Manifest, found: NDArray[Any], expected: NDArray[Any], close: float, where: str) -> float:
    """Compare each step by itself, so that none hides behind larger values of another; the largest error."""
    begin = manifest.video.embedder.dims
    largest = relative_error(found[..., :begin], expected[..., :begin])
    _require(where, "features", largest, close, _cure(manifest))
    for step in manifest.features:
        part, begin = slice(begin, begin + step.dims), begin + step.dims
        of_pixels = reads_pixels(step)
        error = relative_error(found[..., part], expected[..., part], 1.0 if of_pixels else 0.0)
        allowed = PIXEL_TOLERANCE if of_pixels else PARITY_TOLERANCE["cpu"]
        _require(where, f"features of {step.name}", error, allowed, _cure(manifest, of_pixels=of_pixels))
        largest = max(largest, error)
    return largest


def _labels(manifest: Manifest, p: NDArray[np.float32], times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the stabiliser makes of probabilities at the model's rate."""
    step_ns = StepGrid(manifest.rate_hz, manifest.rate_hz, manifest.other_rates).step_ns
    stabiliser = Stabiliser(manifest.classes, manifest.stabiliser, step_ns, look_ahead_ms=manifest.look_ahead_ms)
    return stabiliser.run(p, times_ns)


def _require(where: str, name: str, error: float, allowed: float, cure: str) -> None:
    if not error <= allowed:
        raise ParityError(
            f"{where}: {name} differs from what was stored with the model by {error:.2g} relative (allowed "
            f"{allowed:.0e}); this machine would not give the scores of the bundle: {cure}"
        )


def _cure(manifest: Manifest, *, of_pixels: bool = False) -> str:
    if of_pixels:
        made_with = opencv_of(manifest)
        if made_with == cv2.__version__:
            return (
                f"OpenCV {made_with} rounds what it computes of pixels by the processor, and here by more than any "
                "that was tried: run it on a processor like the one where it was made, or train again on this one"
            )
        install = f"install that one ({_install(made_with)}), or " if made_with else ""
        return (
            f"OpenCV {cv2.__version__} computes pixels here, and where the model was trained "
            f"{made_with or 'a version that is not told'}: {install}train again with this one"
        )
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


def relative_error(found: NDArray[Any], expected: NDArray[Any], at_least: float = 0.0) -> float:
    """max|a-b| / max(|b|, at_least); infinite where shapes differ or something is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    difference = float(np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64)), initial=0.0))
    largest = float(np.max(np.abs(expected.astype(np.float64)), initial=at_least))
    if not np.isfinite(difference):
        return float("inf")
    return difference / largest if largest > 0.0 else difference
