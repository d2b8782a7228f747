"""Faults at set times, a device's own clock, trigger counts; the truth stays right under all of them."""

from itertools import pairwise

import numpy as np
import pytest
from ethostream.acquisition.ledger import FrameLedger
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig
from ethostream.acquisition.simulated_world import SimulatedWorld
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, FakeClock
from ethostream.sync.errors import CameraLostError, CameraOpenError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 20 * NS_PER_MS  # 50 Hz
SHAPE = (64, 64)


def make(clock, schedule=(), name="cam", **options):
    faults = {**options.pop("faults", {}), "schedule": list(schedule)}
    options = {"view": 0, "width": 64, "height": 64, "rate_hz": 50, "noise": 0, "faults": faults, **options}
    return SimulatedCamera(name, SimulatedCameraConfig.model_validate(options), clock)


def started(clock, *args, **options):
    camera = make(clock, *args, **options)
    camera.open()
    camera.start(START_NS)
    return camera


def read_until(camera, clock, end_s):
    """(grab, when it came) for all that comes before ``end_s``."""
    out = np.empty(SHAPE, np.uint8)
    got = []
    while clock.now_ns() < START_NS + round(end_s * NS_PER_S):
        grab = camera.read_into(out, 0.05)
        if grab is not None:
            got.append((grab, clock.now_ns()))
    return got


def run(schedule, end_s=2.0, **options):
    clock = FakeClock(START_NS)
    return read_until(started(clock, schedule, **options), clock, end_s)


def instants(got):
    return [grab.truth.instant for grab, _ in got]


def test_a_burst_of_drops_by_schedule_and_by_instant():
    got = run([{"at_s": 0.2, "fault": "drop", "n": 7}], faults={"bursts": [{"instant": 40, "n": 3}, {"instant": 60}]})
    missing = set(range(90)) - set(instants(got))
    assert missing == {*range(10, 17), 40, 41, 42, 60}
    assert all(grab.seq == grab.truth.instant for grab, _ in got)


def test_bursts_by_chance_are_whole_and_have_their_rate():
    got = run([], 40.0, faults={"burst_p": 0.01, "burst_n": 6})
    gaps = [b - a - 1 for a, b in pairwise(instants(got)) if b > a + 1]
    assert all(gap >= 6 for gap in gaps)
    assert 8 <= len(gaps) <= 36


def test_duplicates_and_reordered_frames_at_their_time():
    got = run([{"at_s": 0.2, "fault": "duplicate", "n": 2}, {"at_s": 1.0, "fault": "reorder", "n": 2}])
    seqs = instants(got)
    assert [k for k in range(90) if seqs.count(k) == 2] == [10, 11]
    assert seqs[seqs.index(49) + 1 :][:5] == [51, 50, 53, 52, 54]


def test_late_frames_come_late_and_no_other_waits():
    got = run([{"at_s": 0.2, "fault": "late", "late_ms": 110, "n": 2}])
    late = {grab.seq: at - grab.t_exposure_ns for grab, at in got}
    assert late[10] == late[11] == 113 * NS_PER_MS
    assert all(late[k] == 3 * NS_PER_MS for k in range(90) if k not in (10, 11))


def test_a_stall_with_a_jump():
    got = run([{"at_s": 0.4, "fault": "stall", "for_s": 0.6}])
    assert instants(got) == [*range(20), *range(50, len(got) + 30)]
    before, after = (at for grab, at in got if grab.seq in (19, 50))
    assert after - before == 31 * PERIOD_NS


def test_a_stall_with_a_burst_gives_what_the_buffer_holds():
    got = run([{"at_s": 0.4, "fault": "stall", "for_s": 0.6, "then": "burst"}], device_buffer_frames=8)
    seqs = instants(got)
    assert seqs == [*range(20), *range(42, 42 + len(got) - 20)]
    burst = [at for grab, at in got if 42 <= grab.seq < 50]
    assert set(burst) == {START_NS + NS_PER_S}
    ample = instants(run([{"at_s": 0.4, "fault": "stall", "for_s": 0.6, "then": "burst"}], device_buffer_frames=64))
    assert ample == list(range(len(ample)))


