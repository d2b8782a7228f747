"""The page of one recording: latency, frames, behaviour and decisions, in one HTML file with nothing beside it."""

from collections.abc import Collection, Sequence
from html import escape
from statistics import median

from ..sync.clock import NS_PER_MS
from ..sync.latency import LatencyHistogram
from .palette import class_color
from .recording_digest import ACTIONS, Digest
from .recording_figures import behavior_strip, histogram_figure, stage_bars, trial_strip

_STYLE = """
:root { --ground:#0d1117; --card:#141a22; --line:#222b36; --ink:#dbe3ec; --dim:#7f8c9b; --good:#3fc79a; --warn:#e6a23c;
  --bad:#ff6b6b; --live:#56b4e9; font:14px/1.45 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif; }
* { box-sizing:border-box; }
body { margin:0 auto; max-width:1180px; padding:22px 20px 60px; background:var(--ground); color:var(--ink);
  font-variant-numeric:tabular-nums; }
h1 { font-size:22px; margin:0 0 2px; } h2 { font-size:16px; margin:30px 0 10px; } h3 { font-size:15px; margin:0 0 6px; }
.dim { color:var(--dim); } .good { color:var(--good); } .warn { color:var(--warn); } .bad { color:var(--bad); }
.chip { padding:1px 10px; border:1px solid currentcolor; border-radius:999px; font-size:12px; margin-left:8px; }
.figures { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:10px; margin-top:16px; }
.figure, .card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px; }
.figure b { display:block; font-size:17px; white-space:nowrap; font-weight:600;
  } .figure span { color:var(--dim); font-size:12px; }
.card { margin-bottom:12px; border-left:3px solid var(--mark,var(--line)); }
.two { display:grid; grid-template-columns:1fr 1fr; gap:12px; align-items:start; }
svg { width:100%; height:auto; display:block; } .card .dim + svg { margin-top:8px; }
table { border-collapse:collapse; width:100%; } th { text-align:left; color:var(--dim); font-weight:500; }
th,td { padding:4px 12px 4px 0; border-bottom:1px solid var(--line); } tr:last-child td { border-bottom:0; }
td.n,th.n { text-align:right; }
.key { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:6px; }
.tick { fill:var(--dim); font-size:10px; } .grid { stroke:#2b3644; stroke-width:.7; } .bar { fill:var(--live); }
.mark { stroke:var(--warn); stroke-dasharray:3 3; } .label { fill:var(--ink); font-size:11px;
  paint-order:stroke; stroke:var(--card); stroke-width:3px; }
.fired { fill:var(--good); } .sham { fill:var(--warn); } .withheld { fill:#4a5666; } .lane { fill:#10161e; }
@media (max-width:860px) { .two { grid-template-columns:1fr; } }
"""


