"""A fit that is killed goes on to the same bits; what is in its way is said."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ethostream.sync.errors import DataError
from ethostream.training.fitting.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from head_problems import fitted, new_head, problem, weights_of

# No epoch is better by so much than the first, so the third is the last one.
OPTIONS: dict[str, Any] = {
    "head_epochs": 5,
    "patience": 2,
    "tolerance": 0.9,
    "sampling": "bouts",
    "stride_frames": 2,
    "weight_average": 0.8,
    "schedule": {"kind": "one_cycle"},
    "augment": {"input_noise": 0.3, "feature_drop": 0.1},
}
HEAD: dict[str, Any] = {"kind": "tcn", "dilations": [2, 4], "input_dropout": 0.1, "exit_dropout": 0.3}
# Runs the same fit, and is killed by SIGKILL in the middle of an epoch: at the n-th batch that is learnt from.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from head_problems import fitted, new_head
head, forward, n = new_head(**HEAD), [], int(sys.argv[3])
def count(module, inputs):
    forward.append(module.training)
    if sum(forward) == n:
        os.kill(os.getpid(), signal.SIGKILL)
head.core.register_forward_pre_hook(count)
fitted(Path(sys.argv[2]), head=head, **OPTIONS)
"""


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], Path]:
    run = tmp_path_factory.mktemp("whole")
    return (*fitted(run, head=new_head(**HEAD), **OPTIONS), run)


def test_a_killed_fit_ends_with_the_same_bits(whole: tuple[Any, dict[str, Any], Path], tmp_path: Path) -> None:
    code = KILLED.replace("OPTIONS", repr(OPTIONS)).replace("HEAD", repr(HEAD))
    here = str(Path(__file__).parent)
    # Four batches in an epoch: the tenth lies in the third.
    done = subprocess.run([sys.executable, "-c", code, here, str(tmp_path), "10"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    content = read_checkpoint(checkpoint_path(tmp_path, "head"))
    assert content is not None
    assert (content["n_done"], content["ended"]) == (2, False)
    newest, average = content["weights"]["head"], content["average"]["head"]
    assert not torch.equal(newest["exit.weight"], average["exit.weight"])  # five of twenty steps are not averaged
    assert torch.equal(newest["mean"], average["mean"])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "head", "epoch": 2, "lo')  # as if it had been cut while it wrote
    head, summary = fitted(tmp_path, head=new_head(**HEAD), **OPTIONS)
    expected, wanted, run = whole
    ends = [read_checkpoint(checkpoint_path(one, "head")) for one in (tmp_path, run)]
    for found, value in zip(*(one["average"]["head"].values() for one in ends if one is not None), strict=True):
        assert torch.equal(found, value)
    assert (summary["resumed_from_epoch"], summary["epochs"]) == (2, 3)
    for name, value in weights_of(expected).items():
        assert np.array_equal(weights_of(head)[name], value), name
    assert lines_of(tmp_path) == lines_of(run)
    of_a_call = ("seconds", "seconds_before", "resumed_from_epoch")
    assert {key: value for key, value in summary.items() if key not in of_a_call} == {
        key: value for key, value in wanted.items() if key not in of_a_call
    }


def test_the_best_epoch_before_a_crash_stays_the_best(tmp_path: Path) -> None:
    """In noise no epoch is better than another but by chance: the best one comes early."""
    noise = [replace(one, x=np.random.default_rng(1).normal(size=one.x.shape).astype(np.float32)) for one in problem()]
    expected, wanted = fitted(tmp_path / "whole", noise, head_epochs=5)
    assert wanted["best_epoch"] < 4
    head, seen = new_head(), list[bool]()

    def stop(module: torch.nn.Module, _: Any) -> None:
        seen.append(module.training)
        if sum(seen) == 4 * (wanted["best_epoch"] + 1) + 2:
            raise MemoryError("as if killed")

    head.core.register_forward_pre_hook(stop)
    with pytest.raises(MemoryError, match="as if killed"):
        fitted(tmp_path / "broken", noise, head, head_epochs=5)
    found, summary = fitted(tmp_path / "broken", noise, head_epochs=5)
    assert summary["resumed_from_epoch"] == summary["best_epoch"] + 1 == wanted["best_epoch"] + 1
    for name, value in weights_of(expected).items():
        assert np.array_equal(weights_of(found)[name], value), name


def test_a_fit_that_is_done_is_not_done_again(whole: tuple[Any, dict[str, Any], Path]) -> None:
    expected, wanted, run = whole
    before = (run / "metrics.jsonl").read_bytes()
    head, summary = fitted(run, head=new_head(**HEAD), **OPTIONS)
    assert summary["resumed_from_epoch"] == summary["epochs"] == wanted["epochs"]
    assert (run / "metrics.jsonl").read_bytes() == before
    for name, value in weights_of(expected).items():
        assert np.array_equal(weights_of(head)[name], value), name


def test_a_checkpoint_of_another_fit_is_not_taken(tmp_path: Path) -> None:
    fitted(tmp_path, head_epochs=2)
    path = checkpoint_path(tmp_path, "head")
    content = read_checkpoint(path)
    assert content is not None
    assert content["ended"]
    for change in ({"head": new_head(seed=6)}, {"learning_rate": 0.01}, {"data": problem()[:3]}):
        write_checkpoint(path, content | {"ended": False})
        with pytest.raises(DataError, match="belongs to a fit of other data, options or first weights"):
            fitted(tmp_path, **({"head_epochs": 2} | change))
    write_checkpoint(path, content)  # one that has ended has nothing to lose
    _, summary = fitted(tmp_path, head_epochs=2, learning_rate=0.01)
    assert summary["resumed_from_epoch"] == 0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_checkpoint_is_named(damage: bytes | None, tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, "head")
    if damage is None:
        torch.save({"schema": 99}, path)
    else:
        path.write_bytes(damage)
    with pytest.raises(DataError, match=r"checkpoint.ckpt: is .*delete it to train from the beginning"):
        fitted(tmp_path, head_epochs=1)


# No file may grow beyond 64 kiB, which holds for a whole process: so the disk is full in one of its own.
FULL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from ethostream.sync.errors import DiskFullError
from ethostream.training.fitting.checkpoint import write_checkpoint
from head_problems import fitted, new_head
path = Path(sys.argv[2]) / "checkpoint.ckpt"
write_checkpoint(path, {"weights": torch.zeros(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
for fill in (lambda: write_checkpoint(path, {"weights": torch.zeros(100_000)}),
             lambda: fitted(path.parent / "run", head=new_head(hidden=64), head_epochs=2)):
    try:
        fill()
    except DiskFullError as error:
        print(error)
"""


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    words = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    of_file, of_fit = done.stdout.splitlines()
    assert "checkpoint.ckpt: no room for the checkpoint (0.4 MB)" in of_file
    assert "run/checkpoint.ckpt: no room for the checkpoint" in of_fit
    assert "free some space and give the same command again" in of_fit
    content = read_checkpoint(tmp_path / "checkpoint.ckpt")
    assert content is not None
    assert content["weights"].shape == (10,)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["checkpoint.ckpt"]  # nothing half written
    assert not list((tmp_path / "run").glob("*.ckpt*"))


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the log of the fit cannot be written"):
        fitted(tmp_path / "file" / "run", head_epochs=1)
