"""int8: the bundled model quantised on small simulated sessions, with nothing made up."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle, write_bundle
from ethostream.inference.crop_rule import FullCrop
from ethostream.inference.manifest import DataFingerprint, Manifest, Split
from ethostream.inference.parity import INT8_TOLERANCE, PARITY_TOLERANCE, check_parity
from ethostream.inference.precision import Quantisation
from ethostream.sync.errors import BundleError, DataError, ParityError, ScoreLossError
from ethostream.training.answers.learnt_frames import refuse_learnt
from ethostream.training.answers.of_video import Answers, answers_of, answers_of_part, evaluation_of
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.video_sources import Source, open_sources
from ethostream.training.fitting.crop_recordings import members_of
from ethostream.training.quantisation.calibration_crops import plan_calibration, stream_crops
from ethostream.training.quantisation.graph_quantiser import is_quantised, quantise_graph
from ethostream.training.quantisation.quantise import quantise
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from typer.testing import CliRunner

CLASSES = ["locomote", "rear", "groom", "still"]
VIEWS = 2
CALIBRATION_FRAMES = 40
N_VALIDATION_FRAMES = 250
N_TEST_FRAMES = 300


def session(part: str, seed: int, n_frames: int = 450) -> dict[str, Any]:
    return {
        "kind": "simulated", "name": part, "part": part, "seeds": [seed], "n_frames": n_frames, "views": VIEWS,
    }  # fmt: skip


def training_file(path: Path, **changes: Any) -> Path:
    config: dict[str, Any] = {
        "name": "demo",
        "classes": CLASSES,
        "data": [
            session("train", 31),
            session("validation", 32, N_VALIDATION_FRAMES),
            session("test", 33, N_TEST_FRAMES),
        ],
        "any_views": True,
        "split": {"by": "recording"},
        "export": {"calibration_frames": CALIBRATION_FRAMES},
    }
    path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return path


def write_video(folder: Path, levels: list[int]) -> None:
    """``flat.mkv``, each frame of one grey level, and ``flat.csv``, in which the classes take turns."""
    with av.open(str(folder / "flat.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "gray"
        for level in levels:
            image = np.full((120, 160), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    rows = [f"{k},{k + 5},{CLASSES[k // 5 % 4]},3" for k in range(0, len(levels), 5)]
    (folder / "flat.csv").write_text("start_frame,stop_frame,behaviour,confidence\n" + "\n".join(rows) + "\n")


@dataclass(frozen=True)
class Made:
    config: Path
    float32: Path
    int8: Path
    result: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Made:
    folder = tmp_path_factory.mktemp("int8")
    config = training_file(folder / "train.yaml")
    out, result = folder / "demo-int8", folder / "result.json"
    # Sums of eight-bit weights may overflow where the processor has no VNNI; those of seven are the same everywhere.
    options = ["--max-score-loss", "0.05", "--weight-bits", "7"]
    words = ["quantise", "demo", str(config), "--out", str(out), *options, "--json", str(result)]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return Made(config, repository / "inference/bundles/demo", out, json.loads(result.read_text()), done.stdout)


def initialisers(folder: Path) -> dict[str, NDArray[Any]]:
    graph = onnx.load(folder / "embedder.onnx").graph
    return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


def test_weights_and_activations_are_integers(made: Made) -> None:
    graph = onnx.load(made.int8 / "embedder.onnx").graph
    operators = [node.op_type for node in graph.node]
    n_products = sum(name in ("Conv", "Gemm") for name in operators)
    assert n_products == 5
    assert operators.count("QuantizeLinear") >= n_products
    assert operators.count("DequantizeLinear") >= 2 * n_products
    from_dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert set(node.input[:2]) <= from_dequantised, node.name
    before, after = initialisers(made.float32), initialisers(made.int8)
    weights = {name: one for name, one in before.items() if one.ndim >= 2}
    assert len(weights) == n_products
    for name, one in weights.items():
        found = after[f"{name}_quantized"]
        assert found.dtype == np.int8 and found.shape == one.shape
        assert after[f"{name}_scale"].shape == (len(one),)  # per channel
    assert not [name for name, one in after.items() if one.dtype == np.float32 and one.ndim >= 2]
    activations = [node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {after[name].dtype for name in activations} == {np.dtype(np.uint8)}
    sizes = [(folder / "embedder.onnx").stat().st_size for folder in (made.int8, made.float32)]
    assert sizes[0] < sizes[1] / 3
    for name in ("head_step.onnx", "head_sequence.onnx"):
        assert (made.int8 / name).read_bytes() == (made.float32 / name).read_bytes()


def test_the_contract_of_the_graph_stays(made: Made) -> None:
    before, after = (onnx.load(folder / "embedder.onnx").graph for folder in (made.float32, made.int8))
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)
    small = Bundle.load(made.int8)
    for shape in ((1, 20, 33), (3, 90, 70)):
        assert small.embedder.run({"crops": np.full(shape, 90, np.uint8)})["embedding"].shape == (shape[0], 32)


def test_the_record_is_what_both_bundles_score(made: Made) -> None:
    small, large = Bundle.load(made.int8), Bundle.load(made.float32)
    record = small.manifest.quantisation
    assert record is not None
    assert small.manifest.name == "demo-int8" and small.identity == made.result["bundle"]
    assert (record.source, record.weight_bits) == (large.identity, 7)
    assert made.result["quantisation"] == record.model_dump(mode="json")
    assert record.calibrated_on == ["train-31"]
    assert (record.n_calibration_frames, record.n_calibration_crops) == (CALIBRATION_FRAMES, VIEWS * CALIBRATION_FRAMES)
    config, root = load_config(made.config)
    sources = open_sources(config, root)
    assert [(one.name, one.sha256) for one in record.scored_on] == [("test-33", sources[2].data.sha256)]
    assert "test-33" not in {one.name for one in small.manifest.data}, "which are those that it learnt from"
    answers: list[Answers] = []
    for bundle, of in ((large, "float32"), (small, "int8")):
        answers += answers_of_part(bundle, config, sources)
        found = evaluation_of(bundle, config, answers[-1:])
        for stage in ("stabilised", "raw"):
            scores = getattr(getattr(record, stage), of)
            assert scores.accuracy == found[stage]["accuracy"]
            assert scores.balanced_accuracy == found[stage]["balanced_accuracy"] > 0.6
            assert scores.macro_f1 == found[stage]["macro_f1"]
            assert scores.f1 == {name: one["f1"] for name, one in found[stage]["per_class"].items()}
    assert small.manifest.scores.balanced_accuracy == record.stabilised.int8.balanced_accuracy
    assert small.manifest.scores.n_frames == record.n_test_frames == N_TEST_FRAMES
    a, b = answers
    assert record.raw.agreement == np.mean(a.raw == b.raw)
    assert record.stabilised.agreement == np.mean(a.label == b.label)
    p_change = np.abs(a.p - b.p).max(1)
    assert record.p_change_max == p_change.max() > 1e-4
    assert record.p_change_p99 == np.percentile(p_change, 99)
    judged = record.validation
    assert judged is not None and made.result["judged"] == judged.model_dump(mode="json")
    assert (judged.part, [one.name for one in judged.scored_on]) == ("validation", ["validation-32"])
    (found,) = answers_of_part(small, config, sources, "validation")
    scores = evaluation_of(small, config, [found], "validation")
    assert judged.n_frames == scores["n_frames"] == N_VALIDATION_FRAMES
    assert judged.raw.int8.balanced_accuracy == scores["raw"]["balanced_accuracy"]
    assert judged.stabilised.int8.balanced_accuracy == scores["stabilised"]["balanced_accuracy"]
    assert record.score_loss == max(judged.raw.loss, judged.stabilised.loss)


def test_both_are_timed_in_every_case(made: Made) -> None:
    record = Bundle.load(made.int8).manifest.quantisation
    assert record is not None
    cases = [(one.threads, one.batch) for one in record.speed]
    assert [one for one in cases if one[0] == 1] == [(1, 1), (1, VIEWS)]
    assert all(one.n_runs >= 10 for one in record.speed)
    assert all(one.ratio == pytest.approx(one.float32_ms / one.int8_ms, rel=0.02) for one in record.speed)


def test_tables_are_printed_here_and_by_bundle_info(made: Made) -> None:
    info = CliRunner().invoke(cli.app, ["bundle", "info", str(made.int8)], env={"COLUMNS": "200"})
    record = Bundle.load(made.int8).manifest.quantisation
    assert record is not None
    for text in (made.said, info.stdout):
        assert f"{N_VALIDATION_FRAMES} validation frames" in text and "validation part: validation-32" in text
        assert "test part: test-33" in text and "lost on the validation part" in text
        after_validation = text[text.index("validation part: ") :]  # the table of the test part
        rows = {" ".join(line.split()[:2]): line.split() for line in reversed(after_validation.splitlines())}
        before, after = record.stabilised.float32.balanced_accuracy, record.stabilised.int8.balanced_accuracy
        assert rows["balanced accuracy"][2:4] == [f"{before:.4f}", f"{after:.4f}"]
        assert rows["same label"][2:] == [f"{record.stabilised.agreement:.4f}", f"{record.raw.agreement:.4f}"]
        assert rows["F1 groom"][4].startswith(("+", "-"))
        assert rows["1 thread,"][4:6] == [f"{record.speed[0].float32_ms:.3f}", f"{record.speed[0].int8_ms:.3f}"]


def test_the_stored_outputs_are_those_of_the_integers(made: Made) -> None:
    """Not of the float graph; and kernels that round otherwise pass, where the tolerance of float32 is too narrow."""
    small = Bundle.load(made.int8)
    assert max(small.parity_errors.values()) <= 1e-6
    with np.load(made.int8 / "parity.npz") as after, np.load(made.float32 / "parity.npz") as before:
        assert np.array_equal(after["frames"], before["frames"])
        difference = np.abs(after["embeddings"] - before["embeddings"]).max() / np.abs(before["embeddings"]).max()
    assert PARITY_TOLERANCE["cpu"] < difference < 0.1
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        (made.int8 / "embedder.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    class Emulated:
        """Quantised values, multiplied as floats: what an engine without integer kernels does."""

        name = "embedder.onnx"
        inputs = small.embedder.inputs
        outputs = small.embedder.outputs

        def input_buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
            return np.zeros(shape, dtype)

        def run(self, feeds: Any) -> dict[str, NDArray[Any]]:
            return {"embedding": session.run(None, dict(feeds))[0]}

    stored = (made.int8 / "parity.npz").read_bytes()
    errors = check_parity(small.manifest, Emulated(), small.head_step, small.head_sequence, stored, "cpu")
    assert 0 <= errors["embeddings"] <= INT8_TOLERANCE  # some processors round as this one emulates


def test_an_embedder_that_is_off_is_refused_at_load(made: Made, tmp_path: Path) -> None:
    graph = onnx.load(made.int8 / "embedder.onnx")
    scale = next(one for one in graph.graph.initializer if one.name == "layers.9.weight_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.1), scale.name))
    manifest = Bundle.load(made.int8).manifest
    fields = {
        name: getattr(manifest, name) for name in Manifest.model_fields if name not in ("files", "schema_version")
    }
    files = {name: (made.int8 / name).read_bytes() for name in manifest.files}
    write_bundle(tmp_path / "off", fields, files | {"embedder.onnx": graph.SerializeToString()})
    with pytest.raises(ParityError, match=r"embeddings differs.*allowed 1e-02"):
        Bundle.load(tmp_path / "off")


def test_calibration_opens_training_recordings_only(made: Made) -> None:
    config, root = load_config(made.config)

    def forbidden() -> Iterator[list[NDArray[np.uint8]]]:
        raise AssertionError("opened")

    sources = [
        one if one.part == "train" else replace(one, open_frames=forbidden) for one in open_sources(config, root)
    ]
    plan = plan_calibration(config, sources, 7)
    assert [frames.tolist() for _, frames in plan.chosen] == [[0, 75, 150, 224, 299, 374, 449]]
    assert sum(len(batch) for batch in stream_crops(Bundle.load(made.float32), plan)) == 7 * VIEWS
    assert (plan.n_frames, plan.n_crops) == (7, 7 * VIEWS)
    with pytest.raises(AssertionError, match="opened"):
        answers_of(Bundle.load(made.float32), config, sources[2], "test")


def test_calibration_crops_of_time_blocks_show_no_test_frame(made: Made, tmp_path: Path) -> None:
    write_video(tmp_path, list(range(240)))  # the grey level of a frame is its number
    config, root = load_config(
        training_file(
            tmp_path / "train.yaml",
            data=[{"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}],
            split={
                "by": "time_block",
                "pattern": ["test", "train", "validation", "train", "test", "train"],
                "guard_s": 0.1,
            },
        )
    )
    bundle = Bundle.load(made.float32)
    video = bundle.manifest.video.model_copy(update={"crop": FullCrop(kind="full")})
    whole = replace(bundle, manifest=bundle.manifest.model_copy(update={"inputs": [video]}))
    plan = plan_calibration(config, open_sources(config, root), 1000)
    seen = [int(level) for batch in stream_crops(whole, plan) for level in np.unique(batch)]
    assert seen == [*range(43, 77), *range(123, 157), *range(203, 240)]
    assert plan.members == ["flat[43:77]", "flat[123:157]", "flat[203:240]"]


def test_a_frame_that_the_rate_leaves_out_gives_its_turn_to_the_next(made: Made, tmp_path: Path) -> None:
    """Recorded at twice the rate of the model, which takes every second frame."""
    write_video(tmp_path, list(range(240)))  # the grey level of a frame is its number
    config, root = load_config(
        training_file(
            tmp_path / "train.yaml",
            data=[{"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}],
            split={"by": "time_block", "pattern": ["train", "test", "train"], "guard_s": 0.1},
        )
    )
    bundle = Bundle.load(made.float32)
    video = bundle.manifest.video.model_copy(update={"crop": FullCrop(kind="full")})
    manifest = bundle.manifest.model_copy(update={"inputs": [video], "rate_hz": 15.0})
    halved = replace(bundle, manifest=manifest)
    plan = plan_calibration(config, open_sources(config, root), 12)
    (planned,) = [frames.tolist() for _, frames in plan.chosen]
    assert planned == [0, 14, 28, 42, 56, 70, 169, 183, 197, 211, 225, 239]
    seen = [int(batch.max()) for batch in stream_crops(halved, plan)]
    assert seen == [0, 14, 28, 42, 56, 70, 170, 184, 198, 212, 226]  # after 239 nothing comes
    assert plan.n_frames == len(seen)
    odd = plan_calibration(config, open_sources(config, root), 12)
    odd.chosen = [(source, np.array([75, 183, 185, 187])) for source, _ in odd.chosen]
    assert [int(batch.max()) for batch in stream_crops(halved, odd)] == [76, 184, 186, 188]
    close = plan_calibration(config, open_sources(config, root), 12)
    close.chosen = [(source, np.array([73, 75, 76])) for source, _ in close.chosen]
    seen = [int(batch.max()) for batch in stream_crops(halved, close)]
    assert seen == [74, 76, 164], "never a frame of the guard or of the test part"


def learnt_from(config: TrainConfig, sources: list[Source], made: Made, sha256: str | None = None) -> Manifest:
    """The demo's manifest as if it had been trained on these, under the hash that is given."""
    return Bundle.load(made.float32).manifest.model_copy(
        update={
            "data": [one.data if sha256 is None else one.data.model_copy(update={"sha256": sha256}) for one in sources],
            "split": Split(
                unit=config.split.by,
                train=members_of(sources, config, "train"),
                validation=members_of(sources, config, "validation"),
                test=members_of(sources, config, "test"),
            ),
        }
    )


