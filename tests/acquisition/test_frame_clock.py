"""Exposure times of frames: of cameras that know them, that have ticks, and that have nothing."""

from itertools import pairwise

import pytest
from ethostream.acquisition.camera import CameraFormat, Grab
from ethostream.acquisition.frame_clock import FrameClock, Stamp
from ethostream.sync.errors import ClockError
from hypothesis import given, settings
from hypothesis import strategies as st

PERIOD_NS = 20_000_000
T0_NS = 1_700_000_000_000_000_000
TRANSPORT_NS = 3_000_000
EXPOSURE_US = 1000
WITH_TICKS = CameraFormat(8, 4, "mono8", 50.0, "device", 1e6, TRANSPORT_NS)
WITHOUT = CameraFormat(8, 4, "mono8", 50.0, "host", transport_ns=TRANSPORT_NS)
SETTLED = 400


def arrival_ns(k: int, late_ns: int = 0) -> int:
    return T0_NS + k * PERIOD_NS + EXPOSURE_US * 1000 + TRANSPORT_NS + k % 7 * 100_000 + late_ns


def ticks_of(k: int) -> int:
    return 5_000_000 + k * PERIOD_NS // 1000


def give(clock: FrameClock, k: int, seq: int | None = None, ticks: int | None = None, late_ns: int = 0) -> Stamp:
    """Frame ``k`` of a camera with a microsecond clock."""
    grab = Grab(k if seq is None else seq, -1, EXPOSURE_US, ticks=ticks_of(k) if ticks is None else ticks)
    return clock.stamp(grab, arrival_ns(k, late_ns))


def settled() -> FrameClock:
    clock = FrameClock("a", WITH_TICKS)
    for k in range(SETTLED):
        give(clock, k)
    return clock


def test_a_camera_that_knows_rig_time_is_believed() -> None:
    clock = FrameClock("a", CameraFormat(8, 4, "mono8", 50.0, "simulated"))
    assert clock.stamp(Grab(3, 12345, 10), T0_NS) == Stamp(12345, "simulated")
    assert clock.status(0, T0_NS) is None


def test_times_come_from_the_host_until_the_fit_has_settled_and_then_from_the_device() -> None:
    clock = FrameClock("a", WITH_TICKS)
    stamps = [give(clock, k) for k in range(SETTLED)]
    sources = [one.time_source for one in stamps]
    first = sources.index("device")
    assert 128 <= first < 300
    assert set(sources[:first]) == {"host"}
    assert set(sources[first:]) == {"device"}
    for k, stamp in enumerate(stamps):
        late = k % 7 * 100_000 if k < first else 0
        assert abs(stamp.t_exposure_ns - T0_NS - k * PERIOD_NS - late) < 20_000
    status = clock.status(2, T0_NS)
    assert status is not None
    assert (status.clock, status.epoch, status.state, status.n_steps) == ("camera.a", 2, "locked", 0)
    assert clock.drift_ppm == pytest.approx(0.0, abs=2.0)


def test_without_ticks_the_time_is_the_arrival_less_exposure_and_transport() -> None:
    clock = FrameClock("a", WITHOUT)
    for k in range(30):
        stamp = clock.stamp(Grab(k, -1, EXPOSURE_US), arrival_ns(k))
        assert stamp == Stamp(T0_NS + k * PERIOD_NS + k % 7 * 100_000, "host")
    assert clock.status(0, T0_NS) is None


def test_a_burst_without_ticks_still_rises() -> None:
    clock = FrameClock("a", WITHOUT)
    times = [clock.stamp(Grab(k, -1, EXPOSURE_US), arrival_ns(10)).t_exposure_ns for k in range(10)]
    assert all(a < b for a, b in pairwise(times))


@pytest.mark.parametrize("by_ticks", [4_000_000, -4_000_000])
def test_a_step_is_declared_once_and_no_frame_gets_a_wrong_time(by_ticks: int) -> None:
    clock = settled()
    stamps = [give(clock, k, ticks=ticks_of(k) + by_ticks) for k in range(SETTLED, SETTLED + 600)]
    (at,) = [place for place, stamp in enumerate(stamps) if stamp.stepped]
    assert at < 10
    assert clock.n_steps == 1
    assert {stamp.time_source for stamp in stamps[:100]} == {"host"}
    assert stamps[-1].time_source == "device"
    for k, stamp in enumerate(stamps, SETTLED):
        assert abs(stamp.t_exposure_ns - T0_NS - k * PERIOD_NS) < 1_000_000
    assert all(a.t_exposure_ns < b.t_exposure_ns for a, b in pairwise(stamps))


