"""Frame sets or poses in, behaviour and action out: the process that runs the pure step of a model.

Live it assembles the sets (`live_sets.py`); in replay it is handed them (`replayed_sets.py`). Without a bundle and
without tracking it assembles only. Where the model takes pose it takes those of one source (`live_poses.py`,
`replayed_poses.py`), and assembles nothing.
"""

from ..streaming.node import NodeContext
from ..sync.strict import validate
from .live_sets import LiveSets
from .node_config import InferenceNodeConfig, PoseTaken
from .replayed_sets import ReplayedSets
from .running_model import RunningModel


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(InferenceNodeConfig, context.spec.config, context.spec.node)
    if config.pose is not None:
        _run_on_pose(context, config, config.pose)
        return
    steps = config.task.bundle is not None or config.task.tracking is not None
    model = RunningModel(context, config) if steps else None
    try:
        (ReplayedSets(context, config, model) if config.replay else LiveSets(context, config, model)).run()
    finally:
        if model is not None:
            model.close()


def _run_on_pose(context: NodeContext, config: InferenceNodeConfig, pose: PoseTaken) -> None:
    from .live_poses import LivePoses
    from .replayed_poses import ReplayedPoses
    from .running_pose_model import RunningPoseModel

    model = RunningPoseModel(context, config)
    try:
        if config.replay:
            ReplayedPoses(context, pose, model).run()
        else:
            LivePoses(context, config, pose, model).run()
    finally:
        model.close()
