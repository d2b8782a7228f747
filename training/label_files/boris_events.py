"""BORIS: events of an observation, as its tables and projects both hold them, paired into bouts.

A state event is a start and a stop of the same behaviour, subject and modifiers; a point event is an instant, and gets
the one frame that it falls on. BORIS writes the time of frame k as ``k / fps``, so times become frames by rounding; an
observation's time offset is taken off first. Friard and Gamba 2016, doi:10.1111/2041-210X.12584.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...sync.errors import DataError
from .frame_labels import Bout
from .frame_numbers import frames_of_times
from .label_file import StreamSource
from .streams import StreamCollector

Status = Literal["START", "STOP", "POINT"]

NO_SUBJECT = "no focal subject"
"""What BORIS writes where nobody in particular is watched."""


@dataclass(frozen=True, slots=True)
class BorisEvent:
    """One event: its time in seconds without the offset, and where it stands, in words and as a line (0: none)."""

    time_s: float
    behavior: str
    modifiers: str
    status: Status
    where: str
    line: int = 0


@dataclass(slots=True)
class BoutCount:
    """What was seen on the way, for the notes."""

    n_short: int = 0
    n_points: int = 0
    n_modified: int = 0

    def notes(self) -> list[str]:
        """In words; what was not seen is left out."""
        said = (
            (self.n_points, "point events were given one frame each"),
            (self.n_short, "bouts are shorter than half a frame: each was given one frame"),
            (self.n_modified, "events carry modifiers, which are left out"),
        )
        return [f"{count} {what}" for count, what in said if count]


def add_bouts(
    collector: StreamCollector, source: StreamSource, events: Iterable[BorisEvent], rate_hz: float, count: BoutCount
) -> None:
    """Pair the events of one subject, and add the bouts to its stream, which breaks if they do not pair."""
    collector.add(source)
    began: dict[tuple[str, str], BorisEvent] = {}
    for event in sorted(events, key=lambda event: event.time_s):
        key = (event.behavior, event.modifiers)
        count.n_modified += bool(event.modifiers)
        if event.time_s < 0:
            collector.fail(source, f"{event.where}: {event.time_s:g} s lies before the recording begins")
        elif event.status == "POINT":
            count.n_points += 1
            add_span(collector, source, event, event.time_s, rate_hz)
        elif event.status == "START":
            if key in began:
                collector.fail(
                    source,
                    f"{event.where}: {event.behavior} starts again and has not stopped since "
                    f"{began[key].time_s:g} s; pair the events in BORIS",
                )
            began[key] = event
        elif key not in began:
            collector.fail(
                source, f"{event.where}: {event.behavior} stops and has not started; pair the events in BORIS"
            )
        else:
            start = began.pop(key)
            count.n_short += (event.time_s - start.time_s) * rate_hz < 0.5
            add_span(collector, source, start, event.time_s, rate_hz)
    for event in began.values():
        collector.fail(source, f"{event.where}: {event.behavior} starts and never stops; pair the events in BORIS")


def add_span(
    collector: StreamCollector, source: StreamSource, start: BorisEvent, stop_s: float, rate_hz: float
) -> None:
    """One bout, from its first event to a time."""
    frames = frames_of_times(start.time_s, stop_s, rate_hz)
    collector.add(source, Bout(*frames, start.behavior, None, start.line))


def stated_rate_hz(where: str, text: str) -> float | None:
    """The frame rate in a cell such as ``25.0``, ``25.000;25.000`` (several files) or ``NA``; None: it says none.

    Raises:
        DataError: it says several that differ.
    """
    rates: set[float] = set()
    for part in text.replace("|", ";").split(";"):
        try:
            rate = float(part)
        except ValueError:
            continue
        if rate > 0:
            rates.add(rate)
    if len(rates) > 1:
        raise DataError(f"{where}: its videos have several rates ({text}); label videos of one rate together")
    return rates.pop() if rates else None
