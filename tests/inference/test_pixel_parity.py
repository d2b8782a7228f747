"""A bundle whose features come from pixels: what processors round differently passes, and nothing else does."""

import io
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundle_files import sha256
from ethostream.inference.features import spec_of
from ethostream.inference.parity import PARITY_TOLERANCE, PIXEL_TOLERANCE, opencv_of, require_opencv
from ethostream.inference.precision import PrecisionCost, PrecisionScores, Quantisation
from ethostream.sync.errors import ParityError
from test_bundle import rewrite_manifest

EMBEDDING = 3
STEPS = [
    spec_of("box_motion", 1, {"scales_s": [0.1, 0.5]}),
    spec_of("box_velocity", 1, {}),
    spec_of("box_position", 1, {}),
    spec_of("motion_energy", 1, {}),
    spec_of("optical_flow", 1, {"textured": 0.0}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_module_bundle: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("pixels") / "tiny"
    return write_module_bundle(
        folder, (300, 400), features=STEPS, library_versions={"opencv-python-headless": f"{cv2.__version__}.80"}
    )


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "tiny")


def change(folder: Path, name: str, by: Callable[[Any], None]) -> None:
    """Change what was stored of one output, as another machine would have computed it."""
    with np.load(folder / "parity.npz") as archive:
        arrays = {one: archive[one] for one in archive.files}
    by(arrays[name])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    (folder / "parity.npz").write_bytes(buffer.getvalue())
    digest = sha256(buffer.getvalue())
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({"parity.npz": digest}))


def columns(name: str) -> slice:
    begin = EMBEDDING
    for step in STEPS:
        if step.name == name:
            return slice(begin, begin + step.dims)
        begin += step.dims
    raise AssertionError(name)


def moved(name: str, by: float) -> Callable[[Any], None]:
    """One value of a step, by a share of its largest one, or of 1."""

    def change(features: Any) -> None:
        part = features[..., columns(name)]
        part[-1, -1, 0] += by * max(float(np.abs(part).max()), 1.0)

    return change


@pytest.mark.parametrize("name", ["motion_energy", "optical_flow"])
def test_what_a_processor_rounds_otherwise_passes(bundle: Path, name: str) -> None:
    change(bundle, "features", moved(name, 0.9 * PIXEL_TOLERANCE))
    error = Bundle.load(bundle).parity_errors["features"]
    assert PARITY_TOLERANCE["cpu"] < error < PIXEL_TOLERANCE


@pytest.mark.parametrize("name", ["motion_energy", "optical_flow"])
def test_more_than_rounding_is_refused(bundle: Path, name: str) -> None:
    change(bundle, "features", moved(name, 1.2 * PIXEL_TOLERANCE))
    with pytest.raises(ParityError, match=rf"features of {name} differs .* by the processor"):
        Bundle.load(bundle)


def test_another_opencv_is_refused_and_both_are_named(bundle: Path) -> None:
    """Even where all numbers agree: in so short an input the difference may be too small."""
    other = {"opencv-python-headless": "3.4.18.65"}
    rewrite_manifest(bundle, lambda manifest: manifest["library_versions"].update(other))
    words = rf"computes motion_energy, optical_flow, here {cv2.__version__}, and where the model was trained 3\.4\.18,"
    with pytest.raises(ParityError, match=words):
        Bundle.load(bundle)


def test_an_opencv_that_is_not_told_passes_only_where_its_numbers_are_compared(bundle: Path) -> None:
    rewrite_manifest(bundle, lambda manifest: manifest["library_versions"].clear())
    manifest = Bundle.load(bundle).manifest
    with pytest.raises(ParityError, match=r"trained a version that is not told.* 'opencv' of 'library_versions'"):
        require_opencv(manifest, unknown=False)
    require_opencv(manifest.model_copy(update={"features": STEPS[:3]}), unknown=False)  # these read boxes alone


