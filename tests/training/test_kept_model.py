"""A bundle can be made again from the run folder of its training, and from no other folder and none that is damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import BundleError, ConfigError, DataError, EthostreamError, ParityError
from ethostream.training.export.bundle_record import versions_made_anew
from ethostream.training.networks.ensemble import EnsembleHead
from ethostream.training.networks.head import SequenceHead, build_head
from ethostream.training.runs.export_run import export_run
from ethostream.training.runs.kept_model import keep_model, prove_parity, read_kept
from social_sessions import make_social_folder
from typer.testing import CliRunner

SMALL = [
    "fit.head_epochs=1",
    "fit.stretch_frames=120",
    "fit.stride_frames=1",
    "fit.weight_average=null",
    "fit.threads=1",
    "head={kind: tcn, hidden: 8, dilations: [1, 2], dropout: 0.0}",
    "split={by: time_block, pattern: [train, test], guard_s: 0.2}",
    "choose=null",
]


def call(*words: str) -> None:
    done = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a bundle and of its run folder, and what the training said."""
    place = tmp_path_factory.mktemp("trained")
    folder = make_social_folder(place / "data", [1], 240)
    words = ["train", "--preset", "pose-tcn", "--data", str(folder), "--stream", "S1", "--cache", "none"]
    changes = [word for one in SMALL for word in ("--set", one)]
    call(*words, *changes, "--out", str(place / "bundle"), "--json", str(place / "train.json"))
    return place, json.loads((place / "train.json").read_text())


