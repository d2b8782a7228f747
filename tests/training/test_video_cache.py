"""Crops and embeddings through the cache: the same numbers, computed once, and a bundle made of them once more."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ethostream.inference.bundle import Bundle
from ethostream.sync.errors import BundleError, ConfigError, EthostreamError, ParityError
from ethostream.sync.strict import validate
from ethostream.training.cache.crops import crops_key, crops_of, embedded_of, embeddings_key
from ethostream.training.cache.store import FeatureCache
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.video_sources import Source, open_sources
from ethostream.training.fitting.crop_head_data import embed_recording
from ethostream.training.fitting.crop_recordings import EmbeddedRecording, Recording, read_embedded, read_recording
from ethostream.training.fitting.video_fit import fit_video
from ethostream.training.runs.compute_features import compute_features
from ethostream.training.runs.crop_reading import learnt_from, read_crops
from ethostream.training.runs.export_run import export_run
from ethostream.training.runs.record import resolved
from ethostream.training.runs.train_video import first_networks, train_video
from rich.console import Console

CLASSES = ["locomote", "rear", "groom", "still"]
CPU = torch.device("cpu")
N_FRAMES = 150


def config(**changes: Any) -> TrainConfig:
    sessions = {"kind": "simulated", "n_frames": N_FRAMES, "views": 2, "width": 128, "height": 96}
    raw: dict[str, Any] = {
        "name": "tiny",
        "classes": CLASSES,
        "data": [
            {**sessions, "name": "train", "part": "train", "seeds": [11]},
            {**sessions, "name": "validation", "part": "validation", "seeds": [12]},
            {**sessions, "name": "test", "part": "test", "seeds": [13]},
        ],
        "crop": {"kind": "background", "side": 0.3, "polarity": "dark", "sample_width_px": 128},
        "embedder": {"kind": "small_cnn", "dims": 8, "side_px": 32, "width": 4},
        "head": {"kind": "gru", "hidden": 8},
        "features": [{"name": "box_motion"}],
        "split": {"by": "recording"},
        "fit": {"joint_epochs": 0, "head_epochs": 2, "window_frames": 12, "stretch_frames": 60, "threads": 1},
    }
    return validate(TrainConfig, raw | changes, "test")


def joint() -> TrainConfig:
    return config(fit={"joint_epochs": 1, "head_epochs": 1, "window_frames": 12, "stretch_frames": 60, "threads": 1})


def unreadable(source: Source) -> Source:
    """One whose frames nobody may ask for again."""

    def frames() -> Iterator[list[np.ndarray]]:
        raise AssertionError("the frames were read again")

    return replace(source, open_frames=frames)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return open_sources(config(), Path())


def networks_of(rule: TrainConfig, sources: list[Source]) -> Any:
    with torch.random.fork_rng():
        return first_networks(rule, sources, Path())


def with_more_to_learn(source: Source) -> Source:
    """With everything that a recording may carry beside its labels."""
    targets = np.random.default_rng(0).random((source.n_frames, len(CLASSES))).astype(np.float32)
    return replace(source, targets=targets, sequences=np.arange(source.n_frames, dtype=np.int64) // 50)


def assert_same(found: Recording | EmbeddedRecording, wanted: Recording | EmbeddedRecording) -> None:
    assert type(found) is type(wanted)
    for one in fields(wanted):
        value = getattr(wanted, one.name)
        assert value is not None, one.name
        assert np.array_equal(getattr(found, one.name), value), one.name


def test_crops_from_the_cache_are_the_crops(sources: list[Source], tmp_path: Path) -> None:
    rule, source = joint(), with_more_to_learn(sources[0])
    embedder = networks_of(rule, sources).embedder
    plain = read_recording(source, rule, embedder)
    cache = FeatureCache(tmp_path)
    told: list[int] = []
    first = crops_of(source, rule, embedder, cache, told.append)
    again = crops_of(unreadable(source), rule, embedder, cache, told.append)
    for found in (first, again):
        assert isinstance(found.crops, np.memmap)  # on the disk, not in memory
        assert_same(found, plain)
    assert (cache.account.n_computed, cache.account.n_found, sum(told)) == (1, 1, 2 * N_FRAMES)
    small = FeatureCache(tmp_path / "small")
    small.set_max_gb(1e-6)
    kept_nowhere = crops_of(source, rule, embedder, small)
    assert_same(kept_nowhere, plain)
    assert isinstance(kept_nowhere.crops, np.memmap) and not small.entries()
    assert [one.name for one in (tmp_path / "small").iterdir()] == ["cache.json"]


def test_embeddings_from_the_cache_are_the_embeddings(sources: list[Source], tmp_path: Path) -> None:
    rule, source = config(), with_more_to_learn(sources[0])
    embedder = networks_of(rule, sources).embedder
    plain = read_embedded(source, rule, embedder, CPU)
    cropped = read_recording(source, rule, embedder)
    assert np.array_equal(plain.sample, cropped.sample) and np.array_equal(plain.features, cropped.features)
    of_crops = embed_recording(embedder, cropped, CPU)
    assert np.allclose(plain.embeddings, of_crops, rtol=1e-5, atol=1e-5)
    cache = FeatureCache(tmp_path)
    for found in (
        embedded_of(source, rule, embedder, CPU, cache),
        embedded_of(unreadable(source), rule, embedder, CPU, cache),
    ):
        assert_same(found, plain)
    with pytest.raises(AssertionError, match="read again"):
        embedded_of(unreadable(source), rule, networks_of(config(seed=1), sources).embedder, CPU, cache)


def test_what_changes_the_numbers_changes_the_key_and_nothing_else_does(
    sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(rule: TrainConfig, source: Source) -> tuple[str, str]:
        embedder = networks_of(rule, sources).embedder
        return crops_key(source, rule, embedder).digest, embeddings_key(source, rule, embedder, CPU).digest

    source = sources[0]
    before = keys(config(), source)
    others = open_sources(config(classes=[*CLASSES[::-1]]), Path())
    fit_changed = {"joint_epochs": 0, "head_epochs": 9, "window_frames": 4}
    same = [
        keys(config(head={"kind": "lstm"}, fit=fit_changed, name="other", fusion="joined"), source),
        keys(config(), others[0]),  # other labels
        keys(config(), replace(source, name="renamed", part="validation")),
    ]
    assert all(one == before for one in same)
    noisy = [one.model_copy(update={"noise": 5.0}) for one in config().data]
    other_crop = {"kind": "background", "side": 0.4, "polarity": "dark", "sample_width_px": 128}
    other_step = [{"name": "box_motion", "parameters": {"scales_s": [0.3]}}]
    changed = [
        keys(config(crop=other_crop), source),
        keys(config(features=other_step), source),
        keys(config(embedder={"kind": "small_cnn", "dims": 8, "side_px": 48, "width": 4}), source),
        keys(config(), sources[1]),
        keys(config(), open_sources(config(data=noisy), Path())[0]),
        keys(config(), replace(source, views={"other": (96, 128)})),
    ]
    assert len({before[0], *(one[0] for one in changed)}) == len(changed) + 1
    assert len({before[1], *(one[1] for one in changed)}) == len(changed) + 1
    reseeded = keys(config(seed=1), source)  # other weights: the same crops, other embeddings
    assert reseeded[0] == before[0] and reseeded[1] != before[1]
    monkeypatch.setattr(cv2, "__version__", "3.4.18")  # whichever distribution brings it
    assert all(one != other for one, other in zip(keys(config(), source), before, strict=True))


def test_the_bytes_of_a_video_are_in_its_key(tmp_path: Path) -> None:
    import av

    def write(value: int) -> None:
        with av.open(str(tmp_path / "a.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
            for place in range(4):
                image = np.full((48, 64), value * (place == 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
            container.mux(stream.encode(None))

    def images(pixel_format: str = "mono8") -> str:
        clip = {"kind": "video", "path": "a.mkv", "labels": "a.csv", "pixel_format": pixel_format}
        data = [{**clip, "part": "train"}, {**clip, "name": "b", "part": "test"}]
        return open_sources(config(data=data), tmp_path)[0].images

    (tmp_path / "a.csv").write_text("start_frame,stop_frame,behaviour,confidence\n0,4,rear,\n")
    write(10)
    first = images()
    (tmp_path / "a.csv").write_text("start_frame,stop_frame,behaviour,confidence\n0,4,groom,\n")
    assert images() == first != images("bgr8")
    write(11)
    assert images() != first


@pytest.mark.parametrize("rule", [config(), joint()])
def test_features_computed_ahead_are_those_that_a_training_looks_for(
    rule: TrainConfig, sources: list[Source], tmp_path: Path
) -> None:
    cache, quiet = FeatureCache(tmp_path), Console(quiet=True)
    made = {one.recording: one for one in compute_features(rule, Path(), cache, quiet)}
    assert list(made) == ["train-11", "validation-12"]  # no test part
    embedder = networks_of(rule, sources).embedder
    wanted = [unreadable(one) for one in learnt_from(sources)]
    for one in read_crops(wanted, rule, embedder, cache, quiet):
        named = made[one.name]
        assert len(set(named.names)) == len(named.names) == named.x.shape[1]
        assert np.array_equal(named.labels, one.labels)
        column = named.x[:, named.names.index("north_right.box_motion_0")]
        assert np.array_equal(column, one.features[1, :, 0])
        if isinstance(one, EmbeddedRecording):
            column = named.x[:, named.names.index("north_right.embedding_3")]
            assert np.array_equal(column, one.embeddings[1, :, 3])
    assert (cache.account.n_computed, cache.account.n_found) == (2, 2)
    assert [one.recording for one in compute_features(rule, Path(), None, quiet, only="test-13")] == ["test-13"]


def test_a_resolved_training_file_is_one() -> None:
    """What a run folder keeps can be read again."""
    again = validate(TrainConfig, resolved(config(), Path()), "resolved")
    assert again.model_dump(exclude={"data_root"}) == config().model_dump(exclude={"data_root"})


def test_a_fit_on_mapped_crops_is_the_fit_on_crops_in_memory(sources: list[Source], tmp_path: Path) -> None:
    rule, found = joint(), list[dict[str, Any]]()
    for place, cache in enumerate((None, FeatureCache(tmp_path / "cache"))):
        networks = networks_of(rule, sources)
        recordings = [crops_of(one, rule, networks.embedder, cache) for one in sources[:2]]
        fit_video(rule, recordings, networks, tmp_path / str(place), quiet=True)
        found.append(networks.embedder.state_dict() | networks.head.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A model with a frozen embedder and a feature of pixels, trained through a cache."""
    folder = tmp_path_factory.mktemp("trained")
    features = [{"name": "box_motion"}, {"name": "motion_energy", "parameters": {"cells": 1}}]
    result = train_video(
        config(features=features),
        Path(),
        folder / "bundle",
        True,
        may_be_absent=True,
        cache=FeatureCache(folder / "cache"),
    )
    return folder, result


