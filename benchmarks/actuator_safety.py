"""A thousand sessions that go wrong: is a stimulus line ever high for longer than allowed, or while it is disarmed?

    python benchmarks/actuator_safety.py [--sessions 1000] [--kills 20] [--seed 1] [--json safety.json]

The firmware's own core, compiled, in simulated time; the host's side is the rig's own code. Each session draws its
options, fires, is armed and disarmed, and suffers: the host is killed or stands still, the port is unplugged, host or
board begin anew, bytes are lost, damaged or held up, and the board's answers are lost, repeated or invented. Then every
microsecond of the line is judged. After them real processes are killed with SIGKILL in the middle of a pulse, with the
board in real time on a pseudo-terminal. Exits 1 where a promise was broken.
"""

import argparse
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
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
from rich.progress import Progress

BOARDS = Path(__file__).resolve().parents[1] / "tests" / "acquisition"
T0_NS = 1_700_000_000_000_000_000
LINE = 1
TURN_US = 5000
SESSION_US = 6_000_000
MAX_HOLD_US = 600_000
SLACK_US = 600
"""Two turns of the simulated board's loop, and the way of one frame."""
EVENTS = ("crash", "stall", "unplug", "host restart", "board restart", "lie", "noise", "hold")


def load(name: str) -> ModuleType:
    """A module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, BOARDS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


simulated = load("simulated_board")


@dataclass
class Allowed:
    """When the line may be high: from the first command until nothing sent by this host can act any more."""

    from_us: int
    until_us: int | None = None


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
        self.board = simulated.SimulatedBoard(self.library, self.clock, draw.randrange(2**32))
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
        end_us = self.board.now_us()
        highs: list[tuple[int, int]] = simulated.highs(self.board.changes(), LINE, end_us)
        others = [change for change in self.board.changes() if change[1] != LINE]
        if others:
            self.wrong.append(f"another line changed: {others[0]}")
        limit_us = min(self.config.pulse_us, round(1000 * self.config.max_on_ms)) + SLACK_US
        for rise, fall in highs:
            if fall - rise > limit_us:
                self.wrong.append(f"high for {fall - rise} us at {rise}, {limit_us} are allowed")
            if not any(one.from_us <= rise and (one.until_us is None or fall <= one.until_us) for one in self.allowed):
                self.wrong.append(f"high from {rise} to {fall} while disarmed")
        self._judge_duty(highs, self.board.restarts, simulated.MAX_ON_US, simulated.MAX_DUTY, "firmware")
        own_us = round(1000 * self.config.max_on_ms)
        # A command may be held up for as long as the watchdog allows, and the next one not: they then lie closer.
        own_us += round(self.config.max_duty * 1000 * self.config.watchdog_ms)
        self._judge_duty(highs, self.lives, own_us, self.config.max_duty, "host")
        self._judge_trains(highs)
        if any(n > 1 for n in self.answered.values()):
            self.wrong.append("a decision was sent or cancelled twice")

    def _judge_duty(
        self, highs: list[tuple[int, int]], resets: list[int], most_us: int, duty: float, whose: str
    ) -> None:
        """Over any time from a rise to a fall, between two resets of that limit."""
        for place, (begin, _) in enumerate(highs):
            on_us = 0
            for n, (rise, fall) in enumerate(highs[place:], 1):
                # What was sent before a new beginning may end after it.
                if any(begin < reset <= rise for reset in resets):
                    break
                on_us += fall - rise
                if on_us > most_us + duty * (fall - begin) + n * SLACK_US:
                    self.wrong.append(f"{whose}: high for {on_us} us of {fall - begin} us from {begin}")
                    return

    def _judge_trains(self, highs: list[tuple[int, int]]) -> None:
        """Every pulse belongs to a command that was sent, and no command made more than its pulses."""
        lasts_us = self.config.lasts_ns // NS_PER_US
        late_us = MAX_HOLD_US + self.config.watchdog_ms * 1000 + SLACK_US
        for rise, _ in highs:
            if not any(sent - SLACK_US <= rise <= sent + lasts_us + late_us for sent in self.sent_us):
                self.wrong.append(f"high at {rise}, and nothing was sent")
        if len(highs) > len(self.sent_us) * self.config.n_pulses:
            self.wrong.append(f"{len(highs)} pulses of {len(self.sent_us)} commands")


HOST = """
import sys
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.inference.actuators.serial_actuator import SerialActuatorConfig
from ethostream.streaming.messages import Decision
from ethostream.sync.clock import ClockAnchor, RigClock
clock = RigClock(ClockAnchor.take())
config = SerialActuatorConfig(port=sys.argv[1], output=1, pulse_ms=8000, max_on_ms=9000, watchdog_ms=200)
line = make_actuators({"line": config}, clock)["line"]
line.arm()
line.fire(Decision("r", 0, "fired", "", "rear", 0.9, "line", (), 0, 0, 0, 0))
while True:
    for report in line.poll():
        print(report.state, flush=True)
    clock.sleep_until_ns(clock.now_ns() + 5_000_000)
"""


def kill_for_real(firmware: Path, draw: random.Random) -> int:
    """SIGKILL in the middle of a pulse of eight seconds; returns for how long the line was high, µs of the board."""
    command = [str(firmware), "0", "0", "lines"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as board:
        assert board.stdin is not None and board.stdout is not None
        port = board.stdout.readline().strip()
        host = subprocess.Popen([sys.executable, "-c", HOST, port], stdout=subprocess.PIPE, text=True)
        assert host.stdout is not None
        said = host.stdout.readline().strip()
        assert said == "acknowledged", said
        _, high, rose_us = board.stdout.readline().split()
        assert high == "1"
        # The pulse goes on as long as the host lives: a moment of it, then the end.
        import select

        select.select([board.stdout], [], [], draw.random() * 0.4)
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
        host.stdout.close()
        _, low, fell_us = board.stdout.readline().split()
        assert low == "0"
        board.stdin.close()
    return int(fell_us) - int(rose_us)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    events: Counter[str] = Counter()
    states: Counter[str] = Counter()
    wrong: list[str] = []
    killed_us: list[int] = []
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        library = simulated.compile_simulated_board(Path(folder))
        firmware = load("board_processes").compile_firmware(Path(folder))
        if library is None or firmware is None:
            print("no C++ compiler here: the firmware cannot be run", file=sys.stderr)
            return 1
        loaded = simulated.load_simulated_board(library)
        for number in progress.track(range(options.sessions), description="sessions"):
            session = Session(loaded, options.seed + number).run()
            events += session.events
            states += session.states
            wrong += [f"seed {session.seed}: {words}" for words in session.wrong]
        draw = random.Random(options.seed)
        for _ in progress.track(range(options.kills), description="kills"):
            killed_us.append(kill_for_real(firmware, draw))
    wrong += [f"killed, and high for {us} us of 8 s" for us in killed_us if us > 4_000_000]
    result = {
        "sessions": options.sessions,
        "seed": options.seed,
        "simulated_s": options.sessions * SESSION_US / 1e6,
        "events": dict(events),
        "n_events": sum(events.values()),
        "actuations": dict(states),
        "real_kills": options.kills,
        "longest_after_kill_ms": max(killed_us, default=0) / 1000,
        "wrong": wrong,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
