"""Small problems for heads, made here: what is to be seen lies in the features, with noise."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ethostream.training.config.fit import FitConfig
from ethostream.training.config.head import HeadConfig
from ethostream.training.fitting.head_data import HeadData
from ethostream.training.fitting.head_fit import fit_head
from ethostream.training.networks.head import SequenceHead, build_head
from ethostream.training.splits import PARTS

CLASSES = ["still", "walk", "rear"]
N_FEATURES = 5
FIT: dict[str, Any] = {
    "head_epochs": 4,
    "stretch_frames": 50,
    "batch_windows": 4,
    "learning_rate": 0.02,
    "threads": 1,
}


def recording(seed: int, part: str | None, n: int = 400, noise: float = 1.0, rows: int = 1) -> HeadData:
    """Bouts of 10 to 40 frames; each class lies around a place of its own, far from zero and on other scales."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.full(random.integers(10, 40), k % len(CLASSES)) for k in range(1 + n // 10)])[:n]
    centres = np.random.default_rng(0).normal(size=(len(CLASSES), N_FEATURES)) * 1.5
    x = centres[labels][None] + noise * random.normal(size=(rows, n, N_FEATURES))
    scale, offset = np.array([1.0, 100.0, 0.01, 1.0, 1.0]), np.array([0.0, 3000.0, 0.0, -5.0, 1.0])
    parts = np.full(n, -1 if part is None else PARTS.index(part), np.int8)  # type: ignore[arg-type]
    return HeadData(f"{part}-{seed}", (x * scale + offset).astype(np.float32), labels.astype(np.int16), parts)


def problem() -> list[HeadData]:
    """Two recordings to learn from, one to validate on, one that nobody may look at."""
    return [recording(1, "train"), recording(2, "train", 300), recording(3, "validation"), recording(4, "test")]


def new_head(kind: str = "gru", seed: int = 5, output: str = "softmax", **options: Any) -> SequenceHead:
    """A small head with weights by seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rule = HeadConfig.model_validate({"kind": kind, "hidden": 8, "dropout": 0.2, **options})
        return build_head(rule, N_FEATURES, len(CLASSES), output)  # type: ignore[arg-type]


def fitted(run: Path, data: list[HeadData] | None = None, head: SequenceHead | None = None, **options: Any) -> Any:
    """Head and summary of a quiet fit."""
    one = new_head() if head is None else head
    rule = FitConfig.model_validate(FIT | options)
    return one, fit_head(one, problem() if data is None else data, rule, CLASSES, 7, run, quiet=True)


def weights_of(head: torch.nn.Module) -> dict[str, np.ndarray]:
    """Every weight and buffer."""
    return {name: value.numpy().copy() for name, value in head.state_dict().items()}
