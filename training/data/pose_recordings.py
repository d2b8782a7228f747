"""Recordings of keypoints as arrays: points, labels and parts, and the features that a head learns from.

The features come from the very front that runs on the rig (`inference.pose`), causally from the first row on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...acquisition.pose.pose_files import read_pose
from ...acquisition.pose.pose_table import PoseTable
from ...inference.gap import RATE_TOLERANCE
from ...inference.graph_spec import FeatureStepSpec
from ...inference.manifest import DataFingerprint
from ...inference.model_input import PoseInput
from ...inference.pose.config import BodyScale
from ...inference.pose.pose_front import PoseFront
from ...inference.pose.registry import pose_specs_of
from ...streaming.video import VideoReader
from ...sync.errors import ConfigError, DataError
from ..config.labels import LabelOptions
from ..config.pose import PoseRule
from ..config.recordings import PoseData
from ..splits import Part, SplitRule, part_of
from .checks import CheckedRecording, meeting_as
from .learnt_labels import LearntLabels, known_frames, learnt_labels
from .read_points import rate_of, selection_of
from .recording_labels import StreamLabels, read_raters, read_stream
from .video_sources import hash_files

_BLOCK_FRAMES = 4096
_TELLING_CHANGES = 3
"""Two recordings with the same labels are the same one, unless these change less often than so."""


@dataclass(frozen=True, slots=True)
class PoseRecording:
    """One recording of keypoints, read.

    Attributes:
        name: unique among the recordings.
        points: float32 [t, animals, keypoints, 3] at the model's rate: x px, y px, likelihood; NaN where missing.
        rate_hz: frames per second of ``points``.
        labels: int16 [t] class index, below 0 where there is none.
        checked: what was found while reading, at the rate of the file.
        data: fingerprints for the manifest: of the file of points, and of what is labelled (`StreamLabels.sha256`).
        group: what it belongs to; None: nothing is said.
        part: of the whole recording; None: blocks of time or folds decide.
        compare: labels of other raters by name, likewise.
        targets, sequences: what is learnt besides the labels; see `LearntLabels`.
    """

    name: str
    points: NDArray[np.float32]
    rate_hz: float
    labels: NDArray[np.int16]
    checked: CheckedRecording
    data: list[DataFingerprint]
    group: str | None = None
    part: Part | None = None
    compare: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    targets: NDArray[np.float32] | None = None
    sequences: NDArray[np.int64] | None = None

    @property
    def content(self) -> str:
        """SHA-256 of the file of points: the same animals at the same time."""
        return self.data[0].sha256

    @property
    def labelling(self) -> str | None:
        """SHA-256 of its labels, by which two tracks of one recording are known; None: too few to tell it by."""
        return self.data[1].sha256 if np.count_nonzero(np.diff(self.checked.labels)) >= _TELLING_CHANGES else None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [t]; see `known_frames`."""
        return known_frames(self.labels, self.targets)

    @property
    def n_frames(self) -> int:
        """Rows at the model's rate."""
        return len(self.points)


@dataclass(frozen=True, slots=True)
class _Read:
    entry: PoseData
    table: PoseTable
    rate_hz: float


def open_poses(
    entries: Sequence[PoseData],
    root: Path,
    rule: PoseRule,
    classes: list[str],
    options: LabelOptions,
    split: SplitRule | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[PoseRecording], PoseRule]:
    """Read every recording; everything that can be wrong with the data is found here.

    Args:
        entries: recordings.
        root: folder that relative paths start from.
        rule: keypoints, animals, rate; what it leaves open is filled in from the first recording.
        classes: names in order.
        options: how names in label files become classes.
        split: gives whole recordings their part; None: all of one.
        progress: told the name of each recording.

    Returns:
        The recordings, and the rule without anything left open.

    Raises:
        DataError: a file cannot be read, labels do not fit, recordings are of different rates or of other keypoints.
    """
    read: list[_Read] = []
    for entry in entries:
        if progress is not None:
            progress(entry.recording_name)
        table = read_pose(root / entry.path)
        if table.n_frames < 2:
            raise DataError(f"{table.path}: has {table.n_frames} row(s); a recording has at least 2")
        read.append(_Read(entry, table, rate_of(table, entry.rate_hz)))
    rule = complete_rule(rule, read[0].table, [(one.entry.recording_name, one.rate_hz) for one in read])
    recordings: list[PoseRecording] = []
    read.reverse()
    while read:  # a table goes as its recording comes: not all of them stand twice in memory
        recordings.append(_recording(read.pop(), root, rule, classes, options, split))
    refuse_twice([(one.name, one.content) for one in recordings])
    return recordings, rule


