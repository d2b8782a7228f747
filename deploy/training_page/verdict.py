"""What the scores of a training come to, in a few sentences for those who did not run it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .words import score_text

LITTLE_KAPPA: Final = 0.1
"""Agreement beyond chance below which a label says next to nothing."""
RARELY: Final = 0.1
"""A recall below which a behaviour counts as never found."""
TORN: Final = 1.5
"""Predicted bouts per true one above which bouts are torn or invented."""
SILENT: Final = 0.2
"""The share of frames without a label above which that is said."""
LOST: Final = 0.5
"""Predicted bouts per true one below which bouts are missed or run together."""


def verdict(found: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Sentences about the stabilised label: beside what is simple, beside people, bouts, and behaviours not found."""
    said: list[str] = []
    score, kappa, flicker = found.get("macro_f1"), found.get("kappa"), found.get("flicker")
    baselines: Mapping[str, Any] = found.get("baselines", {})
    if score is not None:
        said += _beside_simple(score, baselines)
        said += _beside_people(score, found.get("raters"))
    if kappa is not None and kappa < LITTLE_KAPPA:
        said.append(f"Its labels agree with the truth hardly more than chance would (kappa {kappa:.2f}).")
    if flicker is not None and flicker > TORN:
        said.append(f"It names {flicker:.1f} bouts for each true one: bouts are torn or invented.")
    elif flicker is not None and flicker < LOST:
        said.append(f"It names {flicker:.2f} bouts for each true one: most are missed or run together.")
    n, silent = found.get("n_frames") or 0, found.get("n_undecided") or 0
    if silent > SILENT * n:
        said.append(f"In {silent / n:.0%} of the frames it names nothing: nothing was sure enough for the stabiliser.")
    never = [
        name
        for name in classes
        if (recall := found["per_class"].get(name, {}).get("recall")) is not None and recall < RARELY
    ]
    if never:
        said.append(f"Practically never found: {', '.join(never)}.")
    return said


def _beside_simple(score: float, baselines: Mapping[str, Any]) -> list[str]:
    said: list[str] = []
    majority = baselines.get("majority")
    if majority is not None and majority.get("macro_f1") is not None:
        other = majority["macro_f1"]
        beats = "above" if score > other else "NO BETTER than"
        said.append(
            f"Macro-F1 {score_text(score)}, {beats} the {score_text(other)} of always naming “{majority['class']}”."
        )
    for name, one in baselines.items():
        if "stabilised" not in one or one["stabilised"].get("macro_f1") is None:
            continue
        other = one["stabilised"]["macro_f1"]
        words = f"{name.replace('_', ' ')} reaches {score_text(other)}"
        simple = f"{words[0].upper()}{words[1:]} on the same folds"
        said.append(
            f"{simple}, which is less."
            if other < score
            else f"{simple}: THE SIMPLER MODEL IS AS GOOD OR BETTER. More data or epochs may turn that; as it is, this "
            "model gains nothing."
        )
    return said


def _beside_people(score: float, raters: Mapping[str, Any] | None) -> list[str]:
    values = [] if raters is None else [one["macro_f1"] for one in raters["pairs"] if one.get("macro_f1") is not None]
    if not values:
        return []
    low, high = score_text(min(values)), score_text(max(values))
    between = low if low == high else f"{low} to {high}"
    return [
        f"People agree with each other at {between}: "
        + ("the model is as close to them as they are." if score >= min(values) else "the model is below that.")
    ]
