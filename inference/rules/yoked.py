"""What a run fixes before it starts: the times of yoked rules, read from where they stand, and seeds, drawn.

Both then stand in the task as it is recorded, so that a replay depends on no other file.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ...streaming.messages import Arming, Behavior, Decision
from ...streaming.recording_reader import Recording
from ...streaming.topics import ARMING, BEHAVIOR, DECISION
from ...sync.clock import NS_PER_S
from ...sync.errors import ConfigError
from .arming import START
from .config import RuleConfig
from .opportunity_config import MAX_TIMES, TimesTrigger

_DIGITS: Final = 6


def with_seeds(rules: list[RuleConfig], draw: Callable[[], int]) -> list[RuleConfig]:
    """The rules with a seed drawn for each that needs one and names none."""
    return [rule.model_copy(update={"seed": draw()}) if rule.draws and rule.seed is None else rule for rule in rules]


def with_times(rules: list[RuleConfig]) -> list[RuleConfig]:
    """The rules with the times of ``on_times`` in place of the table or recording that they name.

    Raises:
        ConfigError: there are none to be read, or too many; the message names rule, file and cure.
        RecordingError: it is no recording.
    """
    read: list[RuleConfig] = []
    for rule in rules:
        times = rule.on_times
        if times is not None and times.session_s is None:
            fixed = TimesTrigger(session_s=_read(rule.name, times))
            read.append(rule.model_copy(update={"on_times": fixed}))
        else:
            read.append(rule)
    return read


def session_zero_ns(recording: Recording) -> int:
    """The instant from which session times of a recording count: its start message, else its first behaviour.

    Raises:
        ConfigError: it holds neither.
    """
    for logged in recording.messages([ARMING, BEHAVIOR]):
        if isinstance(logged.message, Arming) and logged.message.by == START:
            return logged.message.t_ns
        if isinstance(logged.message, Behavior):
            return logged.message.t_exposure_ns
    raise ConfigError(f"{recording.path}: no model ran in this recording; choose another")


def _read(rule: str, config: TimesTrigger) -> tuple[float, ...]:
    if config.csv is not None:
        times, source = _from_csv(rule, config.csv, config.column), config.csv
    else:
        assert config.recording is not None and config.rule is not None
        source = config.recording
        times = _from_recording(rule, source, config.rule, config.trials)
    if not 0 < len(times) <= MAX_TIMES:
        raise ConfigError(
            f"rule {rule!r}: on_times: {source} gives {len(times)} times; between 1 and {MAX_TIMES} are expected"
        )
    return tuple(sorted(times))


def _from_csv(rule: str, path: Path, column: str) -> list[float]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if column not in (reader.fieldnames or ()):
                raise ConfigError(
                    f"rule {rule!r}: on_times: {path} has no column {column!r} ({', '.join(reader.fieldnames or ())}); "
                    "set on_times.column"
                )
            values = [(reader.line_num, row[column]) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"rule {rule!r}: on_times: {path} cannot be read ({error}); check the path") from error
    times: list[float] = []
    for line, value in values:
        try:
            times.append(float(value or "nan"))
        except ValueError:
            times.append(float("nan"))
        if not 0.0 <= times[-1] < float("inf"):
            raise ConfigError(
                f"rule {rule!r}: on_times: {path}, line {line}: {value!r} is no time; {column} holds seconds since the "
                "session began, 0 or more"
            )
    return times


def _from_recording(rule: str, path: Path, master: str, trials: str) -> list[float]:
    recording = Recording.open(path)
    zero_ns = session_zero_ns(recording)
    decisions = [one.message for one in recording.messages([DECISION]) if isinstance(one.message, Decision)]
    names = sorted({one.rule for one in decisions})
    if master not in names:
        raise ConfigError(
            f"rule {rule!r}: on_times: rule {master!r} decided nothing in {path} ({', '.join(names) or 'no rule did'})"
        )
    wanted = ("fired", "sham") if trials == "all" else ("fired",)
    due_ns = [one.t_due_ns or one.t_decided_ns for one in decisions if one.rule == master and one.action in wanted]
    return [max(0.0, round((one - zero_ns) / NS_PER_S, _DIGITS)) for one in due_ns]