def complete_rule(rule: PoseRule, first: PoseTable, rates_hz: Sequence[tuple[str, float]]) -> PoseRule:
    """The rule with keypoints, animals and rate of the recordings where it leaves them open.

    Args:
        rule: as configured.
        first: recording that keypoints and animals are taken from.
        rates_hz: name and frames per second of every recording.

    Raises:
        ConfigError: the rule names keypoints or asks for something that these recordings do not have.
        DataError: recordings are of different rates, and the rule does not say how to bring them together.
    """
    keypoints = list(first.keypoints) if rule.keypoints is None else rule.keypoints
    n_animals = _n_animals_with(first, keypoints) if rule.n_animals is None else rule.n_animals
    if absent := [name for name in rule.scale.path if name not in keypoints]:
        raise ConfigError(f"pose.scale.path: {', '.join(absent)} is not among the keypoints ({', '.join(keypoints)})")
    if n_animals != 2 and (rule.identity != "tracker" or rule.fill.twin_px is not None):
        raise ConfigError(
            f"pose.identity: nearest and pose.fill.twin_px are for two animals, and there are {n_animals}; leave "
            "them out"
        )
    slowest = min(rates_hz, key=lambda one: one[1])
    model_hz = rule.rate_hz if rule.rate_hz is not None else slowest[1]
    for name, rate_hz in rates_hz:
        every = max(1, round(rate_hz / model_hz))
        if abs(rate_hz / (every * model_hz) - 1.0) > RATE_TOLERANCE:
            raise DataError(
                f"{name} has {rate_hz:g} frames/s, which is no whole multiple of the {model_hz:g} of "
                f"{slowest[0] if rule.rate_hz is None else 'pose.rate_hz'}; a model has one rate: leave the recording "
                "out, or choose a pose.rate_hz that divides all"
            )
        if every > 1 and rule.other_rates == "refuse":
            raise DataError(
                f"{name} has {rate_hz:g} frames/s and the model {model_hz:g}; a model has one rate: set "
                "pose.other_rates: subsample to take every "
                f"{every}{'nd' if every == 2 else 'rd' if every == 3 else 'th'} frame, or train on recordings of one"
            )
    return rule.model_copy(
        update={
            "keypoints": keypoints,
            "n_animals": n_animals,
            "rate_hz": model_hz,
        }
    )


def _n_animals_with(table: PoseTable, keypoints: Sequence[str]) -> int:
    """Of how many animals any of the keypoints is there; all, where it is of none."""
    places = [place for place, name in enumerate(table.keypoints) if name in keypoints]
    return int(table.there[:, places].any(axis=1).sum()) or len(table.animals)


def with_scale(
    rule: PoseRule, recordings: Sequence[PoseRecording], learnt: Sequence[NDArray[np.bool_]] | None = None
) -> PoseRule:
    """The rule with the median body length of what is learnt from, to two digits, unless it states one.

    Args:
        rule: with its keypoints.
        recordings: those that are learnt from.
        learnt: frames of them that are, bool [t] each; None: all.

    Raises:
        DataError: nowhere are all points of the path there.
    """
    if rule.scale.start_px is not None:
        return rule
    assert rule.keypoints is not None
    path = [rule.keypoints.index(name) for name in rule.scale.path]
    lengths: list[NDArray[np.float64]] = []
    for place, one in enumerate(recordings):
        points = (one.points if learnt is None else one.points[learnt[place]])[:, :, path].astype(np.float64)
        there = (points[..., 2] >= rule.fill.min_likelihood).all(axis=2)
        way = np.hypot(np.diff(points[..., 0], axis=2), np.diff(points[..., 1], axis=2)).sum(axis=2)
        lengths.append(way[there & np.isfinite(way)])
    every = np.concatenate(lengths) if lengths else np.zeros(0)
    if not len(every) or not np.median(every) > 0.0:
        raise DataError(
            f"in no frame are {', '.join(rule.scale.path)} all there, so the length of a body cannot be measured; give "
            "pose.scale.start_px in pixels, or another path"
        )
    start_px = float(f"{np.median(every):.2g}")
    return rule.model_copy(update={"scale": rule.scale.model_copy(update={"start_px": start_px})})


def pose_input(rule: PoseRule) -> PoseInput:
    """The manifest's part about the keypoints, of a rule without anything left open."""
    assert rule.keypoints is not None and rule.n_animals is not None
    assert rule.scale.start_px is not None
    scale = BodyScale(path=rule.scale.path, start_px=rule.scale.start_px, weight_s=rule.scale.weight_s)
    return PoseInput(
        keypoints=list(rule.keypoints),
        n_animals=rule.n_animals,
        identity=rule.identity,
        fill=rule.fill,
        scale=scale,
    )


def feature_specs(rule: PoseRule) -> list[FeatureStepSpec]:
    """The manifest's part about the features of the keypoints.

    Raises:
        BundleError, ConfigError: a step is not known, or not with these parameters or keypoints.
    """
    assert rule.rate_hz is not None
    steps = [(one.name, one.version, one.parameters) for one in rule.features]
    return pose_specs_of(steps, pose_input(rule), rule.rate_hz)


