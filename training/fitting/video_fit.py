"""Fitting a video model: the stages that its training file asks for, one after the other. Deterministic by seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...sync.errors import ConfigError
from ..config.embedder import ResNet18Config
from ..config.training_file import TrainConfig
from ..networks.embedders import Embedder, ResNet18, SmallCnn, load_resnet18_weights
from ..networks.head import build_head
from ..run_files import METRICS_FILE
from .checkpoint import STAGES, checkpoint_path, unwritable
from .crop_head_data import feature_statistics, head_data
from .crop_recordings import EmbeddedRecording, Recording, SeenRecording
from .devices import require_devices, torch_threads
from .head_data import HeadData
from .head_fit import fit_head
from .joint_fit import JointStage, Networks, looking_ahead
from .loop import run_stage
from .missing_choices import missing_choices
from .temperature import calibrate_head


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
    n_features = (embedder.dims + n_step_features) * (n_views if config.fusion == "joined" else 1)
    output = "independent" if config.fit.loss.is_binary else "softmax"
    return Networks(embedder, build_head(config.head, n_features, len(config.classes), output))


def fit_video(
    config: TrainConfig,
    recordings: Sequence[Recording | EmbeddedRecording],
    networks: Networks,
    run: Path,
    quiet: bool = False,
) -> dict[str, Any]:
    """Fit the networks in place.

    First, if ``frozen_epochs`` says so, the head on the embedder as it was loaded; then both together on short windows
    (``joint_epochs``); then the head alone on long stretches (``head_epochs``). A fit that was killed goes on in the
    stage and epoch where it was.

    Args:
        config: of the training.
        recordings: with crops, or, without a joint stage, embedded already.
        networks: from `build_networks`.
        run: the run folder, for the log and the checkpoints.
        quiet: no progress bar.

    Returns:
        What `run_stage` says of each stage, by its name.

    Raises:
        ConfigError, DataError, DiskFullError: see `fit_head`.
    """
    rule, joined = config.fit, config.fusion == "joined"
    if rule.supervision != "frame" and rule.joint_epochs:
        raise ConfigError(f"fit.supervision: {rule.supervision}: goes with a frozen embedder; set fit.joint_epochs: 0")
    require_devices(rule)
    _begin_log(run)
    summary: dict[str, Any] = {}
    learnt = False
    n_ahead = networks.head.look_ahead_frames
    cropped = [one for one in recordings if isinstance(one, Recording)]
    with torch_threads(rule.threads):
        if rule.frozen_epochs:
            summary["frozen"] = _fit_alone("frozen", config, recordings, networks, run, quiet)
            learnt = True
        if rule.joint_epochs:
            if not learnt:
                networks.head.set_normalisation(*feature_statistics(cropped, networks.embedder.dims, joined))
            summary["joint"] = run_stage(JointStage(config, cropped, networks, run), quiet)
            learnt = True
        if rule.head_epochs:
            summary["head"] = _fit_alone("head", config, recordings, networks, run, quiet, learnt)
        elif rule.temperature and any(looking_ahead(one, n_ahead).known_in("validation").any() for one in cropped):
            data = head_data(networks.embedder, recordings, config.fusion, torch.device("cpu"))
            summary["joint"]["calibration"] = calibrate_head(networks.head, data).to_dict()
    networks.embedder.eval()
    networks.head.eval()
    return summary


def unchosen_of(
    config: TrainConfig, recordings: Sequence[SeenRecording], fitted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What `fit_video`, which has answered ``fitted``, had nothing to choose on; see `missing_choices`."""
    data = [HeadData(one.name, one.features, one.labels, one.parts, one.targets, one.sequences) for one in recordings]
    fits = list(fitted.values())
    unfound = config.fit.temperature and not any("calibration" in one for one in fits)
    return missing_choices(data, fits, {"temperature": unfound}, config.fit.monitor, config.head.look_ahead_frames)


def _fit_alone(
    stage: str,
    config: TrainConfig,
    recordings: Sequence[Recording | EmbeddedRecording],
    networks: Networks,
    run: Path,
    quiet: bool,
    learnt_before: bool = False,
) -> dict[str, Any]:
    """The head on what the embedder makes of the recordings as it is."""
    device = torch.device(config.fit.device)
    networks.embedder.to(device)
    data = head_data(networks.embedder, recordings, config.fusion, device)
    networks.embedder.to("cpu")
    return fit_head(
        networks.head,
        data,
        config.fit,
        config.classes,
        config.seed,
        run,
        quiet,
        fusion=config.fusion,
        stage=stage,
        learnt_before=learnt_before,
    )


def _begin_log(run: Path) -> None:
    """Forget the log of an earlier fit, unless this one goes on from it."""
    if any(checkpoint_path(run, stage).exists() for stage in STAGES):
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / METRICS_FILE).write_text("", encoding="utf-8")
    except OSError as error:
        raise unwritable(run / METRICS_FILE, error, "the log of the fit") from error
