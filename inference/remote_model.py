"""A model that works for a rig on another host: crops and commands in, behaviours and actions out. No sockets but time.

It steps while the link holds both ways: the rig says several times a second whom it hears, and only who is named steps.
A link that was lost disarms the rules, since nobody at the rig could have; a person arms them again. What the rig says
counts as heard where it is fresh: a person who disarms is obeyed in two seconds whatever became of the command.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..streaming.messages import Control, CroppedView, Crops, CropSession, Message, SyncPulse
from ..streaming.node import NodeContext, NodeSpec
from ..streaming.node import State as NodeState
from ..streaming.time_thread import TimeThread
from ..streaming.topics import Topic
from ..streaming.wire import Received
from ..sync.clock import NS_PER_S, Clock, MonotonicClock
from ..sync.closing import Closing
from ..sync.errors import BundleError, ConfigError, WireError
from ..sync.strict import validate
from .config import TaskConfig
from .cropper import Crop, State
from .lost_edges import with_losses
from .model_link import LINK_SILENT_NS, SESSION, WANTS_STATE, session_number
from .node_config import InferenceNodeConfig
from .running_model import RunningModel
from .set_cropper import CroppedSet, SetCropper
from .state_bytes import differing, unpack_state

_MODELS_PER_EPOCH = 1000
"""Model processes of one start of the rig's cropper; trials of each are numbered from a number of their own."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RemoteHost:
    """What stands for the rig's node context on the model's host (`ModelHost`)."""

    spec: NodeSpec
    clock: Clock
    context: NodeContext
    state: NodeState = "starting"

    @property
    def counters(self) -> dict[str, int]:
        return self.context.counters

    def publish(self, topic: Topic, message: Message, camera: str = "", pixels: bytes | None = None) -> bytes:
        """See `NodeContext.publish`."""
        return self.context.publish(topic, message, camera, pixels)

    def alarm(self, severity: Literal["warning", "error"], text: str) -> None:
        """See `NodeContext.alarm`."""
        self.context.alarm(severity, text)


