"""Temperature: one number that the logits are divided by, so that probabilities are worth their name (Guo et al. 2017).

It moves no answer to another class. It is found on validation data and becomes part of the head's last layer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ...inference.graph_spec import HeadOutput
from ...sync.errors import DataError
from ..networks.head import SequenceHead
from ..scores.calibration import calibration_scores
from ..splits import PARTS, Part
from .head_data import HeadData
from .head_validation import recording_logits

LEAST, MOST = 0.05, 20.0
"""Temperatures that are looked at; a fit whose optimum lies outside is not worth calibrating."""
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a temperature does on the data that it was found on.

    Attributes:
        temperature: above 1 the answers were too sure.
        n_frames: that it was found on.
        nll_before, nll_after: negative log likelihood per frame.
        ece_before, ece_after: expected calibration error of the most probable class.
    """

    temperature: float
    n_frames: int
    nll_before: float
    nll_after: float
    ece_before: float | None
    ece_after: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer], output: HeadOutput = "softmax") -> float:
    """The temperature that makes the labels likeliest; see `calibration_of`."""
    return calibration_of(logits, truth, output).temperature


def calibration_of(
    logits: NDArray[np.floating],
    truth: NDArray[np.integer],
    output: HeadOutput = "softmax",
    targets: NDArray[np.float32] | None = None,
) -> Calibration:
    """Find the temperature that makes the labels likeliest.

    Args:
        logits: [n, c] of a head, on data that it has not learnt from.
        truth: class of every frame [n]; below 0: not labelled, left out.
        output: of the head.
        targets: which behaviours are there, [n, c], where several may be at once; NaN: not known, left out. None: the
            class alone. The expected calibration error is of frames with one class.

    Raises:
        DataError: no frame has a label.
    """
    known = truth >= 0 if targets is None else ~np.isnan(targets).any(axis=1)
    if not known.any():
        raise DataError("no frame to calibrate on has a label; give it a validation part, or leave calibration out")
    z, labels = logits[known].astype(np.float64), truth[known].astype(np.int64)
    wanted = np.eye(z.shape[1])[labels] if targets is None else targets[known].astype(np.float64)

    def nll(log_temperature: float) -> float:
        return _nll(z / np.exp(log_temperature), wanted, output)

    found: Any = minimize_scalar(nll, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-4})
    # Never worse than leaving it alone: a flat likelihood has no optimum worth the name.
    best = float(found.x) if float(found.fun) < nll(0.0) else 0.0
    temperature = float(np.exp(best))
    one = labels >= 0
    before, after = (
        calibration_scores(labels[one], _p(z[one] / t, output)) if one.any() else {"ece": None}
        for t in (1.0, temperature)
    )
    return Calibration(temperature, len(labels), nll(0.0), nll(best), before["ece"], after["ece"])


def calibrate_head(head: SequenceHead, data: Sequence[HeadData], part: Part = "validation") -> Calibration:
    """Find the temperature on a part of the data and make it the head's own; every row counts by itself.

    Raises:
        DataError: the part holds no labelled frame.
    """
    shown = [one.looking_ahead(head.look_ahead_frames) for one in data]
    logits, truth = [np.zeros((0, head.n_classes), np.float32)], [np.zeros(0, np.int16)]
    targets = [np.zeros((0, head.n_classes), np.float32)]
    for one, z in zip(shown, recording_logits(head, shown, part), strict=True):
        mask = ((one.parts == PARTS.index(part)) & one.known)[: z.shape[1]]
        labels = one.labels[: len(mask)][mask]
        logits.append(z[:, mask].reshape(-1, head.n_classes))
        truth.append(np.tile(labels, len(z)))
        if one.targets is None:
            targets.append(np.tile(np.eye(head.n_classes, dtype=np.float32)[labels], (len(z), 1)))
        else:
            targets.append(np.tile(one.targets[: len(mask)][mask], (len(z), 1)))
    found = calibration_of(np.concatenate(logits), np.concatenate(truth), head.output, np.concatenate(targets))
    head.scale_logits(1.0 / found.temperature)
    return found


def _nll(z: NDArray[np.float64], wanted: NDArray[np.float64], output: HeadOutput) -> float:
    own = (wanted * z).sum(axis=1)
    if output == "softmax":
        most = z.max(axis=1)
        return float(np.mean(most + np.log(np.exp(z - most[:, None]).sum(axis=1)) - own))
    # Every class by itself: log(1 + e^z) is what it costs not to be there, less z where it is.
    return float(np.mean(np.logaddexp(0.0, z).sum(axis=1) - own))


def _p(z: NDArray[np.float64], output: HeadOutput) -> NDArray[np.float64]:
    if output == "independent":
        return 1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0)))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / np.maximum(e.sum(axis=1, keepdims=True), _TINY)
