"""Latency histograms as an SVG that is written by hand: share of all per bucket, over a logarithmic axis in ms."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from ethostream.sync.clock import NS_PER_MS
from ethostream.sync.latency import LatencyHistogram
from soak_plot import COLORS

WIDTH, LEFT, RIGHT, PANEL, GAP, TOP, BOTTOM = 900, 70, 30, 110, 46, 54, 34
PER_DECADE = 40


def binned(histogram: LatencyHistogram) -> dict[int, float]:
    """Share of all durations by bin; bin k ends at 10 ** (k / PER_DECADE) ms."""
    bins: dict[int, float] = {}
    for upper_ns, n in histogram.buckets():
        place = math.ceil(PER_DECADE * math.log10(max(upper_ns, 1) / NS_PER_MS))
        bins[place] = bins.get(place, 0.0) + n / histogram.n
    return bins


def draw_histograms(path: Path, title: str, histograms: Mapping[str, LatencyHistogram]) -> None:
    """Write the picture: one panel each, with p50, p99 and p99.9 marked."""
    shown = {name: one for name, one in histograms.items() if one.n}
    all_bins = {name: binned(one) for name, one in shown.items()}
    places = [place for bins in all_bins.values() for place in bins] or [0]
    low = math.floor((min(places) - 1) / PER_DECADE)
    high = max(low + 1, math.ceil(max(places) / PER_DECADE))
    inner = WIDTH - LEFT - RIGHT
    height = TOP + len(shown) * (PANEL + GAP) - GAP + BOTTOM

    def across(log_ms: float) -> float:
        return LEFT + inner * (log_ms - low) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, bins) in enumerate(all_bins.items()):
        top, color = TOP + number * (PANEL + GAP), COLORS[number % len(COLORS)]
        most = max(bins.values())
        out.append(f'<text x="{LEFT}" y="{top - 8}" font-weight="bold" fill="#333">{escape(name)}</text>')
        out.append(
            f'<text x="{LEFT + inner}" y="{top - 8}" text-anchor="end" fill="#555">{shown[name].n} sets, '
            f"max {shown[name].max_ns / NS_PER_MS:.2f} ms</text>"
        )
        for decade in range(low, high + 1):
            x = across(decade)
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + PANEL}" stroke="#e4e4e4"/>')
            out.append(
                f'<text x="{x:.1f}" y="{top + PANEL + 15}" text-anchor="middle" fill="#555">{10.0**decade:g}</text>'
            )
        for place, share in bins.items():
            x0, x1 = across((place - 1) / PER_DECADE), across(place / PER_DECADE)
            tall = PANEL * share / most
            out.append(
                f'<rect x="{x0:.2f}" y="{top + PANEL - tall:.2f}" width="{max(0.5, x1 - x0 - 0.4):.2f}" '
                f'height="{tall:.2f}" fill="{color}"/>'
            )
        out.append(f'<line x1="{LEFT}" x2="{LEFT + inner}" y1="{top + PANEL}" y2="{top + PANEL}" stroke="#999"/>')
        for mark, (label, q) in enumerate((("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))):
            value = (shown[name].percentile_ns(q) or 1) / NS_PER_MS
            x, y = across(math.log10(value)), top + 12 + 13 * mark
            out.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + PANEL}" stroke="#222" stroke-dasharray="3 3"/>'
                f'<text x="{x + 4:.1f}" y="{y}" fill="#222">{label} {value:.2f}</text>'
            )
    out.append(f'<text x="{LEFT + inner / 2:.0f}" y="{height - 4}" text-anchor="middle" fill="#333">ms</text></svg>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out) + "\n", encoding="utf-8")
