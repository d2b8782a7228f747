"""What a cross-validation is about to do: which folds, of which configuration, known by what they depend on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ethostream.deploy import cli
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.presets.video_split import ABOUT_SPLIT, dealt_out
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.crossval_fold import FoldResult, FoldTask
from ethostream.training.runs.record import resolved
from ethostream.training.splits import FoldSplit, LeaveOneOutSplit
from small_search import sessions, small_config
from typer.testing import CliRunner


class _PlannedError(Exception):
    pass


def _planned(config: TrainConfig, root: Path, run: Path, rule: FoldSplit | None = None) -> list[FoldTask]:
    """The folds that would be done."""
    found: list[FoldTask] = []

    def plan(tasks: Sequence[FoldTask]) -> list[FoldResult]:
        found.extend(tasks)
        raise _PlannedError

    with pytest.raises(_PlannedError):
        crossval(config, root, run, rule or LeaveOneOutSplit(), quiet=True, run_folds=plan)
    return found


def test_a_fold_depends_on_the_labels_of_other_raters(tmp_path: Path) -> None:
    """They are scored against: with a file that was corrected a fold is done again."""
    folder = sessions(tmp_path / "data", [1, 2])
    rater = folder / "rater.txt"
    rater.write_text((folder / "annotations" / "1_annot.txt").read_text(encoding="utf-8"), encoding="utf-8")
    keys = resolved(small_config({1: None, 2: None}), folder)
    keys["data"][0]["compare"] = {"second": {"labels": "rater.txt", "stream": "S1"}}
    config = validate(TrainConfig, keys, "with a second rater")
    before, again = (_planned(config, folder, tmp_path / "cv") for _ in range(2))
    assert [one.key for one in before] == [one.key for one in again]
    text = rater.read_text(encoding="utf-8")
    rater.write_text(text.replace("\taggression", "\tsocial"), encoding="utf-8")
    after = _planned(config, folder, tmp_path / "cv")
    assert [one.config for one in after] == [one.config for one in before]
    assert all(one.key != other.key for one, other in zip(before, after, strict=True))


def test_folds_of_video_are_float32_and_bear_no_notes_of_another_split(tmp_path: Path) -> None:
    """Where the scored fold would decide whether int8 is good enough, it would have a say in its own score."""
    data = [
        {"kind": "simulated", "name": f"day{n}", "group": f"m{n}", "seeds": [n], "n_frames": 60, "views": 1,
         "width": 96, "height": 64}
        for n in (1, 2)
    ]  # fmt: skip
    keys: dict[str, Any] = {
        "name": "tiny", "classes": ["locomote", "rear", "groom", "still"], "data": data,
        "split": {"by": "time_block", "pattern": ["train", "test"]}, "export": {"precision": "int8"},
        "notes": [dealt_out([])[2], "filmed at night"],
    }  # fmt: skip
    assert keys["notes"][0].startswith(ABOUT_SPLIT) and "blocks of time" in keys["notes"][0]
    folds = _planned(validate(TrainConfig, keys, "tiny"), tmp_path, tmp_path / "cv")
    assert len(folds) == 2
    for one in folds:
        assert one.config.export.precision == "float32"
        assert one.config.notes[0] == "filmed at night" and len(one.config.notes) == 2
        assert one.config.notes[1].startswith("export.precision: int8 is left out of a cross-validation")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["crossval", "c.yaml", "--leave-one-out", "--folds", "8"], "two ways to leave recordings out"),
        (["crossval", "c.yaml", "--leave-one-out", "--fold-seed", "3"], "says nothing beside --leave-one-out"),
        (["crossval", "c.yaml", "--unit", "rat"], "--unit rat: is neither group nor recording"),
        (["search", "c.yaml", "--leave-one-out", "--folds", "8"], "two ways to leave recordings out"),
        (["search", "c.yaml", "--fold-seed", "3", "--unit", "group"], "--fold-seed, --unit: goes with --folds or"),
    ],
)
def test_options_of_folds_that_say_nothing_together_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)


def test_folds_of_another_data_set_are_not_cleared_away(tmp_path: Path) -> None:
    """Without --out the folder is called after the model alone."""
    config, run = small_config({1: None, 2: None}), tmp_path / "small-crossval.run"
    one, other = (sessions(tmp_path / name, [1, 2]) for name in ("rats", "mice"))
    _planned(config, one, run)
    (run / "fold-1").mkdir()
    with pytest.raises(
        ConfigError, match=rf"holds what was found on the recordings in {one}, and these are in {other}"
    ):
        crossval(config, other, run, LeaveOneOutSplit(), quiet=True)
    assert (run / "fold-1").is_dir()
    _planned(config, one, run)


def test_other_words_are_the_same_fold(tmp_path: Path) -> None:
    folder = sessions(tmp_path / "data", [1, 2])
    config = small_config({1: None, 2: None})
    before = _planned(config, folder, tmp_path / "cv")
    spoken = _planned(
        small_config({1: None, 2: None}, task="who is near", notes=["filmed at night"]), folder, tmp_path / "cv"
    )
    assert [one.key for one in spoken] == [one.key for one in before]
    changed = _planned(small_config({1: None, 2: None}, seed=1), folder, tmp_path / "cv")
    assert all(one.key != other.key for one, other in zip(changed, before, strict=True))
