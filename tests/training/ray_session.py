"""A program with a Ray of its own, for `test_ray_folds.py`: Ray keeps a socket open until its program ends."""

import dataclasses
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ethostream.sync.errors import DataError, NodeError
from ethostream.training.runs.crossval import crossval
from ethostream.training.runs.crossval_fold import FoldTask
from ethostream.training.runs.ray_folds import MOST_RETRIES, RayFolds
from ethostream.training.runs.search import search
from ethostream.training.runs.search_files import SearchRule
from ethostream.training.scores.answers_file import RecordingAnswers, read_answers
from ethostream.training.splits import LeaveOneOutSplit
from rich.console import Console
from small_search import SPACE, sessions, small_config


def _arrays(answers: list[RecordingAnswers]) -> dict[str, Any]:
    return {
        f"{one.name}.{field.name}": getattr(one, field.name) for one in answers for field in dataclasses.fields(one)
    }


def _same(here: list[RecordingAnswers], there: list[RecordingAnswers]) -> None:
    a, b = _arrays(here), _arrays(there)
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == b[name].dtype and value.tobytes() == b[name].tobytes(), name
        else:
            assert value == b[name], name


def cross_validates_alike(ray: RayFolds, folder: Path, out: Path) -> None:
    """A cross-validation is the same to the bit."""
    config, rule = small_config({1: None, 2: None}), LeaveOneOutSplit()
    here = crossval(config, folder, out / "here", rule, quiet=True)
    there = crossval(config, folder, out / "there", rule, quiet=True, run_folds=ray, cache=out / "kept")
    assert "cache" in there and "cache" not in here, "what the cache was good for to the workers is said"
    assert "machine" not in there["evaluation"]["compute"] and "machine" in here["evaluation"]["compute"]
    _same(*(read_answers(out / run / "answers.npz")[0] for run in ("here", "there")))
    for key in ("macro_f1", "bout_f1", "raw", "per_class", "intervals", "calibration"):
        assert here["evaluation"][key] == there["evaluation"][key], key


def searches_alike(ray: RayFolds, folder: Path, out: Path) -> None:
    """With as many variants at once the same are tried, with the same scores."""
    config, wanted = small_config({1: None, 2: None}), SearchRule(n_trials=4, space=SPACE, at_once=2)
    alone = search(config, folder, out / "alone", wanted, quiet=True)
    spread = search(config, folder, out / "spread", wanted, quiet=True, do_folds=ray.outcomes)
    assert spread["trials"] == alone["trials"]
    assert spread["complete"] + spread["pruned"] == 4


def replaces_workers_that_die(ray: RayFolds, out: Path, said: io.StringIO) -> None:
    """A worker that is killed is replaced, which is said; one that dies every time ends the command."""
    mark, config = out / "died", small_config({1: None, 2: None})
    tasks = [FoldTask(config, out, out / "none", LeaveOneOutSplit(), number, ()) for number in range(2)]

    def dies_once(_: FoldTask) -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def dies_always(_: FoldTask) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ended: list[int] = []
    assert ray.do(dies_once, tasks, lambda: ended.append(1)) == [None, None]
    assert len(ended) == 2
    assert "died (WorkerCrashedError): given to another, 1 of 2 times" in said.getvalue(), said.getvalue()
    try:
        ray.do(dies_always, tasks[:1], lambda: None)
    except NodeError as error:
        assert f"{MOST_RETRIES + 1} times" in str(error), error
    else:
        raise AssertionError("a worker that always dies was taken for one that works")

    def is_unlucky(task: FoldTask) -> None:
        raise DataError(f"fold {task.number} has no luck")

    faults = ray.do(is_unlucky, tasks, lambda: None)
    assert [(type(one), str(one)) for one in faults] == [(DataError, f"fold {n} has no luck") for n in (0, 1)]


def main(out: Path) -> None:
    """Everything, in one session of Ray."""
    folder, said = sessions(out / "data", [1, 2]), io.StringIO()
    with RayFolds("local", small_config({1: None, 2: None}).fit, Console(file=said, width=400)) as ray:
        cross_validates_alike(ray, folder, out)
        searches_alike(ray, folder, out)
        replaces_workers_that_die(ray, out, said)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
