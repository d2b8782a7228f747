"""What a stabiliser has to reach, written as people say it: ``false triggers/h <= 2 and recall >= 0.9``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...sync.errors import ConfigError
from ..scores.onsets import OnsetScores

_SHAPE: Final = re.compile(r"\s*(.+?)\s*(<=|>=)\s*([0-9]*\.?[0-9]+)\s*(ms)?\s*", re.IGNORECASE)
_EXAMPLE: Final = "'false triggers/h <= 2 and recall >= 0.9'"


@dataclass(frozen=True, slots=True)
class Condition:
    """``measure`` must be at most (``<=``) or at least (``>=``) ``limit``."""

    measure: str
    sign: str
    limit: float

    def met(self, scores: OnsetScores) -> bool:
        """A measure that is not defined (no bout, nothing found) does not meet anything."""
        value = _value(self.measure, scores)
        if value is None:
            return False
        return value <= self.limit if self.sign == "<=" else value >= self.limit


_MEASURES: Final[dict[str, tuple[str, str]]] = {
    # what may be written -> measure and the only sign that makes sense
    "false triggers/h": ("false_per_hour", "<="),
    "false triggers per hour": ("false_per_hour", "<="),
    "recall": ("recall", ">="),
    "delay p50": ("delay_p50_ms", "<="),
    "delay p99": ("delay_p99_ms", "<="),
}


def _value(measure: str, scores: OnsetScores) -> float | None:
    match measure:
        case "false_per_hour":
            return scores.false_per_hour
        case "recall":
            return scores.recall
        case "delay_p50_ms":
            return scores.delay_ms(50)
        case _:
            return scores.delay_ms(99)


@dataclass(frozen=True, slots=True)
class Target:
    """All conditions together, as ``text`` says."""

    text: str
    conditions: tuple[Condition, ...]

    def met(self, scores: Mapping[str, OnsetScores]) -> bool:
        """Whether every one of the behaviours meets every condition."""
        return all(condition.met(one) for one in scores.values() for condition in self.conditions)


def parse_target(text: str) -> Target:
    """Read a target: conditions joined by ``and``.

    Each is ``false triggers/h <=``, ``recall >=``, ``delay p50 <=`` or ``delay p99 <=`` and a number (delays in ms).

    Raises:
        ConfigError: it is none; the message shows one.
    """
    conditions: list[Condition] = []
    for part in re.split(r"\band\b", text, flags=re.IGNORECASE):
        found = _SHAPE.fullmatch(part)
        name = " ".join(found.group(1).lower().split()) if found else ""
        if found is None or name not in _MEASURES:
            raise ConfigError(
                f"target {part.strip()!r} is not understood; write {', '.join(_MEASURES)} with <= or >= and a number, "
                f"as in {_EXAMPLE}"
            )
        measure, sign = _MEASURES[name]
        if found.group(2) != sign:
            raise ConfigError(f"target {part.strip()!r}: {name} goes with {sign}, as in {_EXAMPLE}")
        if found.group(4) and not measure.endswith("_ms"):
            raise ConfigError(f"target {part.strip()!r}: {name} is not in milliseconds")
        limit = float(found.group(3))
        if measure == "recall" and limit > 1.0:
            raise ConfigError(f"target {part.strip()!r}: recall is a share from 0 to 1")
        conditions.append(Condition(measure, sign, limit))
    return Target(text, tuple(conditions))
