"""BORIS exports in text (CSV, TSV): "tabular events" of versions 7 and 8, and "aggregated events".

Tabular events are one row per start, stop or point; aggregated events one row per bout. Version 7 writes what it knows
of the observation above the header, version 8 into columns. Each subject of each observation is a stream.
"""

from collections import defaultdict
from pathlib import Path

from ...sync.errors import DataError
from .boris_events import NO_SUBJECT, BorisEvent, BoutCount, Status, add_bouts, add_span, stated_rate_hz
from .delimited_text import Row, Table, find_header, read_table
from .file_head import FileHead
from .frame_numbers import labelled_rate_hz, seconds
from .label_file import LabelFile, ReadOptions, StreamSource
from .streams import StreamCollector

_EXPECTED = "a header with Behavior, and Time and Behavior type, or Start (s) and Stop (s)"
_OBSERVATION, _OFFSET = "Observation id", "Time offset (s)"
_STATUS: dict[str, Status] = {"START": "START", "STOP": "STOP", "POINT": "POINT"}


def matches(head: FileHead) -> bool:
    """Whether one of the first lines is the header of such an export."""
    return find_header(head.text, _is_header, above=True) is not None


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read a tabular or aggregated export.

    Events that do not pair, and rows that are wrong, break their stream and leave the others usable.

    Raises:
        DataError: it is no such export, nothing says the frame rate, or no stream can be used.
    """
    table = read_table(path, _is_header, _EXPECTED, above=True)
    collector, count = StreamCollector(path), BoutCount()
    aggregated = table.find("Start (s)") is not None
    rate = _Rate(table, options.rate_hz)
    of_source: dict[StreamSource, list[Row]] = defaultdict(list)
    for row in table.rows:
        of_source[_source(table, row)].append(row)
    behavior = table.place("Behavior")
    names = dict.fromkeys(name for row in table.rows if (name := row.cells[behavior].strip()))
    for source, rows in of_source.items():
        try:
            rate_hz = rate.of(rows[0])
            if aggregated:
                _add_aggregated(table, collector, source, rows, rate_hz, count)
            else:
                add_bouts(collector, source, [_event(table, row) for row in rows], rate_hz, count)
        except DataError as error:
            collector.fail(source, str(error))
    streams, sources, broken = collector.finish()
    notes = [*count.notes(), *(f"stream {key!r} cannot be used: {reason}" for key, reason in broken.items())]
    return LabelFile(
        path, "boris", streams, list(names), rate_hz=rate.stated, sources=sources, broken=broken, notes=notes
    )


def _is_header(cells: list[str]) -> bool:
    names = set(cells)
    tabular = "time" in names and bool(names & {"behavior type", "status"})
    return "behavior" in names and (tabular or {"start (s)", "stop (s)"} <= names)


class _Rate:
    """The frame rate of a row: of its column ``FPS``, or as the caller says."""

    def __init__(self, table: Table, given: float | None) -> None:
        self._table, self._given = table, given
        self._place = table.find("FPS", "FPS (frame/s)")
        self.stated: float | None = None

    def of(self, row: Row) -> float:
        where = f"line {row.line}"
        stated = None if self._place is None else stated_rate_hz(where, row.cells[self._place])
        self.stated = self.stated or stated
        return labelled_rate_hz(where, stated, self._given)


def _source(table: Table, row: Row) -> StreamSource:
    place = table.find(_OBSERVATION)
    subject = table.find("Subject")
    name = "" if subject is None else row.cells[subject].strip()
    return StreamSource(
        recording=_above(table, _OBSERVATION) if place is None else row.cells[place].strip(),
        subject="" if name.lower() == NO_SUBJECT else name,
    )


def _above(table: Table, name: str) -> str:
    """A value that stands above the header, behind its name; "" where it does not."""
    return next((row.cells[1].strip() for row in table.above if row.cells[0].strip() == name and row.cells[1:]), "")


def _offset_s(table: Table, row: Row) -> float:
    place = table.find(_OFFSET)
    text = _above(table, _OFFSET) if place is None else row.cells[place].strip()
    return seconds(f"line {row.line}", _OFFSET, text) if text else 0.0


def _modifiers(table: Table, row: Row) -> str:
    """All modifiers of a row; "None" is BORIS's word for one that was not chosen."""
    cells = [
        cell.strip()
        for name, cell in zip(table.header, row.cells, strict=True)
        if name.lower() == "modifiers" or name.lower().startswith("modifier #")
    ]
    return "|".join(cell for cell in cells if cell and cell != "None")


def _behavior(table: Table, row: Row) -> str:
    name = row.cells[table.place("Behavior")].strip()
    if not name:
        raise DataError(f"line {row.line}: column Behavior: is empty; name the behaviour")
    return name


def _event(table: Table, row: Row) -> BorisEvent:
    where = f"line {row.line}"
    column = table.find("Behavior type")
    column = table.place("Status") if column is None else column
    status = _STATUS.get(row.cells[column].strip().upper())
    if status is None:
        raise DataError(
            f"{where}: column {table.header[column]}: {row.cells[column]!r} is none of START, STOP, POINT; pair the "
            "events in BORIS and export again"
        )
    time_s = seconds(where, "Time", row.cells[table.place("Time")]) - _offset_s(table, row)
    return BorisEvent(time_s, _behavior(table, row), _modifiers(table, row), status, where, row.line)


def _add_aggregated(
    table: Table, collector: StreamCollector, source: StreamSource, rows: list[Row], rate_hz: float, count: BoutCount
) -> None:
    kind = table.find("Behavior type")
    for row in rows:
        where = f"line {row.line}"
        offset_s = _offset_s(table, row)
        start_s, stop_s = (
            seconds(where, name, row.cells[table.place(name)]) - offset_s for name in ("Start (s)", "Stop (s)")
        )
        if not 0 <= start_s <= stop_s:
            raise DataError(f"{where}: columns Start (s), Stop (s): a bout from {start_s:g} to {stop_s:g} s cannot be")
        point = kind is not None and row.cells[kind].strip().upper() == "POINT"
        modifiers = _modifiers(table, row)
        count.n_points += point
        count.n_short += not point and (stop_s - start_s) * rate_hz < 0.5
        count.n_modified += bool(modifiers)
        start = BorisEvent(start_s, _behavior(table, row), modifiers, "POINT" if point else "START", where, row.line)
        add_span(collector, source, start, start_s if point else stop_s, rate_hz)
