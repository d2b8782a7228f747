"""What a task asks of calibrated cameras: tracker and disparity views, opened with what cannot work told by name."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..sync.calibration_file import read_calibration
from ..sync.errors import ConfigError
from .config import TaskConfig
from .disparity import DisparityViews
from .disparity_config import DisparityOptions
from .manifest import Manifest
from .node_config import InferenceNodeConfig

if TYPE_CHECKING:
    from .tracking.tracker import AnimalTracker

log = logging.getLogger(__name__)


def open_tracker(config: InferenceNodeConfig) -> "AnimalTracker | None":
    """The tracker of the task; None where none is asked for.

    Raises:
        ConfigError: views that are not in the rig or the calibration, or of another size there.
        CalibrationError: the calibration cannot be read, or its views do not overlap in the cage.
    """
    tracking = config.task.tracking
    if tracking is None:
        return None
    from .tracking.tracker import AnimalTracker  # with scipy.optimize: most rigs need not wait for it

    views = chosen_views(config, tracking.views, "task.tracking.views")
    models = {model.name: model for model in read_calibration(tracking.calibration).models}
    tracker = AnimalTracker(tracking, models, views, config.rate_hz)
    log.info("tracking %d animal(s) in %d views", tracking.animals, len(views))
    return tracker


def open_disparity(config: InferenceNodeConfig) -> DisparityViews | None:
    """The disparity views of the task; None where there are none.

    Raises:
        ConfigError: cameras that are not in the rig or of another size than calibrated, or depths out of reach.
        CalibrationError: the calibration cannot be read, or two cameras are no pair.
    """
    disparity = config.task.disparity
    if disparity is None:
        return None
    views = {name: tuple(shape) for name, shape in config.views.items()}
    return DisparityViews(disparity, read_calibration(disparity.calibration), views)


def model_views(
    config: InferenceNodeConfig, manifest: Manifest
) -> tuple[dict[str, tuple[int, ...]], DisparityViews | None]:
    """What the task's model sees: view → shape of its images, in joining order, and the disparity views among them.

    Raises:
        ConfigError: views that are not there, or that are not of the kind that the model learnt.
        CalibrationError: see `open_disparity`.
    """
    if config.cameras is not None:
        return {name: tuple(shape) for name, shape in config.views.items()}, None
    disparity = open_disparity(config)
    views = chosen_views(config, config.task.views, "task.views", {} if disparity is None else disparity.shapes)
    _check_disparity(manifest, list(views), config.task)
    return views, disparity


def _check_disparity(manifest: Manifest, views: list[str], task: TaskConfig) -> None:
    """What the model learnt as disparity must be disparity here, made alike; a camera must be a camera."""
    here = {} if task.disparity is None else task.disparity.views
    for learnt, name in zip(manifest.video.view_names, views, strict=False):
        asked = manifest.video.disparity.get(learnt)
        given = here[name].options if name in here else None
        if asked != given:
            raise ConfigError(
                f"view {name} takes the place of {learnt}, which the model learnt as "
                f"{_in_words(asked)}; here it is {_in_words(given)}: set task.views and task.disparity"
            )


def _in_words(options: DisparityOptions | None) -> str:
    return "a camera" if options is None else f"disparity with {options.model_dump()}"


def check_geometry(config: InferenceNodeConfig) -> None:
    """Open both once, so that what cannot work is told before any process is started.

    Raises:
        ConfigError, CalibrationError: see `open_tracker` and `open_disparity`.
    """
    open_tracker(config)
    open_disparity(config)


def chosen_views(
    config: InferenceNodeConfig,
    names: list[str] | None,
    key: str,
    computed: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """View → shape of its frames, for the views of these names in their order; None: all.

    Args:
        config: knows the cameras.
        names: that are asked for.
        key: of the task file, for messages.
        computed: views that are there besides the cameras.

    Raises:
        ConfigError: one is not there.
    """
    there = {name: tuple(shape) for name, shape in config.views.items()} | dict(computed or {})
    chosen = list(there) if names is None else names
    if unknown := sorted(set(chosen) - set(there)):
        raise ConfigError(f"{key}: {', '.join(unknown)}: not a view of this rig ({', '.join(there)})")
    return {name: there[name] for name in chosen}
