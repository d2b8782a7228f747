"""A session in which things go wrong: the host of an actuator dies, stands still, loses its board, or is lied to.

The firmware's own core, compiled, in simulated time; the host's side is the rig's own code. Each session draws its
options, fires, is armed and disarmed, and suffers; `line_judge.py` judges what the line did.
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ethostream.inference.actuation import ActuationSchedule
from ethostream.inference.actuators.board_link import BoardLink
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig
from ethostream.streaming.messages import Actuation, Decision
from ethostream.streaming.serial_board import SerialBoard
from ethostream.sync import board_protocol as p
from ethostream.sync.clock import NS_PER_MS, NS_PER_US, FakeClock
from ethostream.sync.errors import ActuatorError
from line_judge import LINE, MAX_HOLD_US, SLACK_US, Allowed, LineHistory, broken_promises

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "acquisition"))

from simulated_board import SimulatedBoard

T0_NS = 1_700_000_000_000_000_000
TURN_US = 5000
SESSION_US = 6_000_000
EVENTS = ("crash", "stall", "unplug", "host restart", "board restart", "lie", "noise", "hold")


@dataclass
class Session:
    """One session, from its seed.

    Attributes:
        wrong: promises that were broken; empty when all held.
        events: what went wrong, by kind.
        states: what was said of the decisions.
    """

    library: Any
    seed: int
    wrong: list[str] = field(default_factory=list)
    events: "Counter[str]" = field(default_factory=Counter)
    states: "Counter[str]" = field(default_factory=Counter)

    def __post_init__(self) -> None:
        draw = self.draw = random.Random(self.seed)
        self.clock = FakeClock(T0_NS)
        self.board = SimulatedBoard(self.library, self.clock, draw.randrange(2**32))
        self.board.from_host = self._to_board
        self.board.from_board = self._to_host
        pulse_ms = draw.choice([0.2, 1.0, 5.0, 20.0, 100.0, 400.0])
        n_pulses = draw.choice([1, 1, 2, 10])
        duty = draw.choice([0.05, 0.2, 0.5, 1.0])
        period_ms = pulse_ms * draw.choice([1.5, 3.0, 10.0])
        need_ms = pulse_ms + max(0.0, pulse_ms - duty * period_ms) * (n_pulses - 1)
        self.config = SerialActuatorConfig(
            port="simulated",
            output=LINE,
            pulse_ms=pulse_ms,
            n_pulses=n_pulses,
            period_ms=period_ms if n_pulses > 1 else None,
            max_on_ms=max(need_ms, pulse_ms) * draw.choice([1.001, 2.0]) + 0.1,
            max_duty=duty,
            watchdog_ms=draw.choice([100, 200, 500]),
            open_timeout_s=1.0,
        )
        self.schedule: ActuationSchedule | None = None
        self.allowed: list[Allowed] = []
        self.sent_us: list[int] = []
        self.lives: list[int] = []
        self.n_decided = 0
        self.loss = self.damage = self.lie = 0.0
        self.hold_until_us = 0
        self.answered: Counter[int] = Counter()

    # What happens to bytes on their way.

    def _to_board(self, data: bytes) -> bytes:
        return self._through(data)

    def _to_host(self, data: bytes) -> bytes:
        if self.draw.random() < self.lie:
            self.events["lie"] += 1
            now = self.board.now_us()
            invented = self.draw.choice(
                [
                    p.Edge(LINE, p.Edge.RISING, self.draw.randrange(100), (now + self.draw.randrange(10**6)) % 2**32),
                    p.Ack(p.PulseTrain.TYPE, self.draw.randrange(256)),
                    p.Nak(p.PulseTrain.TYPE, self.draw.randrange(256), self.draw.randrange(1, 9)),
                    p.Ack(p.Release.TYPE, self.draw.randrange(256)),
                    p.Status(now % 2**32, self.draw.randrange(16), 0, 0, 0, 0),
                    p.Pong(self.draw.randrange(50), now % 2**32),
                    p.HelloIs(1, 1, 1, 4, 4, 0, "liar"),
                ]
            )
            frame = p.encode(invented, self.draw.randrange(256))
            return self.draw.choice([frame + data, data + frame, data + data, b"", frame])
        return self._through(data)

    def _through(self, data: bytes) -> bytes:
        if self.draw.random() < self.loss:
            return b""
        if self.draw.random() < self.damage and data:
            at = self.draw.randrange(len(data))
            return data[:at] + bytes((self.draw.randrange(256),)) + data[at + 1 :]
        return data

    # The host.

    def start_host(self) -> None:
        """A new process opens the board; it is disarmed, whatever was before."""
        if self.schedule is not None or not self.board.plugged:
            return
        self.lives.append(self.board.now_us())
        try:
            link = BoardLink(
                SerialBoard("b", self.config, self.clock, self.board.open_port), self.config.watchdog_ms, self.clock
            )
            actuator = SerialActuator("a", self.config, link, self.clock)
        except ActuatorError:
            if self.board.port is not None:
                self.board.port.close()
            return
        self.schedule = ActuationSchedule(
            {"a": LimitedActuator(actuator, self.config, self.clock)}, self.clock, self._heard, lambda _text: None
        )
        if self.schedule.armed or self.board.level(LINE):
            self.wrong.append("armed at birth, or the line was still high")

    def _heard(self, message: Actuation) -> None:
        self.states[message.state] += 1
        # A command that was sent may still be refused by the board: that is no second answer.
        if message.set_id >= 0 and (message.state in ("sent", "cancelled") or message.set_id not in self.answered):
            self.answered[message.set_id] += 1
        if message.state == "sent":
            self.sent_us.append((message.t_sent_ns - T0_NS) // NS_PER_US)

    def arm(self) -> None:
        if self.schedule is not None and not self.schedule.armed:
            before = self.board.now_us()
            self.schedule.pardon()
            self.schedule.arm()
            # An attempt that fails may still have armed the board, until it hears nothing more.
            self.allowed.append(Allowed(before))
            if not self.schedule.armed:
                self._end_allowed(clean=False)

    def disarm(self) -> None:
        if self.schedule is not None:
            before = self.states["failed"]
            self.schedule.disarm("person")
            self.schedule.poll()
            self.schedule.flush()
            self._end_allowed(clean=self.states["failed"] == before and not self.lie)

    def _end_allowed(self, clean: bool) -> None:
        """After a release that the board has confirmed nothing acts; else its watchdog ends it."""
        grace = SLACK_US if clean else self.config.watchdog_ms * 1000 + MAX_HOLD_US + SLACK_US
        for one in self.allowed:
            if one.until_us is None:
                one.until_us = self.board.now_us() + grace

    def decide(self) -> None:
        if self.schedule is None:
            return
        now = self.clock.now_ns()
        due = now + self.draw.choice([0, 0, 0, 30, 300]) * NS_PER_MS
        self.schedule.add(
            Decision("r", self.n_decided, "fired", "", "rear", 0.9, "a", (), now, now, now, 0, t_due_ns=due)
        )
        self.n_decided += 1

    def kill(self) -> None:
        """SIGKILL: no line of the host's code runs any more; the system closes its port."""
        if self.board.port is not None:
            self.board.port.close()
        self.schedule = None
        self._end_allowed(clean=False)

    def turn(self) -> None:
        """One turn of the node loop."""
        self.board.run(TURN_US)
        if self.hold_until_us and self.board.now_us() >= self.hold_until_us:
            self.hold_until_us = 0
            self.board.release_held()
        if self.schedule is not None:
            was = self.schedule.armed
            self.schedule.run_due()
            self.schedule.poll()
            self.schedule.flush()
            if was and not self.schedule.armed:
                self._end_allowed(clean=False)

    # The session.

    def run(self) -> "Session":
        """All of it, and the judgement."""
        draw = self.draw
        self.start_host()
        while self.board.now_us() < SESSION_US:
            self.turn()
            if self.board.now_us() < 200_000:
                continue
            self._suffer(draw)
            if draw.random() < 0.03:
                self.arm()
            if draw.random() < 0.004:
                self.disarm()
            if draw.random() < 0.15:
                self.decide()
        self.loss = self.damage = self.lie = 0.0
        if self.schedule is not None:
            self.schedule.close("end")
            self._end_allowed(clean=False)
        self.board.run(self.config.watchdog_ms * 1000 + MAX_HOLD_US + 100_000)
        self._judge()
        self.board.close()
        return self

    def _suffer(self, draw: random.Random) -> None:
        if draw.random() < 0.004:
            event = draw.choice(EVENTS)
            self.events[event] += event != "lie"
            if event == "crash":
                self.kill()
            elif event == "stall":
                self._stall(draw.randrange(10_000, 1_500_000))
            elif event == "unplug":
                self.board.unplug()
                self._end_allowed(clean=False)
            elif event == "host restart":
                self.kill()
                self.start_host()
            elif event == "board restart":
                self.board.restart()
            elif event == "lie":
                self.lie = draw.choice([0.02, 0.3])
            elif event == "noise":
                self.loss, self.damage = draw.choice([0.0, 0.05, 0.5]), draw.choice([0.05, 0.5])
            else:
                self.board.hold()
                self.hold_until_us = self.board.now_us() + draw.randrange(5000, MAX_HOLD_US - 20_000)
        elif draw.random() < 0.01:
            self.loss = self.damage = self.lie = 0.0
            if not self.board.plugged:
                self.board.plugged = True
            if self.schedule is None:
                self.start_host()

    def _stall(self, us: int) -> None:
        """The host stands still; the board goes on."""
        end_us = self.board.now_us() + us
        while self.board.now_us() < end_us:
            self.board.run(TURN_US)
            if self.hold_until_us and self.board.now_us() >= self.hold_until_us:
                self.hold_until_us = 0
                self.board.release_held()

    def _judge(self) -> None:
        line = LineHistory(
            changes=self.board.changes(),
            end_us=self.board.now_us(),
            allowed=self.allowed,
            sent_us=self.sent_us,
            n_answered_twice=sum(n > 1 for n in self.answered.values()),
            board_restarts=self.board.restarts,
            host_starts=self.lives,
        )
        self.wrong += broken_promises(self.config, line)
