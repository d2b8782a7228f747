"""The page of one recording: latency, frames, behaviour and decisions, in one HTML file with nothing beside it."""

from html import escape
from statistics import median

from ..sync.clock import NS_PER_MS
from ..sync.latency import LatencyHistogram
from .page_parts import STYLE, chip, document, figure_row, table
from .palette import class_color
from .recording_digest import ACTIONS, Digest
from .recording_figures import behavior_strip, histogram_figure, stage_bars, trial_strip

_STYLE = STYLE + ".fired { fill:var(--good); } .sham { fill:var(--warn); } .withheld { fill:var(--still); }"


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
    return document(digest.name, _STYLE, body)


def _head(digest: Digest) -> str:
    report = digest.report
    undeclared = digest.undeclared
    if not digest.closed:
        state = chip("not closed", "warn")
    elif undeclared == 0:
        state = chip("every frame accounted for", "good")
    else:
        state = chip(f"{undeclared} frames undeclared", "bad")
    trigger = digest.latency.get("exposure_to_trigger")
    label = digest.latency.get("exposure_to_behavior")
    fired = sum(one["fired"] for one in digest.rules.values())
    figures = [
        ("from first to last frame set", _duration(report["seconds"])),
        ("cameras", str(len(report["cameras"]))),
        *([("pose sources", str(len(report["poses"])))] if report["poses"] else []),
        ("exposure to behaviour, p50 · p99", _pair(label)),
        ("exposure to trigger, p50 · p99", _pair(trigger)),
        ("bouts", str(sum(len(bouts) for bouts in digest.bouts.values()))),
        ("decisions fired", str(fired)),
    ]
    subject = digest.session.get("subject") or "no subject named"
    about = (
        f"{digest.began_utc} · session {digest.session_id} · {subject} · {report['inference']['bundle'] or 'no model'}"
    )
    return f"<h1>{escape(digest.name)}{state}</h1><div class=dim>{escape(about)}</div>{figure_row(figures)}"


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
        + table(
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
        for name, one in (*digest.report["cameras"].items(), *digest.report["poses"].items())
    ]
    sets = digest.report["sets"]
    head = ("source", "captured", "lost in device", "declared lost", "duplicates", "late", "written", "Hz", "ended as")
    return (
        f"<div class=card>{table(head, rows, raw={8})}</div><div class=dim>{sets['complete']} complete frame sets, "
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
    listed = table(("behaviour", "bouts", "of the time", "median bout", "longest"), rows, raw={0})
    return f"<div class=card>{behavior_strip(digest)}{listed}</div>"


def _decisions(digest: Digest) -> str:
    if not digest.rules:
        return "<div class=card>No rule decided anything in this recording.</div>"
    cards: list[str] = []
    for name, one in sorted(digest.rules.items()):
        reasons = sorted(one["withheld_by_reason"].items(), key=lambda item: -item[1])
        listed = table(("withheld because", ""), [(reason, str(n)) for reason, n in reasons]) if reasons else ""
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