@pytest.mark.parametrize("name", ["opencv", "opencv-python-headless"])
def test_the_opencv_of_the_training_is_asked_for_where_another_one_computes_otherwise(bundle: Path, name: str) -> None:
    other = f"{cv2.__version__.partition('.')[0]}.99.1"
    versions = {name: other if name == "opencv" else f"{other}.80"}
    rewrite_manifest(bundle, lambda manifest: manifest.update(library_versions=versions))
    assert opencv_of(Bundle.load(bundle).manifest) == other
    change(bundle, "features", moved("motion_energy", 1.2 * PIXEL_TOLERANCE))
    with pytest.raises(ParityError, match=rf"{other}: install that one .*python-headless=={re.escape(other)}\.\*'"):
        Bundle.load(bundle)


def add_to_p(values: Any) -> None:
    values.flat[-1] += 2e-2


def test_pixels_are_blamed_for_a_probability_only_where_they_differ(bundle: Path) -> None:
    change(bundle, "p", add_to_p)
    with pytest.raises(ParityError, match=r": p differs .*: try provider 'cpu'"):
        Bundle.load(bundle)
    change(bundle, "features", moved("optical_flow", 0.5 * PIXEL_TOLERANCE))
    with pytest.raises(ParityError, match=r": p differs .* by the processor"):
        Bundle.load(bundle)


def test_pixels_are_not_blamed_for_what_an_int8_embedder_moved_further(bundle: Path) -> None:
    scores = PrecisionScores(accuracy=1.0, balanced_accuracy=1.0, macro_f1=1.0, f1={})
    cost = PrecisionCost(float32=scores, int8=scores, agreement=1.0)
    made = Quantisation(
        source="tiny@0", weight_bits=8, calibrated_on=["a"], n_calibration_frames=1, n_calibration_crops=1,
        n_test_frames=1, stabilised=cost, raw=cost, p_change_p99=0.0, p_change_max=0.0, score_loss=0.0,
        max_score_loss=0.1, speed=[], float32_bytes=1, int8_bytes=1, machine="one",
    )  # fmt: skip
    rewrite_manifest(bundle, lambda manifest: manifest.update(quantisation=made.model_dump(mode="json")))
    change(bundle, "p", add_to_p)
    change(bundle, "features", moved("optical_flow", 0.2 * PIXEL_TOLERANCE))

    def move(values: Any) -> None:
        values.flat[-1] += 5e-3 * np.abs(values).max()

    change(bundle, "embeddings", move)
    with pytest.raises(ParityError, match=r": p differs .* weight_bits 7"):
        Bundle.load(bundle)


def test_a_step_that_reads_no_pixels_is_held_to_the_last_digits(bundle: Path) -> None:
    """It would hide behind the larger values of another step, were they compared together."""

    def by(features: Any) -> None:
        part = features[..., columns("box_motion")]
        part[-1, -1, 0] += 3e-5 * np.abs(part).max()

    change(bundle, "features", by)
    with pytest.raises(ParityError, match="features of box_motion differs"):
        Bundle.load(bundle)


@pytest.mark.parametrize(("name", "by"), [("p_slots", 1e-4), ("p", 2e-2), ("embeddings", 1e-4), ("labels", 1)])
def test_the_other_stages_are_not_let_off(bundle: Path, name: str, by: float) -> None:
    def add(values: Any) -> None:
        values.flat[-1] += by * max(1.0, np.abs(values).max())

    change(bundle, name, add)
    with pytest.raises(ParityError, match=f": {name} differs"):
        Bundle.load(bundle)


def test_probabilities_may_follow_the_rounding(bundle: Path) -> None:
    def add(values: Any) -> None:
        values.flat[-1] += 5e-3 * np.abs(values).max()

    change(bundle, "p", add)
    assert 4e-3 < Bundle.load(bundle).parity_errors["p"] < 1e-2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names the vector units of x86")
def test_a_bundle_loads_on_a_processor_without_vector_units(bundle: Path) -> None:
    """OpenCV is told to use none of them, as on a machine that has none, and then does round otherwise."""
    code = """
import sys
from pathlib import Path
from ethostream.inference.bundle import Bundle
print(Bundle.load(Path(sys.argv[1])).parity_errors["features"])
"""
    plain = os.environ | {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1", "OPENCV_IPP": "disabled"}
    words = [sys.executable, "-c", code, str(bundle)]
    done = subprocess.run(words, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.0 < float(done.stdout) < PIXEL_TOLERANCE
