"""What must hold at an opportunity: probability, dwell, label, place, session time and other rules."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...streaming.messages import Behavior, Tracks
from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.errors import ConfigError
from ..cropper import State
from .config import RuleConfig, ZoneCondition
from .limits import Limits
from .reasons import Withheld
from .triggers import NEVER_NS
from .zones import BoxMmConfig, PolygonMmConfig, ZoneConfig, ZonePxConfig

Position = tuple[float, float, float]


class Positions:
    """Where the animals were in the newest tracked set, in millimetres."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._t_ns = NEVER_NS
        self._valid: dict[int, Position] = {}

    def take(self, tracks: Tracks) -> None:
        """The tracks of a set; those that are not valid are not known."""
        self._t_ns = tracks.t_mid_ns
        self._valid = {one.animal: one.xyz_mm for one in tracks.animals if one.valid}

    def of(self, animal: int, t_ns: int, max_age_ns: int) -> Position | None:
        """Where an animal is at exposure time ``t_ns``; None: not known, or known too long ago."""
        if self._t_ns == NEVER_NS or t_ns - self._t_ns > max_age_ns:
            return None
        return self._valid.get(animal)

    def snapshot(self) -> State:
        animals = list(self._valid)
        return {
            "tracked": np.array([self._t_ns, *animals], np.int64),
            "tracked_mm": np.array([self._valid[one] for one in animals], np.float64).reshape(-1, 3),
        }

    def restore(self, state: State) -> None:
        self._t_ns, *animals = (int(value) for value in state["tracked"])
        places = (tuple(float(value) for value in row) for row in state["tracked_mm"])
        self._valid = {animal: (x, y, z) for animal, (x, y, z) in zip(animals, places, strict=True)}


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at an opportunity.

    Attributes:
        behavior: the model's answer for the set.
        about: the behaviour that the opportunity is about, "" where it is about none.
        dwell_ns: how long the behaviour of the moment has lasted; at its end the one that ended.
        session_ns: from the session's begin to the decision.
    """

    behavior: Behavior
    about: str
    dwell_ns: int
    session_ns: int


class Conditions:
    """The conditions of one rule.

    Args:
        rule: its configuration; zones and rules that it names exist.
        classes: of the model.
        zones: of the task.
        positions: of the animals, in millimetres.
        others: what every rule has done so far, by name.
    """

    def __init__(
        self,
        rule: RuleConfig,
        classes: Mapping[str, int],
        zones: Mapping[str, ZoneConfig],
        positions: Positions,
        others: Mapping[str, Limits],
    ) -> None:
        when = rule.when
        self._classes = classes
        self._probability = when.probability
        self._dwell_ns: tuple[int, int | None] | None = None
        if when.dwell is not None:
            longest = None if when.dwell.max_ms is None else round(when.dwell.max_ms * NS_PER_MS)
            self._dwell_ns = round(when.dwell.min_ms * NS_PER_MS), longest
        self._labels = None if when.label is None else frozenset(when.label)
        self._zones = [(one, zones[one.zone]) for one in when.zones]
        self._session_ns: tuple[int, int | None] | None = None
        if when.session is not None:
            end = None if when.session.to_s is None else round(when.session.to_s * NS_PER_S)
            self._session_ns = round(when.session.from_s * NS_PER_S), end
        self._others = [
            (one.rule, round((one.within_ms or one.not_within_ms or 0.0) * NS_PER_MS), one.within_ms is not None)
            for one in when.rules
        ]
        self._positions = positions
        self._of = others

    def against(self, now: Situation) -> Withheld | None:
        """The first condition that does not hold."""
        one = self._probability
        if one is not None:
            p = now.behavior.p[self._classes[one.behavior or now.about]]
            if not one.min <= p <= one.max:
                return "probability"
        if self._dwell_ns is not None:
            shortest, longest = self._dwell_ns
            if now.dwell_ns < shortest or (longest is not None and now.dwell_ns > longest):
                return "dwell"
        if self._labels is not None and now.behavior.label not in self._labels:
            return "label"
        for condition, zone in self._zones:
            within = self._within(condition, zone, now.behavior)
            if within is None:
                return "position unknown"
            if within != condition.inside:
                return "zone"
        if self._session_ns is not None:
            begin, end = self._session_ns
            if now.session_ns < begin or (end is not None and now.session_ns >= end):
                return "session time"
        for name, within_ns, wanted in self._others:
            last_ns = self._of[name].exposure_ns
            if (last_ns != NEVER_NS and now.behavior.t_exposure_ns - last_ns <= within_ns) != wanted:
                return "other rule"
        return None

    def _within(self, condition: ZoneCondition, zone: ZoneConfig, behavior: Behavior) -> bool | None:
        if isinstance(zone, BoxMmConfig | PolygonMmConfig):
            max_age_ns = round(condition.max_age_ms * NS_PER_MS)
            place = self._positions.of(condition.animal, behavior.t_exposure_ns, max_age_ns)
            return None if place is None else zone.holds(*place)
        return _in_view(zone, behavior)


def _in_view(zone: ZonePxConfig, behavior: Behavior) -> bool | None:
    for box in behavior.boxes:
        if box.camera == zone.view:
            if not box.valid:
                return None
            return zone.holds(box.x_px + box.width_px / 2, box.y_px + box.height_px / 2)
    return None


def check_names(rules: list[RuleConfig], zones: Mapping[str, ZoneConfig], tracked: bool) -> None:
    """Rules name each other and zones as they are.

    Args:
        rules: of a task.
        zones: of the task.
        tracked: whether the task asks for tracking.

    Raises:
        ConfigError: a name stands twice, a rule or zone is not there, or one needs what the task does not ask for.
    """
    names = [rule.name for rule in rules]
    if len(set(names)) != len(names):
        raise ConfigError(f"rules: a name stands twice in {names}; every rule needs its own")
    for rule in rules:
        for other in rule.when.rules:
            if other.rule not in names:
                raise ConfigError(
                    f"rule {rule.name!r}: when.rules names {other.rule!r}, which is no rule of this task "
                    f"({', '.join(names)})"
                )
        for one in rule.when.zones:
            zone = zones.get(one.zone)
            if zone is None:
                have = ", ".join(zones) or "none"
                raise ConfigError(f"rule {rule.name!r}: zone {one.zone!r} is not defined (there are: {have}); add it")
            if isinstance(zone, BoxMmConfig | PolygonMmConfig) and not tracked:
                raise ConfigError(
                    f"rule {rule.name!r}: zone {one.zone!r} is in millimetres, and nothing says where the animal is: "
                    "set tracking, or give the zone in pixels of a view (kind box_px or polygon_px)"
                )
