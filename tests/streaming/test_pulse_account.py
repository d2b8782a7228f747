"""Pulses against frames: counts that begin elsewhere, drops, lost triggers, frames without a trigger, lost reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from ethostream.streaming.messages import CameraStatus, FrameHeader, Gap, Message, SyncPulse
from ethostream.streaming.pulse_account import PulseAccount, account_pulses
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, SYNC_PULSE, Topic
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

    def status(self, state: Literal["running", "stopped", "lost"], pulse: int, epoch: int = 0) -> None:
        """The last word of an epoch, at a pulse."""
        status = CameraStatus("a", epoch, state, 0, 0, 0, 0, 0, 60.0, pulse_at(pulse))
        self.said.append((CAMERA_STATUS, "a", status))

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
    assert len(account.errors) == 1
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


@pytest.mark.parametrize("trigger_ids", [True, False])
@pytest.mark.parametrize("n_missed", [1, 3])
def test_pulses_before_the_first_frame_are_missed(bench: Bench, n_missed: int, trigger_ids: bool) -> None:
    bench.pulses(*range(50))
    for n in range(n_missed, 50):
        bench.frame(n, n - n_missed, n - n_missed if trigger_ids else -1)
    account = bench.account()
    assert account is not None
    assert account.cameras["a/0"].pulses_without_frame == list(range(n_missed))
    assert len(account.errors if trigger_ids else account.warnings) == 1
    assert (account.errors == []) is not trigger_ids


def test_drops_that_were_declared_before_the_first_frame_explain_its_pulses(bench: Bench) -> None:
    bench.pulses(*range(50))
    for n in range(3, 50):
        bench.frame(n, n, n)
    bench.said.append((GAP, "a", Gap("bus", "a", 0, 1, 2, "lost between processes", T0)))
    account = bench.account()
    assert account is not None
    found = account.cameras["a/0"]
    assert (found.pulses_dropped, len(found.pulses_without_frame), len(account.errors)) == (2, 1, 1)


@pytest.mark.parametrize("trigger_ids", [True, False])
def test_pulses_after_the_last_frame_are_missed_until_the_camera_was_told_to_stop(
    bench: Bench, trigger_ids: bool
) -> None:
    bench.pulses(*range(60))
    for n in range(40):
        bench.frame(n, n, n if trigger_ids else -1)
    bench.status("running", 20)
    bench.status("stopped", 55)
    bench.said.append((GAP, "a", Gap("device", "a", 0, 40, 2, "lost at the end", T0)))
    account = bench.account()
    assert account is not None
    found = account.cameras["a/0"]
    # A frame takes 9 of 16.7 ms to come: that of pulse 53 would have been there in time, that of 54 perhaps not.
    assert (found.pulses_dropped, found.pulses_without_frame) == (2, list(range(42, 54)))
    assert "pulses 42-53" in (account.errors if trigger_ids else account.warnings)[0]


def test_one_frame_of_many_pulses_is_an_account_too(bench: Bench) -> None:
    bench.pulses(*range(10))
    bench.frame(4, 0, 0)
    bench.status("stopped", 80)
    account = bench.account()
    assert account is not None
    assert account.cameras["a/0"].pulses_without_frame == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("state", ["running", "lost"])
def test_a_camera_that_was_killed_or_lost_owes_no_frames_after_its_end(
    bench: Bench, state: Literal["running", "lost"]
) -> None:
    bench.pulses(*range(60))
    for n in range(40):
        bench.frame(n, n, n)
    bench.status(state, 55)
    account = bench.account()
    assert account is not None and account.errors == account.warnings == []


def test_a_camera_that_returned_owes_frames_at_its_two_outer_ends_only(bench: Bench) -> None:
    bench.pulses(*range(100))
    for n in range(2, 40):
        bench.frame(n, n - 2, n - 2)
    bench.status("lost", 45)
    for n in range(60, 95):
        bench.frame(n, n - 60, n - 60, epoch=1)
    bench.status("stopped", 150, epoch=1)
    account = bench.account()
    assert account is not None
    assert [one.pulses_without_frame for one in account.cameras.values()] == [[0, 1], [95, 96, 97, 98, 99]]
