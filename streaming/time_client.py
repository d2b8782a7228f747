"""Follows the rig's time server from another host: paced questions, numbered answers, a fit, a steered clock.

Questions get lost, answers come late or twice: each has a number, is waited for one second, and counts once. When the
server falls silent the clock runs on at its last drift, the state is ``lost``, and asking goes on.
"""

import re
import socket
from contextlib import suppress
from typing import Literal

import msgspec
import zmq
from pydantic import Field

from ..sync.clock import NS_PER_S, Clock, FollowedClock
from ..sync.closing import Closing
from ..sync.errors import AddressError, ClockError
from ..sync.strict import StrictModel, validate
from ..sync.time_exchange import Exchange, HostClockFit
from .address import check_address
from .keys import Keys
from .messages import ClockStatus
from .node import NodeContext
from .time_server import HOST_NAME, MAX_BYTES, PROTOCOL, TimeAnswer, TimeQuestion
from .topics import CLOCK

N_BURST = 16
BURST_PERIOD_NS = NS_PER_S // 20
MAX_WAIT_NS = NS_PER_S
"""An answer that takes longer is late: it is counted and not used."""
SILENT_NS = 5 * NS_PER_S
"""Without an answer for so long the server is lost."""
_STATUS_PERIOD_NS = NS_PER_S
_MAX_WAITING = 64
_MAX_FORGOTTEN = 256
_POLL_MS = 50

State = Literal["settling", "locked", "stepped", "lost"]

_decoder = msgspec.msgpack.Decoder(TimeAnswer)
_encoder = msgspec.msgpack.Encoder()


