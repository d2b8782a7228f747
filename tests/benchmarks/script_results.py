"""What a script of ``benchmarks/`` wrote."""

from collections.abc import Callable
from typing import Any

Run = Callable[..., dict[str, Any]]


def stated(result: Any, *keys: str) -> list[Any]:
    """The values at dotted keys, each of which must be there and hold something."""
    values: list[Any] = []
    for key in keys:
        value = result
        for part in key.split("."):
            assert part in value, f"{key}: no {part!r} among {list(value)}"
            value = value[part]
        assert value is not None, f"{key} is null"
        values.append(value)
    return values
