"""Does a replay say what the live run said? Every probability, label, rule decision and trigger, bit for bit."""

from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from ..streaming.messages import Behavior, Decision, Message, PipelineState
from ..streaming.recording_reader import Recording
from ..streaming.topics import BEHAVIOR, DECISION, PIPELINE_STATE

_OWN_TIMES = ("t_taken_ns", "t_cropped_ns", "t_embedded_ns", "t_head_ns", "t_decided_ns", "t_fired_ns")
"""When a stage ended is measured anew in a replay; everything else must be equal."""
_MAX_SHOWN = 5


def _comparable(message: Behavior | Decision) -> dict[str, Any]:
    values = msgspec.structs.asdict(message)
    return {name: value for name, value in values.items() if name not in _OWN_TIMES}


@dataclass(slots=True)
class LiveDecisions:
    """What the live model said from its first saved state on."""

    behaviors: dict[int, Behavior] = field(default_factory=dict[int, Behavior])
    decisions: dict[tuple[int, str, int], Decision] = field(default_factory=dict[tuple[int, str, int], Decision])
    bundle: str = ""
    has_state: bool = False

    @classmethod
    def read(cls, recording: Recording) -> Self:
        """Read them from a recording."""
        live = cls()
        for logged in recording.messages([PIPELINE_STATE, BEHAVIOR, DECISION]):
            message = logged.message
            if isinstance(message, PipelineState):
                live.has_state, live.bundle = True, message.bundle
            elif live.has_state and isinstance(message, Behavior):
                live.behaviors[message.set_id] = message
            elif live.has_state and isinstance(message, Decision):
                live.decisions[message.set_id, message.rule, message.animal] = message
        return live

    def why_not_exact(self, bundle: str | None, *, same_task: bool) -> str | None:
        """Why a replay with ``bundle`` cannot be compared with the live run; None: it can."""
        if not self.has_state:
            return "the recording holds no model state: it was made without a model, or ended before its first set"
        if bundle != self.bundle:
            return f"another model: {bundle or 'none'} instead of {self.bundle}; every recorded set is run through it"
        if not same_task:
            return "another task: every recorded set is run through it"
        return None


class ReplayComparison:
    """Takes the replay's messages and counts those that differ from the live ones."""

    def __init__(self, live: LiveDecisions) -> None:
        self._live = live
        self._behaviors: set[int] = set()
        self._decisions: set[tuple[int, str, int]] = set()
        self._n_different = 0
        self._shown: list[str] = []

    def add(self, message: Message) -> None:
        """Compare one message; others than behaviours and decisions are passed over."""
        if isinstance(message, Behavior):
            self._behaviors.add(message.set_id)
            self._compare(f"set {message.set_id}", self._live.behaviors.get(message.set_id), message)
        elif isinstance(message, Decision):
            key = (message.set_id, message.rule, message.animal)
            self._decisions.add(key)
            self._compare(f"rule {message.rule} at set {message.set_id}", self._live.decisions.get(key), message)

    def _compare(self, what: str, live: Behavior | Decision | None, replayed: Behavior | Decision) -> None:
        if live is None:
            self._different(f"{what}: not in the live run")
            return
        before, after = _comparable(live), _comparable(replayed)
        if before != after:
            names = [name for name in before if before[name] != after[name]]
            self._different(f"{what}: {names[0]} was {before[names[0]]} live and is {after[names[0]]} now")

    def _different(self, words: str) -> None:
        self._n_different += 1
        if len(self._shown) < _MAX_SHOWN:
            self._shown.append(words)

    def to_dict(self) -> dict[str, Any]:
        """``exact`` is True when every live behaviour and decision came again and none differs."""
        n_missing = len(self._live.behaviors.keys() - self._behaviors) + len(
            self._live.decisions.keys() - self._decisions
        )
        return {
            "exact": self._n_different == 0 and n_missing == 0,
            "behaviors": len(self._behaviors),
            "decisions": len(self._decisions),
            "different": self._n_different,
            "missing": n_missing,
            "first_differences": self._shown,
        }
