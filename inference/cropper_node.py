"""Frame sets in, crops out: the process that stands in the rig for a model on another host."""

from ..streaming.node import NodeContext
from ..sync.strict import validate
from .crop_outlet import CropOutlet, CropperNodeConfig
from .live_sets import LiveSets


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(CropperNodeConfig, context.spec.config, context.spec.node)
    with CropOutlet(context, config) as outlet:
        LiveSets(context, config, outlet).run()
