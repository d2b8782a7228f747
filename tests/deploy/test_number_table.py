"""Tables are read over narrow lines and in log files: whatever the width, every number is there whole."""

import io
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
from ethostream.deploy.number_table import NumberTable
from ethostream.deploy.precision_table import print_judgement
from ethostream.deploy.rules_table import print_rehearsal
from ethostream.deploy.terminal import print_result
from ethostream.inference.precision import PrecisionCost, PrecisionJudgement, PrecisionScores
from ethostream.inference.rules.rehearsal import Rehearsed
from ethostream.streaming.messages import Decision
from ethostream.training.data.checks import CheckedRecording, check_data, print_check
from rich.console import Console, RenderableType

BEHAVIORS = [
    "attack", "close_investigation", "mount", "other", "rear supported", "rear unsupported", "groom", "drink", "still",
]  # fmt: skip


def drawn(what: RenderableType, width: int) -> str:
    return printed(lambda out: out.print(what), width)


def printed(call: Callable[[Console], None], width: int) -> str:
    out = io.StringIO()
    call(Console(file=out, width=width, color_system=None, highlight=False))
    assert max(map(len, out.getvalue().splitlines())) <= width
    assert "…" not in out.getvalue()
    return out.getvalue()


@pytest.mark.parametrize("width", [30, 40, 60, 79, 80, 120, 300])
def test_every_number_is_whole_and_under_its_head(width: int) -> None:
    table = NumberTable("truth \\ label", *BEHAVIORS)
    number = count(1_000_000, 1_357)
    expected: list[str] = []
    for name in BEHAVIORS:
        cells = [f"{next(number):,}" for _ in BEHAVIORS]
        expected += cells
        table.add_row(f"{name}, of day[1:2]", *cells)
    text = drawn(table, width)
    assert sorted(word for word in text.split() if word[:1].isdigit()) == sorted(expected)
    assert ("\n\n" in text) == (width < 150)
    for block in text.split("\n\n"):
        lines = block.splitlines()
        ends = [len(line.rstrip()) for line in lines if line.split() and line.split()[-1] in expected]
        assert set(ends) == {max(ends)} and len(ends) == len(BEHAVIORS)
    assert drawn(table, 300).splitlines()[0].split() == ["truth", "\\", "label", *" ".join(BEHAVIORS).split()]


def test_what_fits_is_one_block_and_only_names_wrap() -> None:
    table = NumberTable("", "accuracy", "balanced accuracy", "macro-F1", "bout-F1", "flicker")
    table.add_row("baseline: gradient boosting, raw", *["0.70-0.85"] * 5)
    lines = [line.rstrip() for line in drawn(table, 80).splitlines()]
    assert [line.split() for line in lines] == [
        ["balanced"],
        ["accuracy", "accuracy", "macro-F1", "bout-F1", "flicker"],
        ["baseline:", "gradient", *["0.70-0.85"] * 5],
        ["boosting,", "raw"],
    ]


def test_words_of_more_than_a_line_are_folded() -> None:
    table = NumberTable("name", "frames", "folder")
    path = f"/data/{'0123456789' * 12}.csv"
    table.add_row("a", "1,234", path)
    text = drawn(table, 60)
    assert path in "".join(text.split("\n\n")[1].split()).replace("name", "").replace("foldera", "")


def test_names_alone_are_a_table_too() -> None:
    table = NumberTable("recording")
    table.add_row("monday")
    assert drawn(table, 80).split() == ["recording", "monday"]


