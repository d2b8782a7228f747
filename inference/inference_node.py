"""Frame sets in, behaviour and action out: the process that runs the pure step of `pipeline.py`.

Live it assembles the sets (`live_sets.py`); in replay it is handed them (`replayed_sets.py`). Without a bundle and
without tracking it assembles only.
"""

from ..streaming.node import NodeContext
from ..sync.strict import validate
from .live_sets import LiveSets
from .node_config import InferenceNodeConfig
from .replayed_sets import ReplayedSets
from .running_model import RunningModel


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(InferenceNodeConfig, context.spec.config, context.spec.node)
    steps = config.task.bundle is not None or config.task.tracking is not None
    model = RunningModel(context, config) if steps else None
    try:
        (ReplayedSets(context, config, model) if config.replay else LiveSets(context, config, model)).run()
    finally:
        if model is not None:
            model.close()
