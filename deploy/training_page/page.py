"""The page of a training: how good the model is, beside what to compare it with, in one HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from ..page_parts import PAPER, STYLE, chip, document, figure_row, table
from .curves import ethograms, judgement, learning
from .digest import TrainingDigest
from .tables import by_class, overview
from .verdict import verdict
from .words import SPLITS, WORDS, counted, delay_text, duration_text, score_text, split_words

_STYLE: Final = (
    STYLE
    + PAPER
    + """
.names { display:flex; flex-wrap:wrap; gap:2px 14px; margin-top:6px; font-size:12px; }
.name { fill:var(--ink); font-size:12px; font-weight:600; }
.told { max-width:78ch; } p { margin:12px 0; } .note { margin-top:8px; }
h3 span { font-weight:400; font-size:13px; } ul { margin:4px 0; padding-left:18px; }
.warning { --mark:var(--warn); } .card > h3 + .dim { margin-top:-4px; margin-bottom:6px; }
pre { margin:6px 0; white-space:pre-wrap; overflow-wrap:anywhere;
  font:12px/1.45 ui-monospace,"DejaVu Sans Mono",monospace; }
summary { cursor:pointer; color:var(--dim); } dt { font-weight:600; } dd { margin:0 0 6px 0; color:var(--dim); }
.scroll { overflow-x:auto; } td,th { white-space:nowrap; } .part + .part { margin-top:14px; }
.range { color:var(--dim); font-size:11px; }
@media print { body { max-width:none; padding:0; } .card { break-inside:avoid; } }
"""
)


def training_page(digest: TrainingDigest) -> str:
    """The page as text."""
    found = digest.evaluation
    body = [_head(digest)]
    if found is None:
        body.append("<div class='card warning'>This run has no scores yet: only how it learns is shown.</div>")
    else:
        body += [
            _in_short(found, digest.classes),
            _warnings(found),
            "<h2>How good is it?</h2>",
            overview(found),
            "<h2>Behaviour by behaviour</h2>",
            by_class(found, digest.classes),
            "<h2>What is taken for what, and how sure it is</h2>",
            judgement(digest, found),
            "<h2>Truth and answer over time</h2>",
            ethograms(digest, found),
        ]
    fit: Any = digest.config.get("fit")
    monitor = str(fit["monitor"]) if isinstance(fit, dict) and "monitor" in fit else None
    body += ["<h2>Learning</h2>", learning(digest.curves, monitor)]
    if found is not None:
        body += ["<h2>Computing time</h2>", _compute(found)]
    body += ["<h2>To repeat it</h2>", _repeat(digest), "<h2>What the words mean</h2>", _glossary(found)]
    return document(f"Training: {digest.name}", _STYLE, body)


def _head(digest: TrainingDigest) -> str:
    found = digest.evaluation
    if found is None:
        return f"<h1>{escape(digest.name)}{chip('not scored', 'warn')}</h1>"
    ahead = found.get("look_ahead_frames")
    causal = (
        chip("causal", "good")
        if found.get("causal")
        else chip(f"looks {ahead} frames ahead", "warn")
        if ahead
        else chip("not causal: cannot run live", "bad")
    )
    rule = str(found.get("split", {}).get("by", "unknown"))
    recordings = found.get("recordings", {})
    seconds = sum(one.get("seconds", 0.0) for one in recordings.values())
    lasted = f" · {seconds / 60.0:.1f} min" if seconds else ""
    about = [
        str(found.get("bundle") or digest.config.get("name") or ""),
        f"{counted(len(recordings), 'recording')}, {found.get('n_frames', 0):,} scored frames{lasted}",
        f"{len(digest.classes)} behaviours: {', '.join(digest.classes)}",
    ]
    task = str(digest.config.get("task") or "")
    bouts = found.get("bouts", {})
    figures = [
        ("macro-F1", score_text(found.get("macro_f1"))),
        ("balanced accuracy", score_text(found.get("balanced_accuracy"))),
        ("bout-F1, overlap of half", score_text(found.get("bout_f1"))),
        ("predicted bouts per true bout", score_text(found.get("flicker"), 2)),
        (f"onset delay, p50 · p90{_noticed(bouts)}", delay_text(bouts)),
        ("false detections per hour", score_text(bouts.get("false_per_hour"), 1)),
    ]
    split = SPLITS.get(rule, f"Split: {rule}.")
    return (
        f"<h1>{escape(digest.name)}{causal}{chip(*split_words(found.get('split', {})))}</h1>"
        + (f"<div>{escape(task)}</div>" if task else "")
        + f"<div class=dim>{escape(' · '.join(one for one in about if one))}</div>{figure_row(figures)}"
        f"<p class=told>{escape(split)} Scores at the top are those of the stabilised label.</p>"
    )


def _noticed(bouts: Mapping[str, Any]) -> str:
    share = bouts.get("onset_recall")
    return "" if share is None else f", of the {share:.0%} of bouts that it noticed"


def _in_short(found: Mapping[str, Any], classes: Sequence[str]) -> str:
    listed = "".join(f"<li>{escape(one)}</li>" for one in verdict(found, classes))
    return f"<div class=card><h3>In short</h3><ul>{listed}</ul></div>" if listed else ""


def _warnings(found: Mapping[str, Any]) -> str:
    told = [str(one) for one in found.get("warnings", [])]
    notes = [str(one) for one in found.get("notes", [])]
    parts: list[str] = []
    if told:
        listed = "".join(f"<li>{escape(one)}</li>" for one in told)
        parts.append(
            f"<div class='card warning'><h3 class=warn>Before you believe a number</h3><ul>{listed}</ul></div>"
        )
    if notes:
        listed = "".join(f"<li>{escape(one)}</li>" for one in notes)
        parts.append(f"<div class=card><h3>Assumed about the data</h3><ul>{listed}</ul></div>")
    return "".join(parts)


def _compute(found: Mapping[str, Any]) -> str:
    compute: Mapping[str, Any] = found.get("compute", {})
    rows: list[tuple[str, str]] = []
    if compute.get("training_s") is not None:
        rows.append(("training", duration_text(float(compute["training_s"]))))
    if compute.get("per_minute_s") is not None:
        per = float(compute["per_minute_s"])
        rows.append(("one minute of recording", f"{per:.2f} s ({60.0 / per:,.0f} times real time)" if per else "0 s"))
    for stage, one in found.get("compute_ms", {}).items():
        rows.append((f"{stage}, per frame", f"{one['p50']:.2f} ms median, {one['p99']:.2f} ms p99"))
    for name in ("threads", "machine"):
        if compute.get(name) is not None:
            rows.append((name, str(compute[name])))
    if not rows:
        return "<div class=card>Not measured in this run.</div>"
    return f"<div class='card told'>{table((), rows)}</div>"


def _repeat(digest: TrainingDigest) -> str:
    command = (
        f"<pre>{escape(digest.command)}</pre>" if digest.command else "<div class=dim>The command was not kept.</div>"
    )
    text = digest.config_text
    config = (
        f"<details><summary>The resolved configuration</summary><pre>{escape(text)}</pre></details>" if text else ""
    )
    return f"<div class=card>{command}{config}</div>"


def _glossary(found: Mapping[str, Any] | None) -> str:
    """The words of the page; trees that are not on it are not explained."""
    compared: Mapping[str, Any] = (found or {}).get("baselines", {})
    shown = [one for one in WORDS if one[0] != "gradient boosting" or "gradient_boosting" in compared]
    listed = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in shown)
    return f"<div class='card told'><dl style='margin:0'>{listed}</dl></div>"