BLOCKS = {"by": "time_block", "pattern": ["train", "validation", "train", "test"], "guard_s": 0.5}


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        (BLOCKS, BLOCKS, None),
        (BLOCKS, BLOCKS | {"guard_s": 0.8}, None),
        (BLOCKS, BLOCKS | {"guard_s": 0.0}, None),  # the border between train and test moves up to it, not over it
        (BLOCKS, BLOCKS | {"pattern": ["test", "train", "train", "train"]}, r"flat\[0:45\].* test part"),
        (BLOCKS, BLOCKS | {"pattern": ["train", "test", "train", "train"]}, r"flat\[75:105\].* test part"),
        (BLOCKS, BLOCKS | {"pattern": ["validation", "train", "train", "test"]}, r"flat\[0:45\].* validation part"),
        (BLOCKS, BLOCKS | {"pattern": ["train", "train", "test"], "guard_s": 0.0}, r"flat\[160:165\].* test part"),
        (BLOCKS, "test", r"flat\[0:45\].* test part"),
        (BLOCKS, "validation", r"flat\[0:45\].* validation part"),
        ("train", BLOCKS, r"flat\[75:105\].* validation part|flat\[195:240\].* test part"),
        ("validation", BLOCKS, r"flat\[195:240\].* test part"),
        ("test", BLOCKS, None),
        ("train", "test", r"learnt from flat, which stands in the test part"),
        ("train", "train", None),
    ],
)
@pytest.mark.parametrize("other_hash", [False, True])
def test_what_the_bundle_has_learnt_from_is_not_scored(
    before: Any, after: Any, known: str | None, other_hash: bool, made: Made, tmp_path: Path
) -> None:
    """Both ways to split, in every pairing; with other labels the recording has another hash, and is the same."""
    write_video(tmp_path, [128] * 240)

    def opened(split: Any) -> tuple[TrainConfig, list[Source]]:
        flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}
        if isinstance(split, dict):
            changes: dict[str, Any] = {"data": [flat], "split": split}
        else:
            others = [session("train", 31, 60), session("test", 33, 60)]
            changes = {"data": [flat | {"part": split}, *others], "split": {"by": "recording"}}
        config, root = load_config(training_file(tmp_path / "train.yaml", **changes))
        return config, [one for one in open_sources(config, root) if one.name == "flat"]

    manifest = learnt_from(*opened(before), made, "0" * 64 if other_hash else None)
    config, sources = opened(after)
    if known is None:
        refuse_learnt(manifest, config, sources)
    else:
        with pytest.raises(DataError, match=known):
            refuse_learnt(manifest, config, sources)


