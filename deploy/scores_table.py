"""Scores of a model in short: what `train`, `evaluate` and `bundle info` print. Their JSON has every number."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .number_table import NumberTable

_OVERALL = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro-F1": "macro_f1"}
_BOUTS = {"bout-F1": "bout_f1", "flicker": "flicker"}
_SCORED_ON = {
    "k_fold": "of all folds, each answered by a model that has not seen it",
    "leave_one_out": "of all recordings, each answered by a model that has not seen it",
    "unseen recordings": "of recordings that it has not learnt from",
    "training data": "of recordings that it HAS LEARNT FROM",
}
"""What is scored, by the split; by the others it is a part of the data."""
_PER_CLASS = {"precision": "precision", "recall": "recall", "F1": "f1"}


def scores_in_short(found: Mapping[str, Any]) -> RenderableType | None:
    """An evaluation, or the scores in a manifest, as three small tables; None where ``found`` is neither."""
    if "per_class" not in found or not ("raw" in found or "more" in found):
        return None
    more: Mapping[str, Any] = found.get("more", found)
    stabilised: Mapping[str, Any] = found.get("stabilised") or {
        **{key: more[key] for key in _BOUTS.values() if key in more},
        **found,
    }
    if "raw" not in more:
        return None
    classes: Sequence[str] = found.get("classes") or list(stabilised["per_class"])
    confusion = stabilised.get("confusion_matrix", found.get("confusion"))
    parts: list[RenderableType] = [
        Text(_about(found)),
        _overall(stabilised, more),
        _by_class(classes, stabilised, more["raw"]),
    ]
    if confusion:
        parts.append(_confusion(classes, confusion))
        if stabilised.get("n_undecided"):
            parts.append(Text(f"frames that had no label yet: {stabilised['n_undecided']:,}"))
    if "compute_ms" in found:
        times = ", ".join(f"{stage} {one['p50']:.2f}" for stage, one in found["compute_ms"].items())
        parts.append(Text(f"ms per frame, median: {times}"))
    parts += [Text(f"! {one}", style="yellow") for one in found.get("warnings", [])]
    return Group(*parts)


def fit_in_short(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """How a model was fitted, a line for each part of it; its JSON has every fold."""
    said: dict[str, Any] = {}
    for name, one in fitted.items():
        if name == "folds" and isinstance(one, list):
            said[name] = f"{len(one)} fits, each without one fold"  # pyright: ignore[reportUnknownArgumentType]
        elif not isinstance(one, dict):
            said[name] = one
        elif name == "calibration" and "temperature" in one:
            before, after = one["ece_before"], one["ece_after"]
            known = before is not None and after is not None  # only frames of one behaviour alone have an error
            moved = f", which takes the calibration error from {before:.3f} to {after:.3f}" if known else ""
            said[name] = f"temperature {one['temperature']:.3g}{moved}"
        elif name == "stabiliser" and "words" in one:
            said[name] = one["words"]
        elif one.get("members"):
            said[name] = _members_in_short(one["members"])
        elif {"epochs", "best_epoch", "monitor", "best_value"} <= one.keys():
            value = one["best_value"]
            chosen = "the last one" if value is None else f"{one['monitor']} {value:.3f} on validation data"
            resumed = f"; gone on after epoch {one['resumed_from_epoch']}" if one.get("resumed_from_epoch") else ""
            said[name] = f"epoch {one['best_epoch'] + 1} of {one['epochs']} kept: {chosen}{resumed}"
        else:
            said[name] = one
    return said


def _members_in_short(members: Sequence[Mapping[str, Any]]) -> str:
    epochs = ", ".join(f"{one['best_epoch'] + 1} of {one['epochs']}" for one in members)
    values = [one["best_value"] for one in members]
    chosen = "the last ones"
    if any(value is not None for value in values):
        chosen = f"{members[0]['monitor']} {', '.join(map(_share, values))} on validation data"
    # Those before the one that a kill fell into were done, and go on from their last epoch.
    begun = [(number, epoch) for number, one in enumerate(members, start=1) if (epoch := one.get("resumed_from_epoch"))]
    resumed = f"; gone on after epoch {begun[-1][1]} of member {begun[-1][0]}" if begun else ""
    return f"{len(members)} members, epochs {epochs} kept: {chosen}{resumed}"


def _about(found: Mapping[str, Any]) -> str:
    who = f"{found['bundle']} on {found['provider']}: " if "bundle" in found and "provider" in found else ""
    if "evaluated_on" in found:
        return f"{who}{found['n_frames']:,} frames of the {found['evaluated_on']}"
    part = f"of the {found.get('part', 'test')} part"
    return f"{who}{found['n_frames']:,} frames {_SCORED_ON.get(str(found.get('split', {}).get('by')), part)}"


def _overall(stabilised: Mapping[str, Any], more: Mapping[str, Any]) -> NumberTable:
    """Both labels, against what it learnt from and against every other rater; intervals where there are any."""
    keys = {**_OVERALL, **(_BOUTS if "bout_f1" in stabilised else {})}
    table = NumberTable("", *keys)

    def add(name: str, one: Mapping[str, Any]) -> None:
        table.add_row(name, *(_share(one.get(key)) for key in keys.values()))

    add("stabilised label", stabilised)
    ranges = more.get("intervals", {}).get("stabilised", {})
    if any(ranges.get(key) for key in keys.values()):
        table.add_row("  its interval", *(_range(ranges.get(key)) for key in keys.values()))
    add("raw: the most probable class", more["raw"])
    for name, one in more.get("baselines", {}).items():
        if name == "majority":
            add(f"baseline: always {one['class']}", one)
        else:
            add(f"baseline: {name.replace('_', ' ')}", one["stabilised"])
            add(f"baseline: {name.replace('_', ' ')}, raw", one["raw"])
    for rater, one in more.get("compare", {}).items():
        add(f"stabilised, against {rater}", one["stabilised"])
        add(f"raw, against {rater}", one["raw"])
        agreed = one.get("agreement_with_labels")
        if agreed:
            cells = _share(agreed["agreement"]), f"kappa {_share(agreed['kappa'])}"
            table.add_row(f"  {rater} against the labels", *cells)
    recordings: Mapping[str, Any] = more.get("recordings", {})
    if len(recordings) > 1:
        for name, one in recordings.items():
            add(f"stabilised, {name} alone", one["stabilised"])
    return table


def _by_class(classes: Sequence[str], stabilised: Mapping[str, Any], raw: Mapping[str, Any]) -> NumberTable:
    table = NumberTable("", *_PER_CLASS, *(f"raw {name}" for name in _PER_CLASS), "frames")
    for name in classes:
        one, other = stabilised["per_class"][name], raw["per_class"][name]
        cells = [_share(part[key]) for part in (one, other) for key in _PER_CLASS.values()]
        table.add_row(name, *cells, f"{one['support']:,.0f}" if one.get("support") is not None else "-")
    return table


def _confusion(classes: Sequence[str], rows: Sequence[Sequence[int]]) -> NumberTable:
    """True class by row, stabilised label by column."""
    table = NumberTable("truth \\ label", *classes)
    for name, row in zip(classes, rows, strict=True):
        table.add_row(name, *(f"{n:,}" for n in row))
    return table


def _range(interval: Mapping[str, float] | None) -> str:
    return "" if interval is None else f"{interval['low']:.2f}-{interval['high']:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