def test_unplugged_and_back():
    clock = FakeClock(START_NS)
    camera = started(clock, [{"at_s": 1.0, "fault": "unplug", "away_s": 3.0}], triggered=True)
    got = []
    with pytest.raises(CameraLostError, match="camera cam: was unplugged"):
        read_until_lost(camera, clock, got)
    assert clock.now_ns() == START_NS + NS_PER_S
    assert [g.seq for g in got] == list(range(50))
    with pytest.raises(CameraLostError):
        camera.read_into(np.empty(SHAPE, np.uint8), 0.1)
    clock.advance_ns(NS_PER_S)
    with pytest.raises(CameraOpenError, match=r"camera cam: is unplugged.*back in 2\.0 s"):
        camera.open()
    again = make(clock, [{"at_s": 1.0, "fault": "unplug", "away_s": 3.0}], triggered=True)  # as a new process has it
    again.open()
    with pytest.raises(CameraLostError, match=r"back in 2\.0 s"):
        again.start(START_NS)
    again.close()
    clock.advance_ns(2 * NS_PER_S)
    for returned in (camera, again):
        returned.open()
        returned.start(START_NS)
        grab = read_until(returned, clock, (clock.now_ns() - START_NS) / 1e9 + 0.03)[0][0]
        assert grab.seq == grab.truth.seq == grab.truth.instant - 200
        assert grab.trigger_id == grab.truth.instant >= 200
        assert grab.t_exposure_ns == grab.truth.t_true_ns == START_NS + grab.truth.instant * PERIOD_NS


def read_until_lost(camera, clock, got):
    out = np.empty(SHAPE, np.uint8)
    while clock.now_ns() < START_NS + 10 * NS_PER_S:
        grab = camera.read_into(out, 0.05)
        if grab is not None:
            got.append(grab)


def test_a_counter_reset_is_seen_as_such():
    ledger = FrameLedger()
    got = run([{"at_s": 0.9, "fault": "counter_reset"}], 1.2)
    answers = [ledger.arrive(grab.seq, grab.t_exposure_ns) for grab, _ in got[:46]]
    assert answers == ["new"] * 45 + ["back"]
    assert [grab.seq for grab, _ in got[45:50]] == [0, 1, 2, 3, 4]
    assert instants(got) == list(range(len(got)))


