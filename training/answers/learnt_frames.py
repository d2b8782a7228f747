"""Which frames a bundle has learnt from, read back from its manifest, and what of recordings may be scored then.

A recording is known again by what its files hold. A recording of keypoints is so by its points or, since one track may
be filtered or written anew, by its labels; one of video by the hash over both, or, since new labels or other views
change that, by its name and its number of frames.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...inference.manifest import Manifest
from ...sync.errors import DataError
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording
from ..data.video_sources import Source
from ..splits import PARTS, Part, parts_of, stretches_of

UNSEEN: Final = "unseen recordings"
"""What stands as ``split.by`` where the recordings of a folder are scored that a model has not learnt from."""
TRAINING_DATA: Final = "training data"
"""What stands as ``split.by`` where a model is scored on what it has learnt from."""
_STRETCH: Final = re.compile(r"(?P<name>.*)\[(?P<start>\d+):(?P<stop>\d+)\]")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a recording is known by.

    Attributes:
        name: of it.
        n_frames: as a manifest states it: of the file.
        n_rows: that stretches in a manifest count: at the model's rate.
        sha256: of what is seen.
        labels_sha256: of its labels, where they alone tell it from others.
        by_name: the same name with the same number of frames is the same recording; else it only may be.
    """

    name: str
    n_frames: int
    n_rows: int
    sha256: str
    labels_sha256: str | None = None
    by_name: bool = True

    @staticmethod
    def of_source(source: Source) -> "Identity":
        """Of a recording of video."""
        return Identity(source.name, source.data.n_frames, source.n_frames, source.data.sha256)

    @staticmethod
    def of_pose(recording: PoseRecording) -> "Identity":
        """Of a recording of keypoints; sessions are often numbered, and equally long, so their names prove nothing."""
        of_file = recording.data[0]
        return Identity(
            recording.name, of_file.n_frames, recording.n_frames, of_file.sha256, recording.labelling, by_name=False
        )

    def names_in(self, manifest: Manifest) -> set[str]:
        """What the manifest of a bundle calls this recording; empty: it does not hold it."""
        found: set[str] = set()
        for one in manifest.data:
            alike = self.by_name and one.name == self.name and one.n_frames == self.n_frames
            if one.sha256 == self.sha256 or alike:
                found.add(one.name)
            elif self.labels_sha256 == one.sha256 and one.n_frames == self.n_frames:
                found.add(one.name.removesuffix(".labels"))
        return found

    def resembles(self, manifest: Manifest) -> bool:
        """Whether the manifest holds other data of the same name and number of frames."""
        return not self.names_in(manifest) and any(
            one.name == self.name and one.n_frames == self.n_frames for one in manifest.data
        )


@dataclass(frozen=True, slots=True)
class Judgeable:
    """What of some recordings is scored, since a bundle has not learnt from it.

    Attributes:
        masks: bool [t] of each recording, the frames that are scored.
        left_out: recordings that are not scored at all, since the bundle has learnt from them.
        in_part: recordings of which only frames of the bundle's own test part are scored.
        learnt_from: recordings that are scored although it has learnt from them, since there are no others.
        doubtful: recordings that are scored, and resemble one that it has learnt from.
    """

    masks: list[NDArray[np.bool_]]
    left_out: list[str] = field(default_factory=list[str])
    in_part: list[str] = field(default_factory=list[str])
    learnt_from: list[str] = field(default_factory=list[str])
    doubtful: list[str] = field(default_factory=list[str])

    @property
    def notes(self) -> list[str]:
        """In words, a line each."""
        found: list[str] = []
        if self.left_out:
            found.append(f"left out, since the model has learnt from them: {', '.join(self.left_out)}")
        if self.in_part:
            found.append(f"only the frames of the model's own test part: {', '.join(self.in_part)}")
        return found

    def about(self, split: dict[str, Any]) -> dict[str, Any]:
        """A split as a record keeps it, with what this changes of it."""
        found = dict(split)
        if self.learnt_from:
            found["by"] = TRAINING_DATA
        if self.left_out:
            found["left_out"] = self.left_out
        return found

    def warning(self, manifest: Manifest) -> str:
        """What is printed in red; "": nothing is."""
        if not self.learnt_from:
            return ""
        return (
            f"SCORED ON TRAINING DATA: bundle {manifest.name!r} has learnt from {', '.join(self.learnt_from)}. These "
            "scores say what it knows by heart. Score recordings that it has not seen; what the recipe is worth on "
            "these very recordings `ethostream crossval` tells"
        )


