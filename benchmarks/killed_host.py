"""A host that is killed with SIGKILL in the middle of a pulse, the firmware in real time: when does the line fall?"""

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

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
        select.select([board.stdout], [], [], draw.random() * 0.4)
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
        host.stdout.close()
        _, low, fell_us = board.stdout.readline().split()
        assert low == "0"
        board.stdin.close()
    return int(fell_us) - int(rose_us)
