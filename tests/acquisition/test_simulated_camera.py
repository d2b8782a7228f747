"""What only the simulated camera does: truth, faults, and the timing of a device with a small buffer."""

import numpy as np
import pytest
from ethostream.acquisition.ledger import FrameLedger
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig, render_session
from ethostream.acquisition.simulated_world import SimulatedWorld
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, FakeClock

START_NS = 1_700_000_000_000_000_000
SHAPE = (120, 160)


def make(clock, name="cam", t_start_ns=START_NS, **options):
    options = {"view": 0, "width": SHAPE[1], "height": SHAPE[0], "rate_hz": 50, **options}
    camera = SimulatedCamera(name, SimulatedCameraConfig.model_validate(options), clock)
    camera.open()
    camera.start(t_start_ns)
    return camera


def grabs(camera, n):
    out = np.empty(SHAPE, np.uint8)
    got = []
    while len(got) < n:
        grab = camera.read_into(out, 10.0)
        if grab is not None:
            got.append(grab)
    return got


def test_live_pixels_and_labels_are_those_of_the_session(read_all):
    camera = make(FakeClock(START_NS), view=5, seed=11)
    got = read_all(camera, SHAPE, 60)
    session = render_session(11, 60, 50, [5], *SHAPE[::-1])
    for (grab, image), (images, behavior) in zip(got, session, strict=True):
        assert np.array_equal(image, images[0])
        assert grab.truth.behavior == behavior


def test_truth_is_the_world():
    world = SimulatedWorld(7)
    for grab in grabs(make(FakeClock(START_NS), truth_pose=True), 40):
        state = world.at(grab.seq / 50)
        truth = grab.truth
        assert (truth.camera, truth.seq, truth.instant) == ("cam", grab.seq, grab.seq)
        assert truth.behavior == state.behavior
        assert np.array_equal(np.array(truth.pose), state.pose)
        assert truth.t_true_ns == grab.t_exposure_ns == START_NS + grab.seq * 20 * NS_PER_MS


def test_pose_only_where_asked():
    assert grabs(make(FakeClock(START_NS)), 1)[0].truth.pose == ()


