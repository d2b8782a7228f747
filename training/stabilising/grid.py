"""The stabilisers that ``ethostream tune`` tries."""

from itertools import product
from typing import Any

from pydantic import TypeAdapter

from ...inference.stabilisation.config import (
    CusumConfig,
    HiddenMarkovConfig,
    MajorityConfig,
    SequentialConfig,
    StabiliserConfig,
    ThresholdsConfig,
)

_ADAPTER: TypeAdapter[StabiliserConfig] = TypeAdapter(StabiliserConfig)


def stabiliser_grid() -> list[StabiliserConfig]:
    """Every candidate, one setting for all classes: each kind from fast and nervous to slow and steady."""
    kinds = (_thresholds(), _sequential(), _majority(), _markov(), cusum_options())
    return [_ADAPTER.validate_python(options) for of_kind in kinds for options in of_kind]


def in_short(config: StabiliserConfig) -> str:
    """One line that tells a candidate from the others: kind, and its options for all classes."""
    match config:
        case ThresholdsConfig(default=one):
            words = f"thresholds {one.enter:g} / {one.exit:g}, dwell {one.min_dwell_ms:g} ms"
        case SequentialConfig(default=one):
            words = f"sequential, false alarm {one.false_alarm:g} in observations of {one.decorrelation_ms:g} ms"
        case MajorityConfig(default=one):
            words = f"majority, {one.share:g} of {one.window_ms:g} ms"
        case HiddenMarkovConfig(default=one):
            words = (
                f"hidden Markov, dwell {one.mean_dwell_ms:g} ms, enter {one.enter:g}, observations of "
                f"{config.decorrelation_ms:g} ms"
            )
        case CusumConfig(default=one):
            words = f"cusum, bound {one.bound_nat_seconds:g} nat s, drift {one.drift_nat:g}, clip {one.clip_nat:g} nat"
    if config.smoothing_ms:
        words += f"; smoothing {_ms(config.smoothing_ms)}"
    if config.close_gaps_ms:
        words += f"; gaps {_ms(config.close_gaps_ms)}"
    return words + ("; others by class" if config.per_class else "")


def _ms(value: float | dict[str, float]) -> str:
    return "by class" if isinstance(value, dict) else f"{value:g} ms"


def as_options(config: StabiliserConfig) -> dict[str, Any]:
    """What stands in a task file: the kind, its options, and nothing that is off."""
    options = config.model_dump(mode="json", exclude_none=True)
    ordered = {"kind": options.pop("kind"), **options}
    return {name: value for name, value in ordered.items() if value not in (0.0, {})}


def cusum_options() -> list[dict[str, Any]]:
    """Cumulative sums, from quick to slow; no bound is a whole number of steps at 30 Hz and full evidence."""
    return [
        {"kind": "cusum", "default": {"bound_nat_seconds": bound, "drift_nat": drift, "clip_nat": clip}}
        for bound, drift, clip in product((0.045, 0.09, 0.14, 0.27, 0.44), (0.2, 0.5), (1.5, 3.0))
    ]


def _thresholds() -> list[dict[str, Any]]:
    # Without an exit threshold the label never gives way by itself, and a class must always reach its enter threshold.
    pairs = ((0.5, 0.4), (0.9, 0.7), (0.8, 0.0), (0.95, 0.0))
    dwells_ms = (0.0, 50.0, 100.0, 150.0, 200.0, 300.0)
    plain = [
        {"smoothing_ms": smoothing_ms, "default": {"enter": enter, "exit": exit_, "min_dwell_ms": dwell_ms}}
        for smoothing_ms, (enter, exit_), dwell_ms in product((0.0, 100.0), pairs, dwells_ms)
    ]
    closing = [
        {"close_gaps_ms": gap_ms, "default": {"enter": 0.5, "exit": 0.4, "min_dwell_ms": dwell_ms}}
        for gap_ms, dwell_ms in product((100.0, 250.0), (50.0, 100.0, 200.0))
    ]
    return [{"kind": "thresholds", **one} for one in (*plain, *closing)]


def _sequential() -> list[dict[str, Any]]:
    return [
        {"kind": "sequential", "default": {"false_alarm": false_alarm, "decorrelation_ms": decorrelation_ms}}
        for false_alarm, decorrelation_ms in product((0.1, 0.01, 1e-3, 1e-5, 1e-8), (33.0, 66.0, 100.0, 150.0))
    ]


def _majority() -> list[dict[str, Any]]:
    return [
        {"kind": "majority", "default": {"window_ms": window_ms, "share": share}}
        for window_ms, share in product((100.0, 200.0, 300.0, 400.0, 600.0, 800.0), (0.55, 0.8))
    ]


def _markov() -> list[dict[str, Any]]:
    return [
        {
            "kind": "hidden_markov",
            "default": {"mean_dwell_ms": dwell_ms, "enter": enter},
            "decorrelation_ms": decorrelation_ms,
        }
        for dwell_ms, enter, decorrelation_ms in product(
            (500.0, 2000.0, 8000.0), (0.6, 0.9), (33.0, 66.0, 100.0, 200.0)
        )
    ]
