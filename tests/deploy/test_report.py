import importlib.util
import json
import tracemalloc
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from ethostream.deploy.report import RunReport
from ethostream.deploy.report_parts import MAX_REASONS, OTHER_REASONS
from ethostream.deploy.truth_join import TruthJoin, TruthStore
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.clock_account import MAX_CLOCKS
from ethostream.sync.errors import ReportError
from hypothesis import given
from hypothesis import strategies as st


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rig_messages", Path(__file__).with_name("rig_messages.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rig = _load()
CAMERAS = ("cam0", "cam1", "cam2")


def test_empty_report_has_every_key_and_no_number_that_was_not_measured(tmp_path: Path):
    report = RunReport(cameras=CAMERAS)
    report.write(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert list(tmp_path.iterdir()) == [tmp_path / "r.json"]
    assert read["schema"] == 1
    for name in CAMERAS:
        assert {"captured", "dropped_device", "dropped_declared", "duplicates", "rate_hz"} <= set(read["cameras"][name])
    assert read["sets"]["mispaired"] is None
    paths = {"exposure_to_received", "received_to_behavior", "received_to_trigger", "exposure_to_behavior"}
    assert set(read["latency_ms"]) == paths | {"exposure_to_trigger", "exposure_to_line"}
    for summary in read["latency_ms"].values():
        assert summary == {"p50": None, "p99": None, "p999": None, "max": None, "n": 0}
    assert {"provider", "bundle", "steps", "skipped"} <= set(read["inference"])
    assert {"bouts", "accuracy", "balanced_accuracy", "macro_f1"} <= set(read["behavior"])
    assert read["behavior"]["accuracy"] is None
    assert {"fired", "withheld"} <= set(read["triggers"])
    assert {"path", "written", "declared_drops", "verified"} <= set(read["recording"])


def test_a_report_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(ReportError, match="No such file"):
        RunReport().write(tmp_path / "absent" / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_cameras_add_up_over_restarts():
    report = RunReport()
    report.add(t.CAMERA_STATUS, rig.camera_status("cam0", 100, dropped=3))
    report.add(t.CAMERA_STATUS, rig.camera_status("cam0", 120, dropped=4, state="lost"))
    report.add(t.CAMERA_STATUS, rig.camera_status("cam0", 50, dropped=1, epoch=1))
    report.add(t.CAMERA_STATUS, rig.camera_status("cam0", 120, dropped=4, state="lost"))
    for kind, n in (("bus", 2), ("recorder", 3), ("device", 5), ("sets", 7)):
        report.add(t.GAP, m.Gap(kind, "cam0", 0, 9, n, "test", rig.T0))
    camera = report.to_dict()["cameras"]["cam0"]
    assert (camera["captured"], camera["dropped_device"], camera["duplicates"]) == (170, 5, 2)
    assert (camera["dropped_declared"], camera["late"], camera["restarts"]) == (5, 7, 1)


def test_rate_comes_from_exposure_times_where_headers_are_seen():
    report = RunReport()
    for epoch in (0, 1):
        for i in range(61):
            at = rig.T0 + epoch * 100 * 10**9 + i * 10**9 // 60
            report.add(t.FRAME, m.FrameHeader("c", epoch, i, at, 10, at, "simulated", 4, 4, "mono8", "", 0, 0))
    assert report.to_dict()["cameras"]["c"]["rate_hz"] == pytest.approx(60)


def test_mispaired_comes_from_truth_in_either_order():
    report = RunReport()
    for i in range(6):
        report.add(t.FRAME_SET, rig.frame_set(CAMERAS, i, missing=("cam2",) if i == 4 else ()))
    for i in range(6):
        for camera in CAMERAS:
            late = i == 2 and camera == "cam1"
            report.add(t.TRUTH, rig.truth(camera, i, "rear", instant=i - 1 if late else i))
    report.add(t.TRUTH, rig.truth("cam0", 6, "rear"))
    sets = report.to_dict()["sets"]
    assert (sets["complete"], sets["partial"], sets["mispaired"], sets["checked"]) == (5, 1, 1, 6)
    assert sets["missing"] == {"cam2": 1}


@given(st.data())
def test_scores_do_not_depend_on_the_order_of_arrival(data: st.DataObject):
    labels = data.draw(st.lists(st.sampled_from([*rig.CLASSES, ""]), min_size=1, max_size=40))
    truths = data.draw(st.lists(st.sampled_from(rig.CLASSES), min_size=len(labels), max_size=len(labels)))
    warm = data.draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels)))
    events: list[tuple[t.Topic, m.Message]] = []
    for i, label in enumerate(labels):
        events.append((t.BEHAVIOR, rig.behavior(CAMERAS, i, label, warm=warm[i])))
        events += [(t.TRUTH, rig.truth(camera, i, truths[i])) for camera in CAMERAS]
    order = data.draw(st.permutations(events))
    report = RunReport()
    for topic, message in order:
        report.add(topic, message)
    scored = [(a, b) for a, b, w in zip(truths, labels, warm, strict=True) if w]
    behavior = report.to_dict()["behavior"]
    assert behavior["n_scored"] == len(scored)
    if scored:
        assert behavior["accuracy"] == pytest.approx(sum(a == b for a, b in scored) / len(scored), abs=1e-6)
    else:
        assert behavior["accuracy"] is None


