"""A whole rig whose rules are armed and disarmed by an input line of its trigger board, with a real line to drive.

Both boards are the firmware's own core, each a process on a pseudo-terminal.
"""

from collections import defaultdict
from pathlib import Path

import pytest
from board_processes import BoardProcess
from ethostream.streaming.messages import Actuation, Arming, Decision, SyncPulse
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ACTUATION, ARMING, DECISION, SYNC_PULSE
from ethostream.streaming.wire import Received
from live_rig import live
from run_end import LIMIT_S, RING_SLOTS, RunEnd
from small_rig import Quiet

pytestmark = pytest.mark.timeout(300)
LINE = 1
N_EACH = 3


class Hand:
    """Pulls the line up once rules are withheld, down once they have fired, and ends the run when they are withheld."""

    def __init__(self, board: BoardProcess) -> None:
        self.board = board
        self.phase = 0
        self.n = 0

    def __call__(self, received: Received) -> None:
        message = received.message
        if self.phase in (0, 2):
            self.n += isinstance(message, Decision) and message.reason == "disarmed"
        elif self.phase == 1:
            self.n += isinstance(message, Actuation) and message.state == "acknowledged"
        elif self.phase == 3:
            # What was decided before the edge was heard is on its way as well.
            self.phase += isinstance(message, Arming) and not message.armed
            return
        if self.n < N_EACH:
            return
        self.n = 0
        if self.phase == 0:
            self.phase = 1
            self.board.set_input(LINE, high=True)
        elif self.phase == 1:
            self.phase = 3
            self.board.set_input(LINE, high=False)


def test_a_line_arms_and_disarms_what_fires(tmp_path: Path, firmware: Path) -> None:
    with BoardProcess.firmware(firmware) as trigger, BoardProcess.firmware(firmware) as stimulus:
        hand, end = Hand(trigger), RunEnd()
        n_after = 0

        def act(received: Received) -> None:
            nonlocal n_after
            hand(received)
            if hand.phase > 3 and isinstance(received.message, Decision):
                n_after += 1
                end.when(n_after >= N_EACH)

        task = {
            "bundle": "demo",
            "rules": [
                {"name": f"while_{name}", "on_while": {"behavior": name, "every_ms": 500}, "actuator": "laser"}
                for name in ("rear", "locomote", "groom", "still")
            ],
            # No bound on time may end what this test is about: a process may be held up.
            "arming": {"line": {"kind": "level", "line": f"in{LINE}", "silent_after_s": 60}},
            "actuators": {
                "laser": {
                    "kind": "serial",
                    "port": stimulus.port,
                    "output": 1,
                    "pulse_ms": 2,
                    "watchdog_ms": 10_000,
                    "ack_timeout_ms": 5000,
                }
            },
        }
        # Few pulses, so that none is lost while nobody reads the terminal, and so that it may be silent for long.
        board = {"kind": "serial", "port": trigger.port, "cameras": [], "inputs": [LINE], "rate_hz": 0.5}
        result = live(
            tmp_path,
            LIMIT_S,
            Quiet(act),
            task=task,
            trigger={**board, "watchdog_ms": 60_000},
            recording={"video": False, "reserve_mb": 10},
            bus={"ring_slots": RING_SLOTS},
        )
    assert result.outcome.failures == [] and result.recording is not None
    assert result.outcome.reason == "interrupted", f"phase {hand.phase} lasted to the end"
    said = [
        one.message
        for one in Recording.open(result.recording).messages([ARMING, DECISION, ACTUATION, SYNC_PULSE])
        if not (isinstance(one.message, SyncPulse) and one.message.line == "trigger")
    ]
    edges = [(one.line, one.rising) for one in said if isinstance(one, SyncPulse)]
    assert edges == [(f"in{LINE}", True), (f"in{LINE}", False)]
    changes = [(one.armed, one.by) for one in said if isinstance(one, Arming)]
    assert changes == [(False, "start"), (True, f"line in{LINE}"), (False, f"line in{LINE}"), (False, "stop")]
    armed = False
    fired: set[tuple[str, int]] = set()
    for one in said:
        if isinstance(one, Arming):
            armed = one.armed
        elif isinstance(one, Decision):
            assert (one.action == "fired") <= armed, one
            assert armed or one.reason == "disarmed"
            if one.action == "fired":
                fired.add((one.rule, one.set_id))
        elif isinstance(one, Actuation) and one.state == "sent":
            assert armed, one
    acts = [one for one in said if isinstance(one, Actuation)]
    words: dict[tuple[str, int], list[str]] = defaultdict(list)
    for one in acts:
        if one.state != "released":
            words[one.rule, one.set_id].append(one.state)
    # Each that fired has one word at once, and what was sent has the board's. One that comes upon another that the
    # board has not answered yet, or while its pulse lasts, is refused.
    assert words.keys() == fired
    assert all(one in (["sent", "acknowledged"], ["refused"], ["sent", "refused"]) for one in words.values()), words
    assert list(words.values()).count(["sent", "acknowledged"]) >= N_EACH
    assert [one.reason for one in acts if one.state == "released"] == [f"disarmed by line in{LINE}"]
    rose = [one.t_ns for one in said if isinstance(one, SyncPulse)]
    assert all(rose[0] < one.t_on_ns for one in acts if one.state == "acknowledged")
