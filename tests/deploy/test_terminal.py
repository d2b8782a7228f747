import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ethostream.deploy.live_state import LiveState
from ethostream.deploy.live_table import LINE_NS, REFRESH_NS, LiveTable, plain_line, table
from ethostream.deploy.report import RunReport
from ethostream.deploy.scores_table import fit_in_short
from ethostream.deploy.summary import findings, summary, verdict
from ethostream.deploy.terminal import print_result
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.wire import Received
from ethostream.sync.clock import FakeClock
from rich.console import Console


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rig_messages", Path(__file__).with_name("rig_messages.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rig = _load()
CAMERAS = ("north", "south")


def console(*, terminal: bool, width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)


def text_of(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def messages() -> list[tuple[t.Topic, m.Message]]:
    found: list[tuple[t.Topic, m.Message]] = []
    for i in range(180):
        for camera in CAMERAS:
            at = rig.T0 + i * rig.PERIOD_NS
            header = m.FrameHeader(camera, 0, i, at, 10, at, "simulated", 4, 4, "mono8", "", 0, 0)
            found += [(t.FRAME, header), (t.TRUTH, rig.truth(camera, i, "rear"))]
        found += [(t.FRAME_SET, rig.frame_set(CAMERAS, i)), (t.BEHAVIOR, rig.behavior(CAMERAS, i, "rear"))]
    found += [(t.CAMERA_STATUS, rig.camera_status(camera, 180)) for camera in CAMERAS]
    found.append((t.DECISION, rig.decision(100, "fired")))
    status = m.RecordingStatus("r", "/data/r", "running", {}, {"north/0": 180, "south/0": 180}, {}, 2**38, rig.T0)
    found.append((t.RECORDING, status))
    found.append((t.HEARTBEAT, m.Heartbeat("monitor", 0, 1, "ready", rig.T0 + 3 * 10**9, {"port": 8765})))
    return found


def filled_report(**changes: Any) -> dict[str, Any]:
    report = RunReport("live", CAMERAS)
    for topic, message in messages():
        report.add(topic, message)
    report.set_inference("CPUExecutionProvider", "demo_mouse")
    report.set_verified(True)
    result = report.to_dict()
    for path, value in changes.items():
        group, _, key = path.partition("__")
        result[group][key] = value
    return result


def fill(shown: LiveTable, clock: FakeClock) -> None:
    clock.set_ns(rig.T0 + 3 * 10**9)
    for topic, message in messages():
        shown.on_message(Received(topic, "", "test", 0, message, b""))


def test_the_table_shows_what_matters():
    clock, out = FakeClock(), console(terminal=True)
    with LiveTable(LiveState("cage", CAMERAS), clock, console=out) as shown:
        fill(shown, clock)
        shown.on_tick("running", RunReport())
    text = text_of(out)
    for word in ("cage", "north", "60.00", "rear", "0.91", "rear_light", "fired 1", "p50 14.0", "256.0 GiB", ":8765"):
        assert word in text, word


def test_it_draws_four_times_a_second_and_at_each_new_phase():
    clock, out = FakeClock(rig.T0), console(terminal=True)
    with LiveTable(LiveState("cage", CAMERAS), clock, console=out) as shown:

        def drawn(phase: str) -> bool:
            before = len(text_of(out))
            shown.on_tick(phase)
            return len(text_of(out)) > before

        assert drawn("starting")
        assert not drawn("starting")
        assert drawn("running")
        clock.advance_ns(REFRESH_NS - 1)
        assert not drawn("running")
        clock.advance_ns(1)
        assert drawn("running")


@pytest.mark.parametrize(("headless", "terminal"), [(True, True), (False, False)])
def test_headless_is_one_plain_line_now_and_then(headless: bool, terminal: bool):
    clock, out = FakeClock(rig.T0), console(terminal=terminal, width=40)
    with LiveTable(LiveState("cage", CAMERAS), clock, headless=headless, console=out) as shown:
        fill(shown, clock)
        for _ in range(10):
            shown.on_tick("running")
        clock.advance_ns(LINE_NS)
        shown.on_tick("running")
    lines = text_of(out).splitlines()
    assert lines[0] == "monitor: http://127.0.0.1:8765"
    assert len(lines) == 3
    assert "2 cameras 60.0 Hz, 0 dropped by them, 0 on the way" in lines[1]
    assert "rear p 0.91" in lines[1]
    assert "\x1b" not in text_of(out)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_any_terminal(width: int):
    state = LiveState("cage", CAMERAS)
    for _, message in messages():
        state.add(message, rig.T0 + 3 * 10**9)
    out = console(terminal=True, width=width)
    snapshot = state.snapshot(rig.T0 + 3 * 10**9)
    out.print(table(snapshot, "running", width))
    assert max(len(line) for line in text_of(out).splitlines()) <= width
    assert width < 80 or "…" not in text_of(out)
    assert plain_line(LiveState("empty").snapshot(rig.T0), "starting").startswith("[0:00:00] starting")


def test_a_good_run_is_all_green():
    rows = findings(filled_report())
    assert verdict(rows) == "ok"
    out = console(terminal=False)
    out.print(summary(rows))
    assert "All well." in text_of(out)
    assert "against truth 100.0%" in text_of(out)


@pytest.mark.parametrize(
    ("changes", "what", "level", "words"),
    [
        ({"recording__verified": False}, "recording", "wrong", "ethostream verify /data/r"),
        ({"recording__verified": None}, "recording", "look", "not verified"),
        ({"recording__path": None}, "recording", "look", "nothing was recorded"),
        ({"recording__declared_drops": 7}, "recording", "look", "faster disk"),
        ({"sets__mispaired": 2}, "pairing", "wrong", "different instants"),
        ({"sets__complete": 0}, "frame sets", "wrong", "trigger wiring"),
        ({"sets__partial": 50, "sets__missing": {"south": 50}}, "frame sets", "look", "camera south"),
        ({"sets__partial": 50, "sets__missing": {"south": 25, "north": 25}}, "frame sets", "look", "sets.deadline_ms"),
        ({"inference__steps": 0}, "model", "wrong", "no behaviour came"),
        ({"inference__skipped": 60}, "model", "look", "slower than the cameras"),
        ({"alarms__errors": 1, "alarms__last": [{"node": "n", "text": "hot"}]}, "alarms", "look", "hot"),
    ],
)
def test_each_fault_is_named_with_its_cure(changes: dict[str, Any], what: str, level: str, words: str):
    row = next(row for row in findings(filled_report(**changes)) if row.what == what)
    assert row.level == level
    assert words in row.found + row.cure


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ([("locked", {})], "ok", "2 of 2 settled and steady; residual p99 at most 40.0 us, drift at most 12.5 ppm"),
        ([("trusted", {})], "ok", "2 of 2"),
        ([("locked", {"n_steps": 2})], "look", "1 of 2 settled and steady; residual p99 at most 40.0 us"),
        ([("locked", {"n_steps": 2})], "look", "host.a stepped 2 times"),
        ([("locked", {}), ("lost", {})], "look", "host.a is lost"),
        ([("settling", {})], "look", "host.a never settled"),
        ([("locked", {}), ("stepped", {"n_steps": 1})], "look", "host.a stepped and had not settled again"),
    ],
)
def test_clocks_that_are_not_steady_are_named(said: list[tuple[str, dict[str, Any]]], level: str, words: str):
    report, state = RunReport("live", CAMERAS), LiveState("rig", CAMERAS)
    assert "clocks" not in [row.what for row in findings(filled_report())]
    for one in [rig.clock_status("camera.north"), *(rig.clock_status("host.a", how, **other) for how, other in said)]:
        report.add(t.CLOCK, one)
        state.add(one, rig.T0)
    row = next(row for row in findings(report.to_dict()) if row.what == "clocks")
    assert (row.level, words in row.found) == (level, True), row
    out = console(terminal=False)
    out.print(table(state.snapshot(rig.T0), "running"))
    n_settled = 1 + (said[-1][0] in ("locked", "trusted"))
    assert f"{n_settled} of 2 settled" in text_of(out)
    assert ("steps" in text_of(out)) == ("n_steps" in said[-1][1])


