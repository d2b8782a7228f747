"""Pulses against frames: counts that begin elsewhere, drops, lost triggers, frames without a trigger, lost reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming.messages import FrameHeader, Gap, Message, SyncPulse
from ethostream.streaming.pulse_account import PulseAccount, account_pulses
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import FRAME, GAP, SYNC_PULSE, Topic
from ethostream.streaming.wire import encode

T0 = 1_700_000_000_000_000_000
PERIOD_NS = 16_666_667
LATE_NS = 9_000_000
"""Frames are stamped so much after their pulse: a transport that nobody knows of."""


def pulse_at(n: int) -> int:
    return T0 + n * PERIOD_NS


class Bench:
    """Messages of one board and one camera, written into a recording and accounted for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said: list[tuple[Topic, str, Message]] = []
        self.trigger: dict[str, Any] = {}

    def pulses(self, *numbers: int) -> None:
        for n in numbers:
            self.said.append((SYNC_PULSE, "", SyncPulse("board", 0, "trigger", n, n * 16_667, pulse_at(n))))

    def frame(self, pulse: int, seq: int, trigger_id: int, epoch: int = 0, late_ns: int = LATE_NS) -> None:
        t_ns = pulse_at(pulse) + late_ns
        header = FrameHeader(
            "a", epoch, seq, t_ns, 1000, t_ns, "device", 8, 4, "mono8", "", 0, 0, "raw", trigger_id
        )  # fmt: skip
        self.said.append((FRAME, "a", header))

    def account(self) -> PulseAccount | None:
        form = {"a": RecordedFormat(width=8, height=4, pixel_format="mono8", rate_hz=60.0)}
        run = {"rig": {"trigger": self.trigger}} if self.trigger else {}
        writer = RecordingWriter(self._folder / "rec", "s", form, RecordingConfig(video=False), T0, run)
        seqs: dict[bytes, int] = {}
        for topic, camera, message in self.said:
            key = topic.key(camera)
            seqs[key] = seqs.get(key, -1) + 1
            writer.events.append(topic, camera, seqs[key], encode(topic, "x", seqs[key], message), T0)
        writer.close(T0 + 10**9, {"a": 0}, {})
        return account_pulses(Recording.open(self._folder / "rec"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


Fill = Callable[[Bench], None]


@pytest.mark.parametrize("base", [0, 1, 17])
@pytest.mark.parametrize("late_ns", [-3_000_000, 0, LATE_NS, 12_000_000])
def test_a_count_may_begin_anywhere_and_a_stamp_may_be_late(bench: Bench, base: int, late_ns: int) -> None:
    bench.pulses(*range(100))
    for n in range(100):
        bench.frame(n, n, n + base, late_ns=late_ns)
    account = bench.account()
    assert account is not None and account.errors == account.warnings == []
    assert (account.cameras["a/0"].by, account.cameras["a/0"].n_paired) == ("number", 100)


def test_a_camera_that_returned_counts_anew(bench: Bench) -> None:
    bench.pulses(*range(100))
    for n in range(40):
        bench.frame(n, n, n)
    for n in range(60, 100):
        bench.frame(n, n - 60, n - 60, epoch=1)
    account = bench.account()
    assert account is not None and account.errors == []
    assert [one.n_paired for one in account.cameras.values()] == [40, 40]


def test_a_declared_drop_is_explained_and_a_missed_trigger_is_not(bench: Bench) -> None:
    bench.pulses(*range(50))
    seq = 0
    for n in range(50):
        if n in (10, 11):  # the device dropped these, and its frame counter says so
            seq += 1
        elif n not in (30, 31, 40):  # these it never saw
            bench.frame(n, seq, n)
            seq += 1
    bench.said.append((GAP, "a", Gap("device", "a", 0, 10, 2, "frame counter jumped", T0)))
    account = bench.account()
    assert account is not None
    found = account.cameras["a/0"]
    assert (found.pulses_dropped, found.pulses_without_frame) == (2, [30, 31, 40])
    assert len(account.errors) == 1 and "pulses 30-31, 40" in account.errors[0]


def test_frames_without_a_pulse_are_named(bench: Bench) -> None:
    bench.pulses(*range(50))
    for n in range(50):
        bench.frame(n, n, n)
    for n in range(50, 53):
        bench.frame(n, n, n)
    account = bench.account()
    assert account is not None
    assert account.cameras["a/0"].frames_without_pulse == [50, 51, 52]
    assert "3 frame(s) belong to no trigger pulse: numbers 50-52" in account.errors[0]


def test_pulses_that_were_not_recorded_still_have_numbers(bench: Bench) -> None:
    bench.pulses(*(n for n in range(50) if n not in (5, 6)))
    for n in range(50):
        bench.frame(n, n, n)
    account = bench.account()
    assert account is not None and account.errors == [] and account.unrecorded == [5, 6]
    assert account.cameras["a/0"].n_paired == 50
    assert "2 pulse(s) were made and are not recorded (5-6)" in account.warnings[0]


def test_without_trigger_ids_time_decides_and_only_warns(bench: Bench) -> None:
    bench.pulses(*range(60))
    for n in range(60):
        if n != 20:
            bench.frame(n, n if n < 20 else n - 1, -1)
    account = bench.account()
    assert account is not None and account.errors == []
    assert account.cameras["a/0"].by == "time"
    assert "pulses 20" in account.warnings[0] and "by time" in account.warnings[0]


def test_a_board_that_began_anew_is_an_error(bench: Bench) -> None:
    bench.pulses(*range(20), *range(5))
    account = bench.account()
    assert account is not None and "repeat or go back (0-4)" in account.errors[0]


def test_cameras_that_the_trigger_does_not_name_are_left_alone(bench: Bench) -> None:
    bench.trigger = {"cameras": ["b"]}
    bench.pulses(*range(20))
    bench.frame(3, 0, 7)
    bench.frame(9, 1, 8)
    account = bench.account()
    assert account is not None and account.cameras == {} and account.errors == []


def test_a_recording_without_pulses_has_no_account(bench: Bench) -> None:
    bench.frame(0, 0, 0)
    assert bench.account() is None
