import importlib.util
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from ethostream.deploy.label_strip import MAX_STRETCHES, LabelStrip, agreement
from ethostream.deploy.live_state import LiveState
from ethostream.deploy.snapshot import Stretch
from ethostream.streaming import messages as m
from ethostream.sync.clock import NS_PER_MS, NS_PER_S
from hypothesis import given
from hypothesis import strategies as st


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rig_messages", Path(__file__).with_name("rig_messages.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rig = _load()
CAMERAS = ("cam0", "cam1")


def header(camera: str, i: int, epoch: int = 0) -> m.FrameHeader:
    at = rig.T0 + i * rig.PERIOD_NS
    return m.FrameHeader(camera, epoch, i, at, 10, at, "simulated", 4, 4, "mono8", "", 0, 0)


def now_of(i: int) -> int:
    return rig.T0 + i * rig.PERIOD_NS + 14 * NS_PER_MS


# -- strip


@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=300))
def test_a_strip_covers_exactly_the_labelled_time(labels: list[str]):
    strip = LabelStrip()
    for i, label in enumerate(labels):
        strip.add(label, rig.T0 + i * rig.PERIOD_NS)
    stretches = strip.stretches()
    for label in ("a", "b"):
        shown_ms = sum(one.end_ms - one.start_ms for one in stretches if one.label == label)
        periods = sum(one == label for one in labels[:-1])
        assert shown_ms == pytest.approx(periods * rig.PERIOD_NS / NS_PER_MS, abs=0.01)
    for one, after in pairwise(stretches):
        assert one.end_ms <= after.start_ms
        assert (one.label, one.end_ms) != (after.label, after.start_ms)


