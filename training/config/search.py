"""A search space: which keys of a training file are tried with which values. Needs no torch and no Optuna."""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self, get_args

from pydantic import ValidationError, model_validator

from ...sync.errors import ConfigError
from ...sync.strict import StrictModel, read_yaml, validate
from .training_file import TrainConfig

NOT_SETTINGS: Final[Mapping[str, str]] = {
    "name": "names the model",
    "task": "is a line for people",
    "notes": "are lines for people",
    "classes": "say what is asked of every variant",
    "data": "are the recordings",
    "data_root": "is where the recordings are",
    "labels": "say what is true",
    "split": "says which recordings are seen",
    "seed": "is no setting: the best of many seeds is luck",
    "export": "is what happens to a model that is done",
}
"""Keys that decide on what is asked or scored: variants of these could not be compared."""
_LEARNING_RATE_FACTOR: Final = 5.0


class Range(StrictModel):
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low, high: the ends.
        log: even in the logarithm, for numbers that matter by their ratio.
        step: only ``low``, ``low + step``, and so on.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low: {self.low} is not below high, {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low} has no logarithm; give a number above 0, or leave out log")
        if self.log and self.step is not None:
            raise ValueError("step: does not go with log; leave one out")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step: {self.step} leads nowhere; give a number above 0")
        return self

    @property
    def is_whole(self) -> bool:
        """All of its numbers were written without a point."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))

    @property
    def probes(self) -> list[Any]:
        """Values that must be fit for the key."""
        return [self.low, self.high]

    def with_points(self) -> "Range":
        """The same range, of numbers that need not be whole."""
        step = None if self.step is None else float(self.step)
        return Range(low=float(self.low), high=float(self.high), log=self.log, step=step)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of its numbers."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9


class Choices(StrictModel):
    """Some values: numbers, words, null, or whole lists and groups of keys."""

    choices: list[Any]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(self.choices) < 2:
            raise ValueError(f"choices: {len(self.choices)} of them leave nothing to choose; give two at least")
        words = [word_of(one) for one in self.choices]
        if twice := [word for place, word in enumerate(words) if word in words[:place]]:
            raise ValueError(f"choices: {twice[0]} stands twice")
        return self

    @property
    def probes(self) -> list[Any]:
        """Values that must be fit for the key."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of them."""
        return word_of(value) in [word_of(one) for one in self.choices]


Domain = Range | Choices
Space = Mapping[str, Domain]


def word_of(value: Any) -> str:
    """A value as one word, the same for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def read_space(path: Path) -> dict[str, Domain]:
    """A search space from a YAML file: a mapping of keys to ``{low, high, log, step}`` or ``{choices}``.

    Raises:
        ConfigError: it cannot be read, is empty, or a value is wrong.
    """
    raw = read_yaml(path)
    if not raw:
        raise ConfigError(
            f"{path}: the space is empty; give a key, as in `fit.learning_rate: {{low: 0.001, high: 0.01}}`"
        )
    space: dict[str, Domain] = {}
    for key, value in raw.items():
        if not isinstance(value, dict) or not value.keys() & {"low", "high", "choices"}:
            raise ConfigError(
                f"{path}: {key}: is {value!r:.80}, expected {{low: …, high: …}}, with log or step, or {{choices: "
                "[…]}}; groups of keys are written as one path, as in `head.hidden`"
            )
        kind = Choices if "choices" in value else Range
        space[str(key)] = validate(kind, value, f"{path}: {key}")
    return space


def check_space(space: Space, config: TrainConfig, base: Mapping[str, Any], where: str) -> dict[str, Domain]:
    """Refuse what cannot be searched over before anything is fitted.

    Args:
        space: keys and their values.
        config: the training file.
        base: the same as a mapping with every key.
        where: what the space comes from, for messages.

    Returns:
        The space, with ranges of numbers that need not be whole as such, however they were written.

    Raises:
        ConfigError: the space is empty, a key is unknown or no setting, or one of its values does not fit it.
    """
    if not space:
        raise ConfigError(f"{where}: the space is empty; give a key, or leave --space out for the default one")
    checked: dict[str, Domain] = {}
    for key, domain in space.items():
        whole = _takes_whole_numbers(config, key, where)
        for value in domain.probes:
            _check_value(base, key, value, where)
        checked[key] = domain.with_points() if isinstance(domain, Range) and not whole else domain
    for key in checked:
        for other in checked:
            if other.startswith(f"{key}."):
                raise ConfigError(f"{where}: {key} and {other}: the one holds the other; leave one out")
    return checked


def value_at(base: Mapping[str, Any], key: str) -> Any:
    """What a training file with every key says to ``key``."""
    value: Any = base
    for part in key.split("."):
        value = value[part]
    return value


def with_values(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A training file with other values; ``base`` stays as it is."""
    changed: dict[str, Any] = json.loads(json.dumps(base))
    for key, value in values.items():
        *groups, last = key.split(".")
        target = changed
        for part in groups:
            target = target[part]
        target[last] = value
    return changed


