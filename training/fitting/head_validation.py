"""What a head answers over whole recordings while it is fitted, and how good that is on the validation part."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...inference.fusion import Fusion, fuse
from ...sync.errors import ConfigError
from ..config.fit import CLASS_MEASURES, FitConfig
from ..networks.head import HeadModule, probabilities
from ..scores.bouts import bout_counts, bout_figures
from ..scores.frames import score
from ..splits import PARTS, Part
from .head_batches import reduced
from .head_data import HeadData
from .losses import FrameLoss
from .targets import frame_targets

_BATCH_FRAMES: Final = 1 << 16
"""Rows times frames that go through a causal head at once: large enough for full speed, small enough for the memory."""
_CHUNK_FRAMES: Final = 2048
"""Frames of one row in a piece; the state is carried from piece to piece."""


def head_logits(head: HeadModule, rows: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Logits [t, c] of rows [t, f] of any length, each from a fresh state.

    Rows run beside each other in pieces of time, with the state carried on; a head that is not causal takes one row as
    a whole after the other.
    """
    head.eval()
    if not head.causal:
        with torch.inference_mode():
            return [head.logits(_tensor(row[None], head), head.initial_state(1))[0][0].cpu().numpy() for row in rows]
    found = [np.empty((len(row), head.n_classes), np.float32) for row in rows]
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    n_beside = max(1, _BATCH_FRAMES // _CHUNK_FRAMES)
    for first in range(0, len(order), n_beside):
        _run_beside(head, rows, order[first : first + n_beside], found)
    return found


def _run_beside(
    head: HeadModule, rows: Sequence[NDArray[np.float32]], chosen: list[int], found: list[NDArray[np.float32]]
) -> None:
    with torch.inference_mode():
        state = head.initial_state(len(chosen))
        for start in range(0, len(rows[chosen[0]]), _CHUNK_FRAMES):
            # The longest come first, so those that have ended are the last rows of the batch.
            chosen = [place for place in chosen if len(rows[place]) > start]
            state = tuple(part[: len(chosen)] for part in state)
            longest = min(len(rows[chosen[0]]) - start, _CHUNK_FRAMES)
            x = np.zeros((len(chosen), longest, rows[chosen[0]].shape[1]), np.float32)
            for row, place in zip(x, chosen, strict=True):
                piece = rows[place][start : start + longest]
                row[: len(piece)] = piece
            logits, state = head.logits(_tensor(x, head), state)
            for values, place in zip(logits.cpu().numpy(), chosen, strict=True):
                length = min(len(rows[place]) - start, longest)
                found[place][start : start + length] = values[:length]


def recording_logits(head: HeadModule, data: Sequence[HeadData], part: Part) -> list[NDArray[np.float32]]:
    """Logits [b, t', c] of recordings from their first frame to the last one of a part; t' is 0 where there is none."""
    asked = [np.flatnonzero(one.known & (one.parts == PARTS.index(part))) for one in data]
    ends = [int(frames[-1]) + 1 if len(frames) else 0 for frames in asked]
    rows = [row[:end] for one, end in zip(data, ends, strict=True) for row in one.x if end]
    logits = iter(head_logits(head, rows))
    empty = np.zeros((0, head.n_classes), np.float32)
    return [np.stack([next(logits) if end else empty for _ in one.x]) for one, end in zip(data, ends, strict=True)]


class Validation:
    """Scores of a head on the validation part; scores are the same as those of evaluation, before any stabiliser.

    Args:
        data: recordings.
        rule: of the fit.
        classes: names.
        loss: of the fit.
        fusion: how rows of a recording are combined.

    Raises:
        ConfigError: ``monitor`` names no class.
    """

    def __init__(
        self, data: Sequence[HeadData], rule: FitConfig, classes: Sequence[str], loss: FrameLoss, fusion: Fusion
    ) -> None:
        measure, _, of_class = rule.monitor.partition(".")
        if of_class and of_class not in classes:
            raise ConfigError(
                f"fit.monitor: {rule.monitor}: {of_class} is not among the classes ({', '.join(classes)})"
            )
        if rule.supervision != "frame" and measure == "bout_f1":
            raise ConfigError("fit.monitor: bout_f1: sequences with one label have no bouts; take balanced_accuracy")
        self._by_frame = rule.supervision == "frame"
        shown = [one for one in data if (one.known & (one.parts == PARTS.index("validation"))).any()]
        self._data = shown if any(one.mask("validation").any() for one in shown) else []
        if not self._by_frame:
            self._data = [one for one in self._data if len(one.sequences_of("validation"))]
        self._rule, self._classes = rule, list(classes)
        self._fusion: Fusion = fusion
        self._loss = deepcopy(loss).cpu()
        self._measure, self._of_class = measure, of_class
        self._targets = [
            frame_targets(one.labels, one.parts, len(classes), given=one.targets, part="validation")
            for one in self._data
        ]

    def __bool__(self) -> bool:
        return bool(self._data)

    def scores(self, head: HeadModule) -> dict[str, float | None]:
        """``loss``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, and what ``monitor`` names.

        The loss is that of the fit without soft edges and without the temporal term.
        """
        if not self._by_frame:
            return self._of_sequences(head)
        logits = recording_logits(head, self._data, "validation")
        answers = [self._fused(one, head) for one in logits]
        masks = [one.mask("validation")[: len(p)] for one, p in zip(self._data, answers, strict=True)]
        truth = [one.labels[: len(mask)][mask] for one, mask in zip(self._data, masks, strict=True)]
        p = np.concatenate([one[mask] for one, mask in zip(answers, masks, strict=True)])
        pieces = [
            (z[:, counts[: z.shape[1]]], wanted[: z.shape[1]][counts[: z.shape[1]]])
            for z, (wanted, counts) in zip(logits, self._targets, strict=True)
        ]
        values = self._scored(np.concatenate(truth), p)
        values["loss"] = self._loss_of(
            np.concatenate([z.reshape(-1, z.shape[2]) for z, _ in pieces]),
            np.concatenate([np.tile(wanted, (len(z), 1)) for z, wanted in pieces]),
        )
        if self._measure == "bout_f1":
            counted = [
                bout_counts(np.where(mask, one.labels[: len(mask)], -1), answer.argmax(1), len(self._classes))
                for one, mask, answer in zip(self._data, masks, answers, strict=True)
            ]
            value = float(bout_figures(np.sum(counted, axis=0))["bout_f1"])
            values["bout_f1"] = value if np.isfinite(value) else None
        return values

    def _of_sequences(self, head: HeadModule) -> dict[str, float | None]:
        sequences = [(one, found) for one in self._data for found in one.sequences_of("validation").tolist()]
        rows = [row[start:stop] for one, (start, stop, _) in sequences for row in one.x]
        whole = [
            reduced(torch.from_numpy(z)[None], torch.tensor([len(z)]), self._rule.supervision)[0, 0].numpy()
            for z in head_logits(head, rows)
        ]
        logits, place, answers = np.stack(whole), 0, list[NDArray[np.float32]]()
        for one, _ in sequences:
            answers.append(self._fused(logits[place : place + len(one.x), None], head)[0])
            place += len(one.x)
        truth = np.array([found[2] for _, found in sequences])
        repeated = np.repeat(truth, [len(one.x) for one, _ in sequences])
        values = self._scored(truth, np.stack(answers))
        values["loss"] = self._loss_of(logits, np.eye(len(self._classes), dtype=np.float32)[repeated])
        return values

    def _scored(self, truth: NDArray[np.integer], p: NDArray[np.float32]) -> dict[str, float | None]:
        found = score(truth, p.argmax(1), self._classes, p if self._measure == "pr_auc" else None)
        values: dict[str, float | None] = {
            "accuracy": found.accuracy,
            "balanced_accuracy": found.balanced_accuracy,
            "macro_f1": found.macro_f1,
        }
        if self._measure == "pr_auc" and not self._of_class:
            values["pr_auc"] = found.macro_pr_auc
        if self._of_class and self._measure in CLASS_MEASURES:
            value: Any = getattr(found.per_class[self._of_class], self._measure)
            values[self._rule.monitor] = value
        return values

    def _fused(self, logits: NDArray[np.float32], head: HeadModule) -> NDArray[np.float32]:
        """Probabilities [t, c] of logits [b, t, c]."""
        p = probabilities(torch.from_numpy(logits), head.output).numpy()
        return fuse(p, self._fusion, head.output)

    def _loss_of(self, logits: NDArray[np.float32], targets: NDArray[np.float32]) -> float | None:
        if not len(logits):
            return None
        counts = torch.ones((1, len(logits)), dtype=torch.bool)
        with torch.inference_mode():
            loss = self._loss(torch.from_numpy(logits)[None], torch.from_numpy(targets)[None], counts)
        return float(loss)


def _tensor(x: NDArray[np.float32], head: HeadModule) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).to(next(head.parameters()).device)