def test_a_strip_keeps_a_minute_and_leaves_holes():
    strip = LabelStrip()
    for i in range(200_000):
        strip.add("ab"[i // 10 % 2], rig.T0 + i * rig.PERIOD_NS)
    first, last = strip.stretches()[0], strip.stretches()[-1]
    assert 59_500 < last.end_ms - first.end_ms <= 60_000
    assert len(strip.stretches()) < MAX_STRETCHES
    strip.add("a", rig.T0 + 200_000 * rig.PERIOD_NS + NS_PER_S)
    strip.add("a", rig.T0 + 200_001 * rig.PERIOD_NS + NS_PER_S)
    assert strip.stretches()[-1].start_ms - last.end_ms > 900
    strip.add("b", rig.T0)  # a replay from the beginning
    strip.add("b", rig.T0 + rig.PERIOD_NS)
    assert [one.label for one in strip.stretches()] == ["b"]


def test_agreement_is_a_share_of_common_time():
    labels = (Stretch("a", 0, 10), Stretch("b", 10, 20))
    assert agreement(labels, (Stretch("a", 5, 15),)) == pytest.approx(0.5)
    assert agreement(labels, ()) is None
    assert agreement(labels, labels) == 1


# -- cameras


@pytest.mark.parametrize("every", [1, 3, 6])
def test_rate_does_not_depend_on_how_many_headers_are_seen(every: int):
    state = LiveState("rig", CAMERAS)
    for i in range(0, 240, every):
        state.add(header("cam0", i), now_of(i))
    assert state.snapshot(now_of(240)).cameras[0].rate_hz == pytest.approx(60)


def test_declared_device_drops_lower_the_rate():
    state = LiveState("rig", CAMERAS)
    for i in range(121):
        if i % 2:
            state.add(m.Gap("device", "cam0", 0, i, 1, "jump", now_of(i)), now_of(i))
        else:
            state.add(header("cam0", i), now_of(i))
    camera = state.snapshot(now_of(120)).cameras[0]
    assert camera.rate_hz == pytest.approx(30, rel=0.02)
    assert camera.dropped == 60


def test_camera_states_and_their_problems():
    state = LiveState("rig", (*CAMERAS, "cam2"))
    assert [one.state for one in state.snapshot(rig.T0).cameras] == ["waiting"] * 3
    for camera in ("cam0", "cam1"):
        state.add(header(camera, 0), now_of(0))
    later = now_of(0) + 3 * NS_PER_S
    state.add(header("cam1", 180), later)
    state.add(rig.camera_status("cam2", 9, state="lost"), later)
    snapshot = state.snapshot(later)
    assert [one.state for one in snapshot.cameras] == ["silent", "running", "lost"]
    assert [problem.who for problem in snapshot.problems] == ["camera cam0", "camera cam2"]
    assert snapshot.cameras[0].age_ms == pytest.approx(3000)


def test_many_silent_cameras_are_one_problem():
    state = LiveState("rig", tuple(f"cam{i}" for i in range(8)))
    for i in range(8):
        state.add(header(f"cam{i}", 0), now_of(0))
    problems = state.snapshot(now_of(0) + 5 * NS_PER_S).problems
    assert [problem.who for problem in problems] == ["8 cameras"]
    assert "cam7" in problems[0].text


# -- behaviour, latency, problems


def test_classes_are_named_where_the_message_names_them():
    state = LiveState("rig", CAMERAS)
    for i, label in enumerate(rig.CLASSES):
        state.add(rig.behavior(CAMERAS, i, label, n_skipped=2), now_of(i))
    behavior = state.snapshot(now_of(9)).behavior
    assert behavior is not None
    assert tuple(entry.name for entry in behavior.classes) == rig.CLASSES
    assert (behavior.steps, behavior.skipped, behavior.label) == (4, 8, "still")
    state.add(msgspec.structs.replace(rig.behavior(CAMERAS, 5, "rear"), classes=()), now_of(5))
    behavior = state.snapshot(now_of(9)).behavior
    assert behavior is not None
    assert [entry.name for entry in behavior.classes] == ["class 0", "class 1", "class 2", "class 3"]


def test_latency_is_shown_live_and_not_in_a_replay():
    for mode, shown in (("live", True), ("replay", False)):
        state = LiveState("rig", CAMERAS, mode="replay" if mode == "replay" else "live")
        for i in range(1000):
            state.add(rig.behavior(CAMERAS, i, "rear"), now_of(i))
        latency = state.snapshot(now_of(1000)).latency
        assert (latency is not None) == shown
        if latency is not None:
            assert (latency.exposure_p50, latency.exposure_p99, latency.received_p50, latency.n) == (14, 14, 9, 600)


def test_alarms_are_counted_bounded_and_newest_first():
    state = LiveState("rig", CAMERAS)
    for i in range(100):
        state.add(m.Alarm("node", "warning", f"alarm {i % 50}", now_of(i)), now_of(i))
    problems = state.snapshot(now_of(100)).problems
    assert len(problems) <= 32
    assert (problems[0].text, problems[0].n) == ("alarm 49", 1)
    state.add(m.Alarm("node", "error", "alarm 49", now_of(101)), now_of(101))
    assert state.snapshot(now_of(101)).problems[0].n == 2


def test_a_node_without_heartbeat_is_named_unless_it_is_stopping():
    state = LiveState("rig", CAMERAS)
    state.add(m.Heartbeat("inference", 0, 1, "running", now_of(0)), now_of(0))
    state.add(m.Heartbeat("recorder", 0, 1, "stopping", now_of(0)), now_of(0))
    state.add(m.Heartbeat("monitor", 0, 1, "ready", now_of(0), {"port": 4711}), now_of(0))
    assert state.snapshot(now_of(1)).problems == ()
    assert state.snapshot(now_of(1)).monitor_port == 4711
    assert [one.who for one in state.snapshot(now_of(600)).problems] == ["inference", "monitor"]


@pytest.mark.parametrize(
    ("gib", "used_per_s", "state", "word"),
    [
        (400.0, 0.01, "running", None),
        (2.0, 0.0001, "running", "2.0 GiB left"),
        (50.0, 0.1, "running", "about 8 min"),
        (0.5, 0.0, "video_stopped", "disk full"),
        (0.5, 0.0, "stopped", None),
    ],
)
def test_the_disk_is_watched(gib: float, used_per_s: float, state: str, word: str | None):
    live = LiveState("rig", CAMERAS)
    kind = "video_stopped" if state == "video_stopped" else "stopped" if state == "stopped" else "running"
    for i in range(11):
        at = rig.T0 + i * NS_PER_S
        free = int((gib - used_per_s * (i - 10)) * 2**30)
        live.add(m.RecordingStatus("r", "/d/r", kind, {}, {"cam0/0": i}, {}, free, at), at)
    problems = live.snapshot(rig.T0 + 10 * NS_PER_S).problems
    assert [word in problem.text for problem in problems] == ([] if word is None else [True])
