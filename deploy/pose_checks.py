"""Pose sources of a run before it starts: what each delivers, and which of them the model takes."""

from collections.abc import Mapping

from ..acquisition.pose.pose_files import read_pose
from ..acquisition.pose.pose_source import format_of
from ..inference.bundled import look_up
from ..inference.config import TaskConfig
from ..inference.gap import StepGrid
from ..inference.pose.select import PointSelection
from ..streaming.pose_format import PoseFormat
from ..sync.errors import ConfigError
from .config import RigConfig, RunConfig
from .process_table import PosesOfRun


def probe_poses(run: RunConfig) -> dict[str, PoseFormat]:
    """Read the file of every pose source once, and say what each delivers.

    Raises:
        ConfigError: nobody says at which rate the frames come.
        DataError: a file is not there, or is none that can be read.
    """
    return {name: format_of(name, config, read_pose(config.path)) for name, config in run.rig.pose.items()}


def pose_source_of(task: TaskConfig, poses: Mapping[str, PoseFormat]) -> str | None:
    """The pose source that the model takes; None: it takes no pose, or there is none.

    Raises:
        ConfigError: the task names a source that the rig has not, or none of several; or it names one, and its model
            takes none; or the source lacks keypoints or animals of the model, or comes at a rate that does not suit it.
    """
    if not takes_pose(task):
        if task.pose_source is not None:
            raise ConfigError(f"pose_source={task.pose_source}: the task's model takes no pose; leave it out")
        return None
    for key, value in (("views", task.views), ("disparity", task.disparity), ("tracking", task.tracking)):
        if value is not None:
            raise ConfigError(f"{key}: is about frames, and bundle {task.bundle} takes pose; leave it out")
    source = task.pose_source or (next(iter(poses)) if len(poses) == 1 else None)
    have = ", ".join(poses) or "none"
    if source is None:
        raise ConfigError(
            f"bundle {task.bundle} takes pose, and the rig's pose sources are: {have}; "
            + ("name the one that it shall take: pose_source" if poses else "give the rig file one, under pose")
        )
    if source not in poses:
        raise ConfigError(f"pose_source={source}: the rig has no such source (it has: {have})")
    assert task.bundle is not None
    one, manifest = poses[source], look_up(task.bundle)[0]
    PointSelection(one.animals, one.keypoints, manifest.pose, f"pose.{source}")
    StepGrid(manifest.rate_hz, one.rate_hz, manifest.other_rates, "poses")
    return source


def check_inputs(task: TaskConfig, rig: RigConfig) -> None:
    """Whether a rig has what its task looks at.

    Raises:
        ConfigError: a model that takes pose on another host or on a GPU, or a task that looks at frames where there is
            no camera.
    """
    if takes_pose(task) and task.provider != "cpu":
        raise ConfigError(
            f"provider: {task.provider} is to run an embedder, and bundle {task.bundle} takes pose and has none; set "
            "it to cpu"
        )
    if takes_pose(task) and rig.remote_model is not None:
        raise ConfigError(f"remote_model: bundle {task.bundle} takes pose, and crops are what travels; leave it out")
    wanted = "tracking" if task.tracking is not None else f"bundle {task.bundle}" if task.bundle is not None else ""
    if wanted and not takes_pose(task) and not rig.cameras:
        raise ConfigError(f"{wanted}: looks at frames, and the rig has no camera; give it one, or leave it out")


def takes_pose(task: TaskConfig) -> bool:
    """Whether the task's model takes pose."""
    return task.bundle is not None and look_up(task.bundle)[0].takes_pose


def views_of_pose(poses: PosesOfRun) -> list[str]:
    """Views that zones in pixels can be of, where the model takes pose: its source, with one animal."""
    return [] if poses.model is None or len(poses.formats[poses.model].animals) > 1 else [poses.model]