def judgeable(
    manifest: Manifest,
    recordings: Sequence[Identity],
    asked: Sequence[NDArray[np.bool_]],
    labelled: Sequence[NDArray[np.bool_]],
) -> Judgeable:
    """What of recordings may be scored: all that a bundle has not learnt from, or else, said so, all that is asked for.

    Args:
        manifest: of the bundle.
        recordings: what they are known by.
        asked: frames of each that are to be scored, bool [t].
        labelled: frames of each that have a label, bool [t].
    """
    honest = [unseen_mask(manifest, one, mask) for one, mask in zip(recordings, asked, strict=True)]
    names = [one.name for one in recordings]
    scored = [bool((mask & known).any()) for mask, known in zip(honest, labelled, strict=True)]
    learnt = [bool((mask & learnt_mask(manifest, one)).any()) for one, mask in zip(recordings, asked, strict=True)]
    doubtful = [one.name for one in recordings if one.resembles(manifest)]
    if not any(scored):
        return Judgeable(
            list(asked), learnt_from=[name for name, yes in zip(names, learnt, strict=True) if yes], doubtful=doubtful
        )
    return Judgeable(
        honest,
        left_out=[name for name, of, yes in zip(names, learnt, scored, strict=True) if of and not yes],
        in_part=[name for name, of, yes in zip(names, learnt, scored, strict=True) if of and yes],
        doubtful=doubtful,
    )


def unseen_mask(manifest: Manifest, recording: Identity, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the frames that are asked for those that say what a bundle can: of what it has learnt from its test part."""
    learnt = learnt_mask(manifest, recording)
    return asked & _members_mask(manifest, manifest.split.test, recording) if learnt.any() else asked


def learnt_mask(manifest: Manifest, recording: Identity) -> NDArray[np.bool_]:
    """Frames of a recording that a bundle was fitted to, or that something was chosen on, bool [n_rows]."""
    return _members_mask(manifest, [*manifest.split.train, *manifest.split.validation], recording)


def refuse_learnt(manifest: Manifest, config: TrainConfig, sources: Sequence[Source]) -> None:
    """Refuse to judge a bundle on what it knows, whichever way it and the training file are split.

    The test part must not meet what weights were fitted to (train) nor what the epoch was chosen on (validation), the
    validation part not what weights were fitted to.

    Raises:
        DataError: it meets; the first frames that do are named.
    """
    refuse_parts(
        manifest,
        [Identity.of_source(one) for one in sources],
        [parts_of(config.split, one) for one in sources],
    )


def refuse_parts(manifest: Manifest, recordings: Sequence[Identity], parts: Sequence[NDArray[np.int8]]) -> None:
    """As `refuse_learnt`, of recordings by what they are known by and the part of each frame, int8 [t].

    Raises:
        DataError: see there.
    """
    learnt: dict[Part, list[str]] = {
        "test": [*manifest.split.train, *manifest.split.validation],
        "validation": manifest.split.train,
    }
    for part, members in learnt.items():
        known: list[str] = []
        for one, of_frames in zip(recordings, parts, strict=True):
            both = (of_frames == PARTS.index(part)) & _members_mask(manifest, members, one)
            if both.any():
                known.append(stretches_of(one.name, both)[0])
        if known:
            raise DataError(
                f"bundle {manifest.name!r} has learnt from {', '.join(known)}, which stands in the {part} part here: "
                "its scores would say nothing; score on recordings that it has not seen, or with the split that it was "
                "trained with. Where that is another recording of the same length, give it a 'name' of its own"
            )


def _members_mask(manifest: Manifest, members: Sequence[str], recording: Identity) -> NDArray[np.bool_]:
    """Frames of a recording that members of a bundle's split name, bool [n_rows].

    Args:
        manifest: of the bundle.
        members: recordings, or ``name[first:stop]``, as `stretches_of` writes them.
        recording: that is looked for.
    """
    held = {one.name for one in manifest.data}
    mine = recording.names_in(manifest)
    mask = np.zeros(recording.n_rows, np.bool_)
    for member in members:
        name, start, stop = member, 0, recording.n_rows
        found = None if member in held else _STRETCH.fullmatch(member)  # a file may be called clip[1:2].mp4
        if found is not None:
            name, start, stop = found["name"], int(found["start"]), int(found["stop"])
        if name in mine or (name not in held and recording.by_name and name == recording.name):
            mask[start:stop] = True
    return mask
