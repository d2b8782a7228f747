"""Facts about a bundle that is about to be written: its scores, its times, and what made it."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from ...inference.features import OPENCV
from ...inference.manifest import ComputeTime, Manifest, Scores
from ...inference.parity import opencv_of
from ..config.training_file import TrainConfig
from ..data.video_sources import Source

LIBRARIES = ("ethostream", "numpy", "av", "onnxruntime", "onnxruntime-gpu", "onnx", "torch", "lightning")


def library_versions() -> dict[str, str]:
    """Versions of Python, of OpenCV by its own word, and of what is installed; one engine or the other is."""
    found = {"python": platform.python_version(), OPENCV: cv2.__version__}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def versions_made_anew(trained: Manifest) -> dict[str, str]:
    """As `library_versions`, of a model that was trained before: its features are still those of the OpenCV of then."""
    found, known = library_versions(), opencv_of(trained)
    if known is None:
        del found[OPENCV]
    else:
        found[OPENCV] = known
    return found


def no_scores() -> Scores:
    """What a manifest says until its bundle is evaluated."""
    return Scores(
        evaluated_on="nothing yet",
        n_frames=0,
        accuracy=None,
        balanced_accuracy=None,
        macro_f1=None,
        per_class={},
        confusion=[],
        more={},
    )


def scores_of(evaluation: dict[str, Any], config: TrainConfig) -> Scores:
    """An evaluation of the test part as the manifest keeps it."""
    stabilised = evaluation["stabilised"]
    frames = evaluation["look_ahead_frames"]
    sight = f"looks {frames} frames ahead" if frames else "causal" if evaluation["causal"] else "not causal"
    return Scores(
        evaluated_on=f"test part, {config.split.by}, whole pipeline, {sight}, stabilised",
        n_frames=stabilised["n_frames"],
        accuracy=stabilised["accuracy"],
        balanced_accuracy=stabilised["balanced_accuracy"],
        macro_f1=stabilised["macro_f1"],
        per_class=stabilised["per_class"],
        confusion=stabilised["confusion_matrix"],
        more={name: evaluation[name] for name in ("raw", "compare", "bout_f1", "flicker", "intervals", "warnings")},
    )


def compute_of(evaluation: dict[str, Any], sources: list[Source]) -> list[ComputeTime]:
    """The times of an evaluation as the manifest keeps them."""
    return [
        ComputeTime(
            stage=stage,
            provider="cpu",
            threads=1,
            batch=len(sources[0].views),
            p50_ms=round(values["p50"], 3),
            p99_ms=round(values["p99"], 3),
            machine=this_machine(),
        )
        for stage, values in evaluation["compute_ms"].items()
    ]


def this_machine() -> str:
    """System and processor, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or "unknown processor"
    return f"{platform.system()} {platform.machine()}, {processor}"
