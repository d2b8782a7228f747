"""Rules in plain words: what `ethostream rules explain` says of a task, every number with its unit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .arming_config import ArmingConfig, LineEdge, LineLevel
from .config import OtherRuleCondition, RuleConfig, ZoneCondition
from .opportunity_config import TimesTrigger
from .zones import BoxMmConfig, BoxPxConfig, PolygonMmConfig, ZoneConfig


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """One rule in words, part by part; each part is whole sentences, "" where there is nothing to say.

    Attributes:
        rule: its name.
        fires: when it has an opportunity, and what it then does.
        conditions: what must hold besides.
        inhibits: what withholds it whatever else holds.
        limits: how often it may have a trial.
        sham: what happens with control trials.
    """

    rule: str
    fires: str
    conditions: str
    inhibits: str
    limits: str
    sham: str

    @property
    def text(self) -> str:
        """The whole paragraph."""
        parts = (self.fires, self.conditions, self.inhibits, self.limits, self.sham)
        return f"{self.rule}: " + " ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Parts and paragraph as JSON types."""
        return {**asdict(self), "text": self.text}


def explain_rule(rule: RuleConfig, zones: Mapping[str, ZoneConfig]) -> ExplainedRule:
    """Say one rule; ``zones`` are those of its task."""
    return ExplainedRule(rule.name, _fires(rule), _conditions(rule, zones), _inhibits(rule), _limits(rule), _sham(rule))


def explain_arming(arming: ArmingConfig) -> str:
    """Say when rules may fire at all."""
    start = (
        "Rules are armed when the run starts."
        if arming.at_start
        else "Rules start disarmed, until a person says `ethostream arm --yes`."
    )
    parts = [start]
    if arming.windows:
        spans = [_span(one.from_s, one.to_s) for one in arming.windows]
        parts.append(f"They may fire only {_or(spans)} of the session.")
    line = arming.line
    if isinstance(line, LineLevel):
        parts.append(f"They may fire only while input line {line.line} of the trigger board is {line.armed_when}.")
    elif isinstance(line, LineEdge):
        parts.append(
            f"They may fire only for {_s(line.for_s)} after each {line.edge} edge of input line {line.line} of the "
            "trigger board."
        )
    if line is not None:
        parts.append(
            f"A board that is missing, or sends nothing for {_s(line.silent_after_s)}, disarms them until the next "
            "edge of the line."
        )
    parts.append(
        "`ethostream disarm` disarms them at any time. After a failure of the model's process they are disarmed until "
        "a person arms them again."
    )
    return " ".join(parts)


def _fires(rule: RuleConfig) -> str:
    if rule.jitter_ms:
        late = f"{_ms(rule.delay_ms)} to {_ms(rule.delay_ms + rule.jitter_ms)} after the decision, drawn uniformly"
    else:
        late = f"{_ms(rule.delay_ms)} after the decision" if rule.delay_ms else "at once"
    return f"has {rule.actuator} act {late}, {_occasion(rule)}."


def _occasion(rule: RuleConfig) -> str:
    if (enter := rule.entered) is not None:
        after = f" has lasted for {_ms(enter.after_ms)}" if enter.after_ms else " begins"
        return f"when {enter.behavior}{after}"
    if rule.on_exit is not None:
        return f"when {rule.on_exit} ends"
    if (lasting := rule.on_while) is not None:
        first = f"{_ms(lasting.after_ms)} after it began" if lasting.after_ms else "as it begins"
        return f"while {lasting.behavior} lasts: first {first}, then every {_ms(lasting.every_ms)}"
    if (sequence := rule.on_sequence) is not None:
        first, *rest = sequence.steps
        steps = "; then ".join(f"{one.behavior} begins within {_ms(one.within_ms or 0.0)}" for one in rest)
        between = "" if sequence.others_between else ", with no other behaviour in between"
        return f"when {first.behavior} begins; then {steps}{between}"
    if (rate := rule.on_rate) is not None:
        return (
            f"when {rate.behavior} begins for the {_nth(rate.n)} time within {_s(rate.within_s)}, and then counts anew"
        )
    assert rule.on_times is not None
    return _times(rule.on_times)


def _times(times: TimesTrigger) -> str:
    whatever = "whatever the animal does"
    if times.recording is not None:
        which = "fired" if times.trials == "fired" else "fired or was a sham"
        return f"at the session times at which rule {times.rule} {which} in {times.recording}, {whatever}"
    if times.csv is not None:
        return f"at the session times in column {times.column} of {times.csv}, {whatever}"
    given = times.session_s or ()
    if len(given) > 5:
        return f"at {len(given)} set times from {_s(min(given))} to {_s(max(given))} of the session, {whatever}"
    return f"at {_and([_s(one) for one in sorted(given)])} of the session, {whatever}"