def evaluation() -> dict[str, Any]:
    """What `evaluate` answers of nine behaviours, with all that it may have beside the scores."""
    value = count(1)

    def share() -> float:
        return 0.1 + next(value) / 1000

    def scored() -> dict[str, Any]:
        of_class = {
            name: {"precision": share(), "recall": share(), "f1": share(), "support": 123_456} for name in BEHAVIORS
        }
        names = ("accuracy", "balanced_accuracy", "macro_f1", "bout_f1", "flicker")
        matrix = [[12_345 + next(value) for _ in BEHAVIORS] for _ in BEHAVIORS]
        return {
            **{name: share() for name in names},
            "per_class": of_class,
            "confusion_matrix": matrix,
            "n_undecided": 9,
        }

    stabilised, raw = scored(), scored()
    low = {name: {"low": 0.70, "high": 0.85} for name in ("accuracy", "balanced_accuracy", "macro_f1", "bout_f1")}
    simple = {"accuracy": share(), "balanced_accuracy": share(), "macro_f1": share()}
    return {
        "bundle": "mouse@0123456789ab", "provider": "cpu", "n_frames": 90, "classes": BEHAVIORS, "bout_f1": 0.5,
        "stabilised": stabilised, "raw": raw, "per_class": stabilised["per_class"], "intervals": {"stabilised": low},
        "baselines": {
            "majority": {**simple, "class": "close_investigation"},
            "gradient_boosting": {"stabilised": {**simple, "accuracy": share()}, "raw": simple},
        },
        "compare": {
            "second": {
                "stabilised": scored(), "raw": scored(), "agreement_with_labels": {"agreement": 0.936, "kappa": 0.873}
            },
        },
        "recordings": {f"session_of_a_day_{k}": {"stabilised": scored()} for k in range(3)},
        "compute_ms": {stage: {"p50": 0.512} for stage in ("crop", "embedder", "features", "head", "stabiliser")},
    }  # fmt: skip


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("nested", [False, True])
def test_scores_lose_no_number_in_a_narrow_terminal(width: int, nested: bool) -> None:
    found = evaluation()
    result = {"bundle": "mouse", "evaluation": found} if nested else found
    wide, narrow = (printed(lambda out: print_result(result, out), at).split() for at in (400, width))
    numbers = [word for word in wide if word[0].isdigit() and word != "9"]
    assert len(numbers) > 150
    assert not set(numbers) - set(narrow)
    assert "0.70-0.85" in narrow


def test_results_of_many_columns_lose_no_number() -> None:
    names = ("device frames", "written", "declared", "undeclared", "duplicates", "starts", "missing", "repeated")
    rows = {f"camera-of-the-north-wall-{k}": {name: 10_000_000 + k for name in names} for k in range(3)}
    text = printed(lambda out: print_result({"cameras": rows}, out), 80)
    assert [text.split().count(f"10,000,00{k}") for k in range(3)] == [len(names)] * 3


def numbers_survive(call: Callable[[Console], None]) -> list[str]:
    wide, narrow = (printed(call, width).split() for width in (400, 80))
    numbers = [word for word in wide if word.strip("+-%").replace(",", "").replace(".", "").isdigit()]
    assert not set(numbers) - set(narrow)
    return numbers


def test_data_checks_lose_no_number() -> None:
    labels = np.arange(90_000, dtype=np.int16) // 250 % len(BEHAVIORS)
    frames = {"pose": 90_000, "video": 90_001, "labels": 89_999}
    names = [f"2026-11-22_animal_{k}_session_of_the_morning" for k in range(2)]
    check = check_data([CheckedRecording(name, frames, labels, 30.0) for name in names], BEHAVIORS)
    assert {"90,000", "90,001", "89,999", "20,000", "11.1%", "8.33"} <= set(
        numbers_survive(lambda out: print_check(check, out))
    )


def test_scores_of_int8_lose_no_number() -> None:
    value = count(1)
    both = [
        PrecisionScores(
            accuracy=0.9, balanced_accuracy=0.8, macro_f1=0.7, f1={name: 0.5 + next(value) / 100 for name in BEHAVIORS}
        )
        for _ in range(2)
    ]
    cost = PrecisionCost(float32=both[0], int8=both[1], agreement=0.9876)
    judged = PrecisionJudgement(
        part="validation", scored_on=[], n_frames=123_456, stabilised=cost, raw=cost, max_score_loss=0.01
    )
    assert {"0.9876", "0.5100", "+0.0900"} <= set(numbers_survive(lambda out: print_judgement(judged, out)))


def test_a_dry_run_of_rules_loses_no_number() -> None:
    t_ns = 12_345_678_000_000
    decisions = [
        Decision(
            "light on investigation", 1_234_567 + k, "fired", "entered", "close_investigation", 0.98, "laser_left",
            (), t_ns + k, t_ns, t_ns, 0, trial=1_000 + k, t_due_ns=t_ns + 123_400_000,
        )
        for k in range(3)
    ]  # fmt: skip
    found = Rehearsed(0, 99_999.0, decisions, [], [decisions[0].rule], [], 3_000_000)
    numbers = numbers_survive(lambda out: print_rehearsal(found, None, 10, out))
    assert {"12345.678", "0.98", "1000", "1002", "+123.4", "1234569"} <= set(numbers)
