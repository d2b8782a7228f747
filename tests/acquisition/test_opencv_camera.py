"""Cameras on the network, over real sockets; and UVC devices, on a stand-in for `cv2.VideoCapture`.

No UVC device was ever attached: its settings are shown at the seam to OpenCV.
"""

import importlib.util
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from ethostream.acquisition import uvc_device
from ethostream.acquisition.network_stream import without_password
from ethostream.acquisition.newest_frame import NewestFrame
from ethostream.acquisition.opencv_camera import OpencvCamera, OpencvCameraConfig
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, ClockAnchor, FakeClock, RigClock
from ethostream.sync.errors import CameraLostError, CameraOpenError
from grabbing import PATIENCE, next_grab
from pydantic import ValidationError

UVC = {"device": "/dev/video7", "fourcc": "YUYV", "width": 64, "height": 48, "rate_hz": 30}


def _network():
    spec = importlib.util.spec_from_file_location("network", Path(__file__).with_name("network_cameras.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


network = _network()


@pytest.fixture
def clock():
    return RigClock(ClockAnchor.take())


@pytest.fixture
def mjpeg():
    server = network.MjpegCamera()
    yield server
    server.close()


@pytest.fixture
def make(clock):
    made = []

    def make(**options):
        made.append(OpencvCamera("cam", OpencvCameraConfig(**options), clock))
        return made[-1]

    yield make
    for camera in made:
        camera.close()


def running(camera, clock):
    form = camera.open()
    camera.start(clock.now_ns())
    return form


class TestStream:
    def test_the_newest_frame_is_taken_and_the_others_are_counted(self, mjpeg, make, clock):
        camera = make(url=mjpeg.url, rate_hz=50)
        form = running(camera, clock)
        first, early = next_grab(camera, form)
        sent = mjpeg.n_sent
        while mjpeg.n_sent < sent + 10:
            clock.sleep_until_ns(clock.now_ns() + 10 * NS_PER_MS)
        later, late = next_grab(camera, form)
        n_between = later.seq - first.seq
        assert n_between >= 5, "ten frames were sent; what lies in the buffers of the sockets is not all read yet"
        assert int(late[0, 0]) == (int(early[0, 0]) + 4 * n_between) % 256, "the picture is that of its number"

    def test_one_that_hangs_up_is_called_again_and_the_gap_is_declared(self, mjpeg, make, clock):
        camera = make(url=mjpeg.url, rate_hz=50, away_s=30)
        form = running(camera, clock)
        before, _ = next_grab(camera, form)
        t_before_ns = clock.now_ns()
        mjpeg.hang_up()
        while mjpeg.n_connections < 2:
            grab, _ = next_grab(camera, form)
        while (grab := next_grab(camera, form)[0]).seq == before.seq:
            pass
        elapsed_s = (clock.now_ns() - t_before_ns) / NS_PER_S
        assert before.seq < grab.seq <= before.seq + 50 * elapsed_s + 10

    def test_pictures_that_are_none_are_missing_from_seq(self, mjpeg, make, clock):
        camera = make(url=mjpeg.url, rate_hz=50)
        form = running(camera, clock)
        seq = next_grab(camera, form)[0].seq
        mjpeg.broken = True
        out = np.empty(form.shape, np.uint8)
        while (last := camera.read_into(out, 0.2)) is not None:
            seq = last.seq
        sent = mjpeg.n_sent
        while mjpeg.n_sent < sent + 5:
            clock.sleep_until_ns(clock.now_ns() + 10 * NS_PER_MS)
        mjpeg.broken = False
        assert next_grab(camera, form)[0].seq > seq + 5

    def test_one_that_does_not_come_back_is_lost_by_name_without_its_password(self, mjpeg, make, clock):
        camera = make(url=mjpeg.url, rate_hz=50, away_s=0.2)
        form = running(camera, clock)
        mjpeg.close()
        with pytest.raises(CameraLostError, match=r"camera cam: did not come back within 0\.2 s: .*refused") as lost:
            for _ in range(PATIENCE):
                next_grab(camera, form)
        assert "secret" not in str(lost.value)
        assert "…@127.0.0.1" in str(lost.value)

    def test_one_that_takes_the_call_and_is_silent_does_not_hold_the_rig(self, mjpeg, make, clock):
        camera = make(url=mjpeg.url, rate_hz=50, away_s=30)
        running(camera, clock)
        mjpeg.silent = True
        mjpeg.hang_up()
        while mjpeg.n_connections < 2:
            clock.sleep_until_ns(clock.now_ns() + 10 * NS_PER_MS)
        t_before_ns = clock.now_ns()
        camera.close()
        assert clock.now_ns() - t_before_ns < 4 * NS_PER_S, (
            "it takes up to 5 s to give up a call; nobody waits for that"
        )

    def test_colour_and_another_size(self, mjpeg, make, clock):
        mjpeg.size = (80, 32)
        camera = make(url=mjpeg.url, rate_hz=50, pixel_format="bgr8", width=80, height=32)
        form = running(camera, clock)
        assert (form.shape, form.pixel_format, form.time_source) == ((32, 80, 3), "bgr8", "host")
        assert next_grab(camera, form)[1].shape == (32, 80, 3)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "rtsp://127.0.0.1:9/x"])
    def test_nobody_there(self, make, url):
        with pytest.raises(
            CameraOpenError, match=r"camera cam: .*127\.0\.0\.1:9/x does not open \(Connection refused\)"
        ):
            make(url=url, rate_hz=25).open()

    def test_rtsp(self, make, clock):
        """The real protocol over a real socket; the server is the test's own, and no camera's."""
        server = network.RtspCamera()
        try:
            camera = make(url=server.url, rate_hz=50, away_s=30)
            form = running(camera, clock)
            assert form.shape == (48, 64)
            first, image = next_grab(camera, form)
            assert image.std() < 3
            server.hang_up()
            while server.n_connections < 2:
                next_grab(camera, form)
            again, _ = next_grab(camera, form)
            assert again.seq > first.seq
            camera.close()
        finally:
            server.close()


