"""Does a replay say what the live run said? Every probability, label, decision and track, bit for bit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from ..streaming.messages import Behavior, Decision, Message, PipelineState, Tracks
from ..streaming.recording_config import LOSSLESS_CODECS
from ..streaming.recording_reader import Recording
from ..streaming.topics import BEHAVIOR, DECISION, PIPELINE_STATE, TRACKS

_OF_THE_RUN = (
    "t_taken_ns", "t_cropped_ns", "t_arrived_ns", "t_embedded_ns", "t_head_ns", "t_decided_ns", "t_fired_ns",
    "previous_set_id", "epoch",
)  # fmt: skip
"""When a stage ended is measured anew in a replay, chain of sets and process are its own; all else must be equal."""
_MAX_SHOWN = 5

Answer = Behavior | Decision | Tracks
"""What a replay has to say again."""


@dataclass(frozen=True, slots=True)
class LiveModel:
    """What a recording says of the model that ran live.

    Attributes:
        bundle: its identity, None where no state of it was saved.
        lossy: codecs of the videos that do not give back the captured bytes.
    """

    bundle: str | None
    lossy: tuple[str, ...]

    @classmethod
    def read(cls, recording: Recording) -> Self:
        """Look it up."""
        states = (one.message for one in recording.messages([PIPELINE_STATE]))
        bundle = next((state.bundle for state in states if isinstance(state, PipelineState)), None)
        codecs = {camera.codec for camera in recording.info.cameras.values()}
        return cls(bundle, tuple(sorted(codecs - LOSSLESS_CODECS)))

    def why_not_repeated(self, bundle: str | None, *, same_task: bool) -> str | None:
        """Why a replay with ``bundle`` cannot repeat the live run set by set; None: it can."""
        if self.bundle is None:
            return "the recording holds no model state: it was made without a model, or ended before its first set"
        if bundle != self.bundle:
            return f"another model: {bundle or 'none'} instead of {self.bundle}; every recorded set is run through it"
        if not same_task:
            return "another task: every recorded set is run through it"
        return None


class ReplayComparison:
    """Takes the replay's messages in order and compares each with the live one, which it reads alongside.

    Where sets could not be replayed (their frames have no pixels in the recording), what the model remembers is no
    longer what it was live: the sets from there to the next saved state are counted and not compared.
    """

    def __init__(self, recording: Recording) -> None:
        self._live = self._read(recording)
        self._head = next(self._live, None)
        self._since_hole = False
        self._state_passed = False
        self.n_behaviors = 0
        self.n_decisions = 0
        self.n_tracks = 0
        self.n_different = 0
        self.n_missing = 0
        self.n_not_compared = 0
        self._shown: list[str] = []

    @staticmethod
    def _read(recording: Recording) -> Iterator[Answer | PipelineState]:
        state_seen = False
        for logged in recording.messages([PIPELINE_STATE, BEHAVIOR, DECISION, TRACKS]):
            message = logged.message
            state_seen = state_seen or isinstance(message, PipelineState)
            if state_seen and isinstance(message, Answer | PipelineState):
                yield message

    def add(self, message: Message) -> None:
        """Compare one message; others than behaviours, decisions and tracks are passed over."""
        if not isinstance(message, Answer):
            return
        self.n_behaviors += isinstance(message, Behavior)
        self.n_decisions += isinstance(message, Decision)
        self.n_tracks += isinstance(message, Tracks)
        self._advance_to(message)
        live = self._head
        if self._since_hole:
            self.n_not_compared += 1
            if live is not None and _key(live) == _key(message):
                self._head = next(self._live, None)
            return
        if isinstance(message, Decision) and isinstance(live, Behavior) and live.previous_set_id > message.set_id:
            # Behaviours between the two never reached the recording, and this set's decisions may be lost with them.
            self.n_not_compared += 1
            return
        if live is None or isinstance(live, PipelineState) or _key(live) != _key(message):
            self._different(f"{_name(message)}: not in the live run")
            return
        self._head = next(self._live, None)
        before, after = _comparable(live), _comparable(message)
        if before != after:
            names = [name for name in before if before[name] != after[name]]
            self._different(f"{_name(message)}: {names[0]} was {before[names[0]]} live and is {after[names[0]]} now")

    def _advance_to(self, message: Answer) -> None:
        """Pass over states, and over live messages of sets before this one: the replay has left them out."""
        while self._head is not None:
            head = self._head
            if isinstance(head, PipelineState):
                if head.set_id > message.set_id:
                    return
                self._since_hole = False
            elif _order(head) < _order(message):
                self._missing(head)
            else:
                return
            self._head = next(self._live, None)

    def _missing(self, live: Answer) -> None:
        if isinstance(live, Behavior) or not self._since_hole:
            self.n_missing += 1
            self._show(f"{_name(live)}: not replayed")
        self._since_hole = self._since_hole or isinstance(live, Behavior)

    def _different(self, words: str) -> None:
        self.n_different += 1
        self._show(words)

    def _show(self, words: str) -> None:
        if len(self._shown) < _MAX_SHOWN:
            self._shown.append(words)

    def finish(self) -> None:
        """The replay has ended: what the live run still has was not replayed."""
        while self._head is not None:
            if not isinstance(self._head, PipelineState):
                self._missing(self._head)
            self._head = next(self._live, None)

    def to_dict(self, n_unreplayable: int, lossy: tuple[str, ...]) -> dict[str, Any]:
        """The result.

        ``exact`` is True when every live behaviour, decision and track came again and none differs; None, with the
        reason in ``why``, where that cannot be asked; else False.

        Args:
            n_unreplayable: sets that the replay node could not hand over.
            lossy: codecs that changed the pixels.
        """
        exact: bool | None = not self.n_different and not self.n_missing
        why = ""
        if lossy:
            exact, why = None, f"recorded with {', '.join(lossy)}, which changes pixels: answers may differ"
        elif not self.n_different and 0 < self.n_missing <= n_unreplayable:
            exact, why = (
                None,
                f"{n_unreplayable} sets lack pixels or a behaviour in the recording; all that can be compared is equal",
            )
        return {
            "exact": exact,
            "why": why,
            "behaviors": self.n_behaviors,
            "decisions": self.n_decisions,
            "tracks": self.n_tracks,
            "different": self.n_different,
            "missing": self.n_missing,
            "not_compared": self.n_not_compared,
            "unreplayable": n_unreplayable,
            "first_differences": self._shown,
        }


def _order(message: Answer) -> tuple[int, int]:
    return message.set_id, (Behavior, Decision, Tracks).index(type(message))


def _key(message: Answer | PipelineState) -> tuple[str, int, str, int]:
    match message:
        case PipelineState():
            return "state", message.set_id, "", 0
        case Decision():
            return "decision", message.set_id, message.rule, message.animal
        case Tracks():
            return "tracks", message.set_id, "", 0
        case Behavior():
            return "behavior", message.set_id, "", message.animal


def _name(message: Answer) -> str:
    match message:
        case Decision():
            return f"rule {message.rule} at set {message.set_id}"
        case Tracks():
            return f"tracks of set {message.set_id}"
        case Behavior():
            return f"set {message.set_id}"


def _comparable(message: Answer) -> dict[str, Any]:
    values = msgspec.structs.asdict(message)
    return {name: value for name, value in values.items() if name not in _OF_THE_RUN}
