"""A search from end to end: the test part is never opened, a killed one goes on, the best is a training file."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ethostream.deploy import cli
from ethostream.sync.errors import ConfigError, DataError
from ethostream.sync.strict import validate
from ethostream.training.config.pose import PoseRule
from ethostream.training.config.search import Choices
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.crossval_fold import FoldResult, FoldTask, run_fold
from ethostream.training.runs.search import search
from ethostream.training.runs.search_files import SearchRule
from ethostream.training.runs.search_parts import for_fits, seen_entries
from ethostream.training.runs.search_score import check_objective, less_is_better
from ethostream.training.runs.study import KILLED
from ethostream.training.splits import LeaveOneOutSplit, RecordingSplit
from small_search import SPACE, sessions, small_config
from typer.testing import CliRunner

Ended = Callable[[], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sessions(tmp_path_factory.mktemp("data"), [1, 2, 3])


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search with a test part whose files are not there: whatever opened them would fail."""
    config = small_config({1: "train", 2: "train", 3: "train", 9: "test"})
    run = tmp_path_factory.mktemp("search")
    return search(config, folder, run, SearchRule(n_trials=3, space=SPACE), quiet=True)


def test_the_test_part_is_never_opened(found: dict[str, Any]) -> None:
    assert found["recordings"] == ["1", "2", "3"]
    assert found["not_seen"] == ["9"]
    assert found["folds"] == {"by": "leave_one_out", "unit": "group", "n_folds": 3}
    assert (found["tried"], found["failed"]) == (3, 0)