def default_space(config: TrainConfig) -> dict[str, Domain]:
    """What is worth trying first with a head of this kind, about the values of the training file.

    Learning rate and weight decay, dropout, the width of the head, and what makes its kind: layers, dilations, how many
    frames it attends to; for keypoints also the noise on features and how many epochs.
    """
    head, fit = config.head, config.fit
    rate = fit.learning_rate
    space: dict[str, Domain] = {
        "fit.learning_rate": Range(
            low=_rounded(rate / _LEARNING_RATE_FACTOR), high=_rounded(rate * _LEARNING_RATE_FACTOR), log=True
        ),
        "fit.weight_decay": Choices(choices=sorted({0.0, 0.01, 0.1, fit.weight_decay})),
        "head.dropout": Range(low=0.0, high=0.6),
    }
    if head.kind != "linear":
        space["head.hidden"] = _about(head.hidden, head.attention_heads if head.kind == "transformer" else 1)
    match head.kind:
        case "mlp" | "lstm" | "gru" | "transformer":
            space["head.layers"] = Choices(choices=sorted({1, 2, 3, head.layers}))
        case "tcn":
            ways = [head.dilations[:-2], head.dilations[:-1], head.dilations, [*head.dilations, 2 * head.dilations[-1]]]
            space["head.dilations"] = Choices(choices=[way for way in ways if way])
        case _:
            pass
    if head.kind == "transformer":
        space["head.attention_frames"] = _about(head.attention_frames, 2)
    if config.is_pose:
        space["fit.augment.input_noise"] = Range(low=0.0, high=1.0)
        space["fit.head_epochs"] = _about(fit.head_epochs, 1)
    return space


def _about(value: int, multiple_of: int) -> Choices:
    """Half, the same and twice as much, as far as each is a multiple."""
    found = {value // 2 // multiple_of * multiple_of, value, 2 * value}
    return Choices(choices=sorted(one for one in found if one >= multiple_of))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _takes_whole_numbers(config: TrainConfig, key: str, where: str) -> bool:
    """Whether the values of a key are whole numbers.

    Raises:
        ConfigError: there is no such key, or it is no setting.
    """
    parts = key.split(".")
    if parts[0] in NOT_SETTINGS:
        raise ConfigError(f"{where}: {key}: {parts[0]!r} {NOT_SETTINGS[parts[0]]}, so there is nothing to search for")
    node: Any = config
    annotation: Any = None
    for place, part in enumerate(parts):
        path = ".".join(parts[:place])
        if not isinstance(node, StrictModel):
            said = (
                "is not given in the training file" if node is None else f"is {_in_short(node):.60}, no group of keys"
            )
            raise ConfigError(f"{where}: {key}: {path!r} {said}; give the whole of it as choices of {path!r}")
        fields = type(node).model_fields
        if part not in fields:
            near = get_close_matches(part, fields, 1)
            meant = f"did you mean {'.'.join([*parts[:place], near[0]])!r}?" if near else f"known: {', '.join(fields)}"
            raise ConfigError(f"{where}: {key}: is no key of a training file like this one; {meant}")
        annotation = fields[part].annotation
        node = getattr(node, part)
    if isinstance(node, StrictModel):
        return False
    types = _types_in(annotation)
    return int in types and float not in types


def _in_short(value: Any) -> str:
    """A value in short, for messages."""
    return re.sub(r"\s+", " ", repr(value))


def _types_in(annotation: Any) -> set[Any]:
    inner: Sequence[Any] = get_args(annotation)
    return {annotation} if not inner else set().union(*(_types_in(one) for one in inner))


def _check_value(base: Mapping[str, Any], key: str, value: Any, where: str) -> None:
    """Refuse a value that the key cannot have; whether it goes with the others shows when they are tried together."""
    try:
        TrainConfig.model_validate(with_values(base, {key: value}))
    except ValidationError as error:
        parts = key.split(".")
        for fault in error.errors():
            named = [str(part) for part in fault["loc"]]
            if all(part in named for part in parts):
                raise ConfigError(f"{where}: {key}: {_in_short(value)} cannot be: {fault['msg']}") from error