def test_a_recording_is_known_by_its_bytes_or_by_name_and_length(made: Made, tmp_path: Path) -> None:
    write_video(tmp_path, [128] * 240)
    flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv", "name": "clip", "part": "test"}
    config, root = load_config(training_file(tmp_path / "train.yaml", data=[session("train", 31, 60), flat]))
    source = open_sources(config, root)[1]
    manifest = Bundle.load(made.float32).manifest

    def learnt(member: str, **changes: Any) -> Manifest:
        data = source.data.model_copy(update=changes)
        split = Split(unit="recording", train=[member], validation=[], test=[])
        return manifest.model_copy(update={"data": [DataFingerprint.model_validate(data.model_dump())], "split": split})

    for known in (
        learnt("clip"),
        learnt("clip", sha256="0" * 64),
        learnt("other", name="other"),
        learnt("other[30:40]", name="other"),
        learnt("clip[0:9]", name="clip[0:9]"),  # the whole of a file that is called so
    ):
        with pytest.raises(DataError, match="has learnt from clip"):
            refuse_learnt(known, config, [source])
    refuse_learnt(learnt("clip", sha256="0" * 64, n_frames=7), config, [source])
    refuse_learnt(learnt("other", name="other", sha256="0" * 64), config, [source])


def test_the_validation_part_decides_and_the_test_part_is_run_once(made: Made, tmp_path: Path) -> None:
    """What is refused has not seen the test part, good or bad; what is not is written, whatever the test part says."""
    write_video(tmp_path, [128] * 100)
    flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv", "part": "train"}
    seen = session("validation", 32, 150)
    config = training_file(tmp_path / "train.yaml", data=[flat, seen, session("test", 33, 150)])
    words = ["quantise", "demo", str(config), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "result.json")]
    done = CliRunner().invoke(cli.app, words, env={"COLUMNS": "200"})
    assert isinstance(done.exception, ScoreLossError)
    assert "150 validation frames (" in str(done.exception) and "no validation part" not in str(done.exception)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quantisation"] is None and result["evaluation"] is None
    assert (result["judged"]["part"], result["judged"]["n_frames"]) == ("validation", 150)
    assert "150 validation frames" in done.stdout and "test frames" not in done.stdout
    assert "test part" not in done.stderr and not (tmp_path / "out").exists()
    # Nothing is to be seen in the validation part: there, both embedders agree on every frame.
    dark = tmp_path / "dark"
    dark.mkdir()
    write_video(dark, [128] * 60)
    blank = {"kind": "video", "path": "dark/flat.mkv", "labels": "dark/flat.csv", "part": "validation", "name": "blank"}
    config = training_file(tmp_path / "train.yaml", data=[flat, blank, session("test", 33, 150)])
    record = quantise("demo", config, None, {"weight_bits": 7}, quiet=True).record
    assert record.score_loss <= record.max_score_loss
    assert max(record.stabilised.loss, record.raw.loss) > 0.1


