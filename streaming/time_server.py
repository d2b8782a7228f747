"""The rig's time server: answers each question with the rig time at which it came and at which the answer left.

One bounded ROUTER socket. A question says who asks, its number and the asker's own time, which the answer repeats, and
may carry the asker's latest `ClockStatus`, so that the rig records how well each host follows. Anything else on the
socket is counted and not answered.
"""

import re
from collections.abc import Callable
from typing import Literal

import msgspec
import zmq
from pydantic import Field

from ..sync.clock import NS_PER_S, Clock
from ..sync.closing import Closing
from ..sync.strict import StrictModel, validate
from .address import bind, check_address
from .keys import Keys
from .messages import ClockStatus
from .node import NodeContext
from .topics import CLOCK

PROTOCOL = 1
MAX_BYTES = 1024
HOST_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
MAX_HOSTS = 64
SILENT_NS = 10 * NS_PER_S
"""A host that followed and is silent for so long is lost; it asks at least once a second."""
_STATUS_PERIOD_NS = NS_PER_S // 2
_HIGH_WATER = 200
_MAX_PER_TURN = 256
_POLL_MS = 50


class TimeQuestion(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """From a host that follows. ``ends``: it will not ask again, and is not lost when it falls silent."""

    protocol: int
    host: str
    number: int
    t_sent_ns: int
    status: ClockStatus | None = None
    ends: bool = False


class TimeAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """From the server; ``session`` tells one start of it from the next."""

    protocol: int
    session: str
    number: int
    t_sent_ns: int
    t_server_received_ns: int
    t_server_sent_ns: int


_decoder = msgspec.msgpack.Decoder(TimeQuestion)
_encoder = msgspec.msgpack.Encoder()


class Host(msgspec.Struct):
    """What the server knows of one host that follows."""

    heard_ns: int
    status: ClockStatus | None = None
    published_ns: int = 0
    lost: bool = False


class TimeServer(Closing):
    """Answers on one address. One thread.

    Args:
        context: with a `Gatekeeper` where there are keys.
        endpoint: to bind; other than loopback only with keys.
        clock: rig time.
        session: told in each answer.
        keys: of this host; a host may then speak only in the name that the allow-list gives its key.
        on_status: called with the status of each host at most twice a second, and with state ``lost`` when one that
            followed has fallen silent.

    Raises:
        AddressError: the address is in use, or refused.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        clock: Clock,
        session: str,
        keys: Keys | None = None,
        on_status: Callable[[ClockStatus], None] | None = None,
    ) -> None:
        check_address(endpoint, keys)
        self.n_answered = 0
        self.n_refused = 0
        self.n_unsent = 0
        self.last_refusal = ""
        self.hosts: dict[str, Host] = {}
        self._clock = clock
        self._session = session
        self._authenticated = keys is not None
        self._on_status = on_status
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.endpoint = bind(self._socket, endpoint, keys, "time server", "; choose another address or port")

    def serve(self, timeout_ms: int) -> None:
        """Wait up to ``timeout_ms`` for a question, then answer what is there."""
        if self._socket.poll(timeout_ms):
            for _ in range(_MAX_PER_TURN):
                try:
                    frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                self._answer(frames, self._clock.now_ns())
        self._look_for_lost()

    def _answer(self, frames: list[zmq.Frame], t_received_ns: int) -> None:
        question = self._read(frames)
        if question is None:
            return
        answer = _encoder.encode(
            TimeAnswer(
                PROTOCOL, self._session, question.number, question.t_sent_ns, t_received_ns, self._clock.now_ns()
            )
        )
        try:
            self._socket.send_multipart((frames[0].bytes, answer), zmq.NOBLOCK)
            self.n_answered += 1
        except zmq.ZMQError:
            self.n_unsent += 1
            if not question.ends:
                return  # it has gone, or does not read: it will ask again
        self._note(question, t_received_ns)

    def _read(self, frames: list[zmq.Frame]) -> TimeQuestion | None:
        if len(frames) != 2:
            return self._refuse(f"{len(frames) - 1} parts, one is expected")
        try:
            question = _decoder.decode(frames[1].buffer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._refuse(str(error))
        if question.protocol != PROTOCOL:
            return self._refuse(f"protocol {question.protocol}, this is {PROTOCOL}; run the same release on both hosts")
        if not HOST_NAME.match(question.host):
            return self._refuse(f"host name {question.host!r:.80}: use letters, digits, '-', '_' and '.'")
        owner = frames[1].get("User-Id") if self._authenticated else question.host
        if owner != question.host:
            return self._refuse(f"{owner} asked in the name of {question.host}")
        if question.status is not None and question.status.clock != f"host.{question.host}":
            return self._refuse(f"{question.host} spoke of the clock {question.status.clock!r:.80}")
        if question.host not in self.hosts and len(self.hosts) >= MAX_HOSTS:
            return self._refuse(f"{question.host}: {MAX_HOSTS} hosts follow already")
        return question

    def _refuse(self, why: str) -> None:
        self.n_refused += 1
        self.last_refusal = why

    def _note(self, question: TimeQuestion, now: int) -> None:
        if question.ends:
            self.hosts.pop(question.host, None)
            return
        host = self.hosts.setdefault(question.host, Host(now))
        host.heard_ns = now
        host.lost = False
        if question.status is not None:
            host.status = question.status
            if now - host.published_ns >= _STATUS_PERIOD_NS and self._on_status is not None:
                host.published_ns = now
                self._on_status(question.status)

    def _look_for_lost(self) -> None:
        now = self._clock.now_ns()
        for host in self.hosts.values():
            if not host.lost and now - host.heard_ns > SILENT_NS:
                host.lost = True
                if host.status is not None and self._on_status is not None:
                    self._on_status(msgspec.structs.replace(host.status, state="lost", t_ns=now))

    def close(self) -> None:
        self._socket.close(linger=0)


class TimeServerConfig(StrictModel):
    """Options of the time server's process.

    Attributes:
        serve: address to bind.
    """

    serve: str = Field(min_length=1)


_ALARMS: dict[str, tuple[Literal["warning", "error"], str]] = {
    "lost": ("error", "asks no more; its clock runs on at the last known drift, check its network"),
    "stepped": ("warning", "its clock or that of the rig jumped; times of that host before and after do not compare"),
}


def main(context: NodeContext) -> None:
    """Entry point: serve rig time, and publish what the hosts that follow say of themselves."""
    config = validate(TimeServerConfig, context.spec.config, context.spec.node)
    last: dict[str, str] = {}

    def publish(status: ClockStatus) -> None:
        context.publish(CLOCK, status)
        if status.state != last.get(status.clock):
            last[status.clock] = status.state
            if status.state in _ALARMS:
                severity, words = _ALARMS[status.state]
                context.alarm(severity, f"{status.clock}: {words}")

    with TimeServer(context.zmq, config.serve, context.clock, context.spec.session, context.keys, publish) as server:
        context.set_state("ready")
        while not context.should_stop:
            server.serve(_POLL_MS)
            context.counters.update(
                answered=server.n_answered, refused=server.n_refused, unsent=server.n_unsent, hosts=len(server.hosts)
            )
            context.beat()
        context.set_state("stopping")
