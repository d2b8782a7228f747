"""The short form of ``benchmarks/actuator_safety.py``: sessions that go wrong, drawn by hypothesis and by number."""

import ctypes
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ethostream.inference.actuators.actuator import BaseActuator
from ethostream.inference.actuators.board_link import BoardLink
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.sync.errors import ActuatorError
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from faulty_session import EVENTS, Session
from killed_host import kill_for_real


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_line_is_never_high_beyond_its_limits_nor_while_disarmed(
    simulated_board_library: ctypes.CDLL, seed: int
) -> None:
    assert Session(simulated_board_library, seed).run().wrong == []


def test_sessions_see_every_kind_of_trouble_and_act_all_the_same(simulated_board_library: ctypes.CDLL) -> None:
    sessions = [Session(simulated_board_library, seed).run() for seed in range(12)]
    assert [one.wrong for one in sessions if one.wrong] == []
    assert {event for one in sessions for event in one.events} == set(EVENTS)
    states = {state for one in sessions for state in one.states}
    assert states == {"sent", "acknowledged", "cancelled", "refused", "failed", "released"}


@pytest.mark.parametrize("broken", ["release", "disarmed", "limits"])
def test_the_judge_sees_what_is_wrong(
    simulated_board_library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A host whose release does nothing, that fires though it is disarmed, or that knows no limits."""

    def anyhow(self: Any, decision: Any) -> bool:
        with suppress(ActuatorError):
            self._act(decision)
        return True

    if broken == "release":
        monkeypatch.setattr(BoardLink, "release", lambda self, reason="": self._disarm(None))
    elif broken == "disarmed":
        monkeypatch.setattr(BoardLink, "release", lambda self, reason="": self._disarm(None))
        monkeypatch.setattr(BaseActuator, "fire", anyhow)
    else:
        monkeypatch.setattr(LimitedActuator, "_why_not", lambda self, now: "")
    words = {"release": "while disarmed", "disarmed": "while disarmed", "limits": "host: high for"}[broken]
    found = [text for seed in range(8) for text in Session(simulated_board_library, seed).run().wrong]
    assert any(words in text for text in found), found


def test_a_killed_process_leaves_no_line_up(firmware: Path) -> None:
    """SIGKILL in the middle of a pulse of eight seconds, with the firmware in real time."""
    assert kill_for_real(firmware, random.Random(1)) < 4_000_000
