"""The trigger as a process: when every camera is armed it starts the pulses, records each, and accounts for them.

Bring-up of a triggered group: the cameras are armed first (their heartbeats say ``running``), then the board is
started, then every triggered camera must have given a frame within a bounded time. Which pulse that frame is of is not
asked here, where no frame is read: the process that makes frame sets names a camera that is not in the first one. A
trigger that failed is never started again: pulses that begin anew count from 0, and no frame could be told by its
number.

On the way out the trigger stops before the cameras do: no pulse follows, and the frames of the last ones still arrive.
"""

import logging
from collections.abc import Sequence

from pydantic import Field

from ..streaming.messages import CameraStatus, ClockStatus, Control, Heartbeat, SyncPulse
from ..streaming.node import SUPERVISOR, NodeContext
from ..streaming.pulse_account import TRIGGER_LINE
from ..streaming.serial_board import SerialBoard
from ..streaming.subscriber import EverySubscriber
from ..streaming.topics import CAMERA_STATUS, CLOCK, CONTROL, SYNC_PULSE
from ..sync.board_protocol import (
    Arm,
    BoardMessage,
    Edge,
    Edges,
    Query,
    Start,
    Status,
    Stop,
    Watch,
    Watchdog,
    pulse_period,
)
from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from ..sync.errors import TriggerError
from ..sync.strict import StrictModel, validate
from .trigger_config import TriggerConfig

_CLOCK_PERIOD_NS = NS_PER_S
_QUERY_PERIOD_NS = NS_PER_S
_POLL_S = 0.05
_SILENT_PERIODS = 5
_SILENT_NS = 5 * NS_PER_S // 2
"""A running board that answers, and reports no pulse for this long and for five periods, has stopped."""
_LAST_PULSES_NS = NS_PER_S
_LAST_FRAMES_NS = NS_PER_S
_TRANSFER_NS = 50 * NS_PER_MS
_SILENT_BEFORE_NS = 100 * NS_PER_MS
_START_LEAD_NS = 600 * NS_PER_MS
"""More than lies between the word to start and the common start, should that word have been missed."""
_NAMED = 8
_MAX_LEAP = 65_536
"""A board that reports nothing for seconds has failed by then: no honest one skips so many numbers."""

log = logging.getLogger(__name__)


class TriggerNodeConfig(StrictModel):
    """Options of the trigger process.

    Attributes:
        trigger: the board.
        rate_hz: pulses per second.
        cameras: every camera of the rig; all have to be armed before the first pulse.
        triggered: those that are to follow the pulses.
    """

    trigger: TriggerConfig
    rate_hz: float = Field(gt=0)
    cameras: tuple[str, ...]
    triggered: tuple[str, ...]


def main(context: NodeContext) -> None:
    """Entry point: open the board, wait for armed cameras, pulse until stopped, account for every pulse."""
    config = validate(TriggerNodeConfig, context.spec.config, context.spec.node)
    board = SerialBoard(config.trigger.name, config.trigger, context.clock)
    nodes = [f"camera.{name}" for name in config.cameras]
    try:
        # Not the frames themselves: where pixels travel inside them, each reader costs their whole bandwidth.
        with context.subscribe([CAMERA_STATUS, CONTROL], [SUPERVISOR, *nodes]) as bus:
            info = board.open()
            log.info("board %s: %s, firmware %d.%d", board.name, info.name, info.firmware_major, info.firmware_minor)
            TriggerLoop(context, config, board, bus).run()
    finally:
        board.close()


