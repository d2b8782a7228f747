"""Why a decision is what it is: the closed list of reasons. `Decision.reason` holds one of these and nothing else."""

from typing import Final, Literal

Cause = Literal["onset", "end", "lasting", "sequence", "often", "time"]
"""Reason of a decision that fired or was a sham: which kind of opportunity it was."""

Withheld = Literal[
    "disarmed",
    "gap",
    "warm-up",
    "partial",
    "stale",
    "probability",
    "dwell",
    "label",
    "position unknown",
    "zone",
    "session time",
    "other rule",
    "refractory",
    "max count",
    "max rate",
    "max duty",
]
"""Reason of a decision that was withheld: the first of these, in this order, that held."""

CAUSES: Final[dict[Cause, str]] = {
    "onset": "the behaviour began (or had lasted for `after_ms`)",
    "end": "the behaviour ended",
    "lasting": "the behaviour goes on, and the time of `on_while` had come",
    "sequence": "the last behaviour of the sequence began",
    "often": "the behaviour began so often within the time of `on_rate`",
    "time": "a session time of `on_times` had come",
}

WITHHELD: Final[dict[Withheld, str]] = {
    "disarmed": "a person, the schedule or the input line had it disarmed, or the process was started again",
    "gap": "frames were missing just before it: the model began anew and was not warm yet, or `max_gap_frames` is less",
    "warm-up": "the model had not seen enough frames since it began",
    "partial": "a view was missing, and `require_complete` is set",
    "stale": "the frames were exposed more than `max_age_ms` before the decision, or a time of `on_times` was missed",
    "probability": "`when.probability` did not hold",
    "dwell": "`when.dwell` did not hold",
    "label": "the behaviour of the moment was none of `when.label`",
    "position unknown": "a zone was asked for, and where the animal was is not known",
    "zone": "`when.zones` did not hold",
    "session time": "`when.session` did not hold",
    "other rule": "`when.rules` did not hold",
    "refractory": "less than `refractory_ms` since the last trial",
    "max count": "there had been `max_count` trials",
    "max rate": "there had been `max_per_min` trials within a minute",
    "max duty": "the actuator would be on for more than `max_duty` allows",
}

REASONS: Final[dict[str, str]] = {**CAUSES, **WITHHELD}
"""Every reason and what it means; ``docs/rules.md`` holds the same table."""
