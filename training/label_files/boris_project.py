"""BORIS projects (``.boris``, JSON): the ethogram, the subjects and the events of every observation.

A project does not say which events start and which stop: those of a state behaviour alternate, per subject and
modifiers. Each subject of each observation is a stream; an observation in which nothing happened is one as well.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...sync.errors import DataError
from .boris_events import NO_SUBJECT, BorisEvent, BoutCount, Status, add_bouts
from .delimited_text import read_text
from .file_head import FileHead
from .frame_numbers import labelled_rate_hz
from .label_file import LabelFile, ReadOptions, StreamSource
from .streams import StreamCollector

_KEYS = ("behaviors_conf", "observations")


def matches(head: FileHead) -> bool:
    """Whether it begins as JSON with keys of BORIS."""
    begin = head.data.lstrip(b"\xef\xbb\xbf \t\r\n")[: 1 << 16]
    return begin.startswith(b"{") and any(
        name in begin for name in (b'"behaviors_conf"', b'"project_format_version"', b'"subjects_conf"')
    )


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read every observation of a project.

    An observation whose events do not pair, or without a frame rate, breaks its streams and leaves the others usable.

    Raises:
        DataError: it is no project, or no stream can be used.
    """
    project = _project(path)
    types = _types(path, project["behaviors_conf"])
    collector, count = StreamCollector(path), BoutCount()
    rates: set[float] = set()
    for name, observation in project["observations"].items():
        reader = _Observation(path, str(name), observation, types)
        events = reader.by_subject()
        try:
            stated = reader.stated_rate_hz()
            rate_hz = labelled_rate_hz(reader.where, stated, options.rate_hz)
        except DataError as error:
            for subject in events:
                collector.fail(StreamSource(reader.name, subject), str(error))
            continue
        if stated is not None:
            rates.add(stated)
        for subject, found in events.items():
            source = StreamSource(reader.name, subject)
            if isinstance(found, str):
                collector.fail(source, found)
            else:
                add_bouts(collector, source, found, rate_hz, count)
    streams, sources, broken = collector.finish()
    notes = [*count.notes(), *(f"stream {key!r} cannot be used: {reason}" for key, reason in broken.items())]
    return LabelFile(
        path,
        "boris_project",
        streams,
        list(types),
        rate_hz=rates.pop() if len(rates) == 1 else None,
        sources=sources,
        broken=broken,
        notes=notes,
    )


def _project(path: Path) -> dict[str, Any]:
    try:
        project: Any = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); is the project whole?") from error
    for key in _KEYS:
        if not isinstance(project, dict) or not isinstance(project.get(key), dict):
            raise DataError(f"{path}: has no {key!r}; a BORIS project holds {' and '.join(_KEYS)}")
    return project


def _types(path: Path, ethogram: dict[str, Any]) -> dict[str, str]:
    """Behaviour → its type, in the order of the ethogram."""
    types: dict[str, str] = {}
    for key, behavior in ethogram.items():
        if not isinstance(behavior, dict) or not isinstance(behavior.get("code"), str):
            raise DataError(f"{path}: behaviors_conf {key}: has no 'code'; is it a BORIS project?")
        types[behavior["code"]] = str(behavior.get("type", ""))
    return types


class _Observation:
    """One observation of a project."""

    def __init__(self, path: Path, name: str, data: Any, types: dict[str, str]) -> None:
        if not isinstance(data, dict) or not isinstance(data.get("events"), list):
            raise DataError(f"{path}: observation {name!r}: has no list of events; is it a BORIS project?")
        self.name = name
        self.where = f"observation {name!r}"
        self._data: dict[str, Any] = data
        self._types = types

    def stated_rate_hz(self) -> float | None:
        """Frames per second of the videos of its first player; None: it was live, or the project does not say."""
        files: Any = self._data.get("file")
        info: Any = self._data.get("media_info")
        paths: Any = files.get("1") if isinstance(files, dict) else None
        fps: Any = info.get("fps") if isinstance(info, dict) else None
        if not isinstance(paths, list) or not isinstance(fps, dict):
            return None
        rates = {float(fps[path]) for path in paths if isinstance(fps.get(path), int | float) and fps[path] > 0}
        if len(rates) > 1:
            said = ", ".join(f"{rate:g}" for rate in sorted(rates))
            raise DataError(f"{self.where}: its videos have several rates ({said}); label videos of one rate together")
        return rates.pop() if rates else None

    def by_subject(self) -> dict[str, list[BorisEvent] | str]:
        """Subject → its events, or why they cannot be used; an observation without events has the subject ""."""
        offset: Any = self._data.get("time offset") or 0.0
        events: dict[str, list[BorisEvent]] = defaultdict(list)
        faults: dict[str, str] = {}
        begun: dict[tuple[str, str, str], int] = defaultdict(int)
        rows = [row for row in self._data["events"] if isinstance(row, list) and len(row) >= 3]
        if len(rows) < len(self._data["events"]):
            return {"": f"{self.where}: an event is not [time, subject, behaviour, …]; is it a BORIS project?"}
        if not isinstance(offset, int | float):
            return {"": f"{self.where}: its time offset {offset!r} is not a number of seconds"}
        for row in sorted(rows, key=lambda row: row[0] if isinstance(row[0], int | float) else 0.0):
            subject, behavior = ("" if str(row[1]).lower() == NO_SUBJECT else str(row[1])), str(row[2])
            modifiers = "" if len(row) < 4 or row[3] in ("", "None", None) else str(row[3])
            of_subject = events[subject]
            if not isinstance(row[0], int | float) or row[0] != row[0]:
                faults.setdefault(subject, f"{self.where}: {row[0]!r} is not a time; events on pictures have none")
                continue
            where = f"{self.where}, {row[0]:g} s"
            kind = self._types.get(behavior)
            if kind is None:
                faults.setdefault(subject, f"{where}: {behavior!r} is not in the ethogram, which says if it is a state")
                continue
            status: Status = "POINT"
            if kind.startswith("State"):
                key = (subject, behavior, modifiers)
                status = "STOP" if begun[key] % 2 else "START"
                begun[key] += 1
            of_subject.append(BorisEvent(row[0] - offset, behavior, modifiers, status, where))
        found: dict[str, list[BorisEvent] | str] = {**events, **faults}
        return found or {"": []}