class PulseTally:
    """Which pulses were reported, from their numbers; pure."""

    def __init__(self) -> None:
        self.next = 0
        self.n_seen = 0
        self.n_missing = 0

    def add(self, count: int) -> range:
        """Take pulse ``count``; returns the numbers that were skipped just before it.

        Raises:
            TriggerError: the number was there already, went back, or leapt beyond reason: the board does not count as
                it should.
        """
        if not self.next <= count <= self.next + _MAX_LEAP:
            raise TriggerError(
                f"the trigger board reports pulse {count} after pulse {self.next - 1}; its firmware is broken or it "
                "restarted: flash deploy/firmware anew"
            )
        skipped = self._skip_to(count)
        self.next = count + 1
        self.n_seen += 1
        return skipped

    def close(self, n_made: int) -> range:
        """The board made ``n_made`` pulses; returns the numbers at the end that were never reported.

        Raises:
            TriggerError: it reported more than it says it made, or far less.
        """
        if not self.next <= n_made <= self.next + _MAX_LEAP:
            raise TriggerError(
                f"the trigger board says that it made {n_made} pulses, and reported pulse {self.next - 1}; its "
                "firmware is broken: flash deploy/firmware anew, and do not trust the pulse numbers of this recording"
            )
        return self._skip_to(n_made)

    def _skip_to(self, count: int) -> range:
        skipped = range(self.next, count)
        self.n_missing += len(skipped)
        self.next = count
        return skipped


