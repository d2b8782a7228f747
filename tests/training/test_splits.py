from dataclasses import dataclass, field

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.sync.strict import validate
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.splits import (
    PARTS,
    UNUSED,
    KFoldSplit,
    Part,
    TimeBlockSplit,
    parts_of,
    refuse_shared,
    split_by_block,
)
from ethostream.training.stretches import runs_of
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Recording:
    name: str
    part: Part | None = None
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(5, np.bool_))
    rate_hz: float = 30.0


part = st.sampled_from(PARTS)
pattern = st.lists(part, min_size=2, max_size=8).filter(lambda one: {"train", "test"} <= set(one))


@given(
    pattern,
    st.integers(20, 600),
    st.floats(0, 2),
    st.sampled_from([25.0, 30.0, 60.0]),
    st.floats(0, 1),
    st.floats(0.1, 1),
)
def test_parts_never_leak(
    blocks: list[Part], n: int, guard_s: float, rate_hz: float, offset: float, share: float
) -> None:
    labelled = np.zeros(n, np.bool_)
    start = int(offset * n * 0.5)
    labelled[start : start + max(2, int(share * n))] = True
    labelled &= np.random.default_rng(n).random(n) < 0.9
    assume(labelled.any())
    try:
        parts = split_by_block(TimeBlockSplit(pattern=blocks, guard_s=guard_s), labelled, rate_hz)
    except DataError:
        return  # the blocks are shorter than their guards, and it says so
    assert parts.shape == (n,)
    there = np.flatnonzero(labelled)
    assert (parts[: there[0]] == UNUSED).all() and (parts[there[-1] + 1 :] == UNUSED).all()
    guard = round(guard_s * rate_hz)
    used = np.flatnonzero(parts != UNUSED)
    changes = np.flatnonzero(np.diff(parts[used]) != 0)
    # Frames of two parts are apart by a guard on each side of their border.
    assert all(used[place + 1] - used[place] > 2 * guard for place in changes)
    # Along time the parts come in the order of the pattern.
    order = parts[used][np.append(True, np.diff(parts[used]) != 0)] if len(used) else parts[:0]
    remaining = iter(PARTS.index(one) for one in blocks)
    assert all(value in remaining for value in order)


def test_blocks_cover_the_labelled_span_only() -> None:
    labelled = np.zeros(100, np.bool_)
    labelled[:60] = True
    parts = split_by_block(TimeBlockSplit(pattern=["train", "validation", "test"], guard_s=0.1), labelled, 10.0)
    assert runs_of(parts == 0) == [(0, 19)]
    assert runs_of(parts == 1) == [(21, 39)]
    assert runs_of(parts == 2) == [(41, 60)]


def test_neighbouring_blocks_of_one_part_have_no_guard_between_them() -> None:
    labelled = np.ones(40, np.bool_)
    parts = split_by_block(TimeBlockSplit(pattern=["train", "train", "test", "test"], guard_s=0.2), labelled, 10.0)
    assert runs_of(parts == 0) == [(0, 18)]
    assert runs_of(parts == 2) == [(22, 40)]


def test_faults() -> None:
    rule = TimeBlockSplit(pattern=["train", "test"], guard_s=5.0)
    with pytest.raises(DataError, match="shorter than its guards"):
        split_by_block(rule, np.ones(20, np.bool_), 30.0, "clip")
    with pytest.raises(DataError, match="no frame is labelled"):
        split_by_block(rule, np.zeros(20, np.bool_), 30.0, "clip")
    with pytest.raises(DataError, match="belongs to no part"):
        parts_of(_config({"by": "recording"}).split, _Recording("clip"))


def test_folds_have_no_part_of_their_own() -> None:
    with pytest.raises(DataError, match="is several trainings"):
        parts_of(KFoldSplit(), _Recording("clip"))


@pytest.mark.parametrize("by", ["frame", "random"])
def test_split_by_frame_is_refused_with_its_reason(by: str) -> None:
    with pytest.raises(ConfigError, match="near copies of the training frames"):
        _config({"by": by})


def test_one_recording_in_two_parts_is_refused() -> None:
    refuse_shared([("a", "train", "1"), ("a again", "train", "1"), ("b", "test", "2")])
    with pytest.raises(DataError, match=r"b \(test\) and a \(train\) are the same recording"):
        refuse_shared([("a", "train", "1"), ("b", "test", "1")])


def _config(split: dict[str, object]) -> TrainConfig:
    data = [
        {"kind": "simulated", "seeds": [1], "n_frames": 10, "part": "train"},
        {"kind": "simulated", "seeds": [2], "n_frames": 10, "part": "test"},
    ]
    return validate(TrainConfig, {"name": "x", "classes": ["a", "b"], "data": data, "split": split}, "x.yaml")
