"""The base of every configuration model: strict, frozen, unknown keys refused."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A configuration value: immutable, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="strings")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not hold a mapping; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; a YAML file is expected here") from error
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds {type(data).__name__}, expected a mapping of keys to values")
    return data  # pyright: ignore[reportUnknownVariableType]


def validate(model: type[ModelT], data: Any, where: str) -> ModelT:
    """Validate ``data`` as ``model``; every fault is named with its key path and value.

    Raises:
        ConfigError: one line per fault.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [f"{where}: {error.error_count()} fault(s) in the configuration"]
        for fault in error.errors():
            key = _key(data, fault["loc"]) or "(top level)"
            if fault["type"] == "extra_forbidden":
                lines.append(f"  {key}: unknown key; remove it or check its spelling")
            else:
                lines.append(f"  {key}: {fault['msg']} (got {fault['input']!r:.80})")
        raise ConfigError("\n".join(lines)) from error


def _key(data: Any, loc: tuple[int | str, ...]) -> str:
    """The path of a fault; an entry of a list that has a name is called by it as well."""
    parts: list[str] = []
    for part in loc:
        try:
            data = data[part]
        except (TypeError, KeyError, IndexError):
            data = None
        name: Any = data.get("name") if isinstance(part, int) and isinstance(data, dict) else None  # pyright: ignore[reportUnknownMemberType]
        parts.append(f"{part} ({name})" if isinstance(name, str) else str(part))
    return ".".join(parts)