class FakeCapture:
    """A webcam at the seam to OpenCV: it takes what is in its list of modes, and rounds what is not."""

    opened = True
    deaf: frozenset[int] = frozenset()

    def __init__(self, device, backend):
        assert (device, backend) == ("/dev/video7", cv2.CAP_V4L2)
        self.log = []
        self.values = {cv2.CAP_PROP_EXPOSURE: 156.0, cv2.CAP_PROP_AUTO_EXPOSURE: 3.0}
        self.released = threading.Event()
        self.frames = [np.full((48, 64, 3), 7, np.uint8)] * 3
        FakeCapture.last = self

    def isOpened(self):  # noqa: N802
        return self.opened

    def set(self, key, value):
        self.log.append((key, value))
        if key in self.deaf:
            return False
        self.values[key] = min(value, 640.0) if key == cv2.CAP_PROP_FRAME_WIDTH else value
        return True

    def get(self, key):
        return self.values.get(key, 0.0)

    def read(self):
        return (True, self.frames.pop()) if self.frames else (False, None)

    def release(self):
        self.released.set()


@pytest.fixture
def uvc(monkeypatch):
    monkeypatch.setattr(uvc_device.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "opened", True)
    monkeypatch.setattr(FakeCapture, "deaf", frozenset())
    return FakeCapture