def this_host() -> str:
    """The name of this machine, in letters that a clock's name may have."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:63]
    return name if HOST_NAME.match(name) else "host"


class TimeClient(Closing):
    """One host's link to a time server. One thread; `clock` may be read by any.

    Args:
        context: ZeroMQ.
        endpoint: of the server; other than loopback only with keys.
        local: what is compared with rig time.
        host: name of this host; with keys it has to be the one of the keys.
        rate_hz: questions per second after the first burst, 1 to 4.
        keys: of this host.
        server: name of the server in this host's allow-list; None: this host itself.

    Attributes:
        clock: rig time on this host, once `clock.is_set`.
        fit: what it rests on.
        n_sent, n_good: questions sent, answers used or judged by the fit.
        n_lost, n_late, n_refused: never answered in time; came after that; were no answer to a question of ours.
        n_sessions: times that the server was started anew while it was followed.

    Raises:
        AddressError: the address is refused.
        KeysError: the server is not in the allow-list.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        local: Clock,
        host: str,
        rate_hz: float = 2.0,
        keys: Keys | None = None,
        server: str | None = None,
    ) -> None:
        if not 1.0 <= rate_hz <= 4.0:
            raise ClockError(f"{rate_hz:g} questions per second: choose 1 to 4")
        check_address(endpoint, keys)
        self.fit = HostClockFit()
        self.clock = FollowedClock(local)
        self.host = host
        self.endpoint = endpoint
        self.n_sent = self.n_good = self.n_lost = self.n_late = self.n_refused = self.n_sessions = 0
        self._local = local
        self._period_ns = round(NS_PER_S / rate_hz)
        self._session: str | None = None
        self._waiting: dict[int, int] = {}
        self._forgotten: dict[int, int] = {}
        self._number = 0
        self._next_ns = self._local.now_ns()
        self._heard_ns: int | None = None
        self._next_status_ns = 0
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # a question for a server that is away is not kept until it comes
        self._socket.setsockopt(zmq.SNDHWM, 8)
        self._socket.setsockopt(zmq.RCVHWM, _MAX_WAITING)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 100)
        if keys is not None:
            keys.connect(self._socket, server)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise AddressError(f"{endpoint}: cannot be connected to ({error.strerror or error})") from error

    @property
    def lost(self) -> bool:
        """It was heard once, and now is silent."""
        return self._heard_ns is not None and self._local.now_ns() - self._heard_ns > SILENT_NS

    @property
    def heard(self) -> bool:
        """Whether it ever answered."""
        return self._heard_ns is not None

    @property
    def state(self) -> State:
        """As in `ClockStatus`."""
        if self.lost:
            return "lost"
        if self.fit.stepped:
            return "stepped"
        return "locked" if self.fit.locked else "settling"

    def poll(self, timeout_ms: int) -> None:
        """Ask where it is time to, take what has come; returns after ``timeout_ms`` at most, or after an answer."""
        now = self._local.now_ns()
        if now >= self._next_ns:
            self._ask(now)
            self._forget(now)
        wait_ms = min(timeout_ms, max(0, (self._next_ns - self._local.now_ns()) // 1_000_000))
        if self._socket.poll(wait_ms):
            for _ in range(_MAX_WAITING):
                try:
                    parts = self._socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._take(parts, self._local.now_ns())

    def _ask(self, now: int) -> None:
        self._next_ns = now + (BURST_PERIOD_NS if self.n_sent < N_BURST else self._period_ns)
        status = self.status() if now >= self._next_status_ns else None
        self._number += 1
        sent_ns = self._local.now_ns()
        question = TimeQuestion(PROTOCOL, self.host, self._number, sent_ns, status)
        try:
            self._socket.send(_encoder.encode(question), zmq.NOBLOCK)
        except zmq.Again:
            return  # nobody is connected
        self.n_sent += 1
        self._waiting[self._number] = sent_ns
        if status is not None:
            self._next_status_ns = now + _STATUS_PERIOD_NS

    def _forget(self, now: int) -> None:
        for number, sent_ns in list(self._waiting.items()):
            if now - sent_ns > MAX_WAIT_NS or len(self._waiting) > _MAX_WAITING:
                self._forgotten[number] = self._waiting.pop(number)
                self.n_lost += 1
        while len(self._forgotten) > _MAX_FORGOTTEN:
            self._forgotten.pop(next(iter(self._forgotten)))

    def _take(self, parts: list[bytes], now: int) -> None:
        try:
            answer = _decoder.decode(parts[0]) if len(parts) == 1 else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if answer is None or answer.protocol != PROTOCOL:
            self.n_refused += 1
            return
        sent_ns = self._waiting.pop(answer.number, None)
        if sent_ns is None and self._forgotten.pop(answer.number, None) is not None:
            self.n_late += 1
            return
        if sent_ns is None or sent_ns != answer.t_sent_ns:
            self.n_refused += 1
            return
        if answer.session != self._session:
            # Another start of the server has another anchor, so its time may jump: the fit will see it as a step.
            self.n_sessions += self._session is not None
            self._session = answer.session
        self._heard_ns = now
        self.n_good += 1
        used = self.fit.add(Exchange(sent_ns, answer.t_server_received_ns, answer.t_server_sent_ns, now))
        estimate = self.fit.estimate
        if used and estimate is not None:
            self.clock.steer(estimate.local_ns, estimate.to_rig_ns(estimate.local_ns), estimate.rate)

    def status(self) -> ClockStatus | None:
        """How the local clock relates to rig time, for the bus; None while nothing is known."""
        estimate = self.fit.estimate
        if estimate is None:
            return None
        now = self._local.now_ns()
        offset_ns = estimate.offset_at(now)
        p50, p99, most = (round(one, 3) for one in estimate.residual_us)
        return ClockStatus(
            f"host.{self.host}",
            self.n_sessions,
            self.state,
            offset_ns,
            round(estimate.drift_ppm, 4),
            p50,
            p99,
            most,
            estimate.n_used,
            self.fit.n_outliers,
            self.fit.n_steps,
            now + offset_ns,
            estimate.delay_ns,
        )

    def close(self) -> None:
        """Tell the server that this host goes, and leave."""
        if self.heard and not self.lost:
            question = TimeQuestion(PROTOCOL, self.host, self._number + 1, self._local.now_ns(), self.status(), True)
            with suppress(zmq.Again):  # else it finds out by our silence
                self._socket.send(_encoder.encode(question), zmq.NOBLOCK)
        self._socket.close(linger=200)


class TimeFollowerConfig(StrictModel):
    """Options of the process that holds this rig's time against that of another.

    Attributes:
        follow: address of the other rig's time server.
        server: its name in the allow-list; None: the only other host that stands there.
        rate_hz: questions per second.
    """

    follow: str = Field(min_length=1)
    server: str | None = None
    rate_hz: float = Field(default=2.0, ge=1.0, le=4.0)


def choose_server(keys: Keys | None, server: str | None) -> str | None:
    """The server's name in the allow-list: the one given, or the only other host; loopback without either.

    Raises:
        ClockError: several hosts stand there, so that one has to be named.
    """
    if keys is None or server is not None:
        return server
    if len(keys.others) > 1:
        raise ClockError(f"which host serves time: {', '.join(keys.others)}? Name it (--server, time.server)")
    return keys.others[0] if keys.others else None


def main(context: NodeContext) -> None:
    """Entry point: publish how this rig's time relates to that of another, once a second."""
    config = validate(TimeFollowerConfig, context.spec.config, context.spec.node)
    keys = context.keys
    host = keys.name if keys is not None else this_host()
    server = choose_server(keys, config.server)
    next_ns, last = 0, ""
    with TimeClient(context.zmq, config.follow, context.clock, host, config.rate_hz, keys, server) as client:
        context.set_state("ready")
        begun_ns = context.clock.now_ns()
        while not context.should_stop:
            client.poll(_POLL_MS)
            now = context.clock.now_ns()
            state = client.state if client.heard or now - begun_ns < SILENT_NS else "silent"
            if state != last:
                _tell(context, config.follow, last, state)
                last, next_ns = state, now
            if now >= next_ns and (status := client.status()) is not None:
                next_ns = now + _STATUS_PERIOD_NS
                # On this rig's bus times are this rig's: the offset says what the other one would call them.
                context.publish(CLOCK, msgspec.structs.replace(status, t_ns=now))
            context.counters.update(
                sent=client.n_sent, good=client.n_good, lost=client.n_lost, late=client.n_late, refused=client.n_refused
            )
            context.beat()
        context.set_state("stopping")


def _tell(context: NodeContext, address: str, before: str, state: str) -> None:
    if state == "silent":
        context.alarm("error", f"time server {address} has never answered; check address, keys and allow-lists")
    elif state == "lost":
        context.alarm("error", f"time server {address} is silent; its time is carried on at the last known drift")
    elif state == "stepped":
        context.alarm("warning", f"time server {address}: its time jumped; the fit has begun anew")
    elif before in ("lost", "silent"):
        context.alarm("warning", f"time server {address} answers again")