def test_the_join_settles_each_item_once_and_never_grows():
    store = TruthStore(max_frames=16)
    settled: list[tuple[int, int]] = []
    join = TruthJoin[int](store, lambda item, known: settled.append((item, len(known))), max_waiting=8)
    for i in range(100):
        join.add(i, [rig.source("cam0", i)])
        if i % 10:  # the truth of every tenth frame is lost
            store.add(rig.truth("cam0", i, "rear"))
            join.advance()
        assert join.n_waiting <= 8
    join.sweep()
    assert [item for item, _ in settled] == sorted({item for item, _ in settled})
    assert {item for item, n in settled if n == 0} <= set(range(0, 100, 10))
    assert sum(n for _, n in settled) == 90


def test_bouts_latency_steps_and_triggers():
    report = RunReport()
    for i, label in enumerate(["", "rear", "rear", "", "rear", "groom"]):
        report.add(t.BEHAVIOR, rig.behavior(CAMERAS, i, label, n_skipped=int(i == 3)))
    report.add(t.DECISION, rig.decision(1, "fired"))
    report.add(t.DECISION, rig.decision(2, "withheld", "refractory"))
    for i in range(MAX_REASONS + 5):
        report.add(t.DECISION, rig.decision(3, "withheld", f"reason {i}"))
    report.set_inference("CPUExecutionProvider", "demo_mouse")
    result = report.to_dict()
    assert result["behavior"]["bouts"] == 3
    assert result["behavior"]["bouts_by_class"] == {"rear": 2, "groom": 1}
    assert result["inference"] == {
        "provider": "CPUExecutionProvider", "bundle": "demo_mouse", "steps": 6, "skipped": 1, "gap_frames": 1,
    }  # fmt: skip
    assert result["latency_ms"]["exposure_to_received"]["p50"] == pytest.approx(5, rel=0.01)
    assert result["latency_ms"]["received_to_behavior"]["max"] == pytest.approx(9)
    assert result["latency_ms"]["exposure_to_behavior"]["n"] == 6
    assert result["latency_ms"]["exposure_to_trigger"] == {"p50": 15, "p99": 15, "p999": 15, "max": 15, "n": 1}
    assert result["latency_ms"]["received_to_trigger"]["max"] == pytest.approx(10)
    assert result["stage_ms"]["embed"]["max"] == pytest.approx(5)
    triggers = result["triggers"]
    assert (triggers["fired"], triggers["withheld"]) == (1, MAX_REASONS + 6)
    assert triggers["withheld_by_reason"]["refractory"] == 1
    assert triggers["withheld_by_reason"][OTHER_REASONS] == 6
    assert len(triggers["withheld_by_reason"]) == MAX_REASONS + 1


def test_trials_and_what_was_withheld_stand_by_rule_and_arming_with_its_word():
    report = RunReport()
    for i, (action, reason, rule) in enumerate(
        [("fired", "onset", "a"), ("sham", "onset", "a"), ("withheld", "stale", "a"), ("withheld", "zone", "b")]
    ):
        report.add(t.DECISION, rig.decision(i, action, reason, rule))
    later = msgspec.structs.replace(rig.decision(9, "fired"), rule="b", t_due_ns=rig.T0, t_fired_ns=0)
    report.add(t.DECISION, later)
    for state, on_ns, set_id in [("sent", 0, 0), ("acknowledged", 22_000_000, 0), ("acknowledged", 90_000_000, 9)]:
        act = m.Actuation("log", "b" if set_id else "a", set_id, -1, state, "", rig.T0, rig.T0)
        report.add(t.ACTUATION, msgspec.structs.replace(act, t_on_ns=on_ns and rig.T0 + on_ns))
    for armed, by in [(True, "start"), (False, "person")]:
        report.add(t.ARMING, m.Arming(armed, by, rig.T0))
    triggers = report.to_dict()["triggers"]
    assert triggers["by_rule"] == {
        "a": {"fired": 1, "sham": 1, "withheld": 1, "withheld_by_reason": {"stale": 1}},
        "b": {"fired": 1, "sham": 0, "withheld": 1, "withheld_by_reason": {"zone": 1}},
    }
    assert (triggers["sham"], triggers["armed"], triggers["n_armings"]) == (1, False, 2)
    assert triggers["armings"][1] == {"armed": False, "by": "person", "t_ns": rig.T0}
    # What acts later on purpose says nothing of how fast the rig is.
    latency = report.to_dict()["latency_ms"]
    assert (latency["exposure_to_trigger"]["n"], latency["exposure_to_line"]["n"]) == (1, 1)
    assert latency["exposure_to_line"]["max"] == pytest.approx(22)
    assert triggers["actuations"] == {"sent": 1, "acknowledged": 2}