def test_a_clock_step_moves_every_stamp_after_it():
    got = run(
        [{"at_s": 0.5, "fault": "clock_step", "by_us": 4000}, {"at_s": 1.0, "fault": "clock_step", "by_us": -1500}]
    )
    errors = [(grab.t_exposure_ns - grab.truth.t_true_ns) // 1000 for grab, _ in got]
    assert errors == [0] * 25 + [4000] * 25 + [2500] * (len(got) - 50)


def test_an_exposure_change_is_in_the_header_the_picture_and_the_time_of_arrival():
    clock = FakeClock(START_NS)
    camera = started(clock, [{"at_s": 0.2, "fault": "exposure", "exposure_us": 4000}])
    out = np.empty(SHAPE, np.uint8)
    grabs, means = [], []
    for _ in range(20):
        grab = camera.read_into(out, 1.0)
        grabs.append((grab.exposure_us, clock.now_ns() - grab.t_exposure_ns))
        means.append(out.mean())
    assert grabs == [(2000, 3 * NS_PER_MS)] * 10 + [(4000, 5 * NS_PER_MS)] * 10
    assert min(means[10:]) > 1.2 * max(means[:10])
    with pytest.raises(CameraOpenError, match="exposure_us=30000"):
        make(clock, [{"at_s": 0.2, "fault": "exposure", "exposure_us": 30_000}]).open()


def test_a_change_of_light_is_in_the_picture_of_every_scene():
    for scene in ("cage", "wall_cage", "face"):
        camera = started(FakeClock(START_NS), [{"at_s": 0.1, "fault": "light", "gain": 0.5}], scene=scene)
        out, means = np.empty(SHAPE, np.uint8), []
        for _ in range(10):
            assert camera.read_into(out, 1.0).exposure_us == 2000
            means.append(out.mean())
        assert means[5] == pytest.approx(0.5 * means[4], rel=0.05)
        assert np.ptp(means[:5]) < 3.0


def test_ticks_run_at_their_own_rate_from_their_own_zero():
    clock = {"tick_hz": 125e6, "offset_ticks": 10**15, "drift_ppm": 80.0}
    got = run([{"at_s": 1.0, "fault": "clock_step", "by_us": 500}], device_clock=clock)
    for grab, _ in got:
        assert grab.t_exposure_ns == -1
        elapsed_s = (grab.truth.t_true_ns - START_NS) / 1e9
        stepped = 500e-6 if grab.truth.instant >= 50 else 0.0
        assert grab.ticks - 10**15 == pytest.approx((elapsed_s + stepped) * 125e6 * 1.00008, abs=10)


def test_ticks_wrap_at_their_width_and_jitter_within_bounds():
    got = run([], device_clock={"tick_hz": 1e6, "bits": 16, "jitter_us": 200.0})
    errors = []
    for grab, _ in got:
        assert 0 <= grab.ticks < 65_536
        error = (grab.ticks - grab.truth.instant * 20_000) % 65_536
        errors.append(error - 65_536 if error > 32_768 else error)
    assert np.abs(errors).max() <= 201
    assert np.std(errors) > 80


def test_the_device_clock_begins_anew_after_an_absence():
    clock = FakeClock(START_NS + 4 * NS_PER_S)
    options = {"device_clock": {"tick_hz": 1e6, "offset_ticks": 777}}
    camera = started(clock, [{"at_s": 1.0, "fault": "unplug", "away_s": 2.5}], **options)
    for grab, _ in read_until(camera, clock, 5.0):
        assert grab.ticks == (grab.truth.instant * 20 - 3500) * 1000


def test_the_format_says_what_the_clock_is():
    camera = make(FakeClock(START_NS), device_clock={"tick_hz": 1e6}, transfer_us=9000, exposure_us=1500)
    form = camera.open()
    assert (form.time_source, form.tick_hz, form.transport_ns) == ("device", 1e6, 7500 * 1000)


def test_delivery_jitter_only_adds_and_has_its_mean():
    got = run([], 30.0, transfer_jitter_us=400.0)
    delays = np.array([at - grab.t_exposure_ns for grab, at in got]) / 1000 - 3000
    assert delays.min() >= 0.0
    assert 340 < delays.mean() < 460
    assert delays.max() <= 3200.001


@pytest.mark.parametrize(
    "options",
    [
        {"faults": {"schedule": [{"at_s": 1.0, "fault": "explode"}]}},
        {"faults": {"schedule": [{"at_s": -1.0, "fault": "drop"}]}},
        {"faults": {"schedule": [{"at_s": t, "fault": "unplug", "away_s": 5} for t in (1, 3)]}},
        {"device_clock": {"tick_hz": 1e6}, "faults": {"jitter_us": 5}},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ValidationError):
        SimulatedCameraConfig.model_validate({"view": 0, **options})


at = st.floats(0.0, 3.0)
faults = st.one_of(
    st.fixed_dictionaries({"at_s": at, "fault": st.just("drop"), "n": st.integers(1, 40)}),
    st.fixed_dictionaries({"at_s": at, "fault": st.sampled_from(["duplicate", "reorder"]), "n": st.integers(1, 5)}),
    st.fixed_dictionaries({"at_s": at, "fault": st.just("late"), "late_ms": st.floats(0.1, 200.0)}),
    st.fixed_dictionaries(
        {
            "at_s": at, "fault": st.just("stall"), "for_s": st.floats(0.01, 2.0),
            "then": st.sampled_from(["jump", "burst"]),
        }
    ),
    st.fixed_dictionaries({"at_s": at, "fault": st.just("clock_step"), "by_us": st.floats(-5e4, 5e4)}),
    st.fixed_dictionaries({"at_s": at, "fault": st.just("exposure"), "exposure_us": st.integers(1, 20_000)}),
)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.lists(faults, max_size=5), st.integers(0, 99))
def test_any_schedule_tells_the_truth_and_closes_its_account(schedule, seed):
    got = run(schedule, 3.0, seed=seed, device_buffer_frames=4)
    world, ledger = SimulatedWorld(seed), FrameLedger()
    for grab, at_ns in got:
        truth = grab.truth
        assert truth.seq == grab.seq == truth.instant
        assert truth.t_true_ns == START_NS + truth.instant * PERIOD_NS
        assert truth.behavior == world.at(truth.instant / 50).behavior
        assert at_ns >= truth.t_true_ns + grab.exposure_us * 1000
        ledger.arrive(grab.seq, truth.t_true_ns)
    assert [at_ns for _, at_ns in got] == sorted(at_ns for _, at_ns in got)
    ledger.declare(end=True)
    assert ledger.captured + ledger.dropped == ledger.last_seq - ledger.first_seq + 1
