"""Bouts of several recordings, subjects and raters in one file, gathered into streams with names."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...sync.errors import DataError
from .frame_labels import Bout
from .label_file import StreamSource


@dataclass(slots=True)
class StreamCollector:
    """Collects bouts by their source; a fault in one stream leaves the others usable.

    A stream is called by what tells it from the others of its file: the recording, the subject, the rater, or several
    of these with ``/`` between them. What is the same throughout is left out: the only stream of a file is called "".
    """

    path: Path
    _bouts: dict[StreamSource, list[Bout]] = field(default_factory=dict)
    _faults: dict[StreamSource, str] = field(default_factory=dict)

    def add(self, source: StreamSource, bout: Bout | None = None) -> None:
        """One bout more; None: the stream is there, and may stay empty."""
        bouts = self._bouts.setdefault(source, [])
        if bout is not None:
            bouts.append(bout)

    def fail(self, source: StreamSource, reason: str) -> None:
        """Say why a stream cannot be used; the first reason stays."""
        self.add(source)
        self._faults.setdefault(source, reason)

    def finish(self) -> tuple[dict[str, list[Bout]], dict[str, StreamSource], dict[str, str]]:
        """Streams in order of appearance, with bouts in order of time; their sources; and what is broken, by name.

        Raises:
            DataError: no stream can be used.
        """
        if self._bouts and len(self._faults) == len(self._bouts):
            raise DataError(f"{self.path}: {next(iter(self._faults.values()))}")
        names = _names(self.path, self._bouts)
        streams = {
            names[source]: sorted(bouts, key=lambda bout: (bout.start_frame, bout.stop_frame))
            for source, bouts in self._bouts.items()
            if source not in self._faults
        }
        broken = {names[source]: reason for source, reason in self._faults.items()}
        return streams or {"": []}, {name: source for source, name in names.items()}, broken


def _names(path: Path, sources: Iterable[StreamSource]) -> dict[StreamSource, str]:
    parts = {source: (source.recording, source.subject, source.rater) for source in sources}
    telling = [place for place in range(3) if len({part[place] for part in parts.values()}) > 1]
    names = {source: "/".join(part[place] for place in telling if part[place]) for source, part in parts.items()}
    if len(set(names.values())) < len(names):
        names = {source: "/".join(part[place] for place in telling) for source, part in parts.items()}
    if len(set(names.values())) < len(names):
        raise DataError(f"{path}: two of its streams would have one name; take '/' out of recordings and subjects")
    return names
