"""A dry run of rules as tables: what would have happened when, and how often."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..inference.rules.rehearsal import Rehearsed
from ..sync.clock import NS_PER_MS

SHOWN_DIFFERENCES = 20
_STYLE = {"fired": "green", "sham": "cyan", "withheld": "yellow"}


def print_rehearsal(
    found: Rehearsed, compared: dict[str, Any] | None, rows: int, console: Console | None = None
) -> None:
    """Decisions, totals per rule and, where asked, the comparison with the live run.

    Args:
        found: of the dry run.
        compared: its `Rehearsed.compare`.
        rows: decisions shown at most.
        console: where to; None: standard output.
    """
    out = console or Console(highlight=False)
    if found.decisions and rows:
        out.print(_decisions(found, rows))
    if len(found.decisions) > rows:
        out.print(f"and {len(found.decisions) - rows} more decisions: --rows, or --json FILE for all")
    out.print(_totals(found))
    out.print(f"{found.n_behaviors:,} answers of the model in {found.seconds:.1f} s of session")
    if found.drawn:
        out.print(f"no seed in the task for {', '.join(found.drawn)}: tried with seed 0; a run draws another")
    if compared is not None:
        good = not compared["different"]
        words = f"{compared['equal']:,} decisions as recorded, {compared['different']:,} different"
        out.print(Text(words, style="green" if good else "yellow"))
        for line in compared["differences"][:SHOWN_DIFFERENCES]:
            out.print(f"  {line}", soft_wrap=True, markup=False)
        if compared["different"] > SHOWN_DIFFERENCES:
            out.print(f"  and {compared['different'] - SHOWN_DIFFERENCES} more")


def _decisions(found: Rehearsed, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("session s", justify="right", no_wrap=True)
    for name in ("rule", "decision", "why", "behaviour"):
        table.add_column(name, overflow="fold")
    for name in ("p", "trial", "acts ms", "set"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.decisions[:rows]:
        is_trial = one.trial >= 0
        table.add_row(
            f"{found.session_s(one.t_exposure_ns):.3f}",
            one.rule,
            Text(one.action, style=_STYLE[one.action]),
            one.reason,
            one.behavior or "-",
            f"{one.p:.2f}",
            str(one.trial) if is_trial else "",
            f"+{(one.t_due_ns - one.t_exposure_ns) / NS_PER_MS:.1f}" if is_trial else "",
            str(one.set_id),
        )
    return table


def _totals(found: Rehearsed) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("rule", overflow="fold")
    for name in ("fired", "sham", "withheld"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why withheld", overflow="fold")
    for name, one in found.totals().items():
        reasons = sorted(one["withheld_by_reason"].items(), key=lambda it: (-it[1], it[0]))
        why = ", ".join(f"{reason} {n}" for reason, n in reasons)
        table.add_row(name, str(one["fired"]), str(one["sham"]), str(one["withheld"]), why)
    return table
