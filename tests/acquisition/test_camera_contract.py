"""What every camera promises, whatever stands behind it."""

from itertools import pairwise

import numpy as np
import pytest
from ethostream.acquisition.camera import CameraFormat, EndOfStream
from ethostream.acquisition.kinds import CameraConfig, make_camera
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, FakeClock
from ethostream.sync.errors import CameraError, CameraLostError, CameraOpenError
from pydantic import TypeAdapter, ValidationError

CONFIG = TypeAdapter(CameraConfig)
START_NS = 1_700_000_000_000_000_000
KINDS = {
    "simulated": {"kind": "simulated", "view": 3, "width": 160, "height": 120, "rate_hz": 25},
    "simulated_with_faults": {
        "kind": "simulated", "view": 0, "width": 160, "height": 120, "rate_hz": 25,
        "faults": {"drop_p": 0.1, "duplicate_p": 0.1, "reorder_p": 0.1, "late_p": 0.05, "jitter_us": 200},
    },
    "file": {"kind": "file"},
    "file_loop": {"kind": "file", "loop": True},
    "file_rate": {"kind": "file", "rate_hz": 50},
    "file_max": {"kind": "file", "pace": "max"},
    "file_color": {"kind": "file", "pixel_format": "bgr8"},
}  # fmt: skip


@pytest.fixture(params=sorted(KINDS))
def config(request, small_video):
    options = dict(KINDS[request.param])
    if options["kind"] == "file":
        options["path"] = small_video
    return CONFIG.validate_python(options)


@pytest.fixture
def clock():
    return FakeClock(START_NS - NS_PER_S)


@pytest.fixture
def camera(config, clock):
    camera = make_camera("cam", config, clock)
    yield camera
    camera.close()


def test_format_tells_what_is_delivered(camera, config):
    form = camera.open()
    assert isinstance(form, CameraFormat)
    assert form.time_source == config.kind
    assert form.rate_hz == (config.rate_hz or 25)
    assert form.shape[:2] == (form.height, form.width)
    assert form.pixel_format == ("bgr8" if form.shape[2:] else "mono8")


def test_frames_fill_the_buffer_and_times_follow_seq(camera, read_all):
    form = camera.open()
    camera.start(START_NS)
    got = read_all(camera, form.shape, 30)
    assert len(got) == 30
    time_of = {}
    for grab, image in got:
        assert image.dtype == np.uint8
        assert image.std() > 0
        time_of.setdefault(grab.seq, grab.t_exposure_ns)
        assert time_of[grab.seq] == grab.t_exposure_ns, "a duplicate has the time of its frame"
    times = [time_of[seq] for seq in sorted(time_of)]
    assert all(a < b for a, b in pairwise(times))
    assert abs(times[0] - START_NS) < 100 * NS_PER_MS


def test_two_runs_are_the_same(config, read_all):
    runs = []
    for _ in range(2):
        camera = make_camera("cam", config, FakeClock(START_NS))
        form = camera.open()
        camera.start(START_NS)
        runs.append(read_all(camera, form.shape, 25))
        camera.close()
    for (grab, image), (other, other_image) in zip(*runs, strict=True):
        assert grab == other
        assert np.array_equal(image, other_image)


def test_no_frame_comes_before_its_time(camera, config, clock, read_all):
    form = camera.open()
    camera.start(START_NS)
    out = np.empty(form.shape, np.uint8)
    for _ in range(20):
        grab = camera.read_into(out, 10.0)
        if getattr(config, "pace", "timestamps") == "timestamps":
            assert clock.now_ns() >= grab.t_exposure_ns


def test_timeout_gives_none_and_loses_nothing(camera, config, clock):
    form = camera.open()
    camera.start(START_NS)
    out = np.empty(form.shape, np.uint8)
    if getattr(config, "pace", "timestamps") == "max":
        pytest.skip("as fast as possible never waits")
    before = clock.now_ns()
    assert camera.read_into(out, 0.25) is None
    assert clock.now_ns() == before + NS_PER_S // 4
    seqs = []
    while len(seqs) < 10:
        grab = camera.read_into(out, 0.003)
        if grab is not None:
            seqs.append(grab.seq)
    again = make_camera("cam", config, FakeClock(START_NS - NS_PER_S))
    again.open()
    again.start(START_NS)
    assert seqs == [again.read_into(out, 10.0).seq for _ in range(10)]
    again.close()


def test_close_twice_and_reopen(camera, clock, read_all):
    form = camera.open()
    camera.start(START_NS)
    first = read_all(camera, form.shape, 5)
    camera.close()
    camera.close()
    with pytest.raises(CameraLostError, match="cam"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
    clock.set_ns(START_NS + 100 * NS_PER_S)
    assert camera.open() == form
    camera.start(START_NS + 100 * NS_PER_S)
    second = read_all(camera, form.shape, 5)
    assert [g.seq for g, _ in first] == [g.seq for g, _ in second]


def test_order_of_calls_is_checked(camera):
    with pytest.raises(CameraError, match="cam"):
        camera.start(START_NS)
    form = camera.open()
    with pytest.raises(CameraLostError, match="start"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)


def test_it_ends_only_if_it_is_a_file_that_ends(camera, config, read_all):
    form = camera.open()
    camera.start(START_NS)
    got = read_all(camera, form.shape, 60)
    if config.kind == "file" and not config.loop:
        assert [g.seq for g, _ in got] == list(range(40))
        for _ in range(2):
            with pytest.raises(EndOfStream):
                camera.read_into(np.empty(form.shape, np.uint8), 1.0)
    else:
        assert len(got) == 60


def test_missing_file_is_named(tmp_path, clock):
    path = tmp_path / "gone.mp4"
    camera = make_camera("top", CONFIG.validate_python({"kind": "file", "path": path}), clock)
    with pytest.raises(CameraOpenError, match=r"camera top: .*gone\.mp4.*check the path"):
        camera.open()
    camera.close()


@pytest.mark.parametrize("setting", [{"exposure_us": 50_000}, {"exposure_us": 5_000, "transfer_us": 4_000}])
def test_refused_setting_is_named(setting, clock):
    camera = make_camera("side", CONFIG.validate_python({"kind": "simulated", "view": 0, **setting}), clock)
    with pytest.raises(CameraOpenError, match=r"camera side: (exposure|transfer)_us=\d+"):
        camera.open()


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "simulated", "view": 8},
        {"kind": "simulated", "view": 0, "exposure": 5},
        {"kind": "simulated", "view": 0, "faults": {"drop_p": 1.5}},
        {"kind": "file"},
        {"kind": "file", "path": "a.mp4", "pace": "fast"},
        {"kind": "webcam"},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        CONFIG.validate_python(options)
