"""What every kind of camera promises in real time: bring-up, order, loss, stall, change of format, and an end in time.

`test_camera_contract` holds the same promises for cameras that run on any clock.
"""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter  # noqa: TID251 - a bound on the real end of a real device

import numpy as np
import pytest
from ethostream.acquisition.kinds import make_camera
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import CameraError, CameraLostError, CameraOpenError

PATIENCE_S = 30.0
STOP_S = 1.0
"""The contract's bound on closing; the fastest of `TRIES` keeps it on a machine that others use too."""
TRIES = 3
CLOSE_S = 5.0
"""On any one close, however busy the machine is."""

N_SILENT = 5


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


benches = _load("camera_benches")
network = _load("network_cameras")


@pytest.fixture(params=["simulated", "file", "genicam", "opencv", "basler"])
def bench(request, tmp_path, write_video, grey_frames):
    if (why := benches.missing(request.param)) is not None:
        pytest.skip(why)
    match request.param:
        case "simulated":
            bench = benches.SimulatedBench()
        case "file":
            bench = benches.FileBench(tmp_path, write_video, grey_frames)
        case "genicam":
            bench = benches.GenicamBench()
        case "opencv":
            bench = benches.OpencvBench(network.MjpegCamera)
        case "basler":
            bench = benches.BaslerBench()
    yield bench
    bench.close()


@pytest.fixture
def clock():
    return RigClock(ClockAnchor.take())


@pytest.fixture
def running(bench, clock):
    """Brings a camera up: ``running(fault)`` gives it with its format; all are closed at the end."""
    cameras = []

    def bring_up(fault=None):
        if fault in bench.cannot:
            pytest.skip(bench.cannot[fault])
        camera = make_camera("cam", bench.config(fault), clock)
        cameras.append(camera)
        form = camera.open()
        camera.start(clock.now_ns())
        return camera, form

    yield bring_up
    for camera in cameras:
        camera.close()


def read(camera, form, n):
    """The next ``n`` frames, however long it takes."""
    out = np.empty(form.shape, np.uint8)
    grabs = []
    deadline = perf_counter() + PATIENCE_S
    while len(grabs) < n:
        grab = camera.read_into(out, 0.1)
        assert perf_counter() < deadline, f"{len(grabs)} of {n} frames"
        if grab is not None:
            grabs.append(grab)
    return grabs


def close_in_time(camera):
    before = perf_counter()
    camera.close()
    took_s = perf_counter() - before
    assert took_s < CLOSE_S
    return took_s


def fastest(attempt):
    """The first of `TRIES` that stops within `STOP_S`, else the fastest of them."""
    took_s = []
    while len(took_s) < TRIES and min(took_s, default=STOP_S) >= STOP_S:
        took_s.append(attempt())
    return min(took_s)


def test_settings_are_read_back(bench, running):
    camera, form = running()
    assert (form.width, form.height, form.rate_hz) == bench.wanted
    assert form.shape == (form.height, form.width)
    close_in_time(camera)


def test_a_setting_that_is_refused_is_named(bench, clock):
    options, named = bench.refused
    camera = make_camera("side", benches.CONFIG.validate_python(bench.options | options), clock)
    with pytest.raises(CameraOpenError, match=rf"camera side: .*{named}"):
        camera.open()
    camera.close()


def test_frames_come_in_order_with_the_time_that_the_format_promises(running):
    camera, form = running()
    grabs = read(camera, form, 15)
    assert all(a.seq < b.seq for a, b in pairwise(grabs))
    match form.time_source:
        case "host":
            assert {grab.t_exposure_ns for grab in grabs} == {-1} == {grab.ticks for grab in grabs}
        case "device":
            assert form.tick_hz > 0
            assert all(a.ticks < b.ticks for a, b in pairwise(grabs))
        case _:
            assert all(a.t_exposure_ns < b.t_exposure_ns for a, b in pairwise(grabs))
    close_in_time(camera)


def test_close_twice_and_open_again(running, bench, clock):
    camera, form = running()
    read(camera, form, 3)
    close_in_time(camera)
    camera.close()
    with pytest.raises(CameraLostError, match="cam"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
    assert camera.open() == form
    camera.start(clock.now_ns())
    read(camera, form, 3)


def test_it_stops_within_a_second(running):
    def attempt():
        camera, form = running()
        read(camera, form, 3)
        return close_in_time(camera)

    assert fastest(attempt) < STOP_S


def test_order_of_calls_is_checked(bench, clock):
    camera = make_camera("cam", bench.config(), clock)
    with pytest.raises(CameraError, match="cam"):
        camera.start(clock.now_ns())
    form = camera.open()
    with pytest.raises(CameraLostError, match="start"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
    close_in_time(camera)


def test_unplugged_it_is_lost_by_name_ends_in_time_and_comes_back(bench, running, clock):
    camera, form = running("unplug")
    read(camera, form, 3)
    bench.strike("unplug", camera)
    with pytest.raises(CameraLostError, match="camera cam: "):
        read(camera, form, 10_000)
    close_in_time(camera)
    bench.mend()
    again = make_camera("cam", bench.config(), clock)
    assert again.open() == form
    again.start(clock.now_ns())
    read(again, form, 3)
    close_in_time(again)


def test_stalled_it_says_nothing_invents_nothing_and_stops_within_a_second(bench, running, clock):
    def attempt():
        bench.mend()
        camera, form = running("stall")
        out = np.empty(form.shape, np.uint8)
        bench.strike("stall", camera)
        silent = 0
        deadline = perf_counter() + PATIENCE_S
        # What was on its way still comes; from then on nothing does.
        while silent < N_SILENT:
            silent = 0 if camera.read_into(out, 0.1) is not None else silent + 1
            assert perf_counter() < deadline
        t_before = clock.now_ns()
        assert camera.read_into(out, 0.05) is None
        assert clock.now_ns() - t_before < PATIENCE_S * NS_PER_S
        return close_in_time(camera)

    assert fastest(attempt) < STOP_S


def test_a_change_of_format_is_a_loss_and_no_crooked_picture(bench, running):
    camera, form = running("format change")
    read(camera, form, 3)
    bench.strike("format change", camera)
    with pytest.raises(
        CameraLostError,
        match=r"camera cam: .*(changed from (160x120|64x48)|is uint8 \(48, 64\), its frames are uint8 \(32, 80\))",
    ):
        read(camera, form, 10_000)
    close_in_time(camera)
