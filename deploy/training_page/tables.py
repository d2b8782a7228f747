"""The tables of a training's page: scores beside what to compare them with, and behaviour by behaviour."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..page_parts import table
from ..palette import paper_color
from .figures import ScoreRow, score_chart
from .words import delay_text, score_text, seconds_text, with_range


def overview(found: Mapping[str, Any]) -> str:
    """Scores in a table with their intervals, and the two that matter most as charts."""
    intervals = found.get("intervals", {})
    head = ("", "macro-F1", "balanced accuracy", "accuracy", "kappa", "bout-F1", "flicker")
    keys = ("macro_f1", "balanced_accuracy", "accuracy", "kappa", "bout_f1", "flicker")
    rows: list[tuple[str, ...]] = []
    for name, which in (("stabilised label", "stabilised"), ("raw, frame by frame", "raw")):
        one, ranges = found.get(which, {}), intervals.get(which, {})
        rows.append((name, *(with_range(one.get(each), ranges.get(each)) for each in keys)))
    majority = found.get("baselines", {}).get("majority")
    if majority is not None:
        rows.append(
            (f"always “{majority['class']}” (majority)", *(with_range(majority.get(one), None) for one in keys))
        )
    for name, of in _learnt_baselines(found):
        for words, which in (("stabilised", "stabilised"), ("raw", "raw")):
            one, ranges = of[which], of["intervals"][which]
            rows.append((f"{name}, {words}", *(with_range(one.get(each), ranges.get(each)) for each in keys)))
    raters = found.get("raters")
    for pair in [] if raters is None else raters["pairs"]:
        values = {**pair, "accuracy": pair["agreement"]}
        name = f"people: {pair['second']} against {pair['first']}"
        rows.append((name, *(with_range(values.get(one), None) for one in keys)))
    for name, one in found.get("compare", {}).items():
        rows.append((f"stabilised, against {name}", *(with_range(one["stabilised"].get(each), None) for each in keys)))
    told = [str(intervals["note"])] if intervals.get("note") else []
    if raters is not None and len(raters["names"]) > 2 and raters.get("fleiss_kappa") is not None:
        told.append(f"Fleiss' kappa of all {len(raters['names'])} raters: {raters['fleiss_kappa']:.3f}")
    note = f"<div class='note dim'>{escape('; '.join(told))}</div>" if told else ""
    charts = "".join(
        f"<div class=card>{score_chart(title, _score_rows(found, key_))}</div>"
        for title, key_ in (("macro-F1, frame by frame", "macro_f1"), ("bout-F1", "bout_f1"))
    )
    described = (
        "<div class=dim>Bar: the score; line: its interval; circles: each recording alone.</div>"
        if len(found.get("recordings", {})) > 1
        else ""
    )
    body = table(head, rows, raw=set(range(1, len(head))))
    return f"<div class='card scroll'>{body}{note}</div><div class=two>{charts}</div>{described}"


def _learnt_baselines(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Models that are there for comparison, by name."""
    baselines: Mapping[str, Any] = found.get("baselines", {})
    return [(name.replace("_", " "), one) for name, one in baselines.items() if "stabilised" in one]


def _score_rows(found: Mapping[str, Any], which: str) -> list[ScoreRow]:
    rows: list[ScoreRow] = []
    recordings: Mapping[str, Any] = found.get("recordings", {})
    for name, kind, color in (("stabilised", "stabilised", "var(--live)"), ("raw", "raw", "var(--dim)")):
        interval = found.get("intervals", {}).get(kind, {}).get(which) or {}
        alone = [one[kind].get(which) for one in recordings.values()]
        rows.append(
            ScoreRow(
                name,
                found.get(kind, {}).get(which),
                interval.get("low"),
                interval.get("high"),
                [one for one in alone if one is not None] if len(alone) > 1 else [],
                color,
            )
        )
    majority = found.get("baselines", {}).get("majority")
    if majority is not None:
        rows.append(ScoreRow("majority", majority.get(which), color="var(--still)"))
    for name, of in _learnt_baselines(found):
        interval = of["intervals"]["stabilised"].get(which) or {}
        low, high = interval.get("low"), interval.get("high")
        rows.append(ScoreRow(name, of["stabilised"].get(which), low, high, [], "var(--still)"))
    raters = found.get("raters")
    for pair in [] if raters is None else raters["pairs"]:
        rows.append(ScoreRow(f"{pair['second']} and {pair['first']}", pair.get(which), color="var(--good)"))
    return rows


def by_class(found: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Frames and bouts of each behaviour."""
    ranges = found.get("intervals", {}).get("stabilised", {})
    frames: list[tuple[str, ...]] = []
    bouts: list[tuple[str, ...]] = []
    for place, name in enumerate(classes):
        one = found["per_class"].get(name, {})
        label = f'<span class=key style="background:{paper_color(place)}"></span>{escape(name)}'
        raw = found.get("raw", {}).get("per_class", {}).get(name, {})
        frames.append(
            (
                label,
                f"{one.get('support') or 0:,.0f}",
                *(score_text(one.get(each)) for each in ("precision", "recall")),
                with_range(one.get("f1"), ranges.get(f"f1.{name}")),
                score_text(raw.get("f1")),
                score_text(one.get("pr_auc")),
            )
        )
        if "n_true" in one:
            bouts.append(
                (
                    label,
                    f"{one['n_true']:,}",
                    f"{one['n_predicted']:,}",
                    with_range(one["bout_f1"], ranges.get(f"bout_f1.{name}")),
                    score_text(raw.get("bout_f1")),
                    score_text(one["flicker"], 2),
                    f"{seconds_text(one['median_true_s'])} · {seconds_text(one['median_predicted_s'])}",
                    delay_text(one),
                    score_text(one["false_per_hour"], 1),
                )
            )
    head = ("behaviour", "true frames", "precision", "recall", "F1", "raw F1", "PR-AUC")
    parts = [f"<div class='card scroll'><h3>Frames</h3>{table(head, frames, raw={0, 4})}</div>"]
    if bouts:
        head = (
            "behaviour",
            "true bouts",
            "predicted",
            "bout-F1",
            "raw bout-F1",
            "flicker",
            "median length, true · said",
            "onset delay, p50 · p90",
            "false / h",
        )
        parts.append(f"<div class='card scroll'><h3>Bouts</h3>{table(head, bouts, raw={0, 3})}</div>")
    return "".join(parts)
