"""Event CSV: one row per bout with its times in seconds, its behaviour and, by choice, who labelled which recording.

Columns are known by name, whatever their order and separator; see `START` to `RATER`. DLCAnalyzer's label files are of
this kind (``file;Experimenter;from;to;type;ID``).
"""

from pathlib import Path

from ...sync.errors import DataError
from ..labels import Bout
from .delimited_text import Row, Table, read_table
from .file_head import FileHead
from .frame_numbers import frames_of_times, labelled_rate_hz, seconds
from .label_file import LabelFile, ReadOptions, StreamSource
from .streams import StreamCollector

START = ("from", "start", "start_s", "start_time", "onset")
STOP = ("to", "stop", "stop_s", "stop_time", "end", "end_s", "end_time")
BEHAVIOR = ("type", "behaviour", "behavior", "event", "label")
RECORDING = ("id", "recording", "session", "video")
SUBJECT = ("subject", "animal")
RATER = ("experimenter", "rater", "observer", "annotator", "coder")
_EXPECTED = "from,to,type and, by choice, ID,Experimenter"


def matches(head: FileHead) -> bool:
    """Whether the first line names times and behaviours."""
    return any(_is_header(rows[0]) for rows in head.tables() if rows)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read an event CSV; each pair of recording and rater is a stream.

    A row that is wrong breaks its stream, and leaves the others usable.

    Raises:
        DataError: there is no rate to turn seconds into frames, a column is missing, or no stream can be used.
    """
    table = read_table(path, _is_header, _EXPECTED)
    rate_hz = labelled_rate_hz(str(path), None, options.rate_hz)
    start, stop, behavior = (table.place(*names) for names in (START, STOP, BEHAVIOR))
    of_source = [table.find(*names) for names in (RECORDING, SUBJECT, RATER)]
    collector = StreamCollector(path)
    names: dict[str, None] = {}
    n_short = 0
    for row in table.rows:
        source = StreamSource(*("" if place is None else row.cells[place].strip() for place in of_source))
        name = row.cells[behavior].strip()
        try:
            start_s, stop_s = _times(table, row, start, stop)
            if not name:
                raise DataError(f"line {row.line}: column {table.header[behavior]}: is empty; name the behaviour")
        except DataError as error:
            collector.fail(source, str(error))
            continue
        names[name] = None
        n_short += (stop_s - start_s) * rate_hz < 0.5
        collector.add(source, Bout(*frames_of_times(start_s, stop_s, rate_hz), name, None, row.line))
    streams, sources, broken = collector.finish()
    notes = [f"{n_short} bouts are shorter than half a frame: each was given one frame"] if n_short else []
    notes += [f"stream {key!r} cannot be used: {reason}" for key, reason in broken.items()]
    return LabelFile(path, "events", streams, list(names), sources=sources, broken=broken, notes=notes)


def _is_header(cells: list[str]) -> bool:
    return all(any(cell in names for cell in cells) for names in (START, STOP, BEHAVIOR))


def _times(table: Table, row: Row, start: int, stop: int) -> tuple[float, float]:
    where = f"line {row.line}"
    start_s = seconds(where, table.header[start], row.cells[start])
    stop_s = seconds(where, table.header[stop], row.cells[stop])
    if start_s < 0:
        raise DataError(f"{where}: column {table.header[start]}: {start_s:g} s lies before the recording begins")
    if stop_s < start_s:
        raise DataError(
            f"{where}: column {table.header[stop]}: {stop_s:g} s is before {table.header[start]} {start_s:g} s"
        )
    return start_s, stop_s