class RemoteModel(Closing):
    """The model of one session of one rig. One thread.

    Args:
        context: of this process, whose clock becomes rig time.
        said: what the rig said of itself.
        time: follows the rig's time server, and is set; closed with this.
        instance: number of this process.
        bundle: in the place of the path in the rig's task file.

    Raises:
        ConfigError, BundleError, ProviderError, ActuatorError: the task cannot run here; the message says why.
    """

    def __init__(
        self, context: NodeContext, said: CropSession, time: TimeThread, instance: int, bundle: Path | None
    ) -> None:
        self._context = context
        self._said = said
        self._time = time
        self._instance = instance
        self._monotonic = MonotonicClock()
        self._said_ns = self._monotonic.now_ns()
        self._begun = said.t_start_ns > 0
        self._linked: bool | None = None
        self._lost_ns = 0
        self._wants_state = True
        self._began: tuple[int, int] | None = None
        self._before: tuple[int, int, int] | None = None
        self._control = said.disarmed
        self._alarmed: set[str] = set()
        task = validate(TaskConfig, _parsed(said.task), "the task of the rig")
        task = task.model_copy(update={"views": None, "disparity": None, "bundle": bundle or task.bundle})
        config = InferenceNodeConfig(
            task=task,
            views={name: list(shape) for name, shape in said.views.items()},
            rate_hz=said.rate_hz,
            cameras=list(said.cameras),
        )
        spec = context.spec.model_copy(
            update={
                "session": said.session,
                "epoch": said.epoch * _MODELS_PER_EPOCH + said.n_models,
                # As a process that was started again: one that comes late never comes armed.
                "armed": said.epoch == 0 and said.n_models == 0 and said.disarmed < 0,
                "t_start_ns": said.t_start_ns,
            }
        )
        self._host = RemoteHost(spec, time.clock, context)
        context.clock = time.clock
        context.counters.update(
            {
                "instance": instance,
                SESSION: session_number(said.session),
                "steps": 0,
                "skipped": 0,
                "lost": 0,
                "refused": 0,
            }
        )
        self._model = RunningModel(self._host, config)
        try:
            if self._model.identity != said.bundle:
                raise BundleError(
                    f"the rig runs bundle {said.bundle}, here it is {self._model.identity}: copy the rig's bundle to "
                    "this host and name it with --bundle"
                )
            assert self._model.pipeline is not None
            self._pipeline = self._model.pipeline
            self._cropper: SetCropper = self._pipeline.model.cropper
        except BundleError:
            self._model.close()
            raise

    @property
    def session(self) -> str:
        """Of the rig that it works for."""
        return self._said.session

    @property
    def linked(self) -> bool:
        """The rig is heard, hears this process, and what it said last is not old."""
        said = self._said
        fresh = not said.t_ns or self._host.clock.now_ns() - said.t_ns <= LINK_SILENT_NS
        return said.heard == self._instance and fresh and not self.silent

    @property
    def silent(self) -> bool:
        """The rig itself is out of reach."""
        return self._monotonic.now_ns() - self._said_ns > LINK_SILENT_NS

    def hear(self, said: CropSession) -> None:
        """The rig said that it is there."""
        if said.epoch != self._said.epoch:
            # Whom nobody answered may have been ended for that, and must find the rules disarmed.
            self._disarm()
            self._wants_state = True
            self._control = -1
        self._said, self._said_ns = said, self._monotonic.now_ns()
        if said.disarmed > self._control:
            log.warning("a command to disarm was lost on the way; the rig has repeated it")
            self._control = said.disarmed
            self._model.control(Control("disarm"))
        if said.t_start_ns and not self._begun:
            self._begun = True
            self._model.control(Control("start", said.t_start_ns))

    def obey(self, received: Received) -> None:
        """What the rig's supervisor or its trigger board said."""
        message = received.message
        if isinstance(message, SyncPulse):
            self._model.pulse(with_losses(message, received, lambda text: self._alarm_once("edges", text)))
        elif isinstance(message, Control):
            if received.n_lost:
                # Any of them may have disarmed: if one did, the rig says so again.
                self._disarm()
            self._control_by(message, received)

    def _control_by(self, message: Control, received: Received) -> None:
        if message.command == "start":
            return  # told by the session, which is said again and again
        if message.command == "arm" and (received.n_lost or not (self.linked and self._in_time(message))):
            log.warning("an arm that came too late, after lost commands, or while the link was down, is left out")
            return
        self._control = received.seq
        self._model.control(message)

    def _in_time(self, message: Control) -> bool:
        return message.until_ns == 0 or message.until_ns >= self._host.clock.now_ns()

    def take(self, waiting: list[Received]) -> None:
        """Step on the newest of the sets that wait; before it, on the last one at which the state is to be saved."""
        # A set that came with a link that is back must not be stepped on before that is said, and a state asked for.
        self._judge_link()
        n_lost = sum(one.n_lost for one in waiting)
        if n_lost and self._before is not None:  # before the first step the model was being opened, and nobody read
            self._context.counters["lost"] += n_lost
            self._alarm_once("lost", "sets were lost on the way from the rig: the link is too slow for its crops")
        t_arrived_ns = self._host.clock.now_ns()
        saving = [one for one in waiting if isinstance(one.message, Crops) and one.message.state]
        newest = waiting[-1]
        for one in [newest] if saving and saving[-1] is newest else [*saving[-1:], newest]:
            if isinstance(one.message, Crops) and self._may_step(one.message):
                try:
                    cropped = taken(self._cropper, one.message, one.pixels)
                    state = self._state_of(one.message)
                except (WireError, BundleError) as error:
                    self._context.counters["refused"] += 1
                    self._alarm_once("refused", str(error))
                else:
                    self._step(one.message, cropped, state, t_arrived_ns)

    def _may_step(self, crops: Crops) -> bool:
        """Crops and words come over two connections: no crops before the word of the cropper that they are from."""
        return self.linked and crops.epoch == self._said.epoch and (bool(crops.state) or not self._wants_state)

    def _state_of(self, crops: Crops) -> State | None:
        if not crops.state:
            return None
        state = unpack_state(crops.state)
        differs = differing(self._cropper.snapshot(), state)
        if differs:
            raise BundleError(
                f"the croppers' state of set {crops.frame_set.set_id} does not fit this model: "
                f"{', '.join(differs[:5])} differ in shape; run the same bundle and ethostream release on both hosts"
            )
        return state

    def _step(self, crops: Crops, cropped: CroppedSet, state: State | None, t_arrived_ns: int) -> None:
        began = (crops.epoch, crops.n_anew)
        if began != self._began:
            if self._began is not None:
                self._model.reset()
            self._began = began
            # Without what the croppers remember no replay could begin here.
            self._wants_state = True
        if state is not None:
            self._cropper.restore(state)
            self._model.save_state(crops.frame_set.set_id)
            self._wants_state = False
        if self._wants_state:
            return
        n_skipped = self._n_skipped(crops)
        if self._model.step_crops(crops, cropped, n_skipped, t_arrived_ns):
            self._before = (crops.epoch, crops.number, crops.n_skipped)
            self._context.counters["steps"] += 1
            self._context.counters["skipped"] += n_skipped

    def _n_skipped(self, crops: Crops) -> int:
        """Sets since the last step that the model did not look at: not cropped, lost on the way, or passed over."""
        if self._before is None:
            return 0
        epoch, number, n_skipped = self._before
        if epoch != crops.epoch:
            return crops.n_skipped + crops.number
        return crops.n_skipped - n_skipped + crops.number - number - 1

    def tick(self) -> None:
        """Fire what is due, and judge the link."""
        self._judge_link()
        if self._time.lost:
            self._alarm_once("time", "the rig's time server is silent: its time is carried on at the last known drift")
        self._context.counters[WANTS_STATE] = int(self._wants_state)
        self._model.tick()

    def _judge_link(self) -> None:
        linked = self.linked
        if linked and not self._linked:
            self._connect()
        elif self._linked and not linked:
            self._linked, self._lost_ns = False, self._monotonic.now_ns()
            self._context.alarm("error", "the rig is out of reach: its rules are disarmed, and nothing is classified")
            self._disarm()

    def _connect(self) -> None:
        if self._linked is None:
            self._host.state = "running"
        else:
            away_s = (self._monotonic.now_ns() - self._lost_ns) / NS_PER_S
            self._context.alarm(
                "warning",
                f"the rig is in reach again after {away_s:.1f} s; rules stay disarmed until `ethostream arm --yes`",
            )
            # Said again, now that it is heard; and what was said before the link broke may not have arrived.
            self._disarm()
            self._wants_state = True
        self._linked = True

    def _disarm(self) -> None:
        self._model.disarm_by_link()

    def _alarm_once(self, kind: str, text: str) -> None:
        if kind not in self._alarmed:
            self._alarmed.add(kind)
            self._context.alarm("warning", text)

    def next_due_ns(self) -> int | None:
        """When `tick` has something to fire, rig time; None: nothing waits."""
        return self._model.next_due_ns()

    def rest(self, reason: str, *, over: bool) -> None:
        """Release every actuator, while there is somebody to hear of it.

        Args:
            reason: why.
            over: the run is over; else it goes on without this model, and is told that its rules are disarmed.
        """
        if not over:
            if self._model.schedule is not None:
                self._model.schedule.disarm(reason)
            self._disarm()
        self._model.rest(reason)

    def close(self) -> None:
        """Release every actuator, and follow the rig's time no more."""
        self._model.close()
        self._time.close()


