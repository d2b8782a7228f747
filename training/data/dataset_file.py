"""A data set: which recordings a folder holds, with their labels and groups. Written down in ``dataset.yaml``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ...inference.manifest import Name
from ...sync.errors import ConfigError
from ...sync.strict import StrictModel, read_yaml, validate
from ..config.labels import LabelOptions
from ..config.recordings import PoseData, VideoData

DATASET_FILE: Final = "dataset.yaml"
Role = Literal["front", "center", "back"]
ROLES: Final[tuple[Role, ...]] = ("front", "center", "back")
"""Keypoints that presets ask for by what they are: the foremost point of the body, its middle, and its end."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Recordings of one folder.

    Attributes:
        root: folder that the paths of the entries start from.
        layout: ``dataset.yaml``, or the name of the layout that the folder has.
        entries: recordings with labels, of one kind.
        labels: how names in label files become classes.
        classes: behaviours in order; None: those that the labels hold, by name.
        roles: which keypoint is the front, the centre and the back of an animal.
        notes: what was assumed or left out, one line each: printed, and kept with the run.
    """

    root: Path
    layout: str
    entries: list[PoseData | VideoData]
    labels: LabelOptions = field(default_factory=LabelOptions)
    classes: list[str] | None = None
    roles: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class DatasetFile(StrictModel):
    """The file ``dataset.yaml``.

    Attributes:
        defaults: keys that every recording has unless it gives its own: ``kind``, ``stream``, ``rate_hz`` …
        recordings: as ``data`` of a training file, without ``part``; ``groups`` (``{animal: r3, day: 2}``) in place of
            ``group`` names several ways to group them.
        group_by: which of ``groups`` counts, unless ``--group-by`` says otherwise.
        labels: how names in label files become classes.
        classes: behaviours in the order of the model; None: those that the labels hold, by name.
        roles: which keypoint is the ``front``, the ``center`` and the ``back`` of an animal; presets ask for these.
    """

    defaults: dict[str, Any] = Field(default_factory=dict)
    recordings: list[dict[str, Any]] = Field(min_length=1)
    group_by: str | None = None
    labels: LabelOptions = LabelOptions()
    classes: list[Name] | None = Field(default=None, min_length=2)
    roles: dict[Role, str] = Field(default_factory=dict)


class _Entries(StrictModel):
    recordings: list[Annotated[PoseData | VideoData, Field(discriminator="kind")]] = Field(min_length=1)


def read_dataset(path: Path, stream: str | None = None, group_by: str | None = None) -> Dataset:
    """Read a ``dataset.yaml``.

    Args:
        path: the file; relative paths in it start from its folder.
        stream: of labels, instead of the file's.
        group_by: which of a recording's ``groups`` counts, instead of the file's.

    Raises:
        ConfigError: the file cannot be read or a value is wrong; every fault is named.
    """
    found = validate(DatasetFile, read_yaml(path), str(path))
    by = group_by or found.group_by
    if group_by is not None:
        lacking = [place for place, own in enumerate(found.recordings) if not {**found.defaults, **own}.get("groups")]
        if lacking:
            raise ConfigError(
                f"--group-by {group_by}: recordings.{lacking[0]} of {path} has no 'groups' to choose from, as in "
                f"groups: {{{group_by}: NAME}}; a plain 'group' says not what it is a group of"
            )
    recordings: list[dict[str, Any]] = []
    for place, own in enumerate(found.recordings):
        entry = {**found.defaults, **own}
        groups = entry.pop("groups", None)
        if groups is not None:
            entry["group"] = _group_of(path, place, groups, by)
        if "part" in entry:
            raise ConfigError(
                f"{path}: recordings.{place}.part: a data set does not say what is learnt from; a training file does, "
                "or `ethostream crossval`"
            )
        if stream is not None:
            entry["stream"] = stream
        recordings.append(entry)
    entries = validate(_Entries, {"recordings": recordings}, str(path)).recordings
    kinds = {entry.kind for entry in entries}
    if len(kinds) > 1:
        raise ConfigError(f"{path}: recordings: holds pose and video; make a data set of each")
    names = [entry.recording_name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: recordings: {', '.join(twice)} stands twice; give each a 'name' of its own")
    return Dataset(
        root=path.parent,
        layout=DATASET_FILE,
        entries=entries,
        labels=found.labels,
        classes=None if found.classes is None else list(found.classes),
        roles={str(role): name for role, name in found.roles.items()},
    )


def _group_of(path: Path, place: int, groups: Any, by: str | None) -> str | None:
    if not isinstance(groups, dict):
        raise ConfigError(f"{path}: recordings.{place}.groups: write {{animal: NAME, day: NAME}} (got {groups!r:.80})")
    named: dict[str, str] = {str(kind): str(name) for kind, name in groups.items()}
    if by is None:
        if len(named) > 1:
            raise ConfigError(
                f"{path}: recordings.{place}.groups: is grouped by {', '.join(named)}; say which one counts with "
                "'group_by', or --group-by"
            )
        return next(iter(named.values()), None)
    if by not in named:
        have = ", ".join(named) or "nothing"
        raise ConfigError(f"{path}: recordings.{place}.groups: has no {by!r} ({have}); add it")
    return named[by]
