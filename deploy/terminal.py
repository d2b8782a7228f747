"""What the command line prints: the display of a run, its summary, and results as small tables."""

import re
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..inference.stabilisation.stabiliser import Stabiliser
from ..sync.clock import ClockAnchor, RigClock
from .live_state import LiveState
from .live_table import LiveTable, duration
from .number_table import NumberTable
from .precision_table import print_precision
from .scores_table import scores_in_short
from .summary import Finding, findings, summary

if TYPE_CHECKING:
    from ..inference.bundle import Bundle
    from .config import RunConfig
    from .supervised_run import Display, RunResult

SHOWN_ERRORS, SHOWN_ENTRIES = 20, 3
_HASH = re.compile("[0-9a-f]{64}")
_ENDED = {"sources ended": "until the last source ended", "interrupted": "until it was stopped"}
"""Where a run did not simply last as long as it was asked to."""


class Verified(Protocol):
    """What `verify` answers, as far as it is printed here."""

    @property
    def ok(self) -> bool: ...

    @property
    def errors(self) -> list[str]: ...

    def to_json(self) -> dict[str, Any]: ...


def make_display(config: "RunConfig | None", *, headless: bool) -> "AbstractContextManager[Display]":
    """The live table of a run (``config``) or of a replay (None)."""
    clock = RigClock(ClockAnchor.take())
    if config is None:
        state = LiveState("replay", mode="replay")
    else:
        state = LiveState(config.rig.name, tuple(config.rig.cameras), poses=tuple(config.rig.pose))
    return LiveTable(state, clock, headless=headless)


def print_summary(result: "RunResult", console: Console | None = None) -> None:
    """The end of a run in words: green what is well, red what is not and what to do."""
    errors = [] if result.verified is None else result.verified.errors
    rows = findings(result.report, result.outcome.failures, errors)
    if result.outcome.reason in _ENDED:
        lasted = f"{duration(result.report['seconds'])} from the first to the last set"
        rows.insert(0, Finding("run", "ok", f"{lasted}, {_ENDED[result.outcome.reason]}"))
    (console or _console()).print(summary(rows))


def print_verified(result: Verified, console: Console | None = None) -> None:
    """What `verify` found."""
    out = console or _console()
    found = result.to_json()
    rows = {
        name: {
            "device frames": one["n_device"],
            "written": one["written"],
            "declared": sum(one["declared"].values()),
            "undeclared": one["undeclared"],
            "duplicates": one["duplicates"],
            "starts": len(one["epochs"]),
        }
        for name, one in found["cameras"].items()
    }
    if rows:
        out.print(_rows(rows))
    poses = {
        name: {
            "frames": one["n_frames"],
            "written": one["written"],
            "declared": sum(one["declared"].values()),
            "undeclared": one["undeclared"],
            "starts": len(one["epochs"]),
        }
        for name, one in found["poses"].items()
    }
    if poses:
        out.print(_rows(poses))
    for line in found["warnings"][:SHOWN_ERRORS]:
        out.print(Text("LOOK   ", style="bold yellow").append(line, style="default"))
    for line in result.errors[:SHOWN_ERRORS]:
        out.print(Text("WRONG  ", style="bold red").append(line, style="default"))
    if len(result.errors) > SHOWN_ERRORS:
        out.print(f"       and {len(result.errors) - SHOWN_ERRORS} more")
    out.print(Text("verified", style="green") if result.ok else Text("does NOT verify", style="bold red"))


def print_bundle(bundle: "Bundle", console: Console | None = None) -> None:
    """A bundle's manifest."""
    out = console or _console()
    out.print(Text(bundle.identity, style="bold cyan"))
    manifest = bundle.manifest
    if manifest.look_ahead_frames is None:
        out.print("not causal: it sees whole recordings, for comparison; no rig runs it")
    else:
        stabiliser = Stabiliser(manifest.classes, manifest.stabiliser, look_ahead_ms=manifest.look_ahead_ms)
        out.print(stabiliser.delays_in_words())
    values = manifest.model_dump(mode="json", by_alias=True)
    record = manifest.quantisation
    print_result(values if record is None else {**values, "quantisation": "below"}, out)
    if record is not None:
        print_precision(record, out)


def print_result(result: dict[str, Any], console: Console | None = None) -> None:
    """Any result as names and values: groups are indented, a group of equal groups becomes a table, scores are told in
    short.
    """
    short = scores_in_short(result)
    (console or _console()).print(_group(result) if short is None else short)


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False)


def _group(values: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bright_black", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in values.items():
        grid.add_row(str(name) or "(none)", _value(value))
    return grid


def _value(value: Any) -> RenderableType:
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return _several(value)
    if isinstance(value, dict) and value:
        short = scores_in_short(value)
        if short is not None:
            return short
        rows: list[Any] = list(value.values())
        if all(isinstance(row, dict) and row.keys() == rows[0].keys() and _flat(row) for row in rows):
            return _rows({str(name): row for name, row in value.items()})
        return _group(value)
    return Text(_word(value))


def _several(values: list[dict[str, Any]]) -> RenderableType:
    """A few are shown one below the other; of many how many they are."""
    if len(values) <= SHOWN_ENTRIES and all(one.keys() == values[0].keys() and _flat(one) for one in values):
        return _rows({str(next(iter(one.values()))): dict(list(one.items())[1:]) for one in values})
    if len(values) <= SHOWN_ENTRIES:
        return Group(*(_group(one) for one in values))
    # A recording of keypoints stands beside its labels, which are of the same frames.
    counted = [one for one in values if not str(one.get("name", "")).endswith(".labels")]
    frames = sum(one["n_frames"] for one in counted) if all("n_frames" in one for one in counted) else 0
    return Text(f"{len(values)} entries{f', {frames:,} frames' if frames else ''}; --json lists them")


def _flat(row: dict[str, Any]) -> bool:
    return bool(row) and not any(isinstance(value, dict | list) for value in row.values())


def _rows(values: dict[str, dict[str, Any]]) -> NumberTable:
    table = NumberTable("", *map(str, next(iter(values.values()))))
    for name, row in values.items():
        table.add_row(name, *(_word(value) for value in row.values()))
    return table


def _word(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
        case dict() if not value:
            return "-"
        case list() | tuple():
            return ", ".join(_word(one) for one in value) or "-"
        case str() if _HASH.fullmatch(value):
            return f"{value[:12]}…"
        case _:
            return str(value) or "-"
