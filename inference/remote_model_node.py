"""The process on a GPU host: it waits for a rig that publishes crops, works for it to its end, and waits again."""

import logging
import os
from pathlib import Path

from ..streaming.messages import CropSession
from ..streaming.node import NodeContext
from ..streaming.subscriber import EverySubscriber
from ..streaming.time_client import TimeClient, choose_server, this_host
from ..streaming.time_config import TcpAddress
from ..streaming.time_thread import TimeThread
from ..streaming.topics import CONTROL, CROP_SESSION, CROPS, SYNC_PULSE
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S, MonotonicClock, RigClock
from ..sync.errors import EthostreamError
from ..sync.strict import StrictModel, validate
from .crop_outlet import SETS_HELD
from .model_link import SESSION
from .remote_model import RemoteModel

_POLL_MS = 20
_AGAIN_NS = 10 * NS_PER_S
"""A task that cannot run here is tried again so much later: an actuator may be plugged in, a bundle copied."""

log = logging.getLogger(__name__)


class RemoteModelNodeConfig(StrictModel):
    """Options of the process.

    Attributes:
        crops: address at which the rig publishes crops.
        time: address of the rig's time server.
        host: name of the rig's keys, where the allow-list holds several hosts.
        bundle: in the place of the path in the rig's task file.
        once: end with the first session.
    """

    crops: TcpAddress
    time: TcpAddress
    host: str | None = None
    bundle: Path | None = None
    once: bool = False


def main(context: NodeContext) -> None:
    """Entry point."""
    _RemoteModelNode(context, validate(RemoteModelNodeConfig, context.spec.config, context.spec.node)).run()


class _RemoteModelNode:
    """Begins and ends sessions."""

    def __init__(self, context: NodeContext, config: RemoteModelNodeConfig) -> None:
        self._context = context
        self._config = config
        self._server = choose_server(context.keys, config.host)
        self._instance = int.from_bytes(os.urandom(4), "little") | 1
        self._time: tuple[str, TimeThread] | None = None
        self._model: RemoteModel | None = None
        self._monotonic = MonotonicClock()
        self._again_ns = 0
        self._n_ended = 0
        self._busy_said = ""

    def run(self) -> None:
        context, config = self._context, self._config
        context.set_state("ready")
        crops, words = self._connect()
        with crops, words:
            try:
                while not context.should_stop and not (config.once and self._n_ended):
                    self._turn(crops, words)
                    context.beat()
            finally:
                self._end("the model's process ends")
        context.set_state("stopping")

    def _connect(self) -> tuple[EverySubscriber, EverySubscriber]:
        """Two connections to one address, each with a queue of its own: no command waits behind crops."""
        context, at, server = self._context, [self._config.crops], self._server
        words = [CROP_SESSION, CONTROL, SYNC_PULSE]
        return (
            EverySubscriber(context.zmq, at, [CROPS], high_water=SETS_HELD, keys=context.keys, server=server),
            EverySubscriber(context.zmq, at, words, keys=context.keys, server=server),
        )

    def _turn(self, crops: EverySubscriber, words: EverySubscriber) -> None:
        try:
            self._accept(crops, crops.receive(self._timeout_ms()), words.receive(0))
            if self._model is not None:
                self._model.tick()
        except EthostreamError as error:
            if self._model is None:
                raise
            self._again_ns = self._monotonic.now_ns() + _AGAIN_NS
            self._context.alarm("error", f"the model of session {self._model.session} failed, and is closed: {error}")
            self._end("the model failed")
            if self._config.once:
                raise

    def _timeout_ms(self) -> int:
        due = None if self._model is None else self._model.next_due_ns()
        if due is None:
            return _POLL_MS
        return min(_POLL_MS, max(0, (due - self._context.clock.now_ns()) // NS_PER_MS))

    def _accept(self, crops: EverySubscriber, waiting: list[Received], said: list[Received]) -> None:
        for received in said:
            message = received.message
            if isinstance(message, CropSession):
                if message.ends:
                    # What was sent before the end is stepped on.
                    self._take(waiting + crops.receive(_POLL_MS))
                    waiting = []
                self._hear(message)
            elif self._model is not None:
                self._model.obey(received)
        self._take(waiting)

    def _take(self, waiting: list[Received]) -> None:
        if waiting and self._model is not None:
            self._model.take(waiting)

    def _hear(self, said: CropSession) -> None:
        model = self._model
        if model is not None and model.session == said.session:
            model.hear(said)
            if said.ends:
                log.info("the run of session %s has ended", said.session)
                self._n_ended += 1
                self._end("the run ends", over=True)
            return
        if said.ends or self._monotonic.now_ns() < self._again_ns:
            return
        if model is not None and not model.silent:
            return  # two rigs behind one address: it stays with the first
        self._end_unless(said.session)
        self._begin(said)

    def _begin(self, said: CropSession) -> None:
        """Follow the rig's time first; the model is opened in the turn in which it is known."""
        context, config = self._context, self._config
        if said.heard:
            # Another model serves that rig, or the rig does not know yet that this one's predecessor has gone.
            if self._busy_said != said.session:
                self._busy_said = said.session
                log.info("session %s hears another model; waiting until that is silent", said.session)
            return
        if self._time is None:
            host = this_host() if context.keys is None else context.keys.name
            keys, server = context.keys, self._server
            client = TimeClient(context.zmq, config.time, self._monotonic, host, keys=keys, server=server)
            self._time = said.session, TimeThread(client)
        time = self._time[1]
        if not time.clock.is_set:
            return
        log.info("working for session %s, rig time is known to %s us", said.session, (time.error_bound_ns or 0) // 1000)
        try:
            self._model = RemoteModel(context, said, time, self._instance, config.bundle)
        except EthostreamError as error:
            self._again_ns = self._monotonic.now_ns() + _AGAIN_NS
            context.alarm("error", f"the model cannot work for session {said.session}: {error}")
            self._end("")
            return
        self._time = None  # it is the model's now
        context.set_state("running")

    def _end_unless(self, session: str) -> None:
        if self._model is not None or (self._time is not None and self._time[0] != session):
            self._end("the rig is out of reach, and another session has begun")

    def _end(self, reason: str, *, over: bool = False) -> None:
        """Work for no session; the heartbeat that says so goes out once every actuator is released."""
        if self._model is not None:
            self._model.rest(reason, over=over)
            self._model.close()
            self._model = None
        if self._time is not None:
            self._time[1].close()
            self._time = None
        self._context.clock = RigClock(self._context.anchor)
        self._context.counters[SESSION] = 0
        self._context.set_state("ready")
