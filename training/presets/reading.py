"""Presets: named models that fit any data set of their kind. Each is a YAML file in ``presets/``.

A preset is a training file without its data: ``about`` says in a line what it is, ``input`` what it takes (``pose`` or
``video``), ``extends`` names a preset that it changes, ``config`` holds keys of the training file. ``@front``,
``@center`` and ``@back`` in it stand for the keypoints that the data set gives these roles. A feature of ``pose`` with
``for_animals: 2`` is left out where there is another number of animals, and ``by_animals: {2: …}`` holds further keys
for such a number. ``by_classes: {6: …}`` holds further keys for so many classes or more; of several the largest number
that the classes reach counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from ...acquisition.pose.pose_files import read_pose
from ...inference.manifest import Name
from ...streaming.video import VideoReader
from ...sync.errors import ConfigError
from ...sync.strict import StrictModel, read_yaml, validate
from ..config.labels import LabelOptions
from ..config.recordings import PoseData, VideoData
from ..config.training_file import TrainConfig, set_key
from ..data.dataset_file import Dataset
from ..data.recording_labels import StreamLabels, classes_in, read_stream
from .video_split import dealt_out

FOLDER: Final = Path(__file__).parent
_ROLE: Final = re.compile(r"@([a-z]+)")
_FOR_ANIMALS: Final = "for_animals"
_MOST_EXTENSIONS: Final = 8
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class PresetFile(StrictModel):
    """One file of a preset; see the head of this module."""

    about: str
    input: Literal["pose", "video"]
    extends: Name | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    by_animals: dict[int, dict[str, Any]] = Field(default_factory=dict)
    by_classes: dict[int, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset with everything that it extends.

    Attributes:
        name: as it is asked for.
        about: one line.
        input: what it takes.
        config: keys of the training file.
        by_animals: further keys for recordings of so many animals.
        by_classes: further keys for so many classes or more.
    """

    name: str
    about: str
    input: Literal["pose", "video"]
    config: dict[str, Any]
    by_animals: dict[int, dict[str, Any]]
    by_classes: dict[int, dict[str, Any]]


