"""Search spaces: what may be searched over, with which values, and what is refused before anything is fitted."""

import json
from pathlib import Path
from typing import Any

import pytest
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from ethostream.training.config.search import (
    Choices,
    Domain,
    Range,
    check_space,
    default_space,
    read_space,
    value_at,
    with_values,
)
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.runs.record import resolved
from hypothesis import given
from hypothesis import strategies as st

HEADS: list[dict[str, Any]] = [
    {"kind": "linear"},
    {"kind": "mlp", "hidden": 8},
    {"kind": "lstm", "hidden": 8},
    {"kind": "gru", "hidden": 1},
    {"kind": "tcn", "dilations": [5, 10, 20]},
    {"kind": "transformer", "hidden": 12, "attention_heads": 4},
]


def _config(**changes: Any) -> TrainConfig:
    keys: dict[str, Any] = {
        "name": "one",
        "classes": ["a", "b"],
        "data": [{"kind": "pose", "path": f"{n}.csv", "labels": f"{n}.txt", "rate_hz": 30.0} for n in (1, 2)],
        "pose": {"scale": {"path": ["nose", "tail"]}, "features": [{"name": "pose_distances"}]},
        "split": {"by": "leave_one_out"},
    }
    return validate(TrainConfig, keys | changes, "test")


def _space(tmp_path: Path, text: str) -> dict[str, Domain]:
    (tmp_path / "space.yaml").write_text(text, encoding="utf-8")
    return read_space(tmp_path / "space.yaml")


def _checked(space: dict[str, Domain], **changes: Any) -> dict[str, Domain]:
    config = _config(**changes)
    return check_space(space, config, resolved(config, Path()), "space.yaml")


def test_a_space_is_read_and_numbers_are_whole_where_the_key_is(tmp_path: Path) -> None:
    space = _space(
        tmp_path,
        "fit.learning_rate: {low: 1, high: 2, log: true}\n"
        "head.hidden: {low: 8, high: 32, step: 8}\n"
        "fit.weight_average: {choices: [null, 0.98]}\n"
        "head.dilations: {choices: [[1, 2], [1, 2, 4]]}\n",
    )
    checked = _checked(space)
    rate, hidden, dilations = checked["fit.learning_rate"], checked["head.hidden"], checked["head.dilations"]
    assert isinstance(rate, Range) and not rate.is_whole  # 1.5 lies in it, however the ends were written
    assert isinstance(hidden, Range) and hidden.is_whole
    assert [hidden.holds(value) for value in (8, 12, 32, 40, "8", True)] == [True, False, True, False, False, False]
    assert isinstance(dilations, Choices) and dilations.holds([1, 2]) and not dilations.holds([2, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "the space is empty"),
        ("fit.learning_rat: {low: 0.1, high: 1}", r"did you mean 'fit.learning_rate'\?"),
        ("fit: {learning_rate: {low: 0.1, high: 1}}", "written as one path"),
        ("fit.learning_rate: 0.1", "expected {low"),
        ("fit.learning_rate: {low: 0, high: 1, log: true}", "has no logarithm"),
        ("fit.learning_rate: {low: 2, high: 1}", "is not below high"),
        ("fit.learning_rate: {low: 1, high: 2, log: true, step: 0.5}", "does not go with log"),
        ("fit.learning_rate: {low: 1, high: 2, step: 0}", "leads nowhere"),
        ("fit.learning_rate: {low: 1, high: 2, hi: 3}", "unknown key"),
        ("fit.learning_rate: {low: -1.0, high: 2}", "-1.0 cannot be"),
        ("head.hidden: {low: 8.5, high: 20}", "8.5 cannot be"),
        ("head.kind: {choices: [gru, rnn]}", "'rnn' cannot be"),
        ("head.hidden: {choices: [8]}", "nothing to choose"),
        ("head.hidden: {choices: [8, 8]}", "stands twice"),
        ("head.dilations.0: {choices: [1, 2]}", "give the whole of it as choices of 'head.dilations'"),
        ("choose.tolerance: {low: 0.1, high: 0.2}", "'choose' is not given in the training file"),
        ("split.by: {choices: [k_fold, leave_one_out]}", "says which recordings are seen"),
        ("seed: {low: 0, high: 9}", "the best of many seeds is luck"),
        ("data: {choices: [[], [1]]}", "are the recordings"),
        ("head: {choices: [{kind: gru}, {kind: lstm}]}\nhead.hidden: {choices: [8, 16]}", "the one holds the other"),
    ],
)
def test_what_cannot_be_searched_over_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        _checked(_space(tmp_path, text))


def test_values_that_only_go_with_others_pass(tmp_path: Path) -> None:
    """A gru cannot be fitted strided; whether a variant holds both shows when it is made."""
    space = _space(tmp_path, "head.kind: {choices: [gru, tcn]}\nfit.stride_frames: {choices: [1, 5]}")
    assert set(_checked(space, head=HEADS[4], fit={"stride_frames": 5})) == {"head.kind", "fit.stride_frames"}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head["kind"])
def test_the_default_space_holds_the_file_as_it_is(head: dict[str, Any]) -> None:
    strided = {"fit": {"stride_frames": 5}} if head["kind"] == "tcn" else {}
    config = _config(head=head, **strided)
    base = resolved(config, Path())
    space = check_space(default_space(config), config, base, "default space")
    assert len(space) >= 5
    for key, domain in space.items():
        assert domain.holds(value_at(base, key)), key
        for value in domain.probes:  # of these each goes with the rest of the file
            validate(TrainConfig, with_values(base, {key: value}), key)


@given(st.integers(1, 4096), st.floats(1e-6, 1.0))
def test_other_values_leave_the_rest_and_the_file_itself_alone(hidden: int, rate: float) -> None:
    base = resolved(_config(), Path())
    before = json.dumps(base)
    changed = with_values(base, {"head.hidden": hidden, "fit.learning_rate": rate})
    assert (value_at(changed, "head.hidden"), value_at(changed, "fit.learning_rate")) == (hidden, rate)
    assert json.dumps(base) == before
    own = {key: value_at(base, key) for key in ("head.hidden", "fit.learning_rate")}
    assert with_values(changed, own) == base
