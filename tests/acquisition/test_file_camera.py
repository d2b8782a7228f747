"""What only the file camera does: its own times, loops, several files as views, and files that break."""

import logging

import numpy as np
import pytest
from ethostream.acquisition.camera import EndOfStream
from ethostream.acquisition.file_camera import FileCamera, FileCameraConfig
from ethostream.streaming.video import VideoReader
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, FakeClock
from ethostream.sync.errors import CameraLostError, CameraOpenError

START_NS = 1_700_000_000_000_000_000


def make(path, clock, t_start_ns=START_NS, **options):
    camera = FileCamera("top", FileCameraConfig(path=path, **options), clock)
    form = camera.open()
    camera.start(t_start_ns)
    return camera, form


def test_bytes_and_times_are_the_file_s(tmp_path, write_video, grey_frames, read_all):
    frames, times = grey_frames(12), [0, 40, 80, 130, 140, 300, 301, 900, 950, 1000, 2000, 2040]
    path = write_video(tmp_path / "uneven.mkv", frames, times)
    clock = FakeClock(START_NS - NS_PER_S)
    camera, form = make(path, clock)
    for i, (grab, image) in enumerate(read_all(camera, form.shape, 12)):
        assert grab.seq == i
        assert grab.t_exposure_ns == START_NS + times[i] * NS_PER_MS
        assert grab.exposure_us == 0
        assert grab.truth is None
        assert np.array_equal(image, frames[i])
    assert clock.now_ns() == START_NS + 2040 * NS_PER_MS
    camera.close()


def test_as_fast_as_possible_keeps_the_times_and_does_not_wait(small_video, read_all):
    clock = FakeClock(START_NS)
    camera, form = make(small_video, clock, pace="max")
    assert [g.t_exposure_ns for g, _ in read_all(camera, form.shape, 99)] == [
        START_NS + i * 40 * NS_PER_MS for i in range(40)
    ]
    assert clock.now_ns() == START_NS
    camera.close()


def test_another_rate(small_video, read_all):
    camera, form = make(small_video, FakeClock(START_NS), rate_hz=60)
    assert form.rate_hz == 60
    assert [g.t_exposure_ns - START_NS for g, _ in read_all(camera, form.shape, 99)] == [
        i * NS_PER_S // 60 for i in range(40)
    ]
    camera.close()


@pytest.mark.parametrize("rate_hz", [None, 60.0])
def test_a_loop_goes_on_in_time(small_video, grey_frames, read_all, rate_hz):
    camera, form = make(small_video, FakeClock(START_NS), loop=True, rate_hz=rate_hz)
    got = read_all(camera, form.shape, 130)
    frames = grey_frames(40)
    step = NS_PER_S / (rate_hz or 25)
    for i, (grab, image) in enumerate(got):
        assert grab.seq == i
        assert abs(grab.t_exposure_ns - START_NS - i * step) <= 4
        assert np.array_equal(image, frames[i % 40])
    camera.close()


def test_a_late_host_gets_every_frame_late_and_true(small_video, read_all):
    clock = FakeClock(START_NS)
    camera, form = make(small_video, clock)
    read_all(camera, form.shape, 3)
    clock.advance_ns(30 * NS_PER_S)
    rest = read_all(camera, form.shape, 99)
    assert [g.seq for g, _ in rest] == list(range(3, 40))
    assert [g.t_exposure_ns for g, _ in rest] == [START_NS + i * 40 * NS_PER_MS for i in range(3, 40)]
    camera.close()


def test_a_little_late_at_the_start_is_not_a_restart(small_video, read_all):
    camera, form = make(small_video, FakeClock(START_NS + 900 * NS_PER_MS))
    assert read_all(camera, form.shape, 1)[0][0].seq == 0
    camera.close()


def test_a_restarted_camera_goes_on_where_the_others_are(small_video, grey_frames, read_all, caplog):
    with caplog.at_level(logging.WARNING):
        camera, form = make(small_video, FakeClock(START_NS + 1210 * NS_PER_MS))
        grab, image = read_all(camera, form.shape, 1)[0]
    assert grab.seq == 31
    assert grab.t_exposure_ns == START_NS + 1240 * NS_PER_MS
    assert np.array_equal(image, grey_frames(40)[31])
    assert "31 frames" in caplog.text
    assert "passed over" in caplog.text
    camera.close()


