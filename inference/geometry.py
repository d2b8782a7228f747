"""What a task asks of calibrated cameras: tracker and disparity views, opened with what cannot work told by name."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..sync.calibration_file import read_calibration
from ..sync.errors import ConfigError
from .disparity import DisparityViews
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