def _conditions(rule: RuleConfig, zones: Mapping[str, ZoneConfig]) -> str:
    when = rule.when
    held: list[str] = []
    if (p := when.probability) is not None:
        whose = p.behavior or "that behaviour"
        if p.max == 1.0:
            held.append(f"the probability of {whose} is at least {p.min:g}")
        elif p.min == 0.0:
            held.append(f"the probability of {whose} is at most {p.max:g}")
        else:
            held.append(f"the probability of {whose} is between {p.min:g} and {p.max:g}")
    if (dwell := when.dwell) is not None:
        most = "" if dwell.max_ms is None else f"at most {_ms(dwell.max_ms)}"
        least = f"at least {_ms(dwell.min_ms)}" if dwell.min_ms else ""
        lasted = "the behaviour lasted" if rule.on_exit is not None else "the behaviour of the moment has lasted"
        held.append(f"{lasted} {' and '.join(one for one in (least, most) if one) or 'for any time'}")
    if when.label is not None:
        held.append(f"the behaviour of the moment is {_or(when.label)}")
    held += [_place(one, zones[one.zone]) for one in when.zones]
    if when.session is not None:
        held.append(f"it is {_span(when.session.from_s, when.session.to_s)} of the session")
    held += [_other(one) for one in when.rules]
    return f"It must hold that {_and(held)}." if held else ""


def _place(condition: ZoneCondition, zone: ZoneConfig) -> str:
    where = "in" if condition.inside else "outside"
    who = "the animal" if not condition.animal else f"animal {condition.animal}"
    if isinstance(zone, BoxMmConfig | PolygonMmConfig):
        height = "" if zone.z_mm is None else f", z {_range(zone.z_mm)} mm"
        if isinstance(zone, BoxMmConfig):
            shape = f"x {_range(zone.x_mm)} mm, y {_range(zone.y_mm)} mm{height}"
        else:
            shape = f"a polygon of {len(zone.points_mm)} corners in mm{height}"
        return f"{who} is {where} {condition.zone} ({shape}), by a position of at most {_ms(condition.max_age_ms)} ago"
    if isinstance(zone, BoxPxConfig):
        shape = f"x {_range(zone.x_px)} px, y {_range(zone.y_px)} px in view {zone.view}"
    else:
        shape = f"a polygon of {len(zone.points_px)} corners in px in view {zone.view}"
    return f"the animal is {where} {condition.zone} ({shape})"


def _other(condition: OtherRuleCondition) -> str:
    if condition.within_ms is not None:
        return f"rule {condition.rule} had a trial within the last {_ms(condition.within_ms)}"
    return f"rule {condition.rule} had no trial within the last {_ms(condition.not_within_ms or 0.0)}"


def _inhibits(rule: RuleConfig) -> str:
    causes = ["while disarmed", "while the model is not warm, at its start and after a gap that it could not bridge"]
    if rule.max_gap_frames is not None:
        causes.append(f"when more than {_n(rule.max_gap_frames, 'frame')} just before had no input")
    if rule.require_complete:
        causes.append("when a view is missing")
    causes.append(f"when the frames were exposed more than {_ms(rule.max_age_ms)} before the decision")
    if rule.on_times is not None:
        causes.append(f"when no set came within {_ms(rule.max_age_ms)} of its time")
    if rule.when.zones:
        causes.append("when the position is not known")
    return f"It is withheld {_or(causes)}."


def _limits(rule: RuleConfig) -> str:
    limits: list[str] = []
    if rule.refractory_ms:
        limits.append(f"at least {_ms(rule.refractory_ms)} lie between two trials")
    if rule.max_count is not None:
        limits.append(f"there {_at_most(rule.max_count)} in a session")
    if rule.max_per_min is not None:
        limits.append(f"there {_at_most(rule.max_per_min)} in any 60 s")
    if (duty := rule.max_duty) is not None:
        limits.append(
            f"pulses of {_ms(duty.pulse_ms)} take up at most {100 * duty.share:g} % of any {_s(duty.over_s)} "
            f"({_n(duty.n_pulses, 'pulse')})"
        )
    if not limits:
        return "Nothing limits how often."
    words = _and(limits)
    return f"{words[0].upper()}{words[1:]}."


def _sham(rule: RuleConfig) -> str:
    sham = rule.sham
    seed = "" if not rule.draws else " The seed is drawn when a run starts." if rule.seed is None else (
        f" The seed is {rule.seed}."
    )  # fmt: skip
    if sham is None or not sham.fraction:
        return seed.strip()
    if sham.block is None:
        share = f"Each trial is a sham with probability {sham.fraction:g}"
    else:
        n_sham = round(sham.fraction * sham.block)
        share = f"Of every {sham.block} trials exactly {n_sham} {'is a sham' if n_sham == 1 else 'are shams'}"
    return f"{share}: nothing acts, and all else is as if it had, limits included.{seed}"


def _ms(ms: float) -> str:
    return f"{ms:g} ms" if ms < 10_000 else f"{ms / 1000:g} s"


def _s(seconds: float) -> str:
    return f"{seconds:g} s"


def _at_most(n: int) -> str:
    return f"{'is' if n == 1 else 'are'} at most {_n(n, 'trial')}"


def _n(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _span(from_s: float, to_s: float | None) -> str:
    return f"from {_s(from_s)} to {_s(to_s)}" if to_s is not None else f"from {_s(from_s)} to the end"


def _range(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}"


def _nth(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _and(parts: list[str]) -> str:
    return ", and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 2 else " and ".join(parts)


def _or(parts: list[str]) -> str:
    return ", or ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 2 else " or ".join(parts)
