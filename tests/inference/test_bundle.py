import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundle_files import sha256, zip_bundle
from ethostream.inference.graph_spec import HeadSpec, StateTensor
from ethostream.inference.manifest import MANIFEST_FILE
from ethostream.inference.manifest_file import read_manifest
from ethostream.sync.errors import BundleError, BundleHashError, LookAheadError, ParityError, ProviderError
from pydantic import ValidationError

Writer = Callable[..., Path]


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_bundle_loads_and_reproduces_its_outputs(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    bundle = Bundle.load(folder)
    digest = sha256((folder / MANIFEST_FILE).read_bytes())
    assert bundle.identity == f"tiny@{digest[:12]}"
    assert max(bundle.parity_errors.values()) <= 1e-5
    assert set(bundle.parity_errors) == {
        "crops", "embeddings", "features", "p_slots", "head_sequence", "p", "labels",
    }  # fmt: skip


def test_a_zip_is_the_same_bundle_as_its_folder(write_tiny_bundle: Writer, tmp_path: Path) -> None:
    folder = write_tiny_bundle()
    flat = zip_bundle(folder, tmp_path / "flat.zip")
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as archive:
        for one in folder.iterdir():
            archive.write(one, f"tiny/{one.name}")
    assert Bundle.load(flat).identity == Bundle.load(nested).identity == Bundle.load(folder).identity
    assert zip_bundle(folder, tmp_path / "again.zip").read_bytes() == flat.read_bytes()


@pytest.mark.parametrize("fusion", ["mean", "max", "joined"])
def test_every_fusion_loads(write_tiny_bundle: Writer, fusion: str) -> None:
    assert Bundle.load(write_tiny_bundle(fusion=fusion, n_views=2)).manifest.video.fusion == fusion


@pytest.mark.parametrize("name", ["embedder.onnx", "head_step.onnx", "head_sequence.onnx", "parity.npz"])
def test_a_changed_file_is_named(write_tiny_bundle: Writer, name: str) -> None:
    folder = write_tiny_bundle()
    (folder / name).write_bytes((folder / name).read_bytes() + b"x")
    with pytest.raises(BundleHashError, match=name):
        Bundle.load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleHashError, match=f"{name} is missing"):
        Bundle.load(folder)


def key_paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        here = [(*path, key) for key in value]
        return here + [deep for key, item in value.items() for deep in key_paths(item, (*path, key))]
    if isinstance(value, list):
        return [deep for place, item in enumerate(value) for deep in key_paths(item, (*path, place))]
    return []


