"""Splits of whole recordings: groups stay together, every recording is left out once, frames are never dealt out."""

from typing import Any

import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.sync.strict import StrictModel, validate
from ethostream.training.splits import (
    GroupSplit,
    KFoldSplit,
    LeaveOneOutSplit,
    RecordingSplit,
    SplitRule,
    TimeBlockSplit,
    folds_of,
    part_of,
)
from hypothesis import given
from hypothesis import strategies as st


class _Holder(StrictModel):
    split: SplitRule


def _rule(**options: Any) -> Any:
    return validate(_Holder, {"split": options}, "test").split


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=6, max_size=20),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_every_recording_is_left_out_once_and_groups_stay_whole(
    groups: list[str | None], n_folds: int, seed: int
) -> None:
    names = [f"session {place}" for place in range(len(groups))]
    units = {group or name for group, name in zip(groups, names, strict=True)}
    rule = KFoldSplit(folds=n_folds, seed=seed)
    if len(units) < n_folds:
        with pytest.raises(DataError, match="folds need as many groups"):
            folds_of(rule, names, groups)
        return
    folds = folds_of(rule, names, groups)
    assert len(folds) == n_folds
    assert all(folds)
    assert sorted(place for fold in folds for place in fold) == list(range(len(groups)))
    where = {place: number for number, fold in enumerate(folds) for place in fold}
    for group in set(groups) - {None}:
        assert len({where[place] for place, other in enumerate(groups) if other == group}) == 1
    assert folds == folds_of(rule, names, groups)


def test_the_seed_deals_recordings_out_anew() -> None:
    names = [str(number) for number in range(12)]
    dealt = {tuple(map(tuple, folds_of(KFoldSplit(seed=seed), names, [None] * 12))) for seed in range(5)}
    assert len(dealt) == 5
    assert all(sorted(map(len, folds)) == [3, 3, 3, 3] for folds in dealt)


def test_recordings_of_a_group_may_be_told_apart_when_asked() -> None:
    names, groups = ["1", "2", "3"], ["rat", "rat", "rat"]
    assert folds_of(KFoldSplit(folds=3, unit="recording"), names, groups)
    with pytest.raises(DataError, match=r"3 folds need as many groups, and there are 1 \(rat\)"):
        folds_of(KFoldSplit(folds=3), names, groups)


def test_leave_one_out_has_a_fold_per_recording_or_group() -> None:
    names, groups = ["2", "10", "1"], ["a", "b", "a"]
    assert folds_of(LeaveOneOutSplit(unit="recording"), names, groups) == [[2], [0], [1]]  # sessions 1, 2, 10
    assert folds_of(LeaveOneOutSplit(), names, groups) == [[0, 2], [1]]
    assert folds_of(LeaveOneOutSplit(), names, [None] * 3) == [[2], [0], [1]]
    with pytest.raises(DataError, match="there are 1"):
        folds_of(LeaveOneOutSplit(), ["only"], [None])


def test_a_group_decides_the_part_of_its_recordings() -> None:
    rule = GroupSplit(validation=["day2"], test=["day3"])
    assert [part_of(rule, None, f"day{day}", "one") for day in (1, 2, 3)] == ["train", "validation", "test"]
    with pytest.raises(DataError, match="one: has no group"):
        part_of(rule, None, None, "one")
    assert part_of(RecordingSplit(), "test", "day1", "one") == "test"
    assert part_of(TimeBlockSplit(pattern=["train", "test"]), None, "day1", "one") is None


def test_a_group_stands_in_one_part() -> None:
    with pytest.raises(ConfigError, match="group a stands in 'validation' and in 'test'"):
        _rule(by="group", validation=["a"], test=["a"])


@pytest.mark.parametrize("by", ["frame", "random"])
def test_a_split_by_frame_is_refused_with_the_reason(by: str) -> None:
    with pytest.raises(ConfigError, match=r"puts near copies of the training frames into the test set.*k_fold"):
        _rule(by=by)