def test_instants_do_not_accumulate_rounding():
    camera = make(FakeClock(START_NS + 1800 * NS_PER_S), rate_hz=59.94)
    (grab,) = grabs(camera, 1)
    assert grab.seq == -(-1800 * 5994 // 100)
    day = 24 * 3600 * 5994 // 100
    for k in (grab.seq, day, day + 1):
        assert camera._instants.exposure_ns(k) == START_NS + k * NS_PER_S * 100 // 5994


def test_views_of_a_rig_expose_at_the_same_instants():
    sets = [grabs(make(FakeClock(START_NS), name, view=view, rate_hz=60), 20) for view, name in enumerate("abcd")]
    assert all([g.t_exposure_ns for g in one] == [g.t_exposure_ns for g in sets[0]] for one in sets)


def test_released_at_exposure_plus_transfer():
    clock = FakeClock(START_NS - NS_PER_S)
    camera = make(clock, exposure_us=3000, transfer_us=9000)
    for _ in range(10):
        (grab,) = grabs(camera, 1)
        assert clock.now_ns() == grab.t_exposure_ns + 9 * NS_PER_MS


def test_pixels_are_ready_before_the_exposure():
    out = np.zeros(SHAPE, np.uint8)
    ready = []

    class WatchedClock(FakeClock):
        def sleep_until_ns(self, t_ns):
            ready.append((self.now_ns(), out.copy()))
            super().sleep_until_ns(t_ns)

    camera = make(WatchedClock(START_NS - NS_PER_S))
    for _ in range(10):
        out[...] = 0
        grab = camera.read_into(out, 10.0)
        asleep_ns, image = ready[-1]
        assert asleep_ns < grab.t_exposure_ns
        assert np.array_equal(image, out)


def test_listed_drops_are_jumps_in_seq():
    camera = make(FakeClock(START_NS), faults={"drop_instants": [0, 3, 4, 9]})
    assert [g.seq for g in grabs(camera, 8)] == [1, 2, 5, 6, 7, 8, 10, 11]


def test_drawn_drops_have_their_rate_and_differ_between_cameras():
    lost = {}
    for name in ("left", "right"):
        camera = make(FakeClock(START_NS), name, faults={"drop_p": 0.2})
        seqs = [g.seq for g in grabs(camera, 400)]
        assert seqs == sorted(set(seqs))
        lost[name] = set(range(seqs[-1])) - set(seqs)
        assert 0.12 < len(lost[name]) / seqs[-1] < 0.28
    assert lost["left"] != lost["right"]


def test_a_duplicate_is_the_same_frame_again(read_all):
    got = read_all(make(FakeClock(START_NS), faults={"duplicate_p": 0.3}), SHAPE, 100)
    seen = {}
    n_duplicates = 0
    for grab, image in got:
        if grab.seq in seen:
            n_duplicates += 1
            before, pixels = seen[grab.seq]
            assert grab == before
            assert np.array_equal(image, pixels)
        seen[grab.seq] = grab, image
    assert n_duplicates > 10
    assert sorted(seen) == list(range(len(seen)))


def test_reordered_and_late_frames_all_arrive_with_their_own_times_and_pixels(read_all):
    camera = make(FakeClock(START_NS), faults={"reorder_p": 0.2, "late_p": 0.1, "late_ms": 70})
    got = read_all(camera, SHAPE, 200)
    seqs = [g.seq for g, _ in got]
    assert seqs != sorted(seqs)
    assert sorted(seqs)[:190] == list(range(190))
    plain = [images[0] for images, _ in render_session(7, max(seqs) + 1, 50, [0], *SHAPE[::-1])]
    for grab, image in got:
        assert grab.t_exposure_ns == START_NS + grab.seq * 20 * NS_PER_MS
        assert np.array_equal(image, plain[grab.seq])


def test_the_stamp_errs_and_the_truth_does_not():
    faults = {"jitter_us": 300, "offset_us": 2000, "drift_ppm": 100}
    errors = []
    for grab in grabs(make(FakeClock(START_NS), faults=faults), 300):
        assert grab.truth.t_true_ns == START_NS + grab.seq * 20 * NS_PER_MS
        drift_us = 100 * grab.seq * 0.02
        errors.append((grab.t_exposure_ns - grab.truth.t_true_ns) / 1000 - 2000 - drift_us)
    assert np.abs(errors).max() <= 300.001
    assert 120 < np.std(errors) < 220
    assert abs(np.mean(errors)) < 40


def test_a_late_host_gets_the_buffer_late_and_true():
    clock = FakeClock(START_NS)
    camera = make(clock, device_buffer_frames=8)
    assert [g.seq for g in grabs(camera, 3)] == [0, 1, 2]
    clock.advance_ns(160 * NS_PER_MS)  # frames 3 to 10 come meanwhile
    now = clock.now_ns()
    for seq, grab in zip(range(3, 11), grabs(camera, 8), strict=True):
        assert grab.seq == seq
        assert grab.t_exposure_ns == START_NS + seq * 20 * NS_PER_MS
        assert clock.now_ns() == now


def test_what_the_device_overwrote_is_a_jump_in_seq():
    clock = FakeClock(START_NS)
    camera = make(clock, device_buffer_frames=8)
    ledger = FrameLedger()
    for grab in grabs(camera, 3):
        ledger.arrive(grab.seq, grab.t_exposure_ns)
    clock.advance_ns(3600 * NS_PER_S)
    late = grabs(camera, 12)
    for grab in late:
        ledger.arrive(grab.seq, grab.t_exposure_ns)
        assert grab.t_exposure_ns == START_NS + grab.seq * 20 * NS_PER_MS
    newest = 2 + 3600 * 50
    assert [g.seq for g in late] == list(range(newest - 7, newest + 5))
    ledger.declare(end=True)
    assert ledger.dropped == newest - 7 - 3
    assert ledger.captured + ledger.dropped == ledger.last_seq + 1


def test_a_host_that_oversleeps_does_not_get_the_frame_that_was_overwritten():
    class SleepyClock(FakeClock):
        def sleep_until_ns(self, t_ns):
            super().sleep_until_ns(t_ns + 500 * NS_PER_MS)

    out = np.empty(SHAPE, np.uint8)
    camera = make(SleepyClock(START_NS), device_buffer_frames=4)
    grab = camera.read_into(out, 10.0)
    assert grab.seq > 4
    state = list(render_session(7, grab.seq + 1, 50, [0], *SHAPE[::-1]))[-1]
    assert np.array_equal(out, state[0][0])


def test_a_restarted_camera_begins_now():
    clock = FakeClock(START_NS + 10 * NS_PER_S + 1)
    first = grabs(make(clock), 2)
    assert [g.seq for g in first] == [501, 502]
    assert first[0].t_exposure_ns == START_NS + 501 * 20 * NS_PER_MS


@pytest.mark.parametrize("rate_hz", [25.0, 59.94, 30.0])
def test_exposure_times_are_whole_periods(rate_hz):
    times = np.array([g.t_exposure_ns - START_NS for g in grabs(make(FakeClock(START_NS), rate_hz=rate_hz), 60)])
    assert np.abs(times - np.arange(60) * 1e9 / rate_hz).max() <= 1.0
