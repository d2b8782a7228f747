"""Reading the recordings of a video model: as crops where an embedder is to learn, else as embeddings."""

from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.progress import Progress

from ..cache.crops import crops_of, embedded_of
from ..cache.store import FeatureCache
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..fitting.crop_recordings import EmbeddedRecording, Recording
from ..fitting.devices import require_devices, torch_threads
from ..networks.embedders import Embedder


def keeps_embedder(config: TrainConfig) -> bool:
    """Whether a fit leaves the embedder as it is, so that embeddings are all that is needed of the crops."""
    return not config.fit.joint_epochs


def learnt_from(sources: Sequence[Source]) -> list[Source]:
    """Those that a fit reads: a test part is only scored, through the whole pipeline."""
    return [one for one in sources if one.part != "test"]


def read_crops(
    sources: Sequence[Source],
    config: TrainConfig,
    embedder: Embedder,
    cache: FeatureCache | None,
    console: Console,
) -> Iterator[Recording | EmbeddedRecording]:
    """Read recordings, one after the other.

    Args:
        sources: opened.
        config: of the training.
        embedder: with the weights that it begins with.
        cache: None: everything is computed and kept in memory.
        console: for the progress bar.

    Raises:
        ConfigError: the device of the fit is not there.
        VideoError, DataError: see `crop_blocks`.
        DiskFullError, ConfigError: the cache cannot be written.
    """
    require_devices(config.fit)
    device = torch.device(config.fit.device)
    with Progress(console=console, disable=console.quiet) as progress, torch_threads(config.fit.threads):
        whole = progress.add_task("recordings", total=sum(one.n_frames for one in sources))
        for source in sources:
            progress.update(whole, description=source.name)

            def advance(n: int) -> None:
                progress.advance(whole, n)

            if keeps_embedder(config):
                yield embedded_of(source, config, embedder, device, cache, advance)
            else:
                yield crops_of(source, config, embedder, cache, advance)