def test_without_a_model_reception_is_measured_on_every_set():
    report = RunReport()
    for i in range(10):
        report.add(t.FRAME_SET, rig.frame_set(CAMERAS, i))
    assert report.to_dict()["latency_ms"]["exposure_to_received"]["n"] == 10
    assert report.to_dict()["seconds"] == pytest.approx(9 / 60, abs=1e-3)


def test_recording_verified_alarms_and_nodes(tmp_path: Path):
    report = RunReport("replay")
    written, declared = {"cam0/0": 100, "cam0/1": 7}, {"cam0/0": 2}
    status = m.RecordingStatus("r1", "/data/r1", "stopped", {"cam0/0": 0}, written, declared, 10**9, rig.T0)
    report.add(t.RECORDING, status)
    report.add(t.ALARM, m.Alarm("recorder", "warning", "disk nearly full", rig.T0))
    report.add(t.HEARTBEAT, m.Heartbeat("cam0", 1, 42, "running", rig.T0, {"frames": 7}))
    report.set_verified(True)
    result = report.to_dict()
    assert result["recording"] | {"state": None} == {
        "path": "/data/r1", "written": 107, "declared_drops": 2, "verified": True, "state": None,
    }  # fmt: skip
    assert result["alarms"]["warnings"] == 1
    assert result["nodes"]["cam0"] == {"state": "running", "restarts": 1, "counters": {"frames": 7}}
    report.write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["mode"] == "replay"


def test_clocks_keep_their_worst_while_locked_and_add_up_over_restarts():
    report = RunReport()
    assert report.to_dict()["clocks"] == {}
    for one in (
        rig.clock_status("camera.cam0", "settling", 900.0),
        rig.clock_status("camera.cam0", "locked", 60.0, n_outliers=3),
        rig.clock_status("camera.cam0", "stepped", 5_000.0, n_steps=1, n_outliers=4),
        rig.clock_status("camera.cam0", "locked", 40.0, n_steps=1, n_outliers=4, drift_ppm=-20.0, offset_ns=11),
        rig.clock_status("camera.cam0", "settling", 800.0, epoch=1, n_steps=1, n_outliers=2, drift_ppm=0.0),
        rig.clock_status("camera.cam0", "locked", 990.0, epoch=0),
        rig.clock_status("host.other", "settling", n_steps=1),
        rig.clock_status("host.other", "settling"),
        rig.clock_status("host.ptp", "trusted", 5.0, drift_ppm=0.0),
    ):
        report.add(t.CLOCK, one)
    clocks = report.to_dict()["clocks"]
    assert clocks["camera.cam0"] == {
        "state": "settling", "drift_ppm": -20.0, "offset_ns": 11, "residual_p99_us": 60.0, "residual_max_us": 120.0,
        "n_steps": 2, "n_outliers": 6,
    }  # fmt: skip
    assert clocks["host.other"]["n_steps"] == 1
    unknown = ("drift_ppm", "offset_ns", "residual_p99_us", "residual_max_us")
    assert [clocks["host.other"][key] for key in unknown] == [None] * 4
    assert [clocks["host.ptp"][key] for key in unknown] == [None, 7, 5.0, 10.0]


def test_clocks_of_strangers_do_not_fill_the_memory():
    report = RunReport()
    for i in range(MAX_CLOCKS + 5):
        report.add(t.CLOCK, rig.clock_status(f"host.h{i}"))
    assert len(report.to_dict()["clocks"]) == MAX_CLOCKS


def test_memory_stays_bounded():
    report = RunReport()
    one_hour, n_seen = 60 * 30, 0
    tracemalloc.start()
    try:
        for round_ in range(4):
            for i in range(one_hour):
                k = round_ * one_hour + i
                report.add(t.FRAME_SET, rig.frame_set(("cam0", "cam1"), k))
                report.add(t.BEHAVIOR, rig.behavior(("cam0", "cam1"), k, "rear"))
                n_seen += 1
            if round_ == 1:
                settled = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert report.to_dict()["inference"]["steps"] == n_seen
    assert grown < settled * 1.05