def preset_names() -> list[str]:
    """What ``--preset`` may name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: there is none of that name, or its file has a fault.
    """
    chain: list[PresetFile] = []
    wanted: str | None = name
    while wanted is not None:
        path = FOLDER / f"{wanted}.yaml"
        if not path.is_file():
            raise ConfigError(f"preset {wanted!r} is not known; there are {', '.join(preset_names())}")
        if len(chain) == _MOST_EXTENSIONS:
            raise ConfigError(f"preset {name!r}: extends more than {_MOST_EXTENSIONS} others; is one its own ancestor?")
        chain.append(validate(PresetFile, read_yaml(path), str(path)))
        wanted = chain[-1].extends
    config: dict[str, Any] = {}
    by_animals: dict[int, dict[str, Any]] = {}
    by_classes: dict[int, dict[str, Any]] = {}
    for one in reversed(chain):
        config = merged(config, one.config)
        by_animals |= {n: merged(by_animals.get(n, {}), keys) for n, keys in one.by_animals.items()}
        # What a preset says itself stands above what its ancestors say to a number of classes.
        by_classes = {n: merged(keys, one.config) for n, keys in by_classes.items()}
        by_classes |= {n: merged(by_classes.get(n, {}), keys) for n, keys in one.by_classes.items()}
    return Preset(name, chain[0].about, chain[0].input, config, by_animals, by_classes)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings as one; groups of keys are merged, all else of ``above`` stands in place of what is ``below``.

    A group that names another ``kind`` than the one below it stands alone: keys of one kind mean nothing to another.
    """
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and old.get("kind") == value.get("kind", old.get("kind")):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def configure(preset: Preset, dataset: Dataset, overrides: Sequence[str] = (), name: str | None = None) -> TrainConfig:
    """The training file of a preset on a data set.

    Args:
        preset: from `read_preset`.
        dataset: from `find_dataset`; its label files are read for their classes.
        overrides: ``key.key=value``, the value YAML. A preset of video that has no ``split`` gets one; see `dealt_out`.
        name: of the bundle; None: after preset and stream.

    Raises:
        ConfigError: preset and data do not go together, or an override is wrong.
        DataError: a label file cannot be read.
    """
    kinds = {"pose" if isinstance(entry, PoseData) else "video" for entry in dataset.entries}
    if kinds != {preset.input}:
        fitting = [name for name in preset_names() if read_preset(name).input in kinds]
        raise ConfigError(
            f"preset {preset.name} takes {preset.input}, and the recordings of {dataset.root} are of "
            f"{' and '.join(sorted(kinds))}; choose another preset ({', '.join(fitting)})"
        )
    read = [] if dataset.classes else _read_streams(dataset)
    classes = dataset.classes or classes_in(read, dataset.labels)
    named = [entry.stream for entry in dataset.entries if entry.label_kind != "simulator"]
    streams = list(dict.fromkeys(stream for stream in named if stream))
    raw: dict[str, Any] = {
        "name": name or _NO_NAME.sub("-", "-".join([preset.name, *streams]))[:64],
        "task": f"{preset.about} Classes: {', '.join(classes)}",
        "classes": classes,
        "data_root": str(dataset.root.resolve()),
        "data": [
            entry.model_dump(mode="json", exclude_defaults=True) | {"kind": entry.kind} for entry in dataset.entries
        ],
        "labels": dataset.labels.model_dump(mode="json"),
        **with_roles(_keys_for(preset, dataset, len(classes)), dataset.roles, preset.name),
    }
    said = _ignored_in_vain(read, dataset.labels)
    dealt = None
    if preset.input == "video" and "split" not in raw:
        dealt = dealt_out([one for one in dataset.entries if isinstance(one, VideoData)])
        raw["split"] = dict(dealt[0])
    entries = list(raw["data"])
    for override in overrides:
        set_key(raw, override)
    if dealt is not None and raw["data"] == entries and _is_split(raw["split"], dealt[0]):  # else it was overridden
        raw["data"] = [
            one if part is None else one | {"part": part} for one, part in zip(entries, dealt[1], strict=True)
        ]
        said.append(dealt[2])
    config = validate(TrainConfig, raw, f"preset {preset.name} on {dataset.root}")
    return config.model_copy(update={"notes": [*said, *config.notes]})


def _is_split(split: Any, dealt: Mapping[str, Any]) -> bool:
    """Whether recordings are split by the same rule, and blocks have the same parts."""
    return isinstance(split, dict) and all(split.get(key) == dealt.get(key) for key in ("by", "pattern"))


def with_roles(value: Any, roles: Mapping[str, str], preset: str) -> Any:
    """A part of a preset with ``@front`` and the like replaced by names of keypoints.

    Raises:
        ConfigError: the data set does not say which keypoint that is.
    """
    if isinstance(value, dict):
        return {key: with_roles(one, roles, preset) for key, one in value.items()}
    if isinstance(value, list):
        return [with_roles(one, roles, preset) for one in value]
    if isinstance(value, str):
        for role in _ROLE.findall(value):
            if role not in roles:
                raise ConfigError(
                    f"preset {preset}: needs to know which keypoint is the {role} of an animal; say so in "
                    "dataset.yaml, as in roles: {front: nose, center: back, back: tail_base}"
                )
        return _ROLE.sub(lambda found: roles[found[1]], value)
    return value


def _read_streams(dataset: Dataset) -> list[StreamLabels]:
    return [read_stream(entry, dataset.root / entry.labels, _rate_hz(entry, dataset.root)) for entry in dataset.entries]


def _ignored_in_vain(read: Sequence[StreamLabels], options: LabelOptions) -> list[str]:
    """A label to ignore that no file declares is often misspelt, and what was meant is then learnt."""
    declared = {name for stream in read for name in stream.names}
    renamed = {options.rename.get(name, name) for name in declared}  # either name may be ignored
    vain = [name for name in options.ignore if name not in declared | renamed]
    if not read or not vain:
        return []
    return [f"to be ignored, and in no label file: {', '.join(vain)}; they hold {', '.join(sorted(declared))}"]


def _rate_hz(entry: PoseData | VideoData, root: Path) -> float | None:
    """Frames per second, for labels that hold times; None: a file of keypoints does not say."""
    if isinstance(entry, PoseData):
        return entry.rate_hz
    with VideoReader(root / next(iter(entry.videos.values()))) as video:
        return video.rate_hz


def _keys_for(preset: Preset, dataset: Dataset, n_classes: int) -> dict[str, Any]:
    """What a preset says to so many classes, and to as many animals as the first recording has."""
    reached = [n for n in preset.by_classes if n <= n_classes]
    config = merged(preset.config, preset.by_classes[max(reached)] if reached else {})
    first = dataset.entries[0]
    if not isinstance(first, PoseData):
        return config
    n_animals = len(read_pose(dataset.root / first.path).animals)
    config = merged(config, preset.by_animals.get(n_animals, {}))
    features: list[dict[str, Any]] = config.get("pose", {}).get("features", [])
    kept = [
        {key: value for key, value in one.items() if key != _FOR_ANIMALS}
        for one in features
        if one.get(_FOR_ANIMALS, n_animals) == n_animals
    ]
    return {**config, "pose": {**config["pose"], "features": kept}} if features else config