def test_a_repeat_has_the_time_of_its_frame() -> None:
    for clock in (settled(), FrameClock("a", WITH_TICKS)):
        first = give(clock, SETTLED)
        assert give(clock, SETTLED, late_ns=PERIOD_NS // 2)[:2] == first[:2]
    blind = FrameClock("a", WITHOUT)
    once = blind.stamp(Grab(7, -1, EXPOSURE_US), arrival_ns(7))
    assert blind.stamp(Grab(7, -1, EXPOSURE_US), arrival_ns(7, PERIOD_NS // 4)) == once


@pytest.mark.parametrize("ready", [True, False])
def test_a_frame_behind_its_successor_gets_its_own_time(ready: bool) -> None:
    clock = settled() if ready else FrameClock("a", WITH_TICKS)
    at = SETTLED if ready else 0
    before, after = give(clock, at), give(clock, at + 2)
    late = give(clock, at + 1, late_ns=PERIOD_NS + 1000)
    assert before.t_exposure_ns < late.t_exposure_ns < after.t_exposure_ns
    assert late.time_source == ("device" if ready else "host")


@pytest.mark.parametrize("n", [100, SETTLED])
@pytest.mark.parametrize("ticks_too", [True, False])
def test_a_counter_that_began_anew_gets_times_after_all_others(n: int, ticks_too: bool) -> None:
    """The account of the frame counter then sees that it is no repeat."""
    clock = FrameClock("a", WITH_TICKS)
    last = [give(clock, k) for k in range(n)][-1]
    for seq in range(20):
        k = n + seq
        stamp = give(clock, k, seq=seq, ticks=ticks_of(seq) + 37 if ticks_too else ticks_of(k))
        assert stamp.t_exposure_ns > last.t_exposure_ns


def test_a_frame_without_ticks_among_others_is_stamped_by_the_host() -> None:
    clock = settled()
    assert give(clock, SETTLED, ticks=-1).time_source == "host"
    assert give(clock, SETTLED + 1).time_source == "device"


def test_ticks_of_a_clock_without_a_rate_are_refused() -> None:
    clock = FrameClock("left", CameraFormat(8, 4, "mono8", 50.0, "device"))
    with pytest.raises(ClockError, match=r"camera left: .*tick_hz"):
        give(clock, 0)


def test_memory_is_bounded() -> None:
    clock = settled()
    for k in range(SETTLED, SETTLED + 3000):
        give(clock, k)
    assert len(clock._recent) <= 128  # pyright: ignore[reportPrivateUsage]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_times_rise_with_the_frame_number_whatever_arrives_when(data: st.DataObject) -> None:
    """Drops, repeats, late frames, stalls and a jump of the clock, in any order."""
    clock = FrameClock("a", WITH_TICKS)
    known: dict[int, int] = {}
    dropped = data.draw(st.sets(st.integers(0, 299), max_size=40))
    order = [k for k in range(300) if k not in dropped]
    shift, stall = data.draw(st.sampled_from([0, 7_000_000, -7_000_000])), data.draw(st.integers(0, 30)) * PERIOD_NS
    for place in range(0, len(order) - 1, 17):
        if data.draw(st.booleans()):
            order[place], order[place + 1] = order[place + 1], order[place]
    begins = data.draw(st.integers(0, 299))
    for place, k in enumerate(order):
        late_ns = max(0, stall - (k - begins) * PERIOD_NS) if k >= begins else 0
        late_ns += PERIOD_NS if place and order[place - 1] > k else 0
        ticks = ticks_of(k) + (shift if k >= 200 else 0)
        stamp = give(clock, k, ticks=ticks, late_ns=late_ns)
        if k in known:
            assert known[k] == stamp.t_exposure_ns
        known[k] = stamp.t_exposure_ns
        if place % 13 == 0:
            assert give(clock, k, ticks=ticks, late_ns=late_ns)[0] == stamp.t_exposure_ns
    assert [known[k] for k in sorted(known)] == sorted(known.values())
