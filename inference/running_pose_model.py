"""A model on pose in its process: with the actuators, and with what it publishes."""

import logging
from functools import partial

from ..streaming.messages import PipelineState, Pose
from ..streaming.pose_format import set_id_of
from ..streaming.topics import PIPELINE_STATE
from ..sync.errors import ConfigError
from .acting_model import ActingModel
from .bundle import Bundle
from .bundled import resolve_bundle
from .model_host import ModelHost
from .node_config import InferenceNodeConfig
from .onnxruntime_backend import open_graph
from .pose.pose_pipeline import PosePipeline

log = logging.getLogger(__name__)


class RunningPoseModel(ActingModel):
    """What steps on the poses of one source.

    Args:
        context: of the node.
        config: its task names a bundle that takes pose, and its ``pose`` the source.

    Raises:
        ConfigError: the source does not suit the model.
        BundleError: the model cannot be used.
    """

    def __init__(self, context: ModelHost, config: InferenceNodeConfig) -> None:
        super().__init__(context, replay=config.replay)
        task = config.task
        if task.bundle is None or config.pose is None:
            raise ConfigError("a model on pose needs a bundle and a pose source; set task.bundle, and pose in the rig")
        bundle = Bundle.load(
            resolve_bundle(task.bundle),
            provider=task.provider,
            threads=task.threads,
            max_look_ahead_frames=task.max_look_ahead_frames,
            opener=partial(open_graph, spin=context.spec.process.spin),
            gpu=task.gpu,
        )
        self.identity = bundle.identity
        self.pipeline = PosePipeline(
            bundle,
            task,
            config.pose.source,
            config.pose.format,
            context.clock,
            armed=context.spec.armed,
            epoch=context.spec.epoch,
        )
        self._begin_acting(self.pipeline.rules, task)
        log.info("bundle %s on %s, pose source %s", self.identity, bundle.provider, config.pose.source)
        log.info(self.pipeline.model.stabiliser.delays_in_words())

    def step(self, pose: Pose, n_skipped: int, t_decided_ns: int | None = None) -> bool:
        """One pose: act on the decisions, then publish what it said.

        Args:
            pose: the message.
            n_skipped: poses before it that never came.
            t_decided_ns: in replay, when the live run decided.

        Returns:
            False: the rate rule of the model left it out.
        """
        result = self.pipeline.step(pose, set_id_of(pose), n_skipped, t_decided_ns)
        if result is not None:
            self._act_on(*result)
        return result is not None

    def save_state(self, set_id: int) -> None:
        """Publish what is remembered just before a pose, for replay to begin there."""
        self._context.publish(PIPELINE_STATE, PipelineState(set_id, self.identity, self.pipeline.snapshot()))

    def restore(self, payload: bytes) -> None:
        """Continue from a snapshot, bit for bit.

        Raises:
            BundleError: it is of another model or another version.
        """
        self.pipeline.restore(payload)
        self.pipeline.rules.arming.follow()