class TestUvc:
    def test_settings_in_an_order_that_works(self, uvc, make):
        form = make(**UVC, exposure_us=5000, gain=12).open()
        code = int.from_bytes(b"YUYV", "little")
        assert uvc.last.log == [
            (cv2.CAP_PROP_FOURCC, code), (cv2.CAP_PROP_FRAME_WIDTH, 64), (cv2.CAP_PROP_FRAME_HEIGHT, 48),
            (cv2.CAP_PROP_FPS, 30), (cv2.CAP_PROP_AUTO_EXPOSURE, 1), (cv2.CAP_PROP_EXPOSURE, 50),
            (cv2.CAP_PROP_GAIN, 12),
        ]  # fmt: skip
        assert (form.shape, form.rate_hz, form.time_source) == ((48, 64), 30, "host")

    @pytest.mark.parametrize(
        ("options", "deaf", "message"),
        [
            ({"width": 1920}, None, "width=1920 was set, and the device has 640"),
            ({"exposure_us": 5000}, cv2.CAP_PROP_EXPOSURE, "exposure_us / 100=50 was refused, and the device has 156"),
            ({}, cv2.CAP_PROP_FOURCC, "fourcc=YUYV was refused, and the device has none"),
        ],
    )
    def test_a_difference_is_an_error_and_the_device_is_released(self, uvc, make, monkeypatch, options, deaf, message):
        monkeypatch.setattr(FakeCapture, "deaf", frozenset({deaf}))
        with pytest.raises(CameraOpenError, match=f"camera cam: {message}"):
            make(**(UVC | options)).open()
        assert uvc.last.released.is_set()

    def test_not_there(self, uvc, make, monkeypatch):
        monkeypatch.setattr(FakeCapture, "opened", False)
        with pytest.raises(CameraOpenError, match=r"camera cam: device /dev/video7 does not open; .*group video"):
            make(**UVC).open()

    def test_frames_are_counted_and_a_device_that_goes_is_lost_at_once(self, uvc, make, clock):
        camera = make(**UVC)
        form = running(camera, clock)
        with pytest.raises(CameraLostError, match="camera cam: device /dev/video7 gives no frame"):
            for _ in range(4):
                next_grab(camera, form)
        assert uvc.last.released.wait(30)

    def test_deep_pixels_are_not_cut_to_8_bits(self, uvc, make, monkeypatch):
        monkeypatch.setattr(FakeCapture, "read", lambda _: (True, np.full((48, 64), 300, np.uint16)))
        with pytest.raises(CameraOpenError, match="gives pixels of uint16"):
            make(**UVC).open()
        assert uvc.last.released.is_set()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:p@ss@10.0.0.2/stream", "rtsp://…@10.0.0.2/stream"),
        ("http://10.0.0.2/video?user=a&password=secret&size=1", "http://10.0.0.2/video?user=a&password=…&size=1"),
        ("rtsp://10.0.0.2/a@b", "rtsp://10.0.0.2/a@b"),
    ],
)
def test_no_password_is_shown(url, shown):
    assert without_password(url) == shown


class Scripted:
    """A source whose frames come when the test says so."""

    def __init__(self):
        self.go = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)
        self.lost = False

    def read(self):
        self.go.acquire()
        self.taken.release()
        if self.lost:
            raise CameraLostError("camera cam: pulled")
        return np.zeros((1, 1), np.uint8)

    def close(self):
        pass

    def deliver(self, n=1):
        for _ in range(n):
            self.go.release()
            self.taken.acquire()


def test_frames_before_the_start_are_not_counted_and_a_gap_is_measured_by_the_clock():
    clock = FakeClock(NS_PER_S)
    first, second = Scripted(), Scripted()
    reader = NewestFrame("cam", first, lambda: second, 100.0, 5.0, clock)
    try:
        first.deliver(3)
        reader.start(2 * NS_PER_S)
        first.deliver(3)
        clock.set_ns(2 * NS_PER_S)
        first.deliver(2)
        second.go.release()  # read only after the first was lost
        while (frame := reader.take(0.0)) is None or frame.seq < 1:
            pass
        clock.set_ns(3 * NS_PER_S)
        first.lost = True
        first.deliver()
        frame = reader.take(30.0)
        # 1 s at 100 Hz: 99 frames were missed, and this is the one after them.
        assert frame.seq == 1 + 99 + 1
    finally:
        second.lost = True
        reader._stop.set()
        second.go.release()
        reader.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 30}, "either a device or a url"),
        ({"rate_hz": 30, "device": 0, "url": "rtsp://x"}, "either a device or a url"),
        ({"rate_hz": 30, "device": 0}, "needs fourcc, width and height"),
        ({"rate_hz": 30, "url": "ftp://x"}, "pattern"),
        ({"rate_hz": 30, "url": "rtsp://x", "gain": 2}, "settings of a device"),
        ({"rate_hz": 1, "url": "rtsp://x"}, "below 2 periods"),
        ({**UVC, "exposure_us": 150}, "multiple"),
        ({**UVC, "fourcc": "MJPEG"}, "pattern"),
        ({**UVC, "fourcc": "Y16 "}, "more than 8 bits"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValidationError, match=message):
        OpencvCameraConfig(**options)
