"""The short form of ``benchmarks/actuator_safety.py``: sessions that go wrong, drawn by hypothesis and by number."""

import ctypes
import importlib.util
import random
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ethostream.inference.actuators.actuator import BaseActuator
from ethostream.inference.actuators.board_link import BoardLink
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.sync.errors import ActuatorError
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def safety(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("actuator_safety", repository / "benchmarks" / "actuator_safety.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["actuator_safety"] = module
    spec.loader.exec_module(module)
    return module


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_line_is_never_high_beyond_its_limits_nor_while_disarmed(
    safety: ModuleType, simulated_board_library: ctypes.CDLL, seed: int
) -> None:
    assert safety.Session(simulated_board_library, seed).run().wrong == []


def test_sessions_see_every_kind_of_trouble_and_act_all_the_same(
    safety: ModuleType, simulated_board_library: ctypes.CDLL
) -> None:
    sessions = [safety.Session(simulated_board_library, seed).run() for seed in range(12)]
    assert [one.wrong for one in sessions if one.wrong] == []
    assert {event for one in sessions for event in one.events} == set(safety.EVENTS)
    states = {state for one in sessions for state in one.states}
    assert states == {"sent", "acknowledged", "cancelled", "refused", "failed", "released"}


@pytest.mark.parametrize("broken", ["release", "disarmed", "limits"])
def test_the_judge_sees_what_is_wrong(
    safety: ModuleType, simulated_board_library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, broken: str
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
    found = [text for seed in range(8) for text in safety.Session(simulated_board_library, seed).run().wrong]
    assert any(words in text for text in found), found


def test_a_killed_process_leaves_no_line_up(safety: ModuleType, firmware: Path) -> None:
    """SIGKILL in the middle of a pulse of eight seconds, with the firmware in real time."""
    assert safety.kill_for_real(firmware, random.Random(1)) < 4_000_000