def _parsed(task: str) -> object:
    try:
        return json.loads(task)
    except ValueError as error:
        raise ConfigError(f"the task of the rig is no JSON ({error}); run the same ethostream release there") from error


def taken(cropper: SetCropper, crops: Crops, pixels: memoryview | None) -> CroppedSet:
    """The crops of a message, in the batches of a model's cropper.

    Args:
        cropper: of the model.
        crops: the message.
        pixels: its pixel part.

    Raises:
        WireError: they are not crops of this model's views.
    """
    places = {name: place for place, name in enumerate(cropper.views)}
    boxes: dict[int, Crop] = {}
    images: dict[int, NDArray[np.uint8]] = {}
    part = np.frombuffer(b"" if pixels is None else pixels, np.uint8)
    begin = 0
    for view in crops.views:
        place = places.get(view.view, -1)
        if place < 0 or cropper.box_shape(place) != (view.height_px, view.width_px):
            raise WireError(
                f"crops of set {crops.frame_set.set_id}: {view.view} {view.width_px}x{view.height_px} is no view of "
                "this model; run the same bundle and ethostream release on both hosts"
            )
        end = begin + view.height_px * view.width_px
        boxes[place], images[place] = _crop(view), part[begin:end]
        begin = end
    if begin != len(part) or not boxes:
        raise WireError(f"crops of set {crops.frame_set.set_id}: {len(part)} bytes of pixels, {begin} are announced")
    shaped = {place: image.reshape(cropper.box_shape(place)) for place, image in images.items()}
    return cropper.take(dict(sorted(boxes.items())), shaped)


def _crop(view: CroppedView) -> Crop:
    return Crop(
        view.x_px, view.y_px, view.width_px, view.height_px, view.valid, view.center_x_px, view.center_y_px,
        view.area_px, view.elongation, view.motion,
    )  # fmt: skip
