"""Frames of a recording on another device's clock, and that device's pulses on the rig's: tables and their summary."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import NS_PER_S
from ..sync.errors import DataError, RecordingError
from ..sync.pulse_alignment import Alignment, align
from ..sync.pulse_files import PulseTimes
from .pulse_account import named
from .recording_reader import Recording

ALIGNMENT_SCHEMA = 1
"""Of the summary in JSON; raised when a key changes its meaning or goes."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraAlignment:
    """One camera of a recording against the pulses.

    Attributes:
        camera: name.
        epochs, seqs, times_ns: (n,) int64 of its frames, by exposure time.
        video_frames: (n,) int64: frame in the video, -1 where it is not in it.
        pulses: what it was aligned to.
        alignment: the answer.
        trigger_ids: (n,) int64: trigger pulses that the camera had counted at each frame, -1 where it does not count.
    """

    camera: str
    epochs: NDArray[np.int64]
    seqs: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    video_frames: NDArray[np.int64]
    pulses: PulseTimes
    alignment: Alignment
    trigger_ids: NDArray[np.int64]

    def state(self, place: int) -> str:
        """What became of a frame: ``paired``, ``ambiguous``, ``no_pulse``, or ``outside`` of the pulses."""
        one = self.alignment
        if one.pulse_of_frame[place] >= 0:
            return "paired"
        return "ambiguous" if one.ambiguous[place] else "no_pulse" if one.inside[place] else "outside"

    def summary(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        one = self.alignment
        free = one.pulse_of_frame < 0
        lacking = self.seqs[free & one.inside & ~one.ambiguous]
        lone = np.flatnonzero((one.frame_of_pulse < 0) & one.pulse_inside)
        return {
            "frames": len(self.seqs),
            "pulses": len(self.pulses.times_s),
            "paired": one.n_paired,
            "frames_without_pulse": lacking.tolist(),
            "frames_ambiguous": self.seqs[one.ambiguous].tolist(),
            "frames_outside": int((free & ~one.inside).sum()),
            "pulses_without_frame": lone.tolist(),
            "pulses_outside": int(((one.frame_of_pulse < 0) & ~one.pulse_inside).sum()),
            "first_frame_t_ns": int(self.times_ns[0]),
            "first_frame_time_s": one.offset_s,
            "drift_ppm": one.drift_ppm,
            "tolerance_us": one.tolerance_us,
            "residual_us": {"p50": one.residual_p50_us, "p99": one.residual_p99_us, "max": one.residual_max_us},
            "evidence_nats": one.evidence_nats,
            "margin_nats": one.margin_nats,
            "declared": one.declared,
        }

    def words(self) -> list[str]:
        """What a person should look at."""
        found = self.summary()
        lines: list[str] = []
        for key, what in (
            ("frames_without_pulse", "frame(s) have no pulse: numbers"),
            ("frames_ambiguous", "frame(s) have two pulses that could be theirs, and were given none: numbers"),
            ("pulses_without_frame", "pulse(s) have no frame: pulses"),
        ):
            if found[key]:
                lines.append(f"camera {self.camera}: {len(found[key])} {what} {named(sorted(found[key]))}")
        return lines


def align_camera(
    recording: Recording, camera: str, pulses: PulseTimes, first_frame_pulse: int | None = None
) -> CameraAlignment:
    """Align one camera of a recording.

    Args:
        recording: it may be torn.
        camera: name.
        pulses: of the other device.
        first_frame_pulse: the first frame's pulse, where it is declared.

    Raises:
        RecordingError: no such camera.
        DataError: see `align`.
    """
    index, pairing = recording.index(camera)
    times = np.array(index.times, np.int64)
    video = np.full(len(times), -1, np.int64)
    header_of = np.array(pairing.header_of, np.int64)
    video[header_of[header_of >= 0]] = np.flatnonzero(header_of >= 0)
    order = np.argsort(times, kind="stable")
    times = times[order]
    if not len(times):
        raise DataError(f"camera {camera}: the recording holds no frame of it")
    seconds = (times - times[0]) / NS_PER_S
    try:
        found = align(seconds, pulses.times_s, first_frame_pulse=first_frame_pulse, resolution_s=pulses.resolution_s)
    except DataError as error:
        raise DataError(f"camera {camera}, {pulses.source}: {error}") from error
    epochs, seqs = np.array(index.epochs, np.int64)[order], np.array(index.seqs, np.int64)[order]
    trigger_ids = np.fromiter((one.trigger_id for one in recording.headers(camera)), np.int64, len(order))[order]
    return CameraAlignment(camera, epochs, seqs, times, video[order], pulses, found, trigger_ids)


def write_tables(path: Path, cameras: list[CameraAlignment]) -> list[Path]:
    """Write the table of frames to ``path`` and that of pulses beside it, ``.pulses.csv``.

    Raises:
        RecordingError: they cannot be written.
    """
    beside = path.with_suffix(".pulses" + (path.suffix or ".csv"))
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(
                [
                    "camera", "epoch", "seq", "video_frame", "t_exposure_ns", "time_s", "pulse", "residual_us", "state",
                    "trigger_id",
                ]
            )  # fmt: skip
            for one in cameras:
                writer.writerows(_frame_rows(one))
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["camera", "pulse", "time_s", "t_ns", "epoch", "seq"])
            for one in cameras:
                writer.writerows(_pulse_rows(one))
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written ({error.strerror}); give another place") from error
    return [path, beside]


def _frame_rows(one: CameraAlignment) -> Iterator[tuple[object, ...]]:
    found = one.alignment
    for place, pulse in enumerate(found.pulse_of_frame):
        yield (
            one.camera,
            int(one.epochs[place]),
            int(one.seqs[place]),
            int(one.video_frames[place]) if one.video_frames[place] >= 0 else "",
            int(one.times_ns[place]),
            f"{found.frame_time_s[place]:.9f}",
            int(pulse) if pulse >= 0 else "",
            f"{found.residual_us[place]:.3f}" if pulse >= 0 else "",
            one.state(place),
            int(one.trigger_ids[place]) if one.trigger_ids[place] >= 0 else "",
        )


def _pulse_rows(one: CameraAlignment) -> Iterator[tuple[object, ...]]:
    found = one.alignment
    for pulse, frame in enumerate(found.frame_of_pulse):
        own = frame >= 0
        t_ns = one.times_ns[frame] if own else one.times_ns[0] + round(float(found.pulse_time_s[pulse]) * NS_PER_S)
        yield (
            one.camera,
            pulse,
            f"{one.pulses.times_s[pulse]:.9f}",
            int(t_ns),
            int(one.epochs[frame]) if own else "",
            int(one.seqs[frame]) if own else "",
        )
