"""Which frames a bundle has learnt from, read back from its manifest, and the refusal to score it on them."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...inference.manifest import Manifest
from ...sync.errors import DataError
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..splits import PARTS, Part, parts_of, stretches_of

_STRETCH: Final = re.compile(r"(?P<name>.*)\[(?P<start>\d+):(?P<stop>\d+)\]")


def part_mask(config: TrainConfig, source: Source, part: Part) -> NDArray[np.bool_]:
    """Frames of a recording that belong to a part, labelled or not where it is split by recording, bool [n_frames]."""
    parts = parts_of(config.split, source.part, source.labels, source.rate_hz, source.name)
    return parts == PARTS.index(part)


def refuse_learnt(manifest: Manifest, config: TrainConfig, sources: Sequence[Source]) -> None:
    """Refuse to score a bundle on what it knows, whichever way it and the training file are split.

    The test part must not meet what weights were fitted to (train) nor what the epoch was chosen on (validation), the
    validation part not what weights were fitted to. A recording is known again by its fingerprint, or, since new labels
    or other views give it another one, by its name and its number of frames.

    Raises:
        DataError: it meets; the first frames that do are named.
    """
    learnt: dict[Part, list[str]] = {
        "test": [*manifest.split.train, *manifest.split.validation],
        "validation": manifest.split.train,
    }
    for part, members in learnt.items():
        known: list[str] = []
        for source in sources:
            both = part_mask(config, source, part) & learnt_mask(manifest, members, source)
            if both.any():
                known.append(stretches_of(source.name, both)[0])
        if known:
            raise DataError(
                f"bundle {manifest.name!r} has learnt from {', '.join(known)}, which stands in the {part} part here: "
                "its scores would say nothing; score on recordings that it has not seen, or with the split that it was "
                "trained with. Where that is another recording of the same length, give it a 'name' of its own"
            )


def learnt_mask(manifest: Manifest, members: Sequence[str], source: Source) -> NDArray[np.bool_]:
    """Frames of a recording that members of a bundle's split name, bool [n_frames].

    Args:
        manifest: of the bundle.
        members: recordings, or ``name[first:stop]``, as `stretches_of` writes them.
        source: the recording.
    """
    data = {one.name: one for one in manifest.data}
    mask = np.zeros(source.n_frames, np.bool_)
    for member in members:
        name, start, stop = member, 0, source.n_frames
        found = None if member in data else _STRETCH.fullmatch(member)  # a file may be called clip[1:2].mp4
        if found is not None:
            name, start, stop = found["name"], int(found["start"]), int(found["stop"])
        if name not in data:
            same = name == source.name
        else:
            same = data[name].sha256 == source.data.sha256 or (
                name == source.name and data[name].n_frames == source.n_frames
            )
        if same:
            mask[start:stop] = True
    return mask
