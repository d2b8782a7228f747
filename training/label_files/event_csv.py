"""Event CSV: one row per bout with its times in seconds, its behaviour and, by choice, who labelled which recording.

Columns are known by name, whatever their order and separator; see `START` to `RATER`. DLCAnalyzer's label files are of
this kind (``file;Experimenter;from;to;type;ID``). Others hold frame numbers in such columns (BehaviorDEPOT's tables,
from 1, the last one named): that has to be declared, and whole numbers that could be either are refused.
"""

from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import Row, Table, read_table
from .file_head import FileHead
from .frame_labels import Bout
from .frame_numbers import frame_number, frames_of_times, half_open, labelled_rate_hz, seconds
from .label_file import FrameConvention, LabelFile, ReadOptions, Span, StreamSource
from .streams import StreamCollector

START = ("from", "start", "start_s", "start_time", "onset")
STOP = ("to", "stop", "stop_s", "stop_time", "end", "end_s", "end_time")
BEHAVIOR = ("type", "behaviour", "behavior", "event", "label")
RECORDING = ("id", "recording", "session", "video")
SUBJECT = ("subject", "animal")
RATER = ("experimenter", "rater", "observer", "annotator", "coder")
_SECONDS = ("_s", "_time")
"""Ends of names that say: seconds."""
_EXPECTED = "from,to,type and, by choice, ID,Experimenter"


def matches(head: FileHead) -> bool:
    """Whether the first line names times and behaviours."""
    return any(_is_header(rows[0]) for rows in head.tables() if rows)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read an event CSV; each pair of recording and rater is a stream.

    A row that is wrong breaks its stream, and leaves the others usable.

    Raises:
        DataError: there is no rate to turn seconds into frames, nothing says whether its numbers are seconds at all, a
            column is missing, or no stream can be used.
    """
    table = read_table(path, _is_header, _EXPECTED)
    times = _Times(table, options)
    behavior = table.place(*BEHAVIOR)
    of_source = [table.find(*names) for names in (RECORDING, SUBJECT, RATER)]
    collector = StreamCollector(path)
    names: dict[str, None] = {}
    for row in table.rows:
        source = StreamSource(*("" if place is None else row.cells[place].strip() for place in of_source))
        name = row.cells[behavior].strip()
        try:
            start, stop = times.span(row)
            if not name:
                raise DataError(f"line {row.line}: column {table.header[behavior]}: is empty; name the behaviour")
        except DataError as error:
            collector.fail(source, str(error))
            continue
        names[name] = None
        collector.add(source, Bout(start, stop, name, None, row.line))
    streams, sources, broken = collector.finish()
    notes = [f"{times.n_short} bouts are shorter than half a frame: each was given one frame"] if times.n_short else []
    notes += [f"stream {key!r} cannot be used: {reason}" for key, reason in broken.items()]
    return LabelFile(path, "events", streams, list(names), sources=sources, broken=broken, notes=notes)


def _is_header(cells: list[str]) -> bool:
    return all(any(cell in names for cell in cells) for names in (START, STOP, BEHAVIOR))


class _Times:
    """The two columns that say when: seconds, or frame numbers where a convention is declared."""

    def __init__(self, table: Table, options: ReadOptions) -> None:
        self.n_short = 0
        self._table = table
        self._places = table.place(*START), table.place(*STOP)
        self._names = table.header[self._places[0]], table.header[self._places[1]]
        self._convention: FrameConvention | None = options.frames
        self._rate_hz = 1.0
        if self._convention is None:
            self._check_unit()
            self._rate_hz = labelled_rate_hz(str(table.path), None, options.rate_hz)

    def span(self, row: Row) -> Span:
        """The frames of a row."""
        where = f"line {row.line}"
        start, stop = (row.cells[place] for place in self._places)
        if self._convention is not None:
            first, last = frame_number(where, self._names[0], start), frame_number(where, self._names[1], stop)
            return half_open(where, first, last, self._convention, self._names)
        start_s, stop_s = seconds(where, self._names[0], start), seconds(where, self._names[1], stop)
        if start_s < 0:
            raise DataError(f"{where}: column {self._names[0]}: {start_s:g} s lies before the recording begins")
        if stop_s < start_s:
            raise DataError(f"{where}: column {self._names[1]}: {stop_s:g} s is before {self._names[0]} {start_s:g} s")
        self.n_short += (stop_s - start_s) * self._rate_hz < 0.5
        return frames_of_times(start_s, stop_s, self._rate_hz)

    def _check_unit(self) -> None:
        """Refuse whole numbers in columns whose names say no unit: nothing tells seconds from frames."""
        stated = all(name.lower().endswith(_SECONDS) for name in self._names)
        cells = [row.cells[place] for row in self._table.rows for place in self._places]
        if cells and not stated and not any(_is_fraction(cell) for cell in cells):
            raise DataError(
                f"{self._table.path}: line {self._table.line}: columns {self._names[0]}, {self._names[1]}: hold whole "
                "numbers alone, and nothing says whether they are seconds or frames; call them start_s and stop_s, or "
                "declare with 'frames' how they count frames"
            )


def _is_fraction(cell: str) -> bool:
    """Whether a cell is a number that no frame has."""
    try:
        return float(cell) % 1.0 > 0.0
    except ValueError:
        return False