def test_a_record_of_the_older_form_is_read(made: Made) -> None:
    record = Bundle.load(made.int8).manifest.quantisation
    assert record is not None
    older = record.model_dump(mode="json")
    del older["scored_on"], older["validation"]
    found = Quantisation.model_validate(older)
    assert found.scored_on == [] and found.validation is None
    assert {"scored_on", "validation"} <= found.model_fields_set, "else the bundle is refused for missing keys"


def test_what_costs_too_much_is_refused_with_the_numbers(made: Made, tmp_path: Path) -> None:
    """Calibrated on a recording in which nothing is to be seen, the ranges hold for no other."""
    write_video(tmp_path, [128] * 100)
    flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv", "part": "train"}
    config = training_file(tmp_path / "train.yaml", data=[flat, session("test", 33, 150)])
    accepted = quantise("demo", config, None, {"max_score_loss": 0.99}, quiet=True)
    record = accepted.record
    assert record.score_loss > 0.1 and record.validation is None
    said = rf"loses {record.score_loss:.4f} balanced accuracy on 150 test frames .*max_score_loss.*calibration_frames"
    words = ["quantise", "demo", str(config), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "result.json")]
    done = CliRunner().invoke(cli.app, words)
    assert isinstance(done.exception, ScoreLossError)
    assert re.search(said + ".*no validation part, so the test part decides", str(done.exception))
    judged = json.loads((tmp_path / "result.json").read_text())["judged"]
    assert (judged["part"], judged["raw"]) == ("test", record.raw.model_dump(mode="json"))
    assert not (tmp_path / "out").exists()
    assert accepted.write(tmp_path / "out").startswith("demo-int8@")