def recording_page(digest: Digest) -> str:
    """The page as text."""
    body = [
        _head(digest),
        "<h2>Latency</h2>",
        _latency(digest),
        "<h2>Frames</h2>",
        _frames(digest),
        "<h2>Behaviour</h2>",
        _behavior(digest),
        "<h2>Decisions</h2>",
        _decisions(digest),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(digest.name)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _head(digest: Digest) -> str:
    report = digest.report
    undeclared = digest.undeclared
    if not digest.closed:
        chip = '<span class="chip warn">not closed</span>'
    elif undeclared == 0:
        chip = '<span class="chip good">every frame accounted for</span>'
    else:
        chip = f'<span class="chip bad">{undeclared} frames undeclared</span>'
    trigger = digest.latency.get("exposure_to_trigger")
    label = digest.latency.get("exposure_to_behavior")
    fired = sum(one["fired"] for one in digest.rules.values())
    figures = [
        ("from first to last frame set", _duration(report["seconds"])),
        ("cameras", str(len(report["cameras"]))),
        ("exposure to behaviour, p50 · p99", _pair(label)),
        ("exposure to trigger, p50 · p99", _pair(trigger)),
        ("bouts", str(sum(len(bouts) for bouts in digest.bouts.values()))),
        ("decisions fired", str(fired)),
    ]
    cells = "".join(
        f"<div class=figure><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures
    )
    subject = digest.session.get("subject") or "no subject named"
    about = (
        f"{digest.began_utc} · session {digest.session_id} · {subject} · {report['inference']['bundle'] or 'no model'}"
    )
    return f"<h1>{escape(digest.name)}{chip}</h1><div class=dim>{escape(about)}</div><div class=figures>{cells}</div>"


def _pair(histogram: LatencyHistogram | None) -> str:
    if histogram is None or not histogram.n:
        return "-"
    values = [float(histogram.percentile_ns(q) or 0) / NS_PER_MS for q in (0.5, 0.99)]
    # Three digits tell all there is, and fit.
    digits = [2 if one < 10 else 1 if one < 100 else 0 for one in values]
    return " · ".join(f"{one:.{n}f}" for one, n in zip(values, digits, strict=True)) + " ms"


def _ms(histogram: LatencyHistogram, q: float) -> str:
    value = histogram.percentile_ns(q)
    return "-" if value is None else f"{value / NS_PER_MS:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _latency(digest: Digest) -> str:
    names = {"exposure_to_behavior": "Exposure to behaviour", "exposure_to_trigger": "Exposure to trigger call"}
    shown = [(title, digest.latency[name]) for name, title in names.items() if name in digest.latency]
    shown = [(title, histogram) for title, histogram in shown if histogram.n]
    if not shown:
        return "<div class=card>Nothing was decided in this recording, so there is no latency.</div>"
    cards = "".join(
        f"<div class=card><h3>{title}</h3>{histogram_figure(histogram)}"
        + _table(
            ("", "p50", "p99", "p99.9", "max", "n"),
            [
                (
                    "ms",
                    *(_ms(histogram, q) for q in (0.5, 0.99, 0.999)),
                    f"{histogram.max_ns / NS_PER_MS:.2f}",
                    str(histogram.n),
                )
            ],
        )
        + "</div>"
        for title, histogram in shown
    )
    stages = {name: one for name, one in digest.report["stage_ms"].items() if one["n"]}
    bars = f"<div class=card><h3>Where the time goes, p50 and p99</h3>{stage_bars(stages)}</div>" if stages else ""
    note = (
        "" if digest.latency_stored else "<div class=dim>The recording keeps no histogram; counted from messages.</div>"
    )
    return f"<div class=two>{cards}</div>{bars}{note}"


def _frames(digest: Digest) -> str:
    rows = [
        (
            name,
            *(str(one[key]) for key in ("captured", "dropped_device", "dropped_declared", "duplicates", "late")),
            str(digest.written.get(name, 0)),
            "-" if one["rate_hz"] is None else f"{one['rate_hz']:.3f}",
            _state(one["state"]),
        )
        for name, one in digest.report["cameras"].items()
    ]
    sets = digest.report["sets"]
    head = ("camera", "captured", "lost in device", "declared lost", "duplicates", "late", "written", "Hz", "ended as")
    return (
        f"<div class=card>{_table(head, rows, raw={8})}</div><div class=dim>{sets['complete']} complete frame sets, "
        f"{sets['partial']} partial, {digest.report['inference']['skipped']} passed over for a newer one.</div>"
    )


def _state(state: str | None) -> str:
    return f'<span class="{"good" if state == "stopped" else "warn"}">{escape(state or "unknown")}</span>'


def _behavior(digest: Digest) -> str:
    if not digest.bouts:
        return "<div class=card>No behaviour was named in this recording.</div>"
    order = {name: place for place, name in enumerate(digest.classes)}
    span = max(digest.span_ns, 1)
    rows: list[tuple[str, ...]] = []
    for name in sorted(digest.bouts, key=lambda one: order.get(one, len(order))):
        bouts = digest.bouts[name]
        lasted = [(end - begin) / NS_PER_MS for begin, end in bouts]
        share = sum(end - begin for begin, end in bouts) / span
        key = f'<span class=key style="background:{class_color(order.get(name, 0))}"></span>{escape(name)}'
        times = (median(lasted) / 1000.0, max(lasted) / 1000.0)
        rows.append((key, str(len(bouts)), f"{share:.1%}", *(f"{one:.2f} s" for one in times)))
    table = _table(("behaviour", "bouts", "of the time", "median bout", "longest"), rows, raw={0})
    return f"<div class=card>{behavior_strip(digest)}{table}</div>"


def _decisions(digest: Digest) -> str:
    if not digest.rules:
        return "<div class=card>No rule decided anything in this recording.</div>"
    cards: list[str] = []
    for name, one in sorted(digest.rules.items()):
        reasons = sorted(one["withheld_by_reason"].items(), key=lambda item: -item[1])
        listed = _table(("withheld because", ""), [(reason, str(n)) for reason, n in reasons]) if reasons else ""
        counts = " · ".join(f"{one[action]} {action}" for action in ACTIONS)
        trials = one["fired"] + one["sham"]
        sham = f" · sham share {one['sham'] / trials:.2f} of {trials} trials" if one["sham"] else ""
        cards.append(
            f"<div class=card><h3>{escape(name)}</h3><div class=dim>{counts}{sham}</div>"
            f"{trial_strip(digest, name)}{listed}</div>"
        )
    key = " ".join(
        f'<span><svg style="width:10px;height:10px;display:inline" viewBox="0 0 10 10"><rect class={action} width=10 '
        f"height=10 /></svg> {action}</span>"
        for action in ACTIONS
    )
    return "".join(cards) + f"<div class=dim>{key}</div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], raw: Collection[int] = ()) -> str:
    """Rows of text; columns in ``raw`` are HTML already, all but the first are set to the right."""
    sides = ["" if not place else " class=n" for place in range(len(head))]
    top = "".join(f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{sides[place]}>{cell if place in raw else escape(cell)}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