def test_cameras_that_fail_are_named():
    report = filled_report()
    report["cameras"]["south"]["captured"] = 0
    assert findings(report)[0].level == "wrong"
    assert "south" in findings(report)[0].found
    report = filled_report()
    report["cameras"]["south"]["dropped_device"] = 3
    assert (findings(report)[0].level, "south" in findings(report)[0].found) == ("look", True)


def test_frames_that_the_cameras_dropped_are_not_blamed_on_the_disk():
    report = filled_report(recording__declared_drops=9)
    report["cameras"]["south"]["dropped_device"] = 9
    row = next(row for row in findings(report) if row.what == "recording")
    assert (row.level, row.cure) == ("ok", "") and "9 declared lost, 9 of them by the cameras" in row.found
    report["recording"]["declared_drops"] = 11
    row = next(row for row in findings(report) if row.what == "recording")
    assert row.level == "look" and "faster disk" in row.cure


def test_failures_and_verify_errors_come_through():
    rows = findings(filled_report(recording__verified=False), ("camera.north: gone",), ("north/0: 3 frames missing",))
    assert rows[0].found == "camera.north: gone"
    assert verdict(rows) == "wrong"
    assert any("3 frames missing" in row.found for row in rows)


@pytest.mark.parametrize(
    ("replay", "level"), [({"exact": True}, "ok"), ({"exact": False}, "wrong"), ({"exact": None, "why": "x"}, "look")]
)
def test_a_replay_is_judged_by_equality(replay: dict[str, Any], level: str):
    report = filled_report() | {"mode": "replay", "replay": replay}
    assert next(row for row in findings(report) if row.what == "replay").level == level


