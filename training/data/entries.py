"""Entries of a training file, a recording each: simulated sessions are one per seed."""

from collections.abc import Sequence

from ..config.recordings import PoseData, SimulatedData, VideoData

Entry = VideoData | SimulatedData | PoseData


def single_recordings(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with one recording and a name each."""
    found: list[Entry] = []
    for one in entries:
        if isinstance(one, SimulatedData):
            found += [one.model_copy(update={"seeds": [seed]}) for seed in one.seeds]
        else:
            found.append(one.model_copy(update={"name": one.recording_name}))
    return found


def name_of(entry: Entry) -> str:
    """What the recording of an entry with one recording is called."""
    return f"{entry.name}-{entry.seeds[0]}" if isinstance(entry, SimulatedData) else entry.recording_name
