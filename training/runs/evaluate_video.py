"""Honest scores of a bundle of video: on the part of a training file that it has not learnt from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ...inference.bundle import Bundle
from ...inference.bundled import resolve_bundle
from ..answers.learnt_frames import Identity, Judgeable, judgeable
from ..answers.of_video import Answers, answers_of_part, evaluation_of, refuse_classes
from ..config.training_file import TrainConfig, load_config
from ..data.checks import DataCheck, check_data
from ..data.video_sources import Source, learnt_counts, open_sources
from ..splits import Part, part_mask


@dataclass(frozen=True, slots=True)
class VideoEvaluation:
    """What was found.

    Attributes:
        record: for JSON; see `evaluation_record`.
        check: of the data.
        answers: frame by frame.
        warning: the model has learnt from what is scored; "" where it has not.
    """

    record: dict[str, Any]
    check: DataCheck
    answers: list[Answers]
    warning: str


def evaluate(bundle: Path, config_path: Path, data: Path | None = None, quiet: bool = True) -> dict[str, Any]:
    """Score a bundle on the test part of a training file.

    Args:
        bundle: folder, zip or name of a shipped bundle.
        config_path: the training file, for data and split.
        data: data folder instead of the file's own.
        quiet: no progress bar.

    Returns:
        Values for JSON: ``stabilised`` and ``raw`` scores (the stabilised ones stand at the top level as well),
        ``recordings``, and per other rater its own scores and agreement.

    Raises:
        ConfigError, DataError, VideoError, BundleError: see `load_config`, `open_sources`, `Bundle.load`.
    """
    config, root = load_config(config_path, data)
    return evaluate_config(bundle, config, root, quiet).record


def evaluate_config(bundle: Path, config: TrainConfig, root: Path, quiet: bool = True) -> VideoEvaluation:
    """As `evaluate`, of a training file that is read already."""
    loaded = Bundle.load(resolve_bundle(bundle), max_look_ahead_frames=None)
    return evaluate_sources(loaded, config, open_sources(config, root), quiet=quiet)


def evaluate_bundle(bundle: Bundle, config: TrainConfig, sources: list[Source], part: Part = "test") -> dict[str, Any]:
    """As `evaluate`, for a bundle and recordings that are open already."""
    return evaluate_sources(bundle, config, sources, part).record


def evaluate_sources(
    bundle: Bundle, config: TrainConfig, sources: list[Source], part: Part = "test", quiet: bool = True
) -> VideoEvaluation:
    """Score a bundle on a part of recordings, but for what it has learnt from.

    Where it has learnt from all of that, it is scored all the same, ``split.by`` is `TRAINING_DATA`, and there is a
    warning.

    Args:
        bundle: loaded.
        config: classes and split.
        sources: the recordings.
        part: of them.
        quiet: no progress bar.

    Raises:
        ConfigError: the bundle knows other classes.
        DataError: there is no labelled frame in the part.
    """
    refuse_classes(bundle, config)
    found = judge_sources(bundle, config, sources, part)
    masks = {one.name: mask for one, mask in zip(sources, found.masks, strict=True)}
    console = Console(stderr=True, quiet=quiet)
    with Progress(console=console, disable=quiet) as progress:
        n_frames = sum(
            one.n_frames for one in sources if (masks[one.name] & one.known).any()
        )  # at most: a recording is left after its last frame that counts
        task = progress.add_task("recordings", total=n_frames)

        def name(recording: str) -> None:
            progress.update(task, description=recording)

        def advance(n: int) -> None:
            progress.advance(task, n)

        answers = answers_of_part(bundle, config, sources, part, name, masks, advance)
    check = check_data([one.checked for one in sources], config.classes, config.notes)
    counts = learnt_counts(sources, config)
    record = evaluation_of(bundle, config, answers, part, counts, notes=check.notes, judged=found)
    return VideoEvaluation(record, check, answers, found.warning(bundle.manifest))


def judge_sources(bundle: Bundle, config: TrainConfig, sources: list[Source], part: Part) -> Judgeable:
    """What of a part may be scored."""
    return judgeable(
        bundle.manifest,
        [Identity.of_source(one) for one in sources],
        [part_mask(config.split, one, part) for one in sources],
        [one.known for one in sources],
    )
