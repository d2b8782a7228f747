"""No score on frames that a bundle has learnt from, however the recordings are split and called."""

from pathlib import Path
from typing import Any

import pytest
from demo_sessions import session, training_file, write_video
from ethostream.inference.bundle import Bundle
from ethostream.inference.manifest import DataFingerprint, Manifest, Split
from ethostream.sync.errors import DataError
from ethostream.training.answers.learnt_frames import refuse_learnt
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.video_sources import Source, open_sources
from ethostream.training.fitting.crop_recordings import members_of


@pytest.fixture(scope="module")
def demo(repository: Path) -> Manifest:
    return Bundle.load(repository / "inference/bundles/demo").manifest


def learnt_from(config: TrainConfig, sources: list[Source], demo: Manifest, sha256: str | None = None) -> Manifest:
    """The demo's manifest as if it had been trained on these, under the hash that is given."""
    return demo.model_copy(
        update={
            "data": [one.data if sha256 is None else one.data.model_copy(update={"sha256": sha256}) for one in sources],
            "split": Split(
                unit=config.split.by,
                train=members_of(sources, config, "train"),
                validation=members_of(sources, config, "validation"),
                test=members_of(sources, config, "test"),
            ),
        }
    )


BLOCKS = {"by": "time_block", "pattern": ["train", "validation", "train", "test"], "guard_s": 0.5}


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        (BLOCKS, BLOCKS, None),
        (BLOCKS, BLOCKS | {"guard_s": 0.8}, None),
        (BLOCKS, BLOCKS | {"guard_s": 0.0}, None),  # the border between train and test moves up to it, not over it
        (BLOCKS, BLOCKS | {"pattern": ["test", "train", "train", "train"]}, r"flat\[0:45\].* test part"),
        (BLOCKS, BLOCKS | {"pattern": ["train", "test", "train", "train"]}, r"flat\[75:105\].* test part"),
        (BLOCKS, BLOCKS | {"pattern": ["validation", "train", "train", "test"]}, r"flat\[0:45\].* validation part"),
        (BLOCKS, BLOCKS | {"pattern": ["train", "train", "test"], "guard_s": 0.0}, r"flat\[160:165\].* test part"),
        (BLOCKS, "test", r"flat\[0:45\].* test part"),
        (BLOCKS, "validation", r"flat\[0:45\].* validation part"),
        ("train", BLOCKS, r"flat\[75:105\].* validation part|flat\[195:240\].* test part"),
        ("validation", BLOCKS, r"flat\[195:240\].* test part"),
        ("test", BLOCKS, None),
        ("train", "test", r"learnt from flat, which stands in the test part"),
        ("train", "train", None),
    ],
)
@pytest.mark.parametrize("other_hash", [False, True])
def test_what_the_bundle_has_learnt_from_is_not_scored(
    before: Any, after: Any, known: str | None, other_hash: bool, demo: Manifest, tmp_path: Path
) -> None:
    """Both ways to split, in every pairing; with other labels the recording has another hash, and is the same."""
    write_video(tmp_path, [128] * 240)

    def opened(split: Any) -> tuple[TrainConfig, list[Source]]:
        flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}
        if isinstance(split, dict):
            changes: dict[str, Any] = {"data": [flat], "split": split}
        else:
            others = [session("train", 31, 60), session("test", 33, 60)]
            changes = {"data": [flat | {"part": split}, *others], "split": {"by": "recording"}}
        config, root = load_config(training_file(tmp_path / "train.yaml", **changes))
        return config, [one for one in open_sources(config, root) if one.name == "flat"]

    manifest = learnt_from(*opened(before), demo, "0" * 64 if other_hash else None)
    config, sources = opened(after)
    if known is None:
        refuse_learnt(manifest, config, sources)
    else:
        with pytest.raises(DataError, match=known):
            refuse_learnt(manifest, config, sources)


def test_a_recording_is_known_by_its_bytes_or_by_name_and_length(demo: Manifest, tmp_path: Path) -> None:
    write_video(tmp_path, [128] * 240)
    flat = {"kind": "video", "path": "flat.mkv", "labels": "flat.csv", "name": "clip", "part": "test"}
    config, root = load_config(training_file(tmp_path / "train.yaml", data=[session("train", 31, 60), flat]))
    source = open_sources(config, root)[1]

    def learnt(member: str, **changes: Any) -> Manifest:
        data = source.data.model_copy(update=changes)
        split = Split(unit="recording", train=[member], validation=[], test=[])
        return demo.model_copy(update={"data": [DataFingerprint.model_validate(data.model_dump())], "split": split})

    for known in (
        learnt("clip"),
        learnt("clip", sha256="0" * 64),
        learnt("other", name="other"),
        learnt("other[30:40]", name="other"),
        learnt("clip[0:9]", name="clip[0:9]"),  # the whole of a file that is called so
    ):
        with pytest.raises(DataError, match="has learnt from clip"):
            refuse_learnt(known, config, [source])
    refuse_learnt(learnt("clip", sha256="0" * 64, n_frames=7), config, [source])
    refuse_learnt(learnt("other", name="other", sha256="0" * 64), config, [source])
