"""Options of the inference process."""

from pydantic import Field

from ..streaming.pose_format import PoseFormat
from ..sync.strict import StrictModel
from .config import TaskConfig


class PoseTaken(StrictModel):
    """The pose source that a model takes, by name, and what it delivers."""

    source: str
    format: PoseFormat


class InferenceNodeConfig(StrictModel):
    """Options of the inference process.

    Attributes:
        task: model, rules, actuators.
        views: camera → frame shape (height, width[, 3]), in the rig's order.
        rate_hz: of the rig's frame sets, or of the pose source.
        tolerance_ms, deadline_ms: of the assembler; None: a quarter of the period, one period.
        replay: sets come from the replay node and no actuator is opened.
        cameras: of a model that gets crops from another host: those whose frames ``views``, which are then the model's
            own, are made of.
        pose: of a model that takes pose: what it takes; ``views`` is then empty.
    """

    task: TaskConfig
    views: dict[str, list[int]]
    rate_hz: float = Field(gt=0)
    tolerance_ms: float | None = None
    deadline_ms: float | None = None
    replay: bool = False
    cameras: list[str] | None = None
    pose: PoseTaken | None = None
