"""Folders whose recordings and labels are found without a ``dataset.yaml``, because they are laid out in a known way.

``social_pose``
    ``dlc_csv/`` with a multi-animal DeepLabCut CSV per session and ``annotations/`` with a Caltech Behavior Annotator
    text per session; both names begin with the number of the session. The frame rate is not stated by the authors: 30
    per second is assumed unless another one is given. Of the stream S1 ``base`` is ignored unless told otherwise: it
    stands for the time before anything begins, and after.
``recordings`` and ``videos``
    Labelled video; see `video_layouts`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...sync.errors import ConfigError, DataError
from ..config.labels import LabelOptions
from ..config.recordings import PoseData, VideoData
from .dataset_file import DATASET_FILE, Dataset, read_dataset
from .video_layouts import RECORDINGS, VIDEOS, labelled_videos, recorded_sessions

SOCIAL_POSE: Final = "social_pose"
ASSUMED_RATE_HZ: Final = 30.0
_POSE, _LABELS = "dlc_csv", "annotations"
_NUMBER: Final = re.compile(r"\d+")
_IGNORED: Final[dict[str, list[str]]] = {"S1": ["base"]}
_ROLES: Final = {"front": "top", "center": "body", "back": "tail"}
NOTHING: Final = "none"
"""What ``--ignore`` is given so that nothing is ignored."""


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """What a command says of a folder; None: as the folder says, or the default of its layout.

    Attributes:
        stream: of labels.
        fps: frames per second, where the files do not say.
        ignore: labels whose frames count as unlabelled; ``[NOTHING]``: none.
        group_by: which of the ``groups`` of a ``dataset.yaml`` counts.
    """

    stream: str | None = None
    fps: float | None = None
    ignore: Sequence[str] | None = None
    group_by: str | None = None


def find_dataset(path: Path, options: FolderOptions = FolderOptions()) -> Dataset:
    """The data set of a folder: its ``dataset.yaml`` if it has one, else what its layout says.

    Args:
        path: folder, or a ``dataset.yaml`` itself.
        options: what the command line says.

    Raises:
        ConfigError: there is no such folder, or it has no known layout.
        DataError: a session stands twice, or none has both a track and labels.
    """
    if path.is_file():
        return _with_options(read_dataset(path, options.stream, options.group_by), options)
    if not path.is_dir():
        raise ConfigError(f"{path}: is not a folder; give the folder of the recordings with --data")
    if (path / DATASET_FILE).is_file():
        return _with_options(read_dataset(path / DATASET_FILE, options.stream, options.group_by), options)
    if (path / _POSE).is_dir() and (path / _LABELS).is_dir():
        return _social_pose(path, options)
    for layout, find in ((RECORDINGS, recorded_sessions), (VIDEOS, labelled_videos)):
        entries, notes = find(path, options.stream)
        if entries:
            return _of_video(path, layout, entries, notes, options)
    raise ConfigError(
        f"{path}: has no {DATASET_FILE}, and its folders are those of no layout that is known ({SOCIAL_POSE}: {_POSE}/ "
        f"and {_LABELS}/; {RECORDINGS}: what ethostream recorded, with labels.csv; {VIDEOS}: videos with labels of the "
        f"same name); write a {DATASET_FILE} that names its recordings, or a training file"
    )


def _of_video(
    path: Path, layout: str, entries: Sequence[VideoData], notes: Sequence[str], options: FolderOptions
) -> Dataset:
    if options.group_by is not None:
        raise ConfigError(f"--group-by {options.group_by}: layout {layout} has no groups; write a {DATASET_FILE}")
    if options.fps is not None:
        raise ConfigError(f"--fps {options.fps:g}: goes with files of keypoints; a video states its rate itself")
    return Dataset(
        root=path, layout=layout, entries=[*entries], labels=_labels(LabelOptions(), options.ignore), notes=[*notes]
    )


def labels_for(options: LabelOptions, classes: Sequence[str], bundle: str) -> LabelOptions:
    """How names in label files become the classes of a bundle; what is ignored, and is one of these, counts.

    Args:
        options: of the data set.
        classes: of the bundle.
        bundle: its name.

    Raises:
        ConfigError: ``rest`` is none of these.
    """
    if options.rest is not None and options.rest not in classes:
        raise ConfigError(
            f"labels.rest: {options.rest} is not among the classes of bundle {bundle!r} ({', '.join(classes)}); name "
            "one of these, or leave it out: frames without a bout are then not scored"
        )
    ignore = [name for name in options.ignore if name not in classes]
    # A bout of any other name is refused where it stands, with the cure: it decides nothing between others.
    priority = [name for name in options.priority if name in classes or name in ignore]
    return options.model_copy(update={"ignore": ignore, "priority": priority})


def _with_options(found: Dataset, options: FolderOptions) -> Dataset:
    """A ``dataset.yaml`` with what the command line says beside it."""
    entries = list(found.entries)
    notes = list(found.notes)
    if options.fps is not None:
        entries = [
            entry.model_copy(update={"rate_hz": options.fps})
            if isinstance(entry, PoseData) and entry.rate_hz is None
            else entry
            for entry in entries
        ]
        notes.append(f"{options.fps:g} frames/s where a recording does not say: as given with --fps")
    return Dataset(
        root=found.root,
        layout=found.layout,
        entries=entries,
        labels=_labels(found.labels, options.ignore),
        classes=found.classes,
        roles=found.roles,
        notes=notes,
    )


def _labels(options: LabelOptions, ignore: Sequence[str] | None) -> LabelOptions:
    if ignore is None:
        return options
    return options.model_copy(update={"ignore": [] if list(ignore) == [NOTHING] else list(ignore)})


def _social_pose(path: Path, options: FolderOptions) -> Dataset:
    if options.group_by is not None:
        raise ConfigError(f"--group-by {options.group_by}: layout {SOCIAL_POSE} has no groups; write a {DATASET_FILE}")
    tracks = _by_session(path / _POSE, ".csv")
    labels = _by_session(path / _LABELS, ".txt")
    both = sorted(tracks.keys() & labels.keys())
    if not both:
        raise DataError(
            f"{path}: no session has both a track in {_POSE}/ ({_numbers(tracks)}) and labels in {_LABELS}/ "
            f"({_numbers(labels)}); names begin with the number of the session"
        )
    notes: list[str] = []
    if alone := sorted(tracks.keys() - labels.keys()):
        notes.append(f"left out, since there are no labels: session {_numbers(alone)}")
    if alone := sorted(labels.keys() - tracks.keys()):
        notes.append(f"left out, since there is no track: session {_numbers(alone)}")
    rate_hz = ASSUMED_RATE_HZ if options.fps is None else options.fps
    if options.fps is None:
        notes.append(
            f"assumed: {rate_hz:g} frames/s, which the authors of this layout do not state; --fps gives another rate"
        )
    else:
        notes.append(f"{rate_hz:g} frames/s, as given with --fps; the files do not state a rate")
    ignored = _IGNORED.get(options.stream or "", [])
    if options.ignore is None and ignored:
        notes.append(
            f"ignored: {', '.join(ignored)} of stream {options.stream}, the default of this layout; "
            f"--ignore {NOTHING} keeps it"
        )
    entries: list[PoseData] = [
        PoseData(
            kind="pose",
            name=str(number),
            path=tracks[number].relative_to(path),
            labels=labels[number].relative_to(path),
            label_kind="caltech",
            stream=options.stream,
            rate_hz=rate_hz,
            rate_assumed=options.fps is None,
        )
        for number in both
    ]
    return Dataset(
        root=path,
        layout=SOCIAL_POSE,
        entries=[*entries],
        labels=_labels(LabelOptions(ignore=ignored, made_by="people"), options.ignore),
        roles=dict(_ROLES),
        notes=notes,
    )


def _by_session(folder: Path, ending: str) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        number = _NUMBER.match(path.name)
        if number is None or path.suffix.lower() != ending:
            continue
        session = int(number[0])
        if session in found:
            raise DataError(f"{folder}: session {session} stands twice: {found[session].name} and {path.name}")
        found[session] = path
    return found


def _numbers(sessions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(sessions))) or "none"
