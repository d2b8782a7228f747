"""int8: the bundled model quantised on small simulated sessions, with nothing made up."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from demo_sessions import (
    CALIBRATION_FRAMES,
    N_TEST_FRAMES,
    N_VALIDATION_FRAMES,
    VIEWS,
    session,
    training_file,
    write_video,
)
from ethostream.deploy import cli
from ethostream.inference.bundle import Bundle, write_bundle
from ethostream.inference.manifest import Manifest
from ethostream.inference.parity import INT8_TOLERANCE, PARITY_TOLERANCE, check_parity
from ethostream.inference.precision import Quantisation
from ethostream.sync.errors import BundleError, DataError, ParityError, ScoreLossError
from ethostream.training.answers.of_video import Answers, answers_of_part, evaluation_of
from ethostream.training.config.training_file import load_config
from ethostream.training.data.video_sources import open_sources
from ethostream.training.quantisation.graph_quantiser import is_quantised, quantise_graph
from ethostream.training.quantisation.quantise import quantise
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from typer.testing import CliRunner


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
