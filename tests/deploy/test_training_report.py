"""``ethostream report`` of a training: one page whose numbers are those of the run, and on which nothing is cut off."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.deploy.cli import app
from ethostream.deploy.palette import paper_color
from ethostream.deploy.training_page.digest import digest_training, run_folder_of
from ethostream.deploy.training_page.figures import ScoreRow, binned, confusion_figure, ethogram, score_chart
from ethostream.deploy.training_page.page import training_page
from ethostream.deploy.training_page.verdict import verdict
from ethostream.sync.errors import DataError
from ethostream.training.scores.answers_file import RecordingAnswers, write_answers
from ethostream.training.scores.bouts import score_bouts
from ethostream.training.scores.evaluation_record import evaluation_record
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

CHROMIUM = Path("/usr/bin/chromium")
CLASSES = ["rest & <sleep>", "walk", "social investigation", "groom"]
NAMES = ["session_1", "session_2", "session_5", "session_12", "session_20", "a very long name of a session, 27"]
COMMAND = "ethostream train --preset pose-tcn --data DIR --stream S1 --out BUNDLE"


def recording(seed: int, name: str, n: int) -> RecordingAnswers:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    truth = np.repeat(kinds, rng.integers(10, 90, n))[:n].astype(np.int16)
    truth[: n // 20] = -1
    logits = rng.normal(0.0, 1.0, (n, 4))
    logits[np.arange(n), np.maximum(truth, 0)] += 1.8
    p = np.exp(logits)
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    label = np.concatenate([np.full(5, -1), np.maximum(truth, 0)[:-5]]).astype(np.int16)
    wrong = rng.integers(0, n, n // 400)
    for place in wrong:
        label[place : place + 12] = rng.integers(0, 4)
    return RecordingAnswers(
        name=name, rate_hz=30.0, truth=truth, raw=p.argmax(1).astype(np.int16), label=label, p=p,
        judged=np.ones(n, np.bool_), group="cage A",
    )  # fmt: skip


def make_run(folder: Path, n: int = 1500, *, raters: bool = True, **more: Any) -> dict[str, Any]:
    """A run folder as a training leaves it."""
    folder.mkdir()
    recordings = [replace(recording(place, name, n), group="") for place, name in enumerate(NAMES)]
    if raters:
        one = recordings[0]
        theirs = np.roll(one.truth, 4)
        theirs[n // 2 : n // 2 + n // 20] = 1
        recordings[0] = replace(one, raters={"second person": theirs})
    found = evaluation_record(
        recordings,
        CLASSES,
        {"by": "k_fold", "folds": 3},
        causal=True,
        notes=["assumed: 30 frames/s, which the authors do not state"],
        compute={"training_s": 431.0, "per_minute_s": 0.09, "machine": "Linux x86_64, <some> processor", "threads": 2},
        **more,
    )
    (folder / "evaluation.json").write_text(json.dumps(found))
    write_answers(folder / "answers.npz", recordings, CLASSES)
    lines = [
        {"stage": "head", "epoch": epoch, "loss": 1.2 * 0.9**epoch, "validation": {"macro_f1": 0.8 - 0.4 * 0.8**epoch}}
        for epoch in range(25)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "he')
    (folder / "config.yaml").write_text("name: social\ntask: two rats, <S1>\n")
    (folder / "command.txt").write_text(COMMAND + "\n")
    return found


def page_of(path: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["report", str(path), *options])
    assert done.exit_code == 0, done.output
    return Path(done.output.strip()).read_text()


def test_the_page_holds_the_numbers_of_the_run(tmp_path: Path) -> None:
    found = make_run(tmp_path / "model.run")
    page = page_of(tmp_path / "model.run", "--json", str(tmp_path / "out.json"))
    assert (tmp_path / "model.run" / "report.html").exists()
    assert json.loads((tmp_path / "out.json").read_text())["evaluation"] == found
    assert "<title>Training: model</title>" in page
    interval = found["intervals"]["stabilised"]["macro_f1"]
    cell = f"{found['macro_f1']:.3f}<br><span class=range>{interval['low']:.3f} to {interval['high']:.3f}</span>"
    assert cell in page
    for which in ("stabilised", "raw"):
        for key in ("macro_f1", "balanced_accuracy", "accuracy", "kappa", "bout_f1"):
            assert f"{found[which][key]:.3f}" in page
    majority = found["baselines"]["majority"]
    assert f"always “rest &amp; &lt;sleep&gt;” (majority)</td><td class=n>{majority['macro_f1']:.3f}" in page
    (pair,) = found["raters"]["pairs"]
    assert f"people: second person against labels</td><td class=n>{pair['macro_f1']:.3f}" in page
    assert f"{found['bouts']['onset_delay_p50_ms']:.0f} · {found['bouts']['onset_delay_p90_ms']:.0f} ms" in page
    for words in (
        "percentile bootstrap over 6 recordings", "causal", "3-fold cross-validation", "7 min", "667 times real time",
        COMMAND, "which the authors do not state", "two rats, &lt;S1&gt;", "Cross-validation",
    ):  # fmt: skip
        assert words in page
    confusion = [f"{n:,} frames</title>" for row in found["confusion_matrix"] for n in row]
    assert all(one in page for one in confusion)
    assert f"{found['calibration']['ece']:.3f}" in page


def test_it_needs_nothing_beside_it_and_escapes_what_is_not_its_own(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", n=600, label_source="machine")
    page = page_of(tmp_path / "model.run")
    assert not re.search(r"https?://|<script|<link|url\(|<img", page)
    assert "<sleep>" not in page and "<S1>" not in page and "<some>" not in page
    assert "The labels were made by a machine" in page


def test_an_ethogram_shows_every_class_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", raters=False)
    digest = digest_training(tmp_path / "model.run")
    for one in digest.recordings[:2]:
        drawn = ethogram([("truth", one.truth)], 4, one.rate_hz)
        lane = re.search(r'<rect class=lane x="(\d+)" y="0" width="([\d.]+)"', drawn)
        assert lane is not None
        wide = float(lane[2])
        for place in range(4):
            found = re.search(rf'<path fill="{paper_color(place)}" d="([^"]+)"', drawn)
            widths = [float(w) for w in re.findall(r"h([\d.]+)v", found[1])] if found else []
            assert sum(widths) / wide == pytest.approx(np.mean(one.truth == place), abs=1e-3)
    # All six recordings, each with the lanes truth, stabilised and raw.
    page = training_page(digest)
    assert page.count("<rect class=lane") == 18


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=90), st.integers(1, 30))
def test_a_column_shows_its_most_frequent_label(labels: list[int], most: int) -> None:
    found = binned(np.array(labels), 4, most)
    if len(labels) <= most:
        assert found.tolist() == labels
        return
    parts: list[list[int]] = [[] for _ in range(most)]
    for place, label in enumerate(labels):
        parts[place * most // len(labels)].append(label)
    for column, part in zip(found.tolist(), parts, strict=True):
        assert part.count(column) == max(part.count(one) for one in part)


def test_folds_are_drawn_as_curves_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "model.run"
    make_run(folder, n=600, raters=False)
    (folder / "metrics.jsonl").unlink()
    for fold in range(3):
        (folder / f"fold-{fold}").mkdir()
        (folder / f"fold-{fold}" / "metrics.jsonl").write_text(
            "".join(json.dumps({"epoch": k, "loss": 1.0 / (k + 1), "validation": None}) + "\n" for k in range(4))
        )
    digest = digest_training(folder)
    assert [(one.name, one.of("loss")[0]) for one in digest.curves] == [
        (f"fold-{fold}", [1.0, 2.0, 3.0, 4.0]) for fold in range(3)
    ]
    page = training_page(digest)
    assert "fold 2<" in page and "No epoch was chosen on validation data: the last one was kept." in page
    assert "thin: validation" not in page and "Decision trees" not in page


def test_a_run_that_was_killed_has_its_learning_curves(tmp_path: Path) -> None:
    folder = tmp_path / "model.run"
    make_run(folder, n=600)
    (folder / "evaluation.json").unlink()
    (folder / "answers.npz").unlink()
    page = page_of(folder)
    assert "no scores yet" in page
    assert page.count("<polyline") == 2  # loss and macro-F1; the torn last line counts for nothing


def test_scores_without_answers_are_shown_all_the_same(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", n=600)
    (tmp_path / "model.run" / "answers.npz").unlink()
    page = page_of(tmp_path / "model.run")
    assert "keeps no <code>answers.npz</code>" in page
    assert "Confusion matrix" in page


def test_answers_of_which_nothing_is_known_have_no_curves(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", n=600, raters=False)
    unknown = [
        replace(recording(place, name, 600), truth=np.full(600, -1, np.int16)) for place, name in enumerate(NAMES)
    ]
    write_answers(tmp_path / "model.run" / "answers.npz", unknown, CLASSES)
    page = page_of(tmp_path / "model.run")
    assert "so there are no curves" in page and "Confusion matrix" in page


def test_a_bout_that_ends_in_nothing_is_drawn_as_it_is_scored(tmp_path: Path) -> None:
    """Where somebody has looked and seen nothing a bout has its end, and is whole."""
    make_run(tmp_path / "model.run", n=600, raters=False)
    truth = np.full(600, -1, np.int16)
    for start, place in ((60, 1), (200, 2), (340, 1), (480, 1)):
        truth[start : start + 60] = place
    present = (truth[:, None] == np.arange(4)).astype(np.float32)
    answers = [replace(recording(0, name, 600), truth=truth, present=present) for name in NAMES]
    write_answers(tmp_path / "model.run" / "answers.npz", answers, CLASSES)
    scored = score_bouts(answers, [one.label for one in answers], CLASSES)["per_class"]
    assert [scored[name]["n_whole_bouts"] for name in CLASSES] == [0, 18, 6, 0]
    page = page_of(tmp_path / "model.run")
    assert re.findall(r"(walk|social investigation): \d+ of (\d+) bouts", page) == [
        ("walk", "18"),
        ("social investigation", "6"),
    ]


def test_a_bundle_means_the_run_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", n=600, raters=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    assert run_folder_of(tmp_path / "model") == tmp_path / "model.run"
    assert "Training: model" in page_of(tmp_path / "model", "--out", str(tmp_path / "page.html"))


def test_inside_a_bundle_a_dot_is_that_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "model.run", n=600, raters=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "model")
    assert "Training: model" in page_of(Path())
    monkeypatch.chdir(tmp_path / "model.run")
    assert run_folder_of(Path()) == Path()


@pytest.mark.parametrize("place", ["", "bundle.run"])
def test_a_cross_validation_that_was_killed_has_its_learning_curves(tmp_path: Path, place: str) -> None:
    """Of models on pose the folds keep them, of models on video the trainings in the folds; scores there are none."""
    folder = tmp_path / "cv.run"
    make_run(folder, n=300, raters=False)
    for name in ("evaluation.json", "answers.npz", "metrics.jsonl"):
        (folder / name).unlink()
    assert "no scores yet" in page_of(folder), "killed before its first epoch"
    for fold in (1, 2):
        where = folder / f"fold-{fold}" / place
        where.mkdir(parents=True)
        (where / "metrics.jsonl").write_text('{"epoch": 0, "loss": 1.5}\n{"epoch": 1, "loss": 1.25}\n')
    assert [(one.name, one.of("loss")) for one in digest_training(folder).curves] == [
        (f"fold-{fold}", ([1.0, 2.0], [1.5, 1.25])) for fold in (1, 2)
    ]
    page = page_of(folder)
    assert "no scores yet" in page and "fold 2<" in page


@pytest.mark.parametrize("long", [False, True])
def test_names_are_escaped_once_and_measured_as_they_are_read(long: bool) -> None:
    """Heads of columns stand straight where there is room, slanted where there is none."""
    name = "animal's own <place>"
    classes = [name, *(f"{'a long name, ' if long else ''}{i}" for i in range(6 if long else 1))]
    matrix = np.eye(len(classes), dtype=int).tolist()
    figure = confusion_figure(classes, matrix, [0] * len(classes))
    assert ("rotate(-38" in figure) == long
    drawn = re.findall(r"<text class=(?:tick|label)[^>]*>([^<]*)</text>", figure)
    assert drawn.count(escape(name)) == 2, "at the head and at the side"
    assert "&amp;#x27;" not in figure and "<place>" not in figure
    straight = confusion_figure(["a'b'c'd'e'f'g'", "b"], [[1, 0], [0, 1]], [0, 0])
    assert "rotate(-38" not in straight, "14 letters have room for two columns"
    lanes = ethogram([(name, np.zeros(10, np.int64))], 1, 30.0)
    chart = score_chart(name, [ScoreRow(name, 0.5)])
    assert f">{escape(name)}</text>" in lanes and chart.count(f">{escape(name)}</text>") == 2


def test_what_is_neither_recording_nor_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = CliRunner().invoke(app, ["report", str(tmp_path / "other")])
    assert done.exit_code != 0
    assert "neither a recording" in str(done.exception)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("evaluation.json", "{", "is not JSON"),
        ("evaluation.json", "[1]", "holds no scores"),
        ("evaluation.json", '{"per_class": {}}', "lacks accuracy, balanced_accuracy, .*evaluate again"),
        ("metrics.jsonl", "loss 3\n", "line 1: is not JSON"),
        ("metrics.jsonl", "{}\n3\n", "line 2: holds no epoch"),
        ("config.yaml", "a: [", "is not YAML"),
        ("answers.npz", "PK", "is no .npz file"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    make_run(tmp_path / "model.run", n=300, raters=False)
    (tmp_path / "model.run" / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}.*{words}"):
        digest_training(tmp_path / "model.run")


def test_answers_of_another_model_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "model.run", n=300, raters=False)
    write_answers(tmp_path / "model.run" / "answers.npz", [recording(0, "r", 300)], CLASSES[::-1])
    with pytest.raises(DataError, match="both are of one model"):
        digest_training(tmp_path / "model.run")


@pytest.fixture
def browser_page() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra 'dev'")
    errors: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            one = browser.new_page(viewport={"width": 1280, "height": 900})
            one.on("pageerror", lambda error: errors.append(str(error)))
            yield one
        finally:
            browser.close()
    assert errors == []


OUTSIDE = """() => [...document.querySelectorAll('svg text')].filter(text => {
    const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
    return box.left < svg.left - 2 || box.right > svg.right + 2 || box.top < svg.top - 2 || box.bottom > svg.bottom + 2;
}).map(text => text.textContent)"""


def test_nothing_on_the_page_is_cut_off(tmp_path: Path, browser_page: Any) -> None:
    make_run(tmp_path / "model.run", n=9000)
    page_of(tmp_path / "model.run")
    browser_page.goto((tmp_path / "model.run" / "report.html").as_uri())
    assert browser_page.evaluate(OUTSIDE) == []
    assert browser_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser_page.evaluate(
        "[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 30)"
    )
    if target := os.environ.get("ETHOSTREAM_SCREENSHOT"):
        browser_page.screenshot(path=target, full_page=True)
    browser_page.set_viewport_size({"width": 700, "height": 900})
    assert browser_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_many_fits_share_the_key_and_the_colour_of_their_fold(tmp_path: Path) -> None:
    make_run(tmp_path / "cv.run", n=300, raters=False)
    (tmp_path / "cv.run" / "metrics.jsonl").unlink()
    for fold in (1, 2, 3):
        for inner in ("", "fold-1", "fold-2"):
            where = tmp_path / "cv.run" / f"fold-{fold}" / inner
            where.mkdir(parents=True, exist_ok=True)
            (where / "metrics.jsonl").write_text('{"epoch": 0, "loss": 1.5}\n{"epoch": 1, "loss": 1.25}\n')
    drawn = page_of(tmp_path / "cv.run").split("<h2>Learning</h2>")[1].split("<h2>")[0]
    assert [drawn.count(f"</span>fold {fold}</span>") for fold in (1, 2, 3)] == [1, 1, 1]
    assert [drawn.count(f'stroke="{paper_color(fold)}"') for fold in range(4)] == [3, 3, 3, 0]
    assert ">1.2<" not in drawn, "there is no epoch 1.2"


BOOSTED = {"gradient_boosting": {"stabilised": {"macro_f1": 0.6}}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"macro_f1": 0.7, "baselines": BOOSTED}, ["on the same folds, which is less"]),
        ({"macro_f1": 0.6, "baselines": BOOSTED}, ["THE SIMPLER MODEL IS AS GOOD OR BETTER"]),
        (
            {"macro_f1": 0.3, "baselines": {"majority": {"macro_f1": 0.3, "class": "rest"}}},
            ["NO BETTER than the 0.300"],
        ),
        (
            {"macro_f1": 0.4, "baselines": {"majority": {"macro_f1": 0.3, "class": "rest"}}},
            ["above the 0.300 of always"],
        ),
        (
            {"macro_f1": 0.8, "raters": {"pairs": [{"macro_f1": 0.7}, {"macro_f1": 0.9}]}},
            ["0.700 to 0.900", "as close"],
        ),
        ({"macro_f1": 0.6, "raters": {"pairs": [{"macro_f1": 0.7}, {"macro_f1": None}]}}, ["at 0.700", "below that"]),
        ({"kappa": 0.04}, ["kappa 0.04"]),
        ({"n_frames": 100, "n_undecided": 45}, ["In 45% of the frames it names nothing"]),
        ({"n_frames": 100, "n_undecided": 1}, []),
        ({"flicker": 3.44}, ["3.4 bouts for each true one", "torn"]),
        ({"flicker": 0.25}, ["0.25 bouts for each true one", "missed"]),
        ({"per_class": {"rest": {"recall": 0.5}, "groom": {"recall": 0.05}}}, ["never found: groom."]),
        ({"kappa": 0.8, "flicker": 1.0, "per_class": {"rest": {"recall": None}}}, []),
    ],
)
def test_the_scores_are_put_into_sentences(found: dict[str, Any], said: list[str]) -> None:
    sentences = verdict({"per_class": {}} | found, ["rest", "groom"])
    assert len(sentences) == min(len(said), 1)
    assert all(one in " ".join(sentences) for one in said)
