"""The drawings of a recording's page, as SVG."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.latency import LatencyHistogram
from .palette import class_color
from .recording_digest import Digest

_WIDTH = 1100.0
_HALF = 540.0
_PER_DECADE = 24
_MAX_DRAWN = 4000
"""Marks of one strip; more than three to a pixel cannot be told apart."""


def histogram_figure(histogram: LatencyHistogram) -> str:
    """Share of all per bin over a logarithmic axis in ms, with the percentiles marked."""
    bins: dict[int, float] = {}
    for upper_ns, n in histogram.buckets():
        place = math.ceil(_PER_DECADE * math.log10(max(upper_ns, 1) / NS_PER_MS))
        bins[place] = bins.get(place, 0.0) + n / histogram.n
    low = min(bins) - 2
    high = max(*bins, low + _PER_DECADE) + 2
    left, top, tall = 8.0, 46.0, 150.0  # names of percentiles stand above the bars, not on them
    step = (_HALF - 2 * left) / (high - low)
    most = max(bins.values())
    out = [f'<svg viewBox="0 0 {_HALF:g} {top + tall + 22:g}">']
    for place in range(low, high + 1):
        value = 10.0 ** (place / _PER_DECADE)
        lead = value / 10.0 ** math.floor(math.log10(value) + 1e-9)
        if any(abs(lead - one) < 0.05 * one for one in (1.0, 2.0, 5.0)):
            x = left + step * (place - low)
            out.append(f'<line class=grid x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + tall}"/>')
            out.append(
                f'<text class=tick x="{x:.1f}" y="{top + tall + 14}" text-anchor="middle">{_round(value)}</text>'
            )
    for place, share in sorted(bins.items()):
        height = max(0.6, tall * share / most)
        out.append(
            f'<rect class=bar x="{left + step * (place - 1 - low):.2f}" y="{top + tall - height:.2f}" '
            f'width="{max(0.6, step - 0.8):.2f}" height="{height:.2f}"/>'
        )
    for row, (name, q) in enumerate((("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))):
        value = (histogram.percentile_ns(q) or 1) / NS_PER_MS
        x, y = left + step * (_PER_DECADE * math.log10(value) - low), 12 + 13 * row
        near = x > 0.8 * _HALF
        out.append(f'<line class=mark x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{top + tall}"/>')
        out.append(
            f'<text class=label x="{x - 4 if near else x + 4:.1f}" y="{y}" '
            f'text-anchor="{"end" if near else "start"}">{name}</text>'
        )
    out.append(f'<text class=tick x="{_HALF - 4}" y="{top + tall - 4}" text-anchor="end">ms</text></svg>')
    return "".join(out)


def _round(value: float) -> str:
    return f"{float(f'{value:.1g}'):g}"


def stage_bars(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """A bar per stage: p50 full, p99 pale."""
    longest = max((one["p99"] or 0.0 for one in stages.values()), default=0.0) or 1.0
    left, row = 90.0, 22.0
    inner = _WIDTH - left - 150.0
    out = [f'<svg viewBox="0 0 {_WIDTH:g} {row * len(stages) + 4:g}">']
    for place, (name, one) in enumerate(stages.items()):
        y, p50, p99 = row * place + 3, one["p50"] or 0.0, one["p99"] or 0.0
        out.append(f'<text class=label x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        out.append(
            f'<rect class=bar opacity=".35" x="{left}" y="{y}" width="{inner * p99 / longest:.1f}" height="15"/>'
            f'<rect class=bar x="{left}" y="{y}" width="{inner * p50 / longest:.1f}" height="15"/>'
            f'<text class=label x="{left + inner * p99 / longest + 8:.1f}" y="{y + 12}">{p50:.2f} · {p99:.2f} ms</text>'
        )
    return "".join(out) + "</svg>"


def behavior_strip(digest: Digest) -> str:
    """What was named over time, one lane per behaviour."""
    order = {name: place for place, name in enumerate(digest.classes)}
    names = sorted(digest.bouts, key=lambda one: order.get(one, len(order)))
    left, row = 90.0, 20.0
    out = [f'<svg viewBox="0 0 {_WIDTH:g} {row * len(names) + 20:g}">']
    for place, name in enumerate(names):
        y, bouts = row * place, digest.bouts[name]
        out.append(f'<text class=label x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect class=lane x="{left}" y="{y + 1}" width="{_WIDTH - left}" height="{row - 4}"/>')
        color = class_color(order.get(name, place))
        for begin, end in bouts[:: 1 + len(bouts) // _MAX_DRAWN]:
            x0, x1 = _across(digest, begin, left), _across(digest, end, left)
            out.append(
                f'<rect fill="{color}" x="{x0:.2f}" y="{y + 1}" width="{max(0.4, x1 - x0):.2f}" height="{row - 4}"/>'
            )
    return "".join([*out, _time_axis(digest, row * len(names), left), "</svg>"])


def trial_strip(digest: Digest, rule: str) -> str:
    """Each decision of a rule at its time, one lane per action."""
    actions = [action for action in ("fired", "sham", "withheld") if digest.rules[rule][action]]
    left, row = 90.0, 16.0
    out = [f'<svg viewBox="0 0 {_WIDTH:g} {row * len(actions) + 20:g}">']
    for place, action in enumerate(actions):
        y = row * place
        out.append(f'<text class=label x="{left - 8}" y="{y + 10}" text-anchor="end">{action}</text>')
        out.append(f'<rect class=lane x="{left}" y="{y + 1}" width="{_WIDTH - left}" height="{row - 4}"/>')
        times = [t_ns for t_ns, one in digest.marks[rule] if one == action]
        for t_ns in times[:: 1 + len(times) // _MAX_DRAWN]:
            out.append(
                f'<rect class={action} x="{_across(digest, t_ns, left) - 0.8:.2f}" y="{y + 1}" width="1.6" '
                f'height="{row - 4}"/>'
            )
    return "".join([*out, _time_axis(digest, row * len(actions), left), "</svg>"])


def _across(digest: Digest, t_ns: int, left: float) -> float:
    return left + (_WIDTH - left) * min(1.0, max(0.0, (t_ns - digest.t_first_ns) / max(digest.span_ns, 1)))


def _time_axis(digest: Digest, top: float, left: float) -> str:
    seconds = max(digest.span_ns / NS_PER_S, 1e-3)
    raw = seconds / 8.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw)
    out: list[str] = []
    for place in range(math.floor(seconds / step) + 1):
        x = left + (_WIDTH - left) * place * step / seconds
        end = "end" if x > _WIDTH - 20 else "middle"
        text = f"{place * step:g}" + (" s" if not place else "")
        out.append(f'<text class=tick x="{x:.1f}" y="{top + 13:g}" text-anchor="{end}">{text}</text>')
    return "".join(out)
