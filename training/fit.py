"""Fitting: embedder and head together on short windows, then the head alone on long stretches. Deterministic by seed.

Every epoch ends with macro-F1 on the validation part, from whole recordings run causally; the best epoch is kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .config import ResNet18Config, TrainConfig
from .dataset import Recording
from .fit_stage import Networks, Stage, StageModule, run_stage
from .head_inputs import feature_statistics
from .heads import build_head
from .networks import Embedder, ResNet18, SmallCnn, load_resnet18_weights


def build_networks(config: TrainConfig, n_views: int, n_step_features: int, root: Path) -> Networks:
    """Networks with fresh or loaded weights; the caller seeds torch.

    Args:
        config: embedder, head, fusion.
        n_views: of the recordings; for ``joined``.
        n_step_features: numbers that the feature steps give per view.
        root: folder that a weight file's relative path starts from.

    Raises:
        DataError: the weight file cannot be used.
    """
    embedder: Embedder
    if isinstance(config.embedder, ResNet18Config):
        network = ResNet18(config.embedder.side_px)
        if config.embedder.weights is not None:
            load_resnet18_weights(network, root / config.embedder.weights)
        embedder = network
    else:
        embedder = SmallCnn(config.embedder.dims, config.embedder.side_px, config.embedder.width)
    rule = config.head
    head = build_head(
        rule.kind,
        (embedder.dims + n_step_features) * (n_views if config.fusion == "joined" else 1),
        len(config.classes),
        rule.hidden,
        rule.layers,
        rule.kernel,
        rule.dilations,
        rule.dropout,
    )
    return Networks(embedder, head)


def fit(
    config: TrainConfig, recordings: Sequence[Recording], networks: Networks, log: Path, quiet: bool = False
) -> dict[str, Any]:
    """Fit the networks in place.

    Args:
        config: of the training.
        recordings: in memory.
        networks: from `build_networks`.
        log: JSON-lines file that gets one line per epoch.
        quiet: no progress bar.

    Returns:
        Per stage the number of epochs, the best one and its validation macro-F1.
    """
    torch.set_num_threads(config.fit.threads)
    networks.head.set_normalisation(*feature_statistics(networks.embedder, recordings, None, config))
    summary: dict[str, Any] = {}
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    stages: tuple[Stage, ...] = ("joint", "head")
    for stage in stages:
        epochs = config.fit.joint_epochs if stage == "joint" else config.fit.head_epochs
        if epochs:
            module = StageModule(config, recordings, networks, stage, log)
            summary[stage] = run_stage(module, config, epochs, quiet)
    networks.embedder.eval()
    networks.head.eval()
    return summary
