"""The rig's end of the link to a model on another host: what that says is passed on to the rig, what is lost is told.

The rig's own processes hear the model through this one alone, as if it ran here: its behaviours, decisions and
actuations are recorded with the frames.
"""

import zlib

from ..streaming.messages import Alarm, Heartbeat, PipelineState
from ..streaming.node import NodeContext
from ..streaming.subscriber import EverySubscriber
from ..streaming.time_client import choose_server
from ..streaming.topics import ACTUATION, ALARM, ARMING, BEHAVIOR, DECISION, HEARTBEAT, PIPELINE_STATE
from ..streaming.wire import Received
from ..sync.clock import NS_PER_S
from ..sync.closing import Closing
from .remote_config import RemoteModelConfig

LINK_SILENT_NS = 2 * NS_PER_S
"""Each end speaks five times a second; one that is silent for so long is out of reach."""
INSTANCE = "instance"
SESSION = "session"
WANTS_STATE = "wants_state"
"""Counters of the model's heartbeat: which process it is, for which rig it works, and whether it waits for a state."""
_PATIENCE_NS = 3 * NS_PER_S
_PASSED_ON = (BEHAVIOR, DECISION, ACTUATION, ARMING, PIPELINE_STATE)
_COUNTED = ("steps", "skipped", "lost")


def session_number(session: str) -> int:
    """A session's id as a heartbeat counts it."""
    return zlib.crc32(session.encode())


class ModelLink(Closing):
    """Hears the model. One thread.

    Args:
        context: of the rig's node.
        config: where it is.

    Attributes:
        heard: number of the model's process that is within reach, 0: none.
        n_models: how many have served this session; one that left it and came again counts twice.
        ready: one is ready for frame sets.
        ending: the run is over, and the model is told so: that it goes then is no fault.
        needs_state: the state of model and croppers has to be saved together, since the chain of what is recorded
            begins anew: with a model that begins, or after a loss.

    Raises:
        ClockError, KeysError, AddressError: which host it is cannot be told from the allow-list, or it is not there.
    """

    def __init__(self, context: NodeContext, config: RemoteModelConfig) -> None:
        self.heard = 0
        self.ready = False
        self.ending = False
        self.n_models = 0
        self._context = context
        self._address = config.model
        self._served_by = 0
        self._session = session_number(context.spec.session)
        self._heard_ns = context.clock.now_ns()
        self._waiting_said = False
        self._was_silent = False
        self._wanted = True
        self._sent = self._saved = -1
        self._bus = EverySubscriber(
            context.zmq,
            [config.model],
            [*_PASSED_ON, ALARM, HEARTBEAT],
            keys=context.keys,
            server=choose_server(context.keys, config.host),
        )
        context.counters.update(unheard=0, **{f"model_{name}": 0 for name in _COUNTED})

    @property
    def needs_state(self) -> bool:
        return self.heard != 0 and (self._wanted or self._sent > self._saved)

    def state_sent(self, set_id: int) -> None:
        """The croppers' state went out with this set; it is through when the model's own comes back."""
        self._wanted, self._sent = False, set_id

    def turn(self, timeout_ms: int = 0) -> None:
        """Take what has come, and tell when the model is out of reach."""
        for received in self._bus.receive(timeout_ms):
            self._accept(received)
        self._judge()

    def _accept(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Heartbeat):
            self._hear(message)
            return
        if received.n_lost and received.topic in _PASSED_ON:
            self._context.counters["unheard"] += received.n_lost
            self._wanted = True
            self._context.alarm(
                "warning",
                f"{received.n_lost} message(s) {received.topic.name} of the model at {self._address} were lost on the "
                "way and are not recorded; a replay compares from the next saved state on",
            )
        if isinstance(message, PipelineState):
            self._saved = max(self._saved, message.set_id)
        if isinstance(message, Alarm) or received.topic in _PASSED_ON:
            self._context.publish(received.topic, message)

    def _hear(self, beat: Heartbeat) -> None:
        if beat.counters.get(SESSION) != self._session:
            if self.heard and beat.counters.get(INSTANCE) == self.heard:
                self._leave()
            return
        self.heard = beat.counters.get(INSTANCE, 0)
        if self.heard != self._served_by:
            self._served_by = self.heard
            self.n_models += 1
            self._wanted = True
        self.ready = beat.state in ("ready", "running")
        self._wanted = self._wanted or (bool(beat.counters.get(WANTS_STATE)) and self._sent <= self._saved)
        self._heard_ns = self._context.clock.now_ns()
        self._context.counters.update({f"model_{name}": beat.counters.get(name, 0) for name in _COUNTED})
        if self._was_silent:
            self._was_silent = False
            self._context.alarm("warning", f"the model at {self._address} is heard again")

    def _leave(self) -> None:
        """It works for this session no more; another one may take its place at once."""
        self.heard, self._served_by, self.ready = 0, 0, False
        if not self.ending:
            self._was_silent = True
            self._context.alarm(
                "error",
                f"the model at {self._address} has left the run, since it was stopped or has failed: nothing is "
                "classified until it works for this run again; its own output says why",
            )

    def _judge(self) -> None:
        silent_ns = self._context.clock.now_ns() - self._heard_ns
        # One that closes its actuators says nothing meanwhile.
        if self.heard and silent_ns > LINK_SILENT_NS and not self.ending:
            self.heard, self.ready, self._was_silent = 0, False, True
            self._context.alarm(
                "error", f"the model at {self._address} is silent: nothing is classified until it is heard again"
            )
        if not self.n_models and not self._waiting_said and silent_ns > _PATIENCE_NS:
            self._waiting_said = True
            self._context.alarm(
                "warning",
                f"waiting for the model at {self._address}: is `ethostream infer` running there, with the addresses of "
                "this rig, and does each host stand in the other's allow-list?",
            )

    def close(self) -> None:
        """Hear it no more."""
        self._bus.close()
