"""``ethostream engines``: built ahead with bars, listed, and refused with a cure; TensorRT is a stand-in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_bench import without_gpu
from ethostream.deploy import cli
from ethostream.inference.bundled import resolve_bundle
from ethostream.sync.errors import ConfigError, EthostreamError, ProviderError
from typer.testing import CliRunner, Result


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with without_gpu(monkeypatch, "fake_cuda", "fake_tensorrt"):
        import tensorrt

        yield tensorrt


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["engines", *map(str, words)])


def refusal(*words: object) -> EthostreamError:
    error = run(*words).exception
    assert isinstance(error, EthostreamError), error
    return error


def test_engines_are_built_ahead_and_found_by_a_run(tensorrt: Any, tmp_path: Path) -> None:
    words = ["demo", "--provider", "tensorrt_native", "--precision", "fp16", "--cache", tmp_path]
    words += ["--views", "3", "--image", "320x240"]
    result = run(*words, "--json", tmp_path / "engines.json")
    assert result.exit_code == 0, result.exception
    found = json.loads((tmp_path / "engines.json").read_text())
    assert found["bundle"].startswith("demo@") and found["folder"] == str(tmp_path)
    # One for the stored frames of the parity test, one for the cameras: 0.28 of the width, even.
    shapes = [one["shapes"]["crops"] for one in found["engines"]]
    assert [3, 90, 90] in shapes and len(shapes) == 2
    assert all(0.0 < error <= 1e-2 for error in found["relative_errors"].values())
    assert {one["precision"] for one in found["engines"]} == {"fp16"}
    assert "3x90x90" in result.stdout and "Fake GPU" in result.stdout
    assert len(tensorrt.builds) == 2
    assert run(*words).exit_code == 0
    assert len(tensorrt.builds) == 2


def test_what_is_there_is_listed(tmp_path: Path) -> None:
    result = run("--cache", tmp_path)
    assert result.exit_code == 0 and "no engines in" in result.stdout
    listed = run("--cache", tmp_path, "--json", "-")
    assert json.loads(listed.stdout) == {"folder": str(tmp_path), "engines": []}


def test_what_cannot_be_built_is_refused() -> None:
    demo = resolve_bundle("demo")
    assert "builds no engines" in str(refusal(demo, "--provider", "cuda"))
    assert "1920x1080" in str(refusal(demo, "--image", "1080p"))
    wrong = refusal(demo, "--precision", "int8")
    assert isinstance(wrong, ConfigError) and "precision" in str(wrong)
    for provider in ("tensorrt", "tensorrt_native"):
        error = refusal(demo, "--provider", provider)
        assert isinstance(error, ProviderError) and "ethostream[gpu]" in str(error)