def features_of(rule: PoseRule, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the head gets for every row, float32 [t, dims]; from a fresh state, as after the start of a rig."""
    assert rule.rate_hz is not None
    front = PoseFront(pose_input(rule), feature_specs(rule), rule.rate_hz)
    blocks = [front.block(points[first : first + _BLOCK_FRAMES]) for first in range(0, len(points), _BLOCK_FRAMES)]
    return np.concatenate(blocks)


def _recording(
    read: _Read, root: Path, rule: PoseRule, classes: list[str], options: LabelOptions, split: SplitRule | None
) -> PoseRecording:
    entry, table = read.entry, read.table
    assert rule.keypoints is not None and rule.n_animals is not None and rule.rate_hz is not None
    # The unit of length is not known yet, and has no say in which points are taken.
    names = PoseInput(
        keypoints=rule.keypoints, n_animals=rule.n_animals, scale=BodyScale(path=rule.scale.path, start_px=1.0)
    )
    selection = selection_of(table, names)
    points = selection.of(table.points)
    stream = read_stream(entry, root / entry.labels, read.rate_hz)
    learnt = learnt_labels(stream, table.n_frames, classes, options)
    others = read_raters(entry, root, read.rate_hz, stream)
    compare = {name: learnt_labels(one, table.n_frames, classes, options) for name, one in others.items()}
    every = max(1, round(read.rate_hz / rule.rate_hz))
    taken = learnt.every(every)
    name = entry.recording_name
    return PoseRecording(
        name=name,
        points=points[::every],
        rate_hz=rule.rate_hz,
        labels=taken.labels,
        checked=_checked(read, root, stream, learnt, points, options, selection.left_out),
        data=_fingerprints(read, root, every, stream),
        group=entry.group,
        part=None if split is None else part_of(split, entry.part, entry.group, name),
        compare={rater: one.every(every).labels for rater, one in compare.items()},
        targets=taken.targets,
        sequences=taken.sequences,
    )


def _checked(
    read: _Read,
    root: Path,
    stream: StreamLabels,
    learnt: LearntLabels,
    points: NDArray[np.float32],
    options: LabelOptions,
    left_out: Sequence[str],
) -> CheckedRecording:
    said = [f"{name} has none of the keypoints and is left out" for name in left_out]
    n_frames = {"pose": read.table.n_frames}
    if read.entry.video is not None:
        with VideoReader(root / read.entry.video) as reader:
            n_frames["video"] = reader.n_frames if reader.n_frames is not None else sum(1 for _ in reader)
    if stream.n_frames is not None:
        n_frames["labels"] = stream.n_frames
    return CheckedRecording(
        name=read.entry.recording_name,
        n_frames=n_frames,
        labels=learnt.labels,
        rate_hz=read.rate_hz,
        covered=stream.covered(read.table.n_frames),
        known=learnt.known,
        meeting=stream.meeting(read.table.n_frames, options),
        meet_as=meeting_as(options),
        whole=stream.whole is not None,
        missing=float(np.isnan(points[..., 0]).mean()),
        group=read.entry.group,
        said=[*stream.notes, *said],
    )


def _fingerprints(read: _Read, root: Path, every: int, labels: StreamLabels) -> list[DataFingerprint]:
    entry, name = read.entry, read.entry.recording_name
    rate = f"{read.rate_hz:g} frames/s{' (assumed)' if entry.rate_assumed else ''}"
    rows = "" if every == 1 else f", of which one in {every} is taken"
    stream = f", stream {labels.stream}" if labels.stream else ""
    return [
        DataFingerprint(
            name=name,
            sha256=hash_files([root / entry.path]),
            n_frames=read.table.n_frames,
            source=f"pose {entry.path}, {rate}{rows}",
        ),
        DataFingerprint(
            name=f"{name}.labels",
            sha256=labels.sha256,
            n_frames=read.table.n_frames,
            source=f"labels {entry.labels}{stream}",
        ),
    ]


def alike_in_words(recordings: Sequence[PoseRecording]) -> list[str]:
    """Recordings that bear the very same labels, a line for each: two tracks of one session are no two sessions."""
    of_labels: dict[str, list[str]] = {}
    for one in recordings:
        if one.labelling is not None:
            of_labels.setdefault(one.labelling, []).append(one.name)
    return [
        f"{' and '.join(names)} have the same labels from the first frame to the last: if they are one recording, "
        "tracked or filtered twice, leave one out, or it stands on both sides of a split"
        for names in of_labels.values()
        if len(names) > 1
    ]


def refuse_twice(recordings: Sequence[tuple[str, str]]) -> None:
    """Refuse recordings, each by name and content, of which one stands there twice.

    Raises:
        DataError: under the same name, or with the same points.
    """
    names, contents = Counter(name for name, _ in recordings), Counter(content for _, content in recordings)
    for name, content in recordings:
        if names[name] > 1:
            raise DataError(f"recording {name!r} stands twice in data; give each a 'name' of its own")
        if contents[content] > 1:
            copies = [other for other, same in recordings if same == content]
            raise DataError(
                f"{' and '.join(copies)} are the same recording, which would then stand on both sides of a split; "
                "leave one of them out"
            )
