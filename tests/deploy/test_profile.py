"""Stages and traces of known messages, and the command over a small rig."""

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from ethostream.deploy import profile as profile_module
from ethostream.deploy.cli import app
from ethostream.deploy.profile import Profile
from ethostream.streaming.messages import Behavior, Decision, FrameHeader, FrameSet, SourceFrame
from ethostream.sync.clock import NS_PER_MS
from typer.testing import CliRunner

T = 10**18


def told(n_sets: int = 50, sets: str = "inference", model: str = "inference") -> Profile:
    """A profile of sets 20 ms apart whose stages take 1, 2, 3 ms and so on; which nodes close sets, and answer."""
    found = Profile()
    for n in range(n_sets):
        t = T + 20 * n * NS_PER_MS
        at = [t + k * NS_PER_MS for k in (1, 3, 6, 10, 15, 16, 18)]
        source = SourceFrame("c", 0, n, t, 500, at[0])
        found.add(FrameHeader("c", 0, n, t, 500, at[0], "simulated", 64, 64, "mono8", "", 0, 0), "camera.c")
        found.add(FrameSet(n, "complete", (source,), (), t, at[0] + NS_PER_MS), sets)
        behavior = Behavior(n, "complete", (source,), (), "b", (1.0,), "x", "x", t, 0, 0, True, (), t, *at[:6])
        found.add(msgspec.structs.replace(behavior, t_arrived_ns=t * (model == "cropper")), model)
        found.add(Decision("r", n, "fired", "armed", "x", 1.0, "a", (source,), t, at[0], at[5], at[6]), model)
    return found


def test_each_stage_is_what_lies_between_its_two_times() -> None:
    rows = told().stage_rows()
    expected = {
        "exposure and transfer": 1.0,
        "assembly": 1.0,
        "wait": 2.0,
        "crop": 3.0,
        "embed": 4.0,
        "head": 5.0,
        "decide": 1.0,
        "trigger": 2.0,
    }
    assert {name: one["max"] for name, one in rows.items()} == expected
    assert all(one["n"] == 50 for one in rows.values())


@pytest.mark.parametrize(
    ("sets", "model", "at"),
    [
        ("inference", "inference", ["camera", *["inference"] * 7]),
        ("sets", "inference", ["camera", "sets", *["inference"] * 6]),  # beside a model on pose
        ("cropper", "cropper", ["camera", *["cropper"] * 3, *["another host"] * 4]),
    ],
)
def test_each_stage_is_booked_to_the_process_that_it_is_in(sets: str, model: str, at: list[str]) -> None:
    found = told(3, sets, model)
    assert [one["process"] for one in found.stage_rows().values()] == at
    trace = found.trace()["traceEvents"]
    names = {one["pid"]: one["args"]["name"] for one in trace if one["ph"] == "M"}
    bars = {one["name"]: names[one["pid"]] for one in trace if one["ph"] == "X"}
    assert list(bars.values()) == ["camera.c", *at[1:]]


def test_processor_time_is_told_per_core_and_per_set() -> None:
    found = told()
    found.add_processor_time("inference", 7, T, 2.0)
    found.add_processor_time("inference", 7, T + 2000 * NS_PER_MS, 3.0)
    assert found.process_rows() == {"inference": {"cores": 0.5, "ms_per_set": 10.0}}
    found.add_processor_time("inference", 8, T + 3000 * NS_PER_MS, 0.1)  # begun anew: its own time
    found.add_processor_time("inference", 8, T + 4000 * NS_PER_MS, 0.35)
    assert found.process_rows()["inference"]["cores"] == 0.25


def test_a_trace_has_a_bar_for_each_stage_of_each_set() -> None:
    trace = told(3).trace()
    names = {one["args"]["name"]: one["pid"] for one in trace["traceEvents"] if one["ph"] == "M"}
    assert set(names) == {"camera.c", "inference"}
    heads = [one for one in trace["traceEvents"] if one["name"] == "head"]
    assert [(one["ts"], one["dur"], one["pid"], one["args"]["number"]) for one in heads] == [
        (10_000.0 + 20_000.0 * n, 5_000.0, names["inference"], n) for n in range(3)
    ]


def test_a_trace_is_bounded_and_says_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "MAX_EVENTS", 40)
    found = told(20)
    bars = [one for one in found.trace()["traceEvents"] if one["ph"] != "M"]
    assert len(bars) == 40
    report = {key: {} for key in ("seconds", "sets", "inference", "latency_ms", "machine")}
    assert profile_module.profile_result(found, report)["events_left_out"] == 20 * 8 - 40


def test_the_command_profiles_a_rig(tmp_path: Path) -> None:
    camera = {"kind": "simulated", "view": 0, "width": 160, "height": 120, "rate_hz": 30}
    (tmp_path / "rig.yaml").write_text(
        yaml.safe_dump({"name": "r", "cameras": {"a": camera}, "monitor": {"enabled": False}})
    )
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"bundle": "demo"}))
    files = {name: tmp_path / f"{name}.json" for name in ("trace", "result")}
    done = CliRunner().invoke(
        app,
        [
            "profile", str(tmp_path / "rig.yaml"), "--task", str(tmp_path / "task.yaml"), "--seconds", "1",
            "--trace", str(files["trace"]), "--json", str(files["result"]),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(files["result"].read_text())
    assert result["stage_ms"]["head"]["n"] == result["inference"]["steps"] > 0
    assert {"camera.a", "inference", "recorder"} <= set(result["processes"])
    traced = [one for one in json.loads(files["trace"].read_text())["traceEvents"] if one["name"] == "head"]
    assert len(traced) == result["stage_ms"]["head"]["n"]
    assert "ui.perfetto.dev" in done.output