def test_a_variant_scores_what_its_cross_validation_says(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The first is the file as it is; without test part and stabiliser its cross-validation is the very same."""
    first = found["trials"][0]
    assert first["values"] == {"fit.learning_rate": 0.01, "head.hidden": 4}
    assert found["file_as_it_is"] == first["score"] == first["by_fold"][-1]
    alone = small_config({1: None, 2: None, 3: None}, split={"by": "leave_one_out"})
    alone = for_fits(alone, "raw.macro_f1")
    result = crossval(alone, folder, tmp_path / "cv", LeaveOneOutSplit(), quiet=True)
    assert result["evaluation"]["raw"]["macro_f1"] == first["score"]


def test_the_best_is_a_training_file_that_says_how_many_were_tried(found: dict[str, Any], folder: Path) -> None:
    best = max(found["trials"], key=lambda one: one["score"])
    assert found["best"] == best
    config, root = load_config(Path(found["best_file"]))
    assert root == folder.resolve()
    assert (config.fit.learning_rate, config.head.hidden) == tuple(best["values"].values())
    assert [one.part for one in config.data] == ["train", "train", "train", "test"]
    assert config.choose is not None and config.choose.stabiliser  # what the search left out is back
    assert "the best of 3 variants tried" in config.notes[-1]
    assert "too good" in config.notes[-1] and "too good" in found["warnings"][0]
    kept = json.loads((Path(found["run"]) / "search.json").read_text(encoding="utf-8"))
    assert kept == found
    assert not list(Path(found["run"]).glob("trials/*"))


def test_a_killed_search_goes_on_with_the_same_command(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    config = small_config({1: "train", 2: "train", 3: "train", 9: "test"})
    n_done = 0

    def killed(tasks: Sequence[FoldTask], ended: Ended) -> list[FoldResult | ConfigError | DataError]:
        nonlocal n_done
        outcomes: list[FoldResult | ConfigError | DataError] = []
        for task in tasks:
            if n_done == 4:  # the first variant is done, the second has one fold of three
                raise KeyboardInterrupt
            outcomes.append(run_fold(task))
            n_done += 1
        return outcomes

    with pytest.raises(KeyboardInterrupt):
        search(config, folder, tmp_path, SearchRule(n_trials=3, space=SPACE), quiet=True, do_folds=killed)
    (left,) = tmp_path.glob("trials/*")
    assert (left / "fold-1" / "fold.json").is_file()
    with pytest.raises(ConfigError, match="another space"):
        other = {**SPACE, "head.hidden": Choices(choices=[2, 3])}
        search(config, folder, tmp_path, SearchRule(n_trials=3, space=other), quiet=True)
    result = search(config, folder, tmp_path, SearchRule(n_trials=3, space=SPACE), quiet=True)
    assert [one["state"] for one in result["trials"]] == ["complete", "failed", "complete", "complete"]
    assert result["trials"][1]["reason"] == KILLED
    assert (result["tried"], result["failed"]) == (4, 1)
    assert "the best of 4 variants tried" in load_config(tmp_path / "best.yaml")[0].notes[-1]
    # What the kill has cost is nothing but the fold that was under way.
    for here, there in ((0, 0), (2, 1), (3, 2)):
        for key in ("values", "score", "by_fold"):
            assert result["trials"][here][key] == found["trials"][there][key]
    assert not list(tmp_path.glob("trials/*"))


def test_variants_of_the_points_are_each_scored_by_their_own(folder: Path, tmp_path: Path) -> None:
    """Recordings are read before: by the rule of the training file, which is not that of every variant."""
    config = small_config({1: None, 2: None})
    assert config.pose is not None
    own = config.pose.model_dump(mode="json")
    far = [{"name": "pose_distances", "parameters": {"pairs": [["tail", "partner.tail"]]}}]
    space = {"pose": Choices(choices=[own, own | {"features": far}])}
    found = search(config, folder, tmp_path / "run", SearchRule(n_trials=4, space=space), quiet=True)
    scores = {one["values"]["pose"]["features"][0]["parameters"].get("cross"): one["score"] for one in found["trials"]}
    assert len(scores) == 2 and len(set(scores.values())) == 2
    alone = config.model_copy(update={"pose": PoseRule.model_validate(own | {"features": far})})
    result = crossval(for_fits(alone, "raw.macro_f1"), folder, tmp_path / "cv", LeaveOneOutSplit(), quiet=True)
    assert result["evaluation"]["raw"]["macro_f1"] == scores[None]


def test_folds_are_done_alike_from_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker does them: it was started elsewhere, and what is relative here is nowhere there."""
    config = small_config({1: None, 2: None})
    here, there = tmp_path / "here", tmp_path / "there"
    for one in (here, there):
        one.mkdir()
    monkeypatch.chdir(here)

    def elsewhere(tasks: Sequence[FoldTask]) -> list[FoldResult]:
        with monkeypatch.context() as inside:
            inside.chdir(there)
            return [run_fold(task) for task in tasks]

    root, kept = Path(os.path.relpath(folder, here)), Path("kept")
    crossval(config, root, Path("cv"), LeaveOneOutSplit(), True, run_folds=elsewhere, cache=kept)
    rule = SearchRule(n_trials=1, space=SPACE)
    search(config, root, Path("run"), rule, True, do_folds=lambda tasks, _: elsewhere(tasks), cache=kept)
    assert (here / "cv" / "fold-2" / "fold.json").is_file() and (here / "run" / "best.yaml").is_file()
    assert list((here / "kept").iterdir()) and not list(there.iterdir())


def test_a_combination_that_cannot_be_fails_alone(folder: Path, tmp_path: Path) -> None:
    """A gru cannot be fitted strided; where everything fails, the search says why."""
    config = small_config({1: None, 2: None}, split={"by": "leave_one_out"})
    space = {"head.kind": Choices(choices=["gru", "lstm"]), "fit.stride_frames": Choices(choices=[2, 3])}
    with pytest.raises(DataError, match=r"(?s)the first 5 variants have all failed; .* remembers by the step"):
        search(config, folder, tmp_path, SearchRule(n_trials=8, space=space), quiet=True)


def test_what_stays_behind_is_given_up_after_a_fold(folder: Path, tmp_path: Path) -> None:
    """Networks that hardly learn stay below the median of four that do; some of their folds are never fitted."""
    config = small_config({1: None, 2: None})
    space = {"fit.learning_rate": Choices(choices=[1e-6, 0.01]), "head.hidden": Choices(choices=[2, 3, 4])}
    found = search(config, folder, tmp_path, SearchRule(n_trials=10, space=space), quiet=True)
    given_up = [one for one in found["trials"] if one["state"] == "pruned"]
    assert given_up
    assert len(given_up) == found["pruned"] == 10 - found["complete"]
    assert all(one["score"] is None and len(one["by_fold"]) == 1 for one in given_up)
    assert all(len(one["by_fold"]) == 2 for one in found["trials"] if one["state"] == "complete")
    for one in given_up:  # of those that were done before, half were better at that fold
        before = [other["by_fold"][0] for other in found["trials"][: one["number"]] if other["state"] == "complete"]
        assert len(before) >= 4 and one["by_fold"][0] < sorted(before)[len(before) // 2]


@pytest.mark.long
def test_a_search_over_video(tmp_path: Path) -> None:
    """Whole trainings of simulated sessions, each fold through the pipeline of the rig."""
    sessions = [("train", 11), ("train", 12), ("test", 13)]
    keys: dict[str, Any] = {
        "name": "tiny",
        "classes": ["locomote", "rear", "groom", "still"],
        "data": [
            {"kind": "simulated", "name": part, "part": part, "seeds": [seed], "n_frames": 200, "views": 1,
             "width": 160, "height": 120}
            for part, seed in sessions
        ],
        "crop": {"kind": "background", "side": 0.3, "polarity": "dark", "sample_width_px": 160},
        "embedder": {"kind": "small_cnn", "dims": 8, "side_px": 32, "width": 4},
        "head": {"kind": "gru", "hidden": 8},
        "split": {"by": "recording"},
        "fit": {"joint_epochs": 1, "head_epochs": 1, "window_frames": 12, "stretch_frames": 60, "threads": 1},
        "export": {"precision": "int8"},
    }  # fmt: skip
    space = {"embedder.dims": Choices(choices=[4, 8]), "head.hidden": Choices(choices=[4, 8])}
    config = validate(TrainConfig, keys, "tiny")
    found = search(config, tmp_path, tmp_path / "run", SearchRule(n_trials=2, space=space), quiet=True)
    assert (found["recordings"], found["not_seen"]) == (["train-11", "train-12"], ["test-13"])
    assert found["complete"] == 2
    best = load_config(Path(found["best_file"]))[0]
    assert best.export.precision == "int8"  # what comes after the search stays as it was asked for
    assert best.head.hidden == found["best"]["values"]["head.hidden"]


def test_what_the_objective_does_not_need_is_not_fitted() -> None:
    config = small_config({1: None, 2: None, 3: None}, split={"by": "k_fold", "folds": 2}, fit={"temperature": True})
    raw, held = for_fits(config, "raw.macro_f1"), for_fits(config, "macro_f1")
    assert isinstance(raw.split, RecordingSplit) and not raw.has_validation
    assert raw.choose is not None and not raw.choose.stabiliser and not raw.fit.temperature
    assert (held.split, held.choose, held.fit) == (config.split, config.choose, config.fit)
    by_epochs = config.model_copy(update={"choose": None})
    assert for_fits(by_epochs, "raw.macro_f1").split == config.split  # its folds say how many epochs


def test_what_is_left_out_and_what_cannot_be_split() -> None:
    config = small_config({1: None, 2: None, 3: None})
    assert [one.name for one in seen_entries(config, ["2"])] == ["1", "3"]
    with pytest.raises(ConfigError, match="--leave-out 7: is neither a recording nor a group"):
        seen_entries(config, ["7"])
    blocks = small_config({1: None, 2: None}, split={"by": "time_block", "pattern": ["train", "test"]})
    with pytest.raises(ConfigError, match="a search leaves out whole recordings"):
        seen_entries(blocks, [])


def test_objectives() -> None:
    for name in ("macro_f1", "raw.macro_f1", "bout_f1", "flicker", "per_class.a.f1", "raw.per_class.b.recall"):
        check_objective(name, ["a", "b"])
    for name in ("macro", "per_class.c.f1", "n_frames", "raw", "split.by", "causal", "compute.training_s"):
        with pytest.raises(ConfigError, match="is no score of an evaluation"):
            check_objective(name, ["a", "b"])
    for name in ("behaviors.macro_f1", "behaviors.per_class.b.pr_auc"):
        check_objective(name, ["a", "b"], each=True)
        with pytest.raises(ConfigError, match="is no score of an evaluation"):
            check_objective(name, ["a", "b"])
    assert [less_is_better(name) for name in ("raw.macro_f1", "flicker", "calibration.ece")] == [False, True, True]


@pytest.mark.long
def test_the_command_on_a_folder(folder: Path, tmp_path: Path) -> None:
    """A preset, a recording kept aside, a picture, a table; and the space that was made is the one that goes on."""
    (tmp_path / "space.yaml").write_text("head.hidden: {choices: [2, 4]}\n", encoding="utf-8")
    small = ["fit.head_epochs=1", "fit.stretch_frames=60", "fit.stride_frames=1", "fit.batch_windows=4",
             "head={kind: mlp, hidden: 4}", "fit.threads=1", "split={by: k_fold, folds: 2}"]  # fmt: skip
    words = ["search", "--preset", "pose-tcn", "--data", str(folder), "--stream", "S1", "--leave-out", "3"]
    words += ["--space", str(tmp_path / "space.yaml"), "--trials", "1", "--out", str(tmp_path / "run")]
    words += ["--folds", "2", "--fold-seed", "3"]
    words += [word for change in small for word in ("--set", change)]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for words_said in ("1 variants tried: 1 done, 0 given up, 0 failed", "too good", "which the search has not seen"):
        assert words_said in said
    picture = (tmp_path / "run" / "search.svg").read_text(encoding="utf-8")
    assert "head.hidden" in picture and "raw.macro_f1" in picture
    command = (tmp_path / "run" / "command.txt").read_text(encoding="utf-8").split()[1:]
    done = CliRunner().invoke(cli.app, [*command, "--json", str(tmp_path / "s.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (found["tried"], found["recordings"], found["left_out"]) == (1, ["1", "2"], ["3"])
    assert found["folds"] == {"by": "k_fold", "folds": 2, "unit": "group", "seed": 3, "n_folds": 2}
    assert [one.name for one in load_config(Path(found["best_file"]))[0].data] == ["1", "2"]
    # The model that is made of it still knows how many were tried.
    words = ["train", found["best_file"], "--out", str(tmp_path / "bundle"), "--json", str(tmp_path / "t.json")]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    trained = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert any("the best of 1 variants tried" in note for note in trained["evaluation"]["notes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search"], "give either CONFIG.yaml or --preset NAME"),
        (["search", "c.yaml", "--space", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["search", "c.yaml", "--plot", "p.gif"], "is neither .png nor .svg"),
    ],
)
def test_commands_that_lack_something_say_what(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)