@pytest.mark.long
def test_a_training_looks_into_the_cache_and_says_so(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, result = trained
    assert result["cache"] == {
        "folder": str(folder / "cache"), "found": 0, "computed": 2, "not_kept": 0, "damaged": []
    }  # fmt: skip
    kinds = [(one.kind, one.name) for one in FeatureCache(folder / "cache").entries()]
    assert kinds == [("embeddings", "train-11"), ("embeddings", "validation-12")]  # and never the test part


def plain_manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.long
def test_a_bundle_is_made_anew_from_the_run_folder(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, result = trained
    shutil.copytree(folder / "bundle", tmp_path / "again")
    changed = plain_manifest(folder / "bundle")
    changed["classes"].reverse()
    (tmp_path / "again" / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(BundleError, match="the manifest was changed: export the bundle again"):
        Bundle.load(tmp_path / "again")
    made = export_run(folder / "bundle.run", tmp_path / "again", quiet=True)
    for name in ("embedder.onnx", "head_step.onnx", "head_sequence.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "bundle" / name).read_bytes(), name
    assert plain_manifest(tmp_path / "again") == plain_manifest(folder / "bundle")
    assert made["bundle"] == Bundle.load(tmp_path / "again").identity
    assert max(made["parity"].values()) <= 1e-5 and set(made["parity"]) == set(result["parity"])


@pytest.mark.long
def test_another_opset_answers_the_same(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import onnx

    folder, _ = trained
    export_run(folder / "bundle.run", tmp_path / "older", opset=18, quiet=True)
    opsets = {
        name: [one.version for one in onnx.load(tmp_path / "older" / name).opset_import if not one.domain]
        for name in ("embedder.onnx", "head_step.onnx", "head_sequence.onnx")
    }
    assert set(map(tuple, opsets.values())) == {(18,)}
    graphs = [Bundle.load(place).head_sequence for place in (folder / "bundle", tmp_path / "older")]
    x = np.random.default_rng(0).normal(size=(1, 40, graphs[0].inputs["x"][2])).astype(np.float32)  # type: ignore[arg-type]
    state = {name: np.zeros((1, *shape[1:]), np.float32) for name, shape in graphs[0].inputs.items() if name != "x"}
    p = [graph.run({"x": x, **state})["p"] for graph in graphs]
    assert np.allclose(p[0], p[1], atol=1e-6)


@pytest.mark.long
def test_a_training_that_ended_while_it_quantised_goes_on(tmp_path: Path) -> None:
    rule = config(export={"precision": "int8", "max_score_loss": 1.0, "calibration_frames": 20})
    (tmp_path / "bundle").write_text("in the way")
    with pytest.raises(EthostreamError):  # at its very end
        train_video(rule, Path(), tmp_path / "bundle", True, may_be_absent=True)
    assert Bundle.load(tmp_path / "bundle.run" / "float32")
    (tmp_path / "bundle").unlink()
    result = train_video(rule, Path(), tmp_path / "bundle", True, may_be_absent=True)
    assert result["evaluation"]["compute"]["resumed"], "it was fitted again"
    assert not list((tmp_path / "bundle.run").rglob("*.ckpt"))


@pytest.mark.long
def test_features_of_pixels_are_not_vouched_for_by_another_opencv(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run = tmp_path / "bundle.run"
    shutil.copytree(trained[0] / "bundle.run", run)
    kept = json.loads((run / "bundle.json").read_text(encoding="utf-8"))
    versions = kept["library_versions"]
    of_then = {"opencv": "3.4.18"}, {"opencv": versions.pop("opencv").partition(".")[0] + ".99.1"}
    for of_opencv, words in (({}, "a version that is not told"), (of_then[0], r"3\.4\.18, which is another feature")):
        (run / "bundle.json").write_text(json.dumps(kept | {"library_versions": versions | of_opencv}))
        with pytest.raises(ParityError, match=rf"OpenCV computes motion_energy, .* trained {words}"):
            export_run(run, tmp_path / "out", quiet=True)
        assert not (tmp_path / "out").exists()
    (run / "bundle.json").write_text(json.dumps(kept | {"library_versions": versions | of_then[1]}))
    export_run(run, tmp_path / "out", quiet=True)
    assert plain_manifest(tmp_path / "out")["library_versions"]["opencv"] == of_then[1]["opencv"]


@pytest.mark.long
def test_options_of_int8_are_not_dropped(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    for idle in ({"calibration_frames": 64}, {"precision": "float32", "max_score_loss": 0.1}, {"weight_bits": 7}):
        with pytest.raises(ConfigError, match=rf"{[*idle][-1]}: matters to an int8 bundle alone"):
            export_run(trained[0] / "bundle.run", tmp_path / "out", idle, quiet=True)
    with pytest.raises(ConfigError, match="data: matters to an int8 bundle alone"):
        export_run(trained[0] / "bundle.run", tmp_path / "out", data=tmp_path / "nowhere", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_an_int8_bundle_is_made_of_a_float32_run(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained
    options = {"precision": "int8", "max_score_loss": 1.0, "calibration_frames": 20}
    made = export_run(folder / "bundle.run", tmp_path / "int8", options, quiet=True)
    bundle = Bundle.load(tmp_path / "int8")
    assert bundle.identity == made["bundle"] == made["evaluation"]["bundle"]
    assert bundle.manifest.quantisation is not None
    assert bundle.manifest.quantisation.source == Bundle.load(folder / "bundle").identity
    for name in ("head_step.onnx", "head_sequence.onnx"):  # the head stays what it was
        assert (tmp_path / "int8" / name).read_bytes() == (folder / "bundle" / name).read_bytes()
