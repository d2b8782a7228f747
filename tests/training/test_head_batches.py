"""What a head gets to see of recordings: stretches, sequences, filling, shares of several devices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ethostream.sync.errors import DataError
from ethostream.training.config.fit import FitConfig
from ethostream.training.fitting.head_batches import HeadBatch, HeadBatches, inside_of, reduced
from ethostream.training.fitting.head_data import HeadData, check_head_data, class_counts_of, training_statistics
from head_problems import CLASSES, N_FEATURES, new_head, problem, recording

SCALE = (np.zeros(N_FEATURES, np.float32), np.ones(N_FEATURES, np.float32))


def batches(data: list[HeadData], **options: Any) -> HeadBatches:
    rule = FitConfig.model_validate({"stretch_frames": 50, "batch_windows": 4, **options})
    return HeadBatches(data, rule, len(CLASSES), 3, SCALE)


def test_an_epoch_can_be_had_again_and_the_next_is_another() -> None:
    one, again = batches(problem()), batches(problem())
    first = list(one)
    assert len(first) == len(one) == 4  # 400 + 300 frames in stretches of 50, four at a time
    for wanted, found in zip(first, again, strict=True):
        assert torch.equal(wanted.x, found.x)
    one.epoch = 1
    assert not torch.equal(next(iter(one)).x, first[0].x)


def test_the_answers_to_a_stretch_do_not_hang_on_the_others_of_its_batch() -> None:
    """Short stretches are filled up; a causal head answers their frames as if it had got them alone."""
    one = batches([recording(1, "train", 120), recording(2, "train", 17)], stretch_frames=40, batch_windows=8)
    head = new_head("tcn", dilations=[1, 2]).eval()
    seen: set[int] = set()
    for one.epoch in range(8):
        batch = next(iter(one))
        with torch.inference_mode():
            together, _ = head.logits(batch.x, head.initial_state(len(batch.x)))
            for row, length in enumerate(batch.lengths.tolist()):
                seen.add(length)
                alone, _ = head.logits(batch.x[row : row + 1, :length], head.initial_state(1))
                assert torch.allclose(together[row, :length], alone[0], rtol=1e-4, atol=1e-4)
                assert not batch.counts[row, length:].any()
                assert not batch.targets[row, length:].any()
    assert seen == {40, 17}
    assert inside_of(torch.zeros(2, 4, 1), torch.tensor([1, 4])).tolist() == [[True, False, False, False], [True] * 4]


def test_every_sequence_comes_once_with_one_target() -> None:
    data = [recording(1, "train", 200, rows=2), recording(2, "validation", 100)]
    wanted = [tuple(one) for one in data[0].sequences_of("train").tolist()]
    found: list[tuple[int, int]] = []
    for batch in batches(data, supervision="sequence_last"):
        assert batch.targets.shape[1] == batch.counts.shape[1] == 1
        assert batch.counts.all()
        assert batch.x.shape[1] == int(batch.lengths.max())
        found += list(zip(batch.lengths.tolist(), batch.targets[:, 0].argmax(1).tolist(), strict=True))
    assert sorted(found) == sorted([(stop - start, label) for start, stop, label in wanted] * 2)
    assert class_counts_of(data, 3, sequences=True).sum() == len(wanted)


def test_sequences_can_be_told_apart_where_labels_are_the_same() -> None:
    one = recording(1, "train", 60)
    one = replace(one, labels=np.ones(60, np.int16), sequences=np.array([[0, 20], [20, 35], [50, 60]]))
    assert one.sequences_of("train").tolist() == [[0, 20, 1], [20, 35, 1], [50, 60, 1]]
    assert replace(one, sequences=None).sequences_of("train").tolist() == [[0, 60, 1]]


def test_a_sequence_is_answered_by_its_last_frame_or_its_mean() -> None:
    logits, lengths = torch.randn(3, 5, 2), torch.tensor([5, 1, 3])
    last, mean = reduced(logits, lengths, "sequence_last"), reduced(logits, lengths, "sequence_mean")
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(last[row, 0], logits[row, length - 1])
        assert torch.allclose(mean[row, 0], logits[row, :length].mean(0))


def test_several_devices_share_the_batches() -> None:
    one = batches(problem(), batch_windows=2)  # seven batches
    every = [batch.x for batch in one]
    shares: list[list[HeadBatch]] = []
    for place in range(2):
        one.share = (place, 2)
        assert len(one) == 3
        shares.append(list(one))
    for place, share in enumerate(shares):
        for number, batch in enumerate(share):
            assert torch.equal(batch.x, every[2 * number + place])


def test_changes_of_features_hold_for_the_stretch() -> None:
    data = [replace(recording(1, "train", 100), x=np.ones((1, 100, N_FEATURES), np.float32))]
    noisy = next(iter(batches(data, augment={"feature_noise": 0.5}))).x
    assert torch.equal(noisy, noisy[:, :1].expand_as(noisy))
    assert len({row.tobytes() for row in noisy[:, 0].numpy()}) > 1
    dropped = next(iter(batches(data, augment={"feature_drop": 0.5}))).x
    assert set(dropped.unique().tolist()) == {0.0, 1.0}  # the mean, and what was there


def test_noise_is_another_at_every_frame_and_as_large_as_said() -> None:
    data = [replace(recording(1, "train", 100), x=np.ones((1, 100, N_FEATURES), np.float32))]
    rule = FitConfig.model_validate({"stretch_frames": 50, "batch_windows": 4, "augment": {"input_noise": 0.5}})
    scale = SCALE[0], np.array([1.0, 10.0, 0.1, 1.0, 2.0], np.float32)
    x = torch.cat([batch.x for one in [HeadBatches(data, rule, len(CLASSES), 3, scale)] for batch in one]).numpy()
    assert np.allclose((x - 1.0).std(axis=(0, 1)), 0.5 * scale[1], rtol=0.3)
    assert all(len(np.unique(row[:, feature])) == len(row) for row in x for feature in range(N_FEATURES))


def test_a_stride_shows_every_kth_frame_from_any_of_the_first() -> None:
    """Stretches that are whole recordings, so that the phase is all there is to draw; a short one stays inside."""
    data = [recording(1, "train", 50), recording(2, "train", 2)]
    data[0].x[0, :, 0] = np.arange(50)
    one, seen = batches(data, stride_frames=3, batch_windows=8), set[int]()
    for one.epoch in range(12):
        for batch in one:
            for row, length in enumerate(batch.lengths.tolist()):
                if length < 10:
                    assert length == 1
                    continue
                frames = batch.x[row, :length, 0].long()
                assert frames.tolist() == list(range(int(frames[0]), 50, 3))
                labels = torch.from_numpy(data[0].labels[frames.numpy()]).long()
                assert torch.equal(batch.targets[row, :length].argmax(1), labels)
                assert not batch.counts[row, length:].any()
                seen.add(int(frames[0]))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "tcn", "dilations": [3, 6], "kernel": 2},
        {"kind": "tcn", "dilations": [3, 9], "causal": False},
        {"kind": "mlp", "layers": 2},
    ],
)
def test_what_is_learnt_with_a_stride_is_the_head_that_runs_on_every_frame(options: dict[str, Any]) -> None:
    head = new_head(**options).eval()
    x = torch.randn(2, 40, N_FEATURES)
    with torch.inference_mode():
        every, _ = head.logits(x, head.initial_state(2))
        with head.core.strided(3):
            for phase in range(3):
                some, _ = head.logits(x[:, phase::3], head.initial_state(2))
                assert torch.allclose(some, every[:, phase::3], atol=1e-5)
        assert torch.equal(head.logits(x, head.initial_state(2))[0], every)


def test_statistics_are_those_of_the_training_frames() -> None:
    data = [recording(1, "train", 300, rows=2), recording(2, "validation", 200), recording(3, "train", 80, rows=2)]
    data[2].parts[40:] = -1
    mean, std = training_statistics(data)
    rows = np.concatenate([data[0].x.reshape(-1, N_FEATURES), data[2].x[:, :40].reshape(-1, N_FEATURES)])
    assert np.allclose(mean, rows.astype(np.float64).mean(0), rtol=1e-6)
    assert np.allclose(std, rows.astype(np.float64).std(0), rtol=1e-5)
    flat = replace(data[0], x=np.full_like(data[0].x, 3.0))
    assert training_statistics([flat])[1].tolist() == [1.0] * N_FEATURES  # what never changes is not blown up
    noise = data[0].x[..., :1] * np.float32(1e-3) + np.float32(3000.0)  # to single digits of float32
    assert training_statistics([replace(data[0], x=noise)])[1].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((1, 99, N_FEATURES), np.float32)}, "features of 99 frames, 100 labels and 100 parts"),
        ({"x": np.zeros((1, 100, 4), np.float32)}, "has 4 features, the head takes 5"),
        ({"labels": np.full(100, 3, np.int16)}, "label 3 is none of the 3 classes"),
        ({"targets": np.zeros((100, 2), np.float32)}, r"targets are \(100, 2\), expected \(100, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_head_data([replace(recording(1, "train", 100), **change)], N_FEATURES, CLASSES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_named(value: float) -> None:
    one = recording(1, "train", 100)
    one.x[0, 30, 2] = value
    with pytest.raises(DataError, match=f"train-1: feature 2 is {value} at frame 30"):
        check_head_data([one], N_FEATURES, CLASSES)
    with pytest.raises(DataError, match="no recording"):
        check_head_data([], N_FEATURES, CLASSES)


def test_looking_ahead_asks_later_and_never_across_parts() -> None:
    one = recording(1, "train", 30)
    one.parts[:] = [0] * 12 + [-1] * 3 + [1] * 15
    moved = one.looking_ahead(4)
    for t in range(30):
        same = t >= 4 and one.parts[t] == one.parts[t - 4]
        assert moved.parts[t] == (one.parts[t] if same else -1)
        assert moved.labels[t] == (one.labels[t - 4] if t >= 4 else -1)
    assert (one.looking_ahead(40).labels == -1).all()
    assert one.looking_ahead(0) is one
