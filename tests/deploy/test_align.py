"""``ethostream align`` from a recording and a file to a table, in the form in which people call it."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from ethostream.deploy.canvas import round_steps
from ethostream.deploy.cli import app
from ethostream.streaming.alignment_table import ALIGNMENT_SCHEMA
from ethostream.streaming.messages import FrameHeader
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import FRAME
from ethostream.streaming.wire import encode
from ethostream.sync.errors import ConfigError, DataError
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

T0 = 1_700_000_000_000_000_000
N = 400
DROPPED, UNPULSED, GLITCH_AFTER = 123, 250, 300
DRIFT = 80e-6


class Bench:
    """A train with jittered intervals, seen by camera ``a`` (one frame lost) and by another device (one pulse lost)."""

    def __init__(self, folder: Path, *, periodic: bool = False, counted: bool = True) -> None:
        rng = np.random.default_rng(5)
        steps = np.full(N, 1 / 60) if periodic else rng.uniform(0.9, 1.1, N) / 60
        self.times_s = np.cumsum(steps)
        self.recording = folder / "rec"
        writer = RecordingWriter(
            self.recording,
            "s",
            {"a": RecordedFormat(width=8, height=4, pixel_format="mono8", rate_hz=60.0)},
            RecordingConfig(video=False),
            T0,
        )
        for n, t_s in enumerate(self.times_s):
            if n == DROPPED:
                continue
            t_ns = T0 + round(t_s * 1e9)
            header = FrameHeader(
                "a", 0, n, t_ns, 1000, t_ns + 5_000_000, "device", 8, 4, "mono8", "", 0, 0, "raw",
                n + 7 if counted else -1,
            )  # fmt: skip
            writer.events.append(FRAME, "a", n, encode(FRAME, "camera.a", n, header), t_ns)
        writer.close(T0 + round(self.times_s[-1] * 1e9), {"a": N - 1}, {})
        there = np.delete(self.times_s, UNPULSED)
        pulses = np.sort(np.append(there, self.times_s[GLITCH_AFTER] + 0.006))
        self.pulses_s = 1000 + pulses * (1 + DRIFT) + rng.normal(0, 20e-6, len(pulses))
        self.file = folder / "pulses.csv"
        self.file.write_text("time_s\n" + "".join(f"{one:.9f}\n" for one in self.pulses_s))
        self.table = folder / "table.csv"

    def run(self, *options: str) -> Result:
        return CliRunner().invoke(
            app, ["align", str(self.recording), "--pulses", str(self.file), "--out", str(self.table), *options]
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_frame_has_its_time_on_the_other_device(bench: Bench, tmp_path: Path) -> None:
    done = bench.run("--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png"))
    assert done.exit_code == 0, done.output
    frames = rows(bench.table)
    assert [int(one["seq"]) for one in frames] == [n for n in range(N) if n != DROPPED]
    assert {one["state"] for one in frames} == {"paired", "no_pulse"}
    (alone,) = [one for one in frames if one["state"] == "no_pulse"]
    assert int(alone["seq"]) == UNPULSED and alone["pulse"] == alone["residual_us"] == ""
    for one in frames:
        true_s = 1000 + bench.times_s[int(one["seq"])] * (1 + DRIFT)
        assert float(one["time_s"]) == pytest.approx(true_s, abs=150e-6)
        assert int(one["t_exposure_ns"]) == T0 + round(bench.times_s[int(one["seq"])] * 1e9)
    pulses = rows(tmp_path / "table.pulses.csv")
    lone = [int(one["pulse"]) for one in pulses if not one["seq"]]
    assert lone == [DROPPED, GLITCH_AFTER]  # the frame that was lost; the glitch, whose place a lost pulse has shifted
    back = {int(one["pulse"]): int(one["t_ns"]) for one in pulses}
    assert back[DROPPED] == pytest.approx(T0 + bench.times_s[DROPPED] * 1e9, abs=150e3)
    assert all(int(one["trigger_id"]) == int(one["seq"]) + 7 for one in frames)
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["schema"] == ALIGNMENT_SCHEMA
    found = result["cameras"]["a"]
    assert (found["frames"], found["paired"], found["frames_without_pulse"]) == (N - 1, N - 2, [UNPULSED])
    assert found["pulses_without_frame"] == lone
    assert found["drift_ppm"] == pytest.approx(80, abs=2) and not found["declared"]
    assert 5 < found["residual_us"]["p50"] < 30 and found["residual_us"]["max"] < 150
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None and picture.std() > 1
    assert "1 frame(s) have no pulse: numbers 250" in done.output
    assert done.output.rstrip().endswith(
        f"written: {bench.table}, {tmp_path / 'table.pulses.csv'}, {tmp_path / 'a.png'}"
    )


def test_the_plot_is_of_the_kind_that_its_name_says(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("--plot", str(tmp_path / "a.svg")).exit_code == 0
    text = (tmp_path / "a.svg").read_text()
    assert text.startswith("<svg") and "398 of 399 frames paired" in text and "1 without a pulse" in text
    bench.table.unlink()
    refused = bench.run("--plot", str(tmp_path / "a.pdf"))
    assert isinstance(refused.exception, ConfigError) and "neither .png nor .svg" in str(refused.exception)
    assert not bench.table.exists(), "it was refused before the work"


@settings(max_examples=60)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(2, 12))
def test_steps_of_an_axis_are_round_few_and_inside(low: float, span: float, most: int) -> None:
    steps = round_steps(low, low + span, most)
    assert len(steps) <= most + 1
    gaps = {float(f"{b - a:.3g}") for a, b in pairwise(steps)}
    assert len(gaps) <= 1
    assert all(f"{gap:.2e}"[0] in "125" and f"{gap:.2e}"[1:4] == ".00" for gap in gaps)
    assert all(low - 1e-6 * span <= one <= low + span + 1e-6 * span for one in steps)
    assert span / most < 1e-9 or len(steps) >= most // 3


def test_a_camera_that_does_not_count_its_triggers_has_no_trigger_ids(tmp_path: Path) -> None:
    bench = Bench(tmp_path, counted=False)
    assert bench.run().exit_code == 0
    assert {one["trigger_id"] for one in rows(bench.table)} == {""}


def test_json_to_stdout_is_nothing_but_json(bench: Bench) -> None:
    done = bench.run("--camera", "a", "--json", "-")
    assert json.loads(done.stdout)["pulses"]["n"] == N


def test_a_periodic_train_is_refused_until_it_is_anchored(tmp_path: Path) -> None:
    bench = Bench(tmp_path, periodic=True)
    done = bench.run()
    assert isinstance(done.exception, DataError)
    assert "more than one way" in str(done.exception) and "camera a, pulses.csv" in str(done.exception)
    assert not bench.table.exists()
    done = bench.run("--first-frame-is-pulse", "0", "--json", str(tmp_path / "a.json"))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "a.json").read_text())["cameras"]["a"]
    assert found["declared"] and found["frames_without_pulse"] == [UNPULSED]


def test_a_voltage_is_cut_at_its_threshold(bench: Bench) -> None:
    rate_hz = 30_000.0
    volts = np.zeros(int((bench.times_s[-1] + 0.1) * rate_hz), np.float32)
    for t_s in bench.times_s:
        place = int(np.ceil(t_s * rate_hz))
        volts[place : place + 60] = 3.3
    bench.file = bench.file.with_suffix(".npy")
    np.save(bench.file, volts)
    done = bench.run("--rate", "30000", "--threshold", "1.65", "--hysteresis", "0.5", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["pulses"]["threshold"], found["pulses"]["n"]) == (1.65, N)
    assert found["cameras"]["a"]["paired"] == N - 1


def test_other_cameras_and_files_are_refused(bench: Bench) -> None:
    assert "has no camera 'b'" in str(bench.run("--camera", "b").exception)
    bench.file = bench.file.with_name("no.csv")
    assert "is not there" in str(bench.run().exception)
