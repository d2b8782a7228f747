"""A recording as tables: frames, behaviour, bouts and decisions in CSV."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..sync.clock import NS_PER_S
from ..sync.errors import RecordingError
from .exported_poses import pose_rows
from .frame_account import is_estimate
from .messages import Actuation, Arming, Behavior, Decision, Gap
from .never_came import never_came
from .recording_reader import Recording
from .topics import ACTUATION, ARMING, BEHAVIOR, DECISION, GAP


def export_csv(path: Path | str, out: Path | str) -> list[Path]:
    """Write ``frames.csv``, ``behavior.csv``, ``bouts.csv``, ``decisions.csv`` and ``trials.csv`` of a recording.

    Of one with pose sources also ``poses.csv``, with a row per point (see `pose_rows`).

    Times named ``_ns`` are rig time; ``time_s`` counts from the recording's start, ``session_s`` from the session's, as
    rules count it. Frames that are not in the video have an empty ``video_frame`` and a ``reason``; where only their
    number was estimated, since the camera was away, one row without a ``seq`` stands for them all. What the device does
    not tell (``trigger_id``, ``ticks``, ``line_status``) is empty.

    Args:
        path: the recording; a torn one is exported up to the tear.
        out: folder, made where it is missing; files in it are replaced.

    Returns:
        The files written.

    Raises:
        RecordingError: it is not a recording, or ``out`` cannot be written.
    """
    recording = Recording.open(path)
    folder = Path(out)
    behaviors = [one.message for one in recording.messages([BEHAVIOR]) if isinstance(one.message, Behavior)]
    tables = {
        "frames.csv": _frames(recording),
        **({"poses.csv": pose_rows(recording)} if recording.info.poses else {}),
        "behavior.csv": _behavior(recording, behaviors),
        "bouts.csv": _bouts(recording, behaviors),
        "decisions.csv": _decisions(recording),
        "trials.csv": _trials(recording),
    }
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            written.append(folder / name)
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    return written


def _frames(recording: Recording) -> Iterable[Sequence[object]]:
    yield (
        "camera", "epoch", "seq", "t_exposure_ns", "t_received_ns", "time_s", "video_frame", "reason", "time_source",
        "exposure_us", "trigger_id", "ticks", "line_status",
    )  # fmt: skip
    reasons: dict[tuple[str, int], list[Gap]] = {}
    for logged in recording.messages([GAP]):
        if isinstance(logged.message, Gap) and logged.message.source != "sets":
            reasons.setdefault((logged.message.camera, logged.message.epoch), []).append(logged.message)
    for camera in recording.info.cameras:
        index, pairing = recording.index(camera)
        frame_of = {position: frame for frame, position in enumerate(pairing.header_of) if position >= 0}
        for position, header in enumerate(recording.headers(camera)):
            frame = frame_of.get(position, "")
            reason = (
                ""
                if frame != "" or not recording.info.video
                else _reason(reasons.get((camera, header.epoch), []), header.seq)
            )
            yield (
                camera,
                header.epoch,
                header.seq,
                header.t_exposure_ns,
                header.t_received_ns,
                _seconds(recording, header.t_exposure_ns),
                frame,
                reason,
                header.time_source,
                header.exposure_us,
                *(value if value >= 0 else "" for value in (header.trigger_id, header.ticks, header.line_status)),
            )
        # Frames that never reached the recorder have no times; they stand at the end of their camera.
        declared = [gap for (name, _), gaps in reasons.items() if name == camera for gap in gaps]
        for epoch, seq, reason in never_came(declared, index.filter.received):
            yield (camera, epoch, seq, "", "", "", "", reason, "", "", "", "", "")


def _reason(gaps: list[Gap], seq: int) -> str:
    for gap in gaps:
        if not is_estimate(gap) and gap.first_seq <= seq < gap.first_seq + gap.n:
            return f"{gap.source}: {gap.reason}"
    return "undeclared"


def _behavior(recording: Recording, behaviors: list[Behavior]) -> Iterable[Sequence[object]]:
    classes = list(dict.fromkeys(name for one in behaviors for name in one.classes))
    yield (
        "set_id", "t_exposure_ns", "time_s", "animal", "label", "raw", *(f"p_{name}" for name in classes), "status",
        "n_skipped", "gap_frames", "warm", "t_label_ns",
    )  # fmt: skip
    for one in behaviors:
        of_class = dict(zip(one.classes, one.p, strict=True))
        p = [of_class.get(name, "") for name in classes]
        yield (
            one.set_id, one.t_exposure_ns, _seconds(recording, one.t_exposure_ns), one.animal, one.label, one.raw, *p,
            one.status, one.n_skipped, one.gap_frames, int(one.warm), one.t_spoken_of_ns,
        )  # fmt: skip


def _bouts(recording: Recording, behaviors: list[Behavior]) -> Iterable[Sequence[object]]:
    yield ("animal", "behavior", "start_ns", "stop_ns", "start_s", "stop_s", "duration_s", "n_sets")
    for animal in sorted({one.animal for one in behaviors}):
        own = [one for one in behaviors if one.animal == animal]
        begin = 0
        for at in range(1, len(own) + 1):
            if at < len(own) and own[at].label == own[begin].label:
                continue
            first = own[begin]
            # A bout ends where the next begins; the last one at the last frame that it is said of.
            stop_ns = own[min(at, len(own) - 1)].t_spoken_of_ns
            if first.label:
                start_ns = first.t_spoken_of_ns
                yield (
                    animal,
                    first.label,
                    start_ns,
                    stop_ns,
                    _seconds(recording, start_ns),
                    _seconds(recording, stop_ns),
                    f"{(stop_ns - start_ns) / NS_PER_S:.6f}",
                    at - begin,
                )
            begin = at


def _decisions(recording: Recording) -> Iterable[Sequence[object]]:
    fields = [name for name in Decision.__struct_fields__ if name != "sources"]
    zero_ns = _session_zero_ns(recording)
    yield ("time_s", "session_s", *fields, "frames")
    for one in _all_decisions(recording):
        values = [getattr(one, name) for name in fields]
        frames = " ".join(f"{source.camera}/{source.epoch}/{source.seq}" for source in one.sources)
        yield (_seconds(recording, one.t_exposure_ns), _since(zero_ns, one.t_exposure_ns), *values, frames)


def _trials(recording: Recording) -> Iterable[Sequence[object]]:
    """One row per trial, fired or sham, with what its actuator said of it: the newest word of each kind."""
    zero_ns = _session_zero_ns(recording)
    acts: dict[tuple[str, int, int], list[Actuation]] = {}
    for logged in recording.messages([ACTUATION]):
        if isinstance(logged.message, Actuation):
            act = logged.message
            acts.setdefault((act.rule, act.set_id, act.trial), []).append(act)
    yield (
        "rule", "trial", "action", "reason", "behavior", "p", "animal", "actuator", "set_id", "session_s", "due_s",
        "t_exposure_ns", "t_decided_ns", "t_due_ns", "t_sent_ns", "t_on_ns", "became", "became_why",
    )  # fmt: skip
    for one in _all_decisions(recording):
        if one.action == "withheld":
            continue
        told = acts.get((one.rule, one.set_id, one.trial), [])
        sent_ns = max((act.t_sent_ns for act in told), default=0) or one.t_fired_ns
        on_ns = max((act.t_on_ns for act in told), default=0)
        became = told[-1].state if told else ""
        why = told[-1].reason if told else ""
        due_ns = one.t_due_ns or one.t_decided_ns
        yield (
            one.rule, one.trial, one.action, one.reason, one.behavior, one.p, one.animal, one.actuator, one.set_id,
            _since(zero_ns, one.t_exposure_ns), _since(zero_ns, due_ns), one.t_exposure_ns, one.t_decided_ns, due_ns,
            sent_ns or "", on_ns or "", became, why,
        )  # fmt: skip


def _all_decisions(recording: Recording) -> Iterable[Decision]:
    return (one.message for one in recording.messages([DECISION]) if isinstance(one.message, Decision))


def _session_zero_ns(recording: Recording) -> int | None:
    """From when session times count: the first start of the rules; None where none was recorded."""
    starts = (one.message for one in recording.messages([ARMING]))
    return next((one.t_ns for one in starts if isinstance(one, Arming) and one.by == "start"), None)


def _since(zero_ns: int | None, t_ns: int) -> str:
    return "" if zero_ns is None else f"{(t_ns - zero_ns) / NS_PER_S:.6f}"


def _seconds(recording: Recording, t_ns: int) -> str:
    return f"{(t_ns - recording.info.t_start_ns) / NS_PER_S:.6f}"
