"""``ethostream report``: one page whose numbers are those of the recording."""

import json
import re
from pathlib import Path

from ethostream.deploy.cli import app
from ethostream.streaming.messages import Behavior, CameraStatus, Decision, FrameHeader, FrameSet, Message, SourceFrame
from ethostream.streaming.recorder import Recorder
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat, read_info
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import BEHAVIOR, CAMERA_STATUS, DECISION, FRAME, FRAME_SET, Topic
from ethostream.streaming.wire import decode, encode
from ethostream.sync.clock import NS_PER_MS, FakeClock
from ethostream.sync.latency import LatencyHistogram
from typer.testing import CliRunner

PERIOD = 20 * NS_PER_MS
LABELS = ["still"] * 20 + ["rear"] * 30 + ["still"] * 10 + ["rear"] * 40


def make_recording(folder: Path, *, close: bool = True) -> None:
    """A hundred sets of one camera, events only, with two bouts each and decisions of three kinds."""
    clock = FakeClock(10**18)
    writer = RecordingWriter(
        folder,
        "s1",
        {"cam": RecordedFormat(width=64, height=64, pixel_format="mono8", rate_hz=50.0)},
        RecordingConfig(video=False),
        10**18,
    )
    seqs: dict[Topic, int] = {}

    def publish(topic: Topic, message: Message, camera: str) -> bytes:
        return encode(topic, "recorder", 0, message)

    recorder = Recorder("recorder", writer, RecordingConfig(video=False), clock, publish)

    def say(topic: Topic, message: Message, camera: str = "") -> None:
        seq = seqs[topic] = seqs.get(topic, -1) + 1
        recorder.accept(decode(topic.key(camera), encode(topic, "node", seq, message)))

    for n, label in enumerate(LABELS):
        t = 10**18 + n * PERIOD
        source = SourceFrame("cam", 0, n, t, 1000, t + NS_PER_MS)
        say(FRAME, FrameHeader("cam", 0, n, t, 1000, t + NS_PER_MS, "simulated", 64, 64, "mono8", "", 0, 0), "cam")
        say(FRAME_SET, FrameSet(n, "complete", (source,), (), t, t + 2 * NS_PER_MS))
        at = [t + k * NS_PER_MS for k in range(1, 7)]
        say(
            BEHAVIOR,
            Behavior(
                n, "complete", (source,), (), "b@1", (1.0,), label, label, t, 0, 0, True, (), t, *at,
                classes=("still", "rear"),
            ),
        )  # fmt: skip
        action = ("fired", "sham", "withheld")[n % 3]
        say(
            DECISION,
            Decision(
                "<light>", n, action, "armed" if action != "withheld" else "refractory", label, 1.0, "led", (source,),
                t, at[0], at[5], at[5] + NS_PER_MS if action == "fired" else 0,
            ),
        )  # fmt: skip
    say(CAMERA_STATUS, CameraStatus("cam", 0, "stopped", 0, 99, 100, 0, 0, 50.0, clock.now_ns()), "cam")
    recorder.end_encoders()
    if close:
        recorder.close()
    else:
        writer.end_threads()
        writer.events.close()


def test_the_page_shows_what_the_recording_holds(tmp_path: Path) -> None:
    make_recording(tmp_path / "r")
    done = CliRunner().invoke(app, ["report", str(tmp_path / "r"), "--json", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r" / "report.html").read_text()
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["bouts"] == {"still": 2, "rear": 2}
    assert result["rules"]["<light>"] == {
        "fired": 34,
        "sham": 33,
        "withheld": 33,
        "withheld_by_reason": {"refractory": 33},
    }
    assert "34 fired · 33 sham · 33 withheld · sham share 0.49 of 67 trials" in page
    assert "&lt;light&gt;" in page and "<light>" not in page
    assert page.count('<rect fill="') == 4  # bouts
    assert len(re.findall("<rect class=fired x", page)) == 34
    assert "every frame accounted for" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_the_recorder_keeps_the_histogram_that_the_page_draws(tmp_path: Path) -> None:
    make_recording(tmp_path / "r")
    latency = read_info(tmp_path / "r").latency
    label, trigger = LatencyHistogram(), LatencyHistogram()
    for n in range(len(LABELS)):
        label.add(6 * NS_PER_MS)
        if n % 3 == 0:
            trigger.add(7 * NS_PER_MS)
    assert latency["exposure_to_behavior"].histogram.buckets() == label.buckets()
    assert latency["exposure_to_trigger"].histogram.buckets() == trigger.buckets()
    assert latency["exposure_to_trigger"].histogram.summary().p99 == 7.0


def test_a_recording_without_its_end_has_its_page(tmp_path: Path) -> None:
    make_recording(tmp_path / "r", close=False)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(tmp_path / "r"), "--out", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "not closed" in text and "counted from messages" in text
    assert "34 fired" in text


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code != 0
    assert not (tmp_path / "report.html").exists()
