"""What pages that are one HTML file have in common: the document, its style, tables, large figures in a row."""

from collections.abc import Collection, Sequence
from html import escape

STYLE = """
:root { --ground:#0d1117; --card:#141a22; --line:#222b36; --ink:#dbe3ec; --dim:#7f8c9b; --good:#3fc79a; --warn:#e6a23c;
  --bad:#ff6b6b; --live:#56b4e9; --grid:#2b3644; --lane:#10161e; --still:#4a5666;
  font:14px/1.45 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif; }
* { box-sizing:border-box; }
body { margin:0 auto; max-width:1180px; padding:22px 20px 60px; background:var(--ground); color:var(--ink);
  font-variant-numeric:tabular-nums; }
h1 { font-size:22px; margin:0 0 2px; } h2 { font-size:16px; margin:30px 0 10px; } h3 { font-size:15px; margin:0 0 6px; }
.dim { color:var(--dim); } .good { color:var(--good); } .warn { color:var(--warn); } .bad { color:var(--bad); }
.chip { display:inline-block; white-space:nowrap; padding:1px 10px; border:1px solid currentcolor; border-radius:999px;
  font-size:12px; margin-left:8px; }
.figures { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:10px; margin-top:16px; }
.figure, .card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px; }
.figure b { display:block; font-size:17px; white-space:nowrap; font-weight:600; }
.figure span { color:var(--dim); font-size:12px; }
.card { margin-bottom:12px; border-left:3px solid var(--mark,var(--line)); }
.two { display:grid; grid-template-columns:1fr 1fr; gap:12px; align-items:start; }
svg { width:100%; height:auto; display:block; } .card .dim + svg { margin-top:8px; }
table { border-collapse:collapse; width:100%; } th { text-align:left; color:var(--dim); font-weight:500; }
th,td { padding:4px 12px 4px 0; border-bottom:1px solid var(--line); } tr:last-child td { border-bottom:0; }
td.n,th.n { text-align:right; }
.key { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:6px; }
.tick { fill:var(--dim); font-size:10px; } .grid { stroke:var(--grid); stroke-width:.7; } .bar { fill:var(--live); }
.mark { stroke:var(--warn); stroke-dasharray:3 3; } .label { fill:var(--ink); font-size:11px;
  paint-order:stroke; stroke:var(--card); stroke-width:3px; }
.lane { fill:var(--lane); }
@media (max-width:860px) { .two { grid-template-columns:1fr; } }
"""
"""Dark, as the live page is."""

PAPER = """
:root { --ground:#fff; --card:#fafbfc; --line:#e1e5ea; --ink:#1b2430; --dim:#626e7b; --good:#0a7d5a; --warn:#9a5b00;
  --bad:#c0321f; --live:#0072b2; --grid:#e3e7ec; --lane:#eef1f4; --still:#9aa5b1; }
"""
"""After `STYLE`: light, for pages that are read long and printed."""


def document(title: str, style: str, body: Sequence[str]) -> str:
    """The whole page; nothing in it points anywhere else."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{''.join(body)}</body></html>\n"
    )


def figure_row(figures: Sequence[tuple[str, str]]) -> str:
    """Large values with their names below, as (name, value)."""
    cells = "".join(
        f"<div class=figure><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures
    )
    return f"<div class=figures>{cells}</div>"


def chip(words: str, kind: str) -> str:
    """A small frame with words: ``good``, ``warn``, ``bad`` or ``dim``."""
    return f'<span class="chip {kind}">{escape(words)}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], raw: Collection[int] = ()) -> str:
    """Rows of text, without a head where that is empty.

    Columns in ``raw`` are HTML already; all but the first are set to the right.
    """
    body = "".join(
        "<tr>"
        + "".join(f"<td{_side(place)}>{cell if place in raw else escape(cell)}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    top = "".join(f"<th{_side(place)}>{escape(name)}</th>" for place, name in enumerate(head))
    return f"<table>{'<tr>' + top + '</tr>' if head else ''}{body}</table>"


def _side(place: int) -> str:
    return " class=n" if place else ""