def test_results_print_as_names_and_values():
    out = console(terminal=False)
    classes = {"rear": {"precision": 0.5, "recall": None}, "groom": {"precision": 1.0, "recall": 0.25}}
    print_result({"ok": True, "n": 12345, "classes": classes, "split": {"kind": "block"}, "none": []}, out)
    text = text_of(out)
    for word in ("yes", "12,345", "precision", "0.25", "block", "-"):
        assert word in text


def evaluation() -> dict[str, Any]:
    """What `evaluate` answers, with another rater and with frames that got no label."""

    def scored(accuracy: float, matrix: list[list[int]]) -> dict[str, Any]:
        one = {"precision": accuracy, "recall": 0.25, "f1": 0.5, "pr_auc": None, "support": 40}
        return {
            "n_frames": 90, "n_undecided": 3, "accuracy": accuracy, "balanced_accuracy": 0.5, "macro_f1": None,
            "per_class": {"rear": one, "groom": {**one, "recall": None}}, "confusion_matrix": matrix,
        }  # fmt: skip

    stabilised, raw = scored(0.81, [[31, 2], [4, 1250]]), scored(0.92, [[33, 0], [0, 57]])
    agreement = {"n_frames": 90, "agreement": 0.936, "kappa": 0.873}
    compare = {"second": {"stabilised": scored(0.73, []), "raw": raw, "agreement_with_labels": agreement}}
    return {
        "bundle": "mouse@12", "provider": "cpu", "part": "test", "classes": ["rear", "groom"], **stabilised,
        "stabilised": stabilised, "raw": raw, "compare": compare, "recordings": {"day3": {"stabilised": stabilised}},
        "compute_ms": {"crop": {"p50": 0.512, "p99": 1.0, "n": 90}},
    }  # fmt: skip


def test_scores_are_told_in_short_and_whole_in_a_narrow_terminal():
    out = console(terminal=False, width=80)
    print_result(evaluation(), out)
    text = text_of(out)
    for words in ("mouse@12 on cpu: 90 frames of the test part", "against second", "kappa 0.873", "crop 0.51"):
        assert words in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["groom"] == ["4", "1,250"]
    assert rows["stabilised,"] == ["against", "second", "0.730", "0.500", "-"]
    assert "frames that had no label yet: 3" in text
    assert "…" not in text and "day3" not in text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("k_fold", "90 frames of all folds, each answered by a model that has not seen it"),
        ("unseen recordings", "90 frames of recordings that it has not learnt from"),
        ("training data", "90 frames of recordings that it HAS LEARNT FROM"),
        ("recording", "90 frames of the test part"),
    ],
)
def test_scores_say_what_was_scored_and_stand_beside_baselines(rule: str, words: str) -> None:
    found = evaluation() | {"split": {"by": rule}}
    simple = {"accuracy": 0.5, "balanced_accuracy": 0.25, "macro_f1": 0.125}
    found["baselines"] = {
        "majority": {**simple, "class": "rear"},
        "gradient_boosting": {"about": "", "stabilised": {**simple, "accuracy": 0.75}, "raw": simple, "intervals": {}},
    }
    out = console(terminal=False, width=90)
    print_result(found, out)
    text = text_of(out)
    assert words in text
    shown = [line.split() for line in text.splitlines() if line.startswith("baseline")]
    assert shown == [
        ["baseline:", "always", "rear", "0.500", "0.250", "0.125"],
        ["baseline:", "gradient", "boosting", "0.750", "0.250", "0.125"],
        ["baseline:", "gradient", "boosting,", "raw", "0.500", "0.250", "0.125"],
    ]


