"""The stabilisers that ``ethostream tune`` tries."""

from itertools import product
from typing import Any

from pydantic import TypeAdapter

from ..inference.stabilisation.config import StabiliserConfig

_ADAPTER: TypeAdapter[StabiliserConfig] = TypeAdapter(StabiliserConfig)
EXIT_SHARE = 0.8
"""Exit threshold of the grid, as a share of the enter threshold."""


def stabiliser_grid() -> list[StabiliserConfig]:
    """Every candidate, one setting for all classes: each kind from fast and nervous to slow and steady."""
    return [_ADAPTER.validate_python(options) for options in (*_thresholds(), *_sequential(), *_majority(), *_markov())]


def in_short(config: StabiliserConfig) -> str:
    """One line that tells a candidate from the others: kind and what differs from nothing."""
    parts = [f"{name} {value:g}" for name, value in config.default.model_dump(exclude_none=True).items()]
    if config.kind == "sequential":
        parts = [part for part in parts if not part.startswith(("miss", "max_p"))]
    if config.kind == "hidden_markov":
        parts.append(f"decorrelation_ms {config.decorrelation_ms:g}")
    for name in ("smoothing_ms", "close_gaps_ms"):
        value = getattr(config, name)
        if value:
            parts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} by class")
    return f"{config.kind}: {', '.join(parts)}" + (" and others by class" if config.per_class else "")


def as_options(config: StabiliserConfig) -> dict[str, Any]:
    """What stands in a task file: the kind, its options, and nothing that is off."""
    options = config.model_dump(mode="json", exclude_none=True)
    ordered = {"kind": options.pop("kind"), **options}
    return {name: value for name, value in ordered.items() if value not in (0.0, {})}


def _thresholds() -> list[dict[str, Any]]:
    plain = [
        {"smoothing_ms": smoothing_ms, "default": {"enter": p, "exit": round(EXIT_SHARE * p, 3), "min_dwell_ms": dwell}}
        for smoothing_ms, p, dwell in product((0.0, 100.0), (0.5, 0.7, 0.85, 0.95), (0.0, 33.0, 100.0, 200.0, 400.0))
    ]
    closing = [
        {"close_gaps_ms": gap, "default": {"enter": p, "exit": round(EXIT_SHARE * p, 3), "min_dwell_ms": dwell}}
        for gap, p, dwell in product((100.0, 250.0), (0.5, 0.7), (33.0, 100.0))
    ]
    return [{"kind": "thresholds", **one} for one in (*plain, *closing)]


def _sequential() -> list[dict[str, Any]]:
    return [
        {"kind": "sequential", "default": {"false_alarm": false_alarm, "decorrelation_ms": decorrelation_ms}}
        for false_alarm, decorrelation_ms in product((0.1, 0.01, 1e-3, 1e-5, 1e-8), (33.0, 100.0, 250.0))
    ]


def _majority() -> list[dict[str, Any]]:
    return [
        {"kind": "majority", "default": {"window_ms": window_ms, "share": share}}
        for window_ms, share in product((100.0, 200.0, 400.0, 800.0), (0.55, 0.8))
    ]


def _markov() -> list[dict[str, Any]]:
    return [
        {
            "kind": "hidden_markov",
            "default": {"mean_dwell_ms": dwell_ms, "enter": enter},
            "decorrelation_ms": decorrelation_ms,
        }
        for dwell_ms, enter, decorrelation_ms in product((500.0, 2000.0, 8000.0), (0.6, 0.9), (33.0, 100.0, 250.0))
    ]