def test_what_makes_no_sense_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is int8 already; quantise demo@"):
        quantise(made.int8, made.config, None, {}, quiet=True)
    with pytest.raises(BundleError, match="is quantised already"):
        quantise_graph((made.int8 / "embedder.onnx").read_bytes(), [])
    with pytest.raises(DataError, match="no crop to calibrate on"):
        quantise_graph((made.float32 / "embedder.onnx").read_bytes(), [])
    learnt = yaml.safe_load((made.float32 / "train.yaml").read_text())["data"][0]
    config = training_file(tmp_path / "train.yaml", data=[session("train", 31), learnt | {"part": "test"}])
    with pytest.raises(DataError, match=r"has learnt from train-1001"):
        quantise("demo", config, None, {}, quiet=True)


@pytest.mark.parametrize(("weight_bits", "largest"), [(7, 64), (8, 127)])
def test_seven_bits_leave_room(made: Made, weight_bits: Literal[7, 8], largest: int) -> None:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (2, 80, 80), np.uint8) for _ in range(3)]
    graph = onnx.load_model_from_string(
        quantise_graph((made.float32 / "embedder.onnx").read_bytes(), crops, weight_bits)
    )
    assert is_quantised(graph)
    found = [numpy_helper.to_array(one) for one in graph.graph.initializer if one.data_type == TensorProto.INT8]
    weights = [one for one in found if one.ndim >= 2]
    assert len(weights) == 5
    assert max(np.abs(one.astype(int)).max() for one in weights) == largest  # 2 x 255 x 64 fits into 16 bits