def test_a_fit_is_told_in_a_line_for_each_part_and_labels_are_no_second_recording():
    one = {"epochs": 20, "best_epoch": 6, "monitor": "macro_f1", "best_value": 0.75, "resumed_from_epoch": 3}
    fitted = {
        "head": one, "fit": {**one, "best_epoch": 19, "best_value": None, "resumed_from_epoch": 0}, "folds": [one] * 3,
        "calibration": {"temperature": 1.25, "ece_before": 0.25, "ece_after": 0.0625},
        "stabiliser": {"words": "cusum, the best of 106", "tried": [one]}, "other": {"n": 3},
    }  # fmt: skip
    assert fit_in_short(fitted) == {
        "head": "epoch 7 of 20 kept: macro_f1 0.750 on validation data; gone on after epoch 3",
        "fit": "epoch 20 of 20 kept: the last one",
        "folds": "3 fits, each without one fold",
        "calibration": "temperature 1.25, which takes the calibration error from 0.250 to 0.062",
        "stabiliser": "cusum, the best of 106",
        "other": {"n": 3},
    }
    unknown = {"temperature": 0.5, "ece_before": None, "ece_after": None}
    assert fit_in_short({"calibration": unknown}) == {"calibration": "temperature 0.5"}
    whole, begun, anew = ({**one, "resumed_from_epoch": epoch} for epoch in (20, 3, 0))
    begun |= {"epochs": 13, "best_epoch": 2, "best_value": 0.5}
    members = {
        "fit": [anew, {**begun, "resumed_from_epoch": 0}],
        "killed": [whole, begun, anew],
        "last": [{**anew, "best_epoch": 19, "best_value": None}] * 2,
    }
    assert fit_in_short({name: {**each[0], "members": each} for name, each in members.items()}) == {
        "fit": "2 members, epochs 7 of 20, 3 of 13 kept: macro_f1 0.750, 0.500 on validation data",
        "killed": "3 members, epochs 7 of 20, 3 of 13, 7 of 20 kept: macro_f1 0.750, 0.500, 0.750 on validation data; "
        "gone on after epoch 3 of member 2",
        "last": "2 members, epochs 20 of 20, 20 of 20 kept: the last ones",
    }
    data = [{"name": f"{k}{end}", "n_frames": 1000} for k in range(3) for end in ("", ".labels")]
    out = console(terminal=False, width=100)
    print_result({"data": data}, out)
    assert "6 entries, 3,000 frames" in text_of(out)


def test_scores_in_a_manifest_are_told_likewise_and_long_lists_are_counted():
    found = evaluation()
    scores = {
        "evaluated_on": "test part", "n_frames": 90, "confusion": found["confusion_matrix"],
        "more": {"raw": found["raw"], "compare": {}}, **{key: found[key] for key in ("accuracy", "balanced_accuracy")},
        "macro_f1": None, "per_class": found["per_class"],
    }  # fmt: skip
    data = [{"name": f"day{k}", "sha256": "a" * 64, "n_frames": 1000} for k in range(5)]
    out = console(terminal=False, width=100)
    print_result(
        {"name": "mouse", "data": data, "scores": scores, "files": {"head.onnx": "0123456789ab" + "c" * 52}}, out
    )
    text = text_of(out)
    for words in ("5 entries, 5,000 frames", "90 frames of the test part", "1,250", "0123456789ab…"):
        assert words in text
    assert "day1" not in text