class TriggerLoop:
    """The life of the trigger, from armed cameras to the last account.

    Args:
        context: of the node.
        config: options.
        board: open.
        bus: heartbeats and statuses of the cameras, and the supervisor's word.
    """

    def __init__(
        self, context: NodeContext, config: TriggerNodeConfig, board: SerialBoard, bus: EverySubscriber
    ) -> None:
        self._context = context
        self._config = config
        self._board = board
        self._bus = bus
        self._tally = PulseTally()
        self._running: set[str] = set()
        self._frames = dict.fromkeys(config.triggered, 0)
        self._status_ns = dict.fromkeys(config.triggered, 0)
        self._t_start_ns = 0
        self._pulsing = False
        self._n_made = -1
        self._n_overflow = self._n_told_lost = 0
        self._alarmed_lost = False
        self._heard_ns = 0
        self._next_clock_ns = self._next_query_ns = 0
        self._first_deadline_ns = 0
        self._silent_ns = max(_SILENT_NS, round(_SILENT_PERIODS * NS_PER_S / config.rate_hz))

    def run(self) -> None:
        """Until stopped.

        Raises:
            TriggerError: the board fails, a camera is not armed in time, or gives no frame on the first pulses.
        """
        config, context = self._config.trigger, self._context
        if not self._until_heard() or not self._until_armed() or not self._until_known_silent():
            return
        board = self._board
        board.command(Watchdog(config.watchdog_ms))
        board.command(Arm(config.output))
        self._n_told_lost = board.n_lost
        for line in config.inputs:
            board.command(Watch(line, Edges.BOTH))
        num, den = pulse_period(self._config.rate_hz)
        board.command(Start(config.output, num, den, config.pulse_us))
        self._pulsing = True
        self._heard_ns = context.clock.now_ns()
        self._first_deadline_ns = self._heard_ns + round(config.first_frame_timeout_s * NS_PER_S)
        context.set_state("running")
        try:
            while not context.should_stop:
                self._turn(_POLL_S)
                self._check_first_frames()
                self._check_silence()
        finally:
            context.state = "stopping"
        self._finish()

    def _until_heard(self) -> bool:
        while not self._context.should_stop:
            self._turn(_POLL_S)
            if self._context.ready_when_heard(self._bus.heard):
                return True
        return False

    def _until_armed(self) -> bool:
        """Wait for every camera to run; the time counts from the first that does."""
        deadline_ns = 0
        while not self._context.should_stop:
            self._turn(_POLL_S)
            missing = [name for name in self._config.cameras if name not in self._running]
            if not missing:
                return True
            now = self._context.clock.now_ns()
            if self._running and not deadline_ns:
                deadline_ns = now + round(self._config.trigger.armed_timeout_s * NS_PER_S)
            if deadline_ns and now > deadline_ns:
                raise TriggerError(
                    f"camera {', '.join(missing)}: not armed {self._config.trigger.armed_timeout_s:g} s after "
                    f"{', '.join(sorted(self._running))}, so the trigger was not started; see the log of that camera"
                )
        return False

    def _until_known_silent(self) -> bool:
        """A camera that runs freely shows itself before the first pulse: none may give a frame until then."""
        if not self._frames:
            return not self._context.should_stop
        now = self._context.clock.now_ns()
        started_ns = max(now, self._t_start_ns or now + _START_LEAD_NS)
        until_ns = started_ns + max(_SILENT_BEFORE_NS, round(3 * NS_PER_S / self._config.rate_hz))
        while not self._context.should_stop and min(self._status_ns.values()) < until_ns:
            self._turn(_POLL_S)
            free = [name for name, n in self._frames.items() if n]
            if free:
                raise TriggerError(
                    f"camera {', '.join(free)}: gives frames before the trigger was started, so it runs freely; set "
                    "its trigger to the line that the board is wired to, or leave it out of trigger.cameras"
                )
        return not self._context.should_stop

    def _turn(self, timeout_s: float) -> None:
        """Take what the board and the cameras have said; publish what is due."""
        context = self._context
        messages = self._board.read(timeout_s)
        last = max((place for place, one in enumerate(messages) if isinstance(one, Edge)), default=-1)
        for place, message in enumerate(messages):
            # What was lost anywhere among them is told by the last: before that it might have been overtaken.
            self._take(message, self._n_newly_lost() if place == last else 0)
        for received in self._bus.receive(0):
            message = received.message
            if isinstance(message, Heartbeat):
                camera = message.node.removeprefix("camera.")
                if message.state == "running":
                    self._running.add(camera)
                elif not self._pulsing:
                    self._running.discard(camera)
            elif isinstance(message, CameraStatus) and message.camera in self._frames:
                self._frames[message.camera] = message.captured
                self._status_ns[message.camera] = message.t_ns
            elif isinstance(message, Control) and message.command == "start":
                self._t_start_ns = message.t_start_ns
        now = context.clock.now_ns()
        if now >= self._next_clock_ns:
            self._publish_clock(now)
        if self._pulsing and now >= self._next_query_ns:
            self._next_query_ns = now + _QUERY_PERIOD_NS
            self._board.send(Query())
        context.counters.update(
            pulses=self._tally.n_seen,
            unreported=self._tally.n_missing,
            lost=self._board.n_lost,
            damaged=self._board.n_damaged,
        )
        context.beat()

    def _n_newly_lost(self) -> int:
        """Messages of the board that never came, since this was asked last; from its arming on."""
        n_lost = self._board.n_lost + self._n_overflow
        n_new, self._n_told_lost = n_lost - self._n_told_lost, n_lost
        if n_new and self._config.trigger.inputs and not self._alarmed_lost:
            self._alarmed_lost = True
            self._context.alarm(
                "error",
                f"trigger board {self._board.name}: {n_new} message(s) of it were lost; edges of its input lines may "
                "be among them: check the serial line. Further ones are counted only",
            )
        return n_new

    def _take(self, message: BoardMessage, n_lost: int) -> None:
        if isinstance(message, Edge):
            self._publish_edge(message, n_lost)
        elif isinstance(message, Status):
            # 16 bits of the board; what was lost before it was armed is not in them.
            self._n_overflow += (message.overflow - self._n_overflow) & 0xFFFF
            if not message.armed:
                self._n_made = message.pulses
            if self._pulsing and not message.running:
                why = "its watchdog ended the pulses: it heard nothing from this computer for too long"
                raise TriggerError(
                    f"board {self._board.name}: stopped after {message.pulses} pulses; "
                    f"{why if message.watchdog_fired else 'it was not asked to; did it restart?'}; start the run anew"
                )

    def _publish_edge(self, edge: Edge, n_lost: int) -> None:
        board = self._board
        t_ns = board.clock_fit.to_rig_ns(edge.board_us)
        if edge.is_input:
            line = f"in{edge.line}"
        elif edge.line == self._config.trigger.output:
            line = TRIGGER_LINE
            self._heard_ns = self._context.clock.now_ns()
            self._tell_missing(self._tally.add(edge.count))
        else:
            line = f"out{edge.line}"
        pulse = SyncPulse(
            board.name, self._context.spec.epoch, line, edge.count, edge.board_us, t_ns, edge.rising, n_lost
        )
        self._context.publish(SYNC_PULSE, pulse)

    def _tell_missing(self, numbers: Sequence[int]) -> None:
        if numbers:
            text = (
                f"trigger board {self._board.name}: made {len(numbers)} pulse(s) that it did not report: "
                f"{_named(numbers)}; their frames are there, their times are not: check the serial line"
            )
            self._context.alarm("error", text)

    def _check_first_frames(self) -> None:
        if not self._first_deadline_ns:
            return
        silent = [name for name, n in self._frames.items() if not n]
        if not silent:
            self._first_deadline_ns = 0
        elif self._context.clock.now_ns() > self._first_deadline_ns:
            raise TriggerError(
                f"camera {', '.join(silent)}: no frame after {self._tally.n_seen} trigger pulses in "
                f"{self._config.trigger.first_frame_timeout_s:g} s; check the wire from output "
                f"{self._config.trigger.output} of the board to its trigger input, the ground between them, and the "
                "camera's trigger line and edge"
            )

    def _check_silence(self) -> None:
        silent_ns = self._context.clock.now_ns() - self._heard_ns
        if silent_ns > self._silent_ns:
            raise TriggerError(
                f"board {self._board.name}: answers, and reports no pulse for {silent_ns / NS_PER_S:.1f} s at "
                f"{self._config.rate_hz:g} Hz; its timer has stopped: unplug it, plug it in again and start anew"
            )

    def _publish_clock(self, now: int) -> None:
        self._next_clock_ns = now + _CLOCK_PERIOD_NS
        fit = self._board.clock_fit
        p50, p99, most = fit.residual_us
        status = ClockStatus(
            f"board.{self._board.name}",
            self._context.spec.epoch,
            "locked" if fit.locked else "settling",
            now - fit.to_board_us(now) * NS_PER_US,
            fit.drift_ppm,
            p50,
            p99,
            most,
            fit.n_used,
            0,
            0,
            now,
            fit.delay_ns,
        )
        self._context.publish(CLOCK, status)

    def _finish(self) -> None:
        """Stop the board, take its last pulses, compare the counts, and let the last frames arrive."""
        context = self._context
        self._pulsing = False
        self._n_made = -1
        self._board.command(Stop())
        deadline = context.clock.now_ns() + _LAST_PULSES_NS
        while context.clock.now_ns() < deadline and not 0 <= self._n_made <= self._tally.next:
            self._turn(_POLL_S)
        if self._n_made < 0:
            raise TriggerError(
                f"board {self._board.name}: did not say how many pulses it made; compare the number of recorded pulses "
                f"({self._tally.n_seen}) with the frames of each camera"
            )
        self._tell_missing(self._tally.close(self._n_made))
        log.info("%d pulses made, %d reported", self._n_made, self._tally.n_seen)
        self._await_last_frames()
        context.set_state("stopping")

    def _await_last_frames(self) -> None:
        """Cameras are told to stop once this process has ended: give the frames of the last pulses time to come."""
        now = self._context.clock.now_ns()
        come_ns = now + round(2 * NS_PER_S / self._config.rate_hz) + _TRANSFER_NS
        deadline = come_ns + _LAST_FRAMES_NS
        while self._frames and now < deadline and min(self._status_ns.values()) < come_ns:
            self._turn(_POLL_S)
            now = self._context.clock.now_ns()


def _named(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(str(number) for number in numbers[:_NAMED]) + more