def test_a_restarted_loop_passes_over_whole_rounds(small_video, grey_frames, read_all):
    camera, form = make(small_video, FakeClock(START_NS + 3600 * NS_PER_S + 1), loop=True)
    grab, image = read_all(camera, form.shape, 1)[0]
    assert grab.seq == 3600 * 25 + 1
    assert grab.t_exposure_ns == START_NS + grab.seq * 40 * NS_PER_MS
    assert np.array_equal(image, grey_frames(40)[grab.seq % 40])
    camera.close()


def test_files_started_together_are_synchronised(tmp_path, write_video, grey_frames, read_all):
    times = []
    for view in range(3):
        path = write_video(tmp_path / f"{view}.mkv", grey_frames(20, seed=view))
        camera, form = make(path, FakeClock(START_NS))
        times.append([g.t_exposure_ns for g, _ in read_all(camera, form.shape, 20)])
        camera.close()
    assert times[0] == times[1] == times[2]


@pytest.mark.parametrize(("content", "why"), [(b"", r"empty \(0 bytes\)"), (b"not a video\n" * 500, "not a video")])
def test_what_is_no_video_is_named(tmp_path, content, why):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    camera = FileCamera("top", FileCameraConfig(path=path), FakeClock())
    with pytest.raises(CameraOpenError, match=rf"camera top: .*broken\.mp4.*{why}"):
        camera.open()


@pytest.mark.parametrize("loop", [False, True])
def test_a_cut_file_is_lost_where_it_is_cut(tmp_path, small_video, read_all, loop):
    whole = small_video.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    camera, form = make(path, FakeClock(START_NS), loop=loop)
    got = []
    with pytest.raises(CameraLostError, match=r"camera top: frame \d+ .*cut\.mkv.*truncated"):
        while True:
            got += read_all(camera, form.shape, 1)
    assert 20 < len(got) < 30
    camera.close()


def test_a_file_that_goes_away_while_it_loops(small_video, read_all):
    camera, form = make(small_video, FakeClock(START_NS), loop=True)
    small_video.unlink()
    with pytest.raises(CameraLostError, match=r"camera top: .*small\.mkv"):
        read_all(camera, form.shape, 99)
    camera.close()


REAL = {
    "openfield_top/m3v1mp4.mp4": (640, 480, 30.0003),
    "openfield_below/cropped_video.mp4": (1064, 1070, 25.0),
    "face_side/sample_video.mp4": (800, 480, 25.0),
    "head_fixed_wheel": (396, 406, 250.0),
}


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_video_plays_at_its_own_rate(test_data, name, read_all):
    path = test_data / name
    if path.is_dir():
        path = next(path.rglob("*.mp4"))
    width, height, rate_hz = REAL[name]
    clock = FakeClock(START_NS)
    camera, form = make(path, clock, pixel_format="mono8")
    assert (form.width, form.height, form.rate_hz) == (width, height, pytest.approx(rate_hz, abs=1e-3))
    got = read_all(camera, form.shape, 60)
    with VideoReader(path, "mono8") as video:
        for (grab, image), (pts_ns, expected) in zip(got, video, strict=False):
            assert grab.t_exposure_ns == START_NS + pts_ns
            assert np.array_equal(image, expected)
    assert np.diff([g.t_exposure_ns for g, _ in got]).mean() == pytest.approx(NS_PER_S / rate_hz, rel=1e-3)
    camera.close()


def test_four_real_views_are_synchronised(test_data, read_all):
    paths = sorted((test_data / "four_cameras").glob("*/minimal_*.mp4"))
    assert len(paths) == 4
    times = []
    for path in paths:
        camera, form = make(path, FakeClock(START_NS), pixel_format="mono8")
        got = read_all(camera, form.shape, 200)
        assert len(got) == 120
        with pytest.raises(EndOfStream):
            camera.read_into(np.empty(form.shape, np.uint8), 1.0)
        times.append([g.t_exposure_ns for g, _ in got])
        camera.close()
    assert all(one == times[0] for one in times)