def test_every_key_of_the_manifest_is_required_and_named(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    text = (folder / MANIFEST_FILE).read_text()
    free = {"parameters", "library_versions", "per_class", "more"}  # keys below these are names, not fields
    paths = [path for path in key_paths(json.loads(text)) if not free & set(path[:-1])]
    paths.remove(("stabiliser", "kind"))  # without it the stabiliser is of the older form, which had no kinds
    paths.remove(("quantisation",))  # bundles of the older form are all float32
    paths.remove(("head", "taps"))  # heads of the older form take their state as it is
    paths.remove(("head", "members"))  # they are single heads
    paths.remove(("head", "output"))  # whose classes exclude each other
    assert len(paths) > 90
    for path in paths:
        manifest = json.loads(text)
        holder = manifest
        for part in path[:-1]:
            holder = holder[part]
        del holder[path[-1]]
        with pytest.raises(BundleError, match=str(path[-1])):
            read_manifest(json.dumps(manifest), MANIFEST_FILE)


def test_a_bundle_of_the_older_form_is_float32(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    rewrite_manifest(folder, lambda manifest: manifest.pop("quantisation"))
    assert Bundle.load(folder).manifest.quantisation is None


def test_a_head_of_the_older_form_takes_its_whole_state(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    expected = Bundle.load(folder).parity_errors
    rewrite_manifest(folder, lambda manifest: manifest["head"].pop("taps"))
    older = Bundle.load(folder)
    assert older.manifest.head.taps is None
    assert older.parity_errors == expected


@pytest.mark.parametrize(
    ("shapes", "taps", "fault"),
    [
        ([[4, 3]], [[0, 2], [0]], "of 2 state tensors, but there are 1"),
        ([[4]], [[0]], "two axes"),
        ([[4, 3], [2, 5]], [[0, 2], [0, 1]], "not of one length"),
        ([[4, 3]], [[2, 0]], "no ascending rows"),
        ([[4, 3]], [[0, 4]], "no ascending rows"),
        ([[4, 3]], [[]], "no ascending rows"),
    ],
)
def test_taps_that_do_not_fit_the_state_are_refused(shapes: list[list[int]], taps: list[list[int]], fault: str) -> None:
    state = [StateTensor(name=f"state_{i}", shape=s, dtype="float32", initial=0.0) for i, s in enumerate(shapes)]
    with pytest.raises(ValidationError, match=fault):
        HeadSpec.build("tcn", 5, 2, state, taps)


def test_an_unknown_key_is_refused(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    rewrite_manifest(folder, lambda manifest: manifest.update(lookahead=3))
    with pytest.raises(BundleError, match="lookahead"):
        Bundle.load(folder)


def test_looking_ahead_is_refused_unless_allowed(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle(look_ahead_frames=3)
    with pytest.raises(LookAheadError, match=r"3 frames of the future \(100 ms\)"):
        Bundle.load(folder)
    assert Bundle.load(folder, max_look_ahead_frames=3).manifest.look_ahead_frames == 3


def test_looking_ahead_without_bound_is_always_refused(write_tiny_bundle: Writer) -> None:
    with pytest.raises(LookAheadError, match="without bound"):
        Bundle.load(write_tiny_bundle(look_ahead_frames=None), max_look_ahead_frames=10_000)


@pytest.mark.parametrize("output", ["crops", "embeddings", "features", "p_slots", "p", "labels"])
def test_a_different_output_breaks_parity_and_is_named(write_tiny_bundle: Writer, output: str) -> None:
    folder = write_tiny_bundle()
    with np.load(folder / "parity.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    changed = arrays[output].copy()
    changed.flat[-1] += 1 if changed.dtype == np.int64 else np.float32(1e-3) * np.abs(changed).max()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{**arrays, output: changed})
    (folder / "parity.npz").write_bytes(buffer.getvalue())
    digest = sha256(buffer.getvalue())
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({"parity.npz": digest}))
    with pytest.raises(ParityError, match=f": {output}( of box_motion)? differs .* by [0-9.e-]+ relative"):
        Bundle.load(folder)


def test_pickles_in_a_parity_file_are_refused(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    buffer = io.BytesIO()
    np.savez(buffer, frames=np.array([{"a": 1}], dtype=object))
    (folder / "parity.npz").write_bytes(buffer.getvalue())
    digest = sha256(buffer.getvalue())
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({"parity.npz": digest}))
    with pytest.raises(BundleError, match=r"parity\.npz cannot be used"):
        Bundle.load(folder)


def test_changed_feature_code_is_refused(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    rewrite_manifest(folder, lambda manifest: manifest["features"][0].update(hash="f" * 64))
    with pytest.raises(BundleError, match="box_motion v1"):
        Bundle.load(folder)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_refused(write_tiny_bundle: Writer, provider: Any) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine may have the provider")
    with pytest.raises(ProviderError, match=r"pip install 'ethostream\[gpu\]'"):
        Bundle.load(write_tiny_bundle(), provider=provider)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.load(tmp_path / "none")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.load(tmp_path)
    (tmp_path / "bad.zip").write_bytes(b"not a zip")
    with pytest.raises(BundleError, match="neither a folder nor a readable zip"):
        Bundle.load(tmp_path / "bad.zip")


def test_a_file_that_is_no_graph_is_refused(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    (folder / "embedder.onnx").write_bytes(b"\x00nonsense")
    digest = sha256(b"\x00nonsense")
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({"embedder.onnx": digest}))
    with pytest.raises(BundleError, match=r"embedder\.onnx"):
        Bundle.load(folder)


def test_classes_in_another_order_than_those_it_was_made_with_are_refused(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    rewrite_manifest(folder, lambda manifest: manifest["classes"].reverse())
    with pytest.raises(BundleError, match=r"classes are .*, and the model was made with .* in this order"):
        Bundle.load(folder)


def test_a_bundle_from_before_classes_were_stored_loads(write_tiny_bundle: Writer) -> None:
    folder = write_tiny_bundle()
    with np.load(folder / "parity.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name != "classes"}
    np.savez(folder / "parity.npz", allow_pickle=False, **arrays)
    digest = sha256((folder / "parity.npz").read_bytes())
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({"parity.npz": digest}))
    assert Bundle.load(folder).manifest.name == "tiny"


def test_a_full_disk_is_said_and_leaves_no_bundle(tmp_path: Path, write_tiny_bundle: Writer) -> None:
    """In a process of its own, since the limit holds for all that it writes."""
    code = """
import json, resource, sys
from pathlib import Path
from ethostream.inference.bundle import write_bundle
from ethostream.sync.errors import BundleError
made, out = Path(sys.argv[1]), Path(sys.argv[2])
fields = json.loads((made / "manifest.json").read_text())
files = {name: (made / name).read_bytes() for name in fields.pop("files")}
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    write_bundle(out, fields, files)
except BundleError as error:
    print(error)
"""
    words = [sys.executable, "-c", code, str(write_tiny_bundle()), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "out: the bundle cannot be written (File too large); make room" in done.stdout
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()
