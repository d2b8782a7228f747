"""Calibration: the temperature that was put in is found, and the head answers with it."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.fitting.head_validation import recording_logits
from ethostream.training.fitting.temperature import LEAST, MOST, calibrate_head, calibration_of, fit_temperature
from head_problems import fitted, new_head, problem


def drawn(temperature: float, n: int = 20_000, output: str = "softmax") -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the probabilities that they stand for at a temperature."""
    random = np.random.default_rng(3)
    logits = random.normal(size=(n, 3)) * 3.0
    z = logits / temperature
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return logits.astype(np.float32), (random.random((n, 1)) > p.cumsum(1)).sum(1).clip(0, 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    logits, truth = drawn(temperature)
    found = calibration_of(logits, truth)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.nll_after <= found.nll_before
    assert found.ece_after is not None and found.ece_after < 0.02
    assert found.n_frames == len(truth)
    assert fit_temperature(logits, truth) == found.temperature


def test_frames_without_a_label_do_not_count() -> None:
    logits, truth = drawn(2.0, 2000)
    hidden = np.concatenate([truth, np.full(500, -1)])
    wild = np.concatenate([logits, np.full((500, 3), 100.0, np.float32)])
    assert fit_temperature(wild, hidden) == fit_temperature(logits, truth)
    with pytest.raises(DataError, match="no frame to calibrate on has a label"):
        fit_temperature(logits, np.full(len(logits), -1))


def test_independent_behaviors_have_one_temperature_as_well() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(12_000, 3)).astype(np.float32) * 4.0
    # Frames in which exactly one of the three is there, drawn as three coins that are thrown apart.
    coins = random.random(logits.shape) < 1 / (1 + np.exp(-logits / 2.0))
    one = coins.sum(1) == 1
    found = fit_temperature(logits[one], coins[one].argmax(1), "independent")

    def nll(temperature: float) -> float:
        z = logits[one] / temperature
        return float((np.logaddexp(0, z) - z * coins[one]).sum(1).mean())

    best = min(np.linspace(1.5, 2.5, 51), key=nll)
    assert found == pytest.approx(best, abs=0.011)


@pytest.mark.parametrize("sure", [1e3, 1e-3])
def test_it_stays_within_reason(sure: float) -> None:
    logits = np.array([[sure, 0.0, 0.0]] * 10, np.float32)
    assert LEAST <= fit_temperature(logits, np.zeros(10, np.int64)) <= MOST


def test_the_head_answers_with_it_and_as_before(tmp_path: Path) -> None:
    head, _ = fitted(tmp_path / "plain", head_epochs=3)
    data = problem()
    before = recording_logits(head, data, "validation")[2]
    found = calibrate_head(head, data)
    after = recording_logits(head, data, "validation")[2]
    assert np.allclose(after, before / found.temperature, rtol=1e-4, atol=1e-5)
    assert found.temperature != 1.0
    assert calibrate_head(head, data).temperature == pytest.approx(1.0, abs=0.01)
    asked, summary = fitted(tmp_path / "asked", head_epochs=3, temperature=True)
    assert summary["calibration"] == found.to_dict()
    assert np.allclose(recording_logits(asked, data, "validation")[2], after, rtol=1e-5, atol=1e-6)


def test_a_head_without_validation_cannot_be_calibrated() -> None:
    with pytest.raises(DataError, match="give it a validation part"):
        calibrate_head(new_head(), problem()[:2])