def plain_manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_a_bundle_is_made_anew_from_the_run_folder(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    place, result = trained
    call("bundle", "export", str(place / "bundle.run"), "--out", str(tmp_path / "again"), "--json", str(tmp_path / "j"))
    made = json.loads((tmp_path / "j").read_text())
    for name in ("head_step.onnx", "head_sequence.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (place / "bundle" / name).read_bytes(), name
    before, after = plain_manifest(place / "bundle"), plain_manifest(tmp_path / "again")
    assert before["files"].pop("parity.npz") and after["files"].pop("parity.npz")  # an archive holds the time of day
    assert before == after
    assert made["bundle"] == Bundle.load(tmp_path / "again").identity
    assert made["parity"]["head"] == result["parity"]["head"] <= 1e-5


def test_a_bundle_keeps_the_opencv_of_its_training(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    kept = json.loads((run / "bundle.json").read_text(encoding="utf-8"))
    assert kept["library_versions"].pop("opencv") == cv2.__version__
    manifest = read_kept(trained[0] / "bundle.run").manifest
    untold = manifest.model_copy(update={"library_versions": kept["library_versions"]})
    assert versions_made_anew(untold) == kept["library_versions"]
    kept["library_versions"]["opencv-python-headless"] = "4.1.2.30"  # as it was told once
    (run / "bundle.json").write_text(json.dumps(kept), encoding="utf-8")
    export_run(run, tmp_path / "again", quiet=True)
    told = plain_manifest(tmp_path / "again")["library_versions"]
    assert {name: one for name, one in told.items() if "opencv" in name} == {"opencv": "4.1.2"}


def test_a_run_folder_that_was_changed_is_refused(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, out = tmp_path / "bundle.run", tmp_path / "out"
    shutil.copytree(trained[0] / "bundle.run", run)
    with pytest.raises(ConfigError, match="a head alone, which is always float32"):
        export_run(run, out, {"precision": "int8"}, quiet=True)
    with pytest.raises(ConfigError, match=r"^data: says something of embedders"):
        export_run(run, out, data=tmp_path / "nowhere", quiet=True)
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(text.replace("hidden: 8", "hidden: 9"), encoding="utf-8")
    with pytest.raises(DataError, match=r"weights.pt: does not fit config.yaml"):
        export_run(run, out, quiet=True)
    (run / "config.yaml").write_text(text, encoding="utf-8")
    with np.load(run / "export_input.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(run / "export_input.npz", allow_pickle=False, **arrays | {"x": np.full_like(arrays["x"], np.nan)})
    kept = read_kept(run)
    graphs = {one.name: one.read_bytes() for one in (trained[0] / "bundle").glob("*.onnx")}
    prove_parity(kept.head, None, graphs, arrays)
    with pytest.raises(ParityError, match="no bundle is written"):
        prove_parity(kept.head, None, graphs, kept.inputs)
    (run / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match=r"bundle.json"):
        export_run(run, out, quiet=True)
    (run / "bundle.json").unlink()
    with pytest.raises(ConfigError, match="its training has not come to its end"):
        export_run(run, out, quiet=True)
    with pytest.raises(ConfigError, match="is no run folder"):
        export_run(tmp_path, out, quiet=True)
    assert not out.exists()


def _exchange(names: list[str]) -> None:
    names[0], names[1] = names[1], names[0]


NAMES: dict[str, Callable[[dict[str, Any]], None]] = {
    "classes": lambda manifest: _exchange(manifest["classes"]),
    "keypoints": lambda manifest: _exchange(manifest["inputs"][0]["keypoints"]),
}


@pytest.mark.parametrize("what", [pytest.param("classes", marks=pytest.mark.long), "keypoints"])
def test_a_bundle_whose_manifest_was_changed_is_mended_by_an_export(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, what: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(trained[0] / "bundle", bundle)
    manifest = plain_manifest(bundle)
    NAMES[what](manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=rf"{what} are .*the manifest was changed: export the bundle again"):
        Bundle.load(bundle)
    call("bundle", "export", str(trained[0] / "bundle.run"), "--out", str(bundle))
    assert Bundle.load(bundle).manifest.classes == Bundle.load(trained[0] / "bundle").manifest.classes
    assert Bundle.load(bundle).manifest.inputs == Bundle.load(trained[0] / "bundle").manifest.inputs


@pytest.mark.parametrize("what", NAMES)
def test_the_manifest_of_a_run_folder_with_names_that_were_not_learnt_so_is_refused(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, what: str
) -> None:
    """An export would otherwise make answers anew that vouch for the wrong names."""
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    kept = json.loads((run / "bundle.json").read_text(encoding="utf-8"))
    NAMES[what](kept)
    (run / "bundle.json").write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(DataError, match=rf"bundle.json: {what} are .* in config.yaml beside it .* put it back"):
        export_run(run, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


@pytest.mark.parametrize("name", ["export_input.npz", "weights.pt"])
def test_a_damaged_file_of_a_run_folder_is_named(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    whole = (run / name).read_bytes()
    places = [int(share * len(whole)) for share in np.linspace(0.02, 0.97, 12)]
    for content in (b"", b"PK", *(whole[:at] for at in (4, *places, len(whole) - 1))):
        (run / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: .*rain again"):
            read_kept(run)
    n_refused = 0
    before = read_kept(trained[0] / "bundle.run")
    for at in (5, 9, 20, 45, *places, *range(len(whole) - 120, len(whole), 7)):
        (run / name).write_bytes(_flipped(whole, at))
        try:
            kept = read_kept(run)
        except DataError as error:
            assert name in str(error)
            n_refused += 1
        else:  # a time of day, or filling: everything else is what it was
            assert all(kept.inputs[one].tobytes() == values.tobytes() for one, values in before.inputs.items())
            weights = kept.head.state_dict()
            assert all(torch.equal(weights[one], values) for one, values in before.head.state_dict().items())
    assert n_refused >= len(places)


def test_a_run_folder_that_lacks_something_is_refused(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    kept = read_kept(run)
    for lacking in ("x", "points", "times_ns"):
        arrays = {name: values for name, values in kept.inputs.items() if name != lacking}
        np.savez(run / "export_input.npz", allow_pickle=False, **arrays)
        with pytest.raises(DataError, match=rf"export_input.npz: lacks {lacking}; train again"):
            read_kept(run)
    shutil.copy(trained[0] / "bundle.run" / "export_input.npz", run)
    content = torch.load(run / "weights.pt", weights_only=True)
    for changed in ({"heads": []}, {"heads": None}, {"heads": [3]}):
        torch.save(content | changed, run / "weights.pt")
        with pytest.raises(DataError, match=r"weights.pt: does not fit"):
            read_kept(run)
    for lacking in ("heads", "factor"):
        torch.save({name: values for name, values in content.items() if name != lacking}, run / "weights.pt")
        with pytest.raises(DataError, match=rf"weights.pt: does not fit .*{lacking}"):
            read_kept(run)
    torch.save(content, run / "weights.pt")
    for name in ("bundle.json", "config.yaml"):
        text = (run / name).read_bytes()
        (run / name).write_bytes(b"\xff\xfe" + text)
        with pytest.raises(EthostreamError, match=name):
            read_kept(run)
        (run / name).write_bytes(text)
    assert read_kept(run).inputs.keys() == kept.inputs.keys()


def test_an_ensemble_is_kept_with_its_calibration(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["head"]["ensemble"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    first = read_kept(trained[0] / "bundle.run")
    second = build_head(first.config.head, first.manifest.x_dims, len(first.config.classes))
    assert isinstance(first.head, SequenceHead)
    both = EnsembleHead([first.head, second.eval()]).scale_logits(0.5).scale_logits(3.0)
    keep_model(run, both, None, first.inputs)
    again = read_kept(run).head
    x = torch.from_numpy(first.inputs["x"])
    with torch.inference_mode():
        p = [one.forward_sequence(x, one.initial_state(1))[0] for one in (both, again, first.head)]
    assert torch.equal(p[0], p[1]) and not torch.equal(p[0], p[2])
