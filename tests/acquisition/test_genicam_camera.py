"""GenICam cameras: on the simulator that comes with the SDK, and on a stand-in for the SDK where it has too little.

The simulator has no clock, exposure, gain or trigger. What those need is shown on a stand-in with the features of a
FLIR camera; it has never run on a camera.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ethostream.acquisition import genicam_device
from ethostream.acquisition.genicam_camera import RECIPES, GenicamCamera, GenicamCameraConfig, write_image
from ethostream.acquisition.genicam_device import GenicamBuffer
from ethostream.sync.clock import NS_PER_MS, ClockAnchor, RigClock
from ethostream.sync.errors import CameraLostError, CameraOpenError, ConfigError
from grabbing import PATIENCE, next_grab

ROI = {"width_px": 160, "height_px": 120}


@pytest.fixture
def make():
    made = []

    def make(**options):
        options = {"producer": "simulator", "serial": "1", "rate_hz": 100, "roi": ROI, "buffers": 3} | options
        made.append(GenicamCamera("cam", GenicamCameraConfig(**options), RigClock(ClockAnchor.take())))
        return made[-1]

    yield make
    for camera in made:
        camera.close()


class TestSimulator:
    """Through harvesters and the GenTL producer."""

    @pytest.fixture(autouse=True)
    def _sdk(self):
        pytest.importorskip("harvesters", reason="the extra genicam is not installed")

    def test_it_is_found_with_what_the_rig_file_needs(self):
        producer = genicam_device.producer_path("simulator")
        found = genicam_device.discover(producer)
        assert [(one.kind, one.model, one.serial) for one in found] == [("genicam", "Viky", one) for one in "012"]
        assert {one.detail["producer"] for one in found} == {str(producer)}
        assert {one.modes for one in found} == {("400x400 RGBa8", "400x400 Mono8")}

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"serial": "77"}, r"serial 77 .*it sees: Viky 0, Viky 1, Viky 2"),
            ({"serial": None, "index": 5}, "index 5"),
            ({"roi": {"width_px": 99, "height_px": 120}}, "Width=99 is refused .*Min = 100"),
            ({"rate_hz": 201}, "AcquisitionFrameRate=201"),
            ({"exposure_us": 1000}, "ExposureTime=1000.0: Viky has no such feature"),
            ({"gain_db": 3}, "Gain=3.0: Viky has no such feature"),
            ({"trigger": {"line": "Line2"}}, "TriggerSource=Line2: Viky has no such feature"),
            ({"trigger": {"line": "Line2"}, "rate_hz": None}, "trigger needs rate_hz"),
            ({"pixel_format": "rgb8"}, "PixelFormat=RGB8 is refused .*it takes RGBa8, Mono8"),
            ({"line_status_chunk": "LineStatusAll"}, "ChunkSelector=LineStatusAll is refused"),
            ({"features": {"Sharpness": 3}}, "Sharpness=3: Viky has no such feature"),
            ({"features": {"AspectRatio": 2.0}}, "AspectRatio=2.0 is refused .*not writable"),
            ({"features": {"BouncingBallSize": 1.5}}, "BouncingBallSize=1.5 is refused"),
            ({"features": {"FancyBallOperation": True}}, "FancyBallOperation is a command"),
            ({"producer": "/nowhere/x.cti"}, "producer /nowhere/x.cti: no such file"),
        ],
    )
    def test_what_it_refuses_is_named(self, make, options, named):
        with pytest.raises(CameraOpenError, match=rf"camera cam: .*{named}"):
            make(**options).open()

    def test_a_file_that_is_no_producer(self, make, tmp_path):
        (tmp_path / "x.cti").write_text("not a library")
        with pytest.raises(CameraOpenError, match=r"x\.cti: .*name the \.cti file"):
            make(producer=tmp_path / "x.cti").open()

    def test_features_are_written(self, make):
        camera = make(features={"BouncingBallSize": 33, "ComponentSelector": "Range"})
        camera.open()
        assert camera._device.get("BouncingBallSize") == 33
        assert camera._device.get("ComponentSelector") == "Range"

    def test_a_host_that_is_late_sees_the_counter_jump(self, make):
        camera = make(rate_hz=200)
        form = camera.open()
        clock = camera._clock
        camera.start(clock.now_ns())
        last, _ = next_grab(camera, form)
        for _ in range(PATIENCE):
            clock.sleep_until_ns(clock.now_ns() + 100 * NS_PER_MS)
            grab, _ = next_grab(camera, form)
            assert grab.seq > last.seq
            if grab.seq > last.seq + 1:
                return
            last = grab
        raise AssertionError("no frame was ever lost")

    def test_a_chunk_comes_with_each_frame(self, make):
        camera = make(line_status_chunk="NrBounces")
        form = camera.open()
        camera.start(0)
        assert next_grab(camera, form)[0].line_status >= 0

    def test_a_damaged_buffer_is_missing_from_seq(self, make):
        camera = make(rate_hz=20)
        form = camera.open()
        camera.start(0)
        before = next_grab(camera, form)[0]
        acquirer = camera._device._acquirer
        acquirer._emit_callbacks(acquirer.Events.INCOMPLETE_BUFFER)
        after = next_grab(camera, form)[0]
        assert after.seq >= before.seq + 2

    def test_a_clock_that_is_asked_for_and_not_there_is_no_silent_zero(self, make):
        camera = make(clock="device")
        form = camera.open()
        assert (form.time_source, form.tick_hz) == ("device", 1e9)
        camera.start(0)
        with pytest.raises(CameraLostError, match="clock: host"):
            next_grab(camera, form)


def test_the_missing_extra_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "harvesters", None)
    with pytest.raises(ConfigError, match=r"harvesters.*ethostream\[genicam\]"):
        make(producer="/x.cti").open()


@pytest.mark.parametrize("name", [one for one, recipe in RECIPES.items() if recipe.delivered == "bgr8"])
def test_colours_come_out_as_they_were_seen(name):
    """A scene of one colour, as each format carries it, with padding at the end of each row."""
    blue, green, red = 40, 90, 200
    height, width, padding = 8, 10, 6
    if name.startswith("bayer"):
        order = {"rg": (red, green, green, blue), "gr": (green, red, blue, green),
                 "gb": (green, blue, red, green), "bg": (blue, green, green, red)}[name[6:8]]  # fmt: skip
        rows = np.zeros((height, width + padding), np.uint8)
        rows[0::2, 0:width:2], rows[0::2, 1:width:2], rows[1::2, 0:width:2], rows[1::2, 1:width:2] = order
    else:
        rows = np.zeros((height, 3 * width + padding), np.uint8)
        rows[:, : 3 * width] = np.tile((red, green, blue) if name == "rgb8" else (blue, green, red), width)
    buffer = GenicamBuffer(1, 0, width, height, RECIPES[name].number, rows.shape[1], rows.ravel(), 0, -1)
    out = np.zeros((height, width, 3), np.uint8)
    write_image(buffer, name, out)
    assert (out[2:-2, 2:-2] == (blue, green, red)).all()


@pytest.mark.parametrize("name", ["mono10", "mono12", "mono16"])
def test_deep_pixels_are_the_sensors_own(name):
    values = np.random.default_rng(1).integers(0, 2 ** int(name[4:]), (6, 9)).astype("<u2")
    rows = np.zeros((6, 22), np.uint8)
    rows[:, :18] = values.view(np.uint8)
    out = np.zeros((6, 9, 2), np.uint8)
    write_image(GenicamBuffer(1, 0, 9, 6, RECIPES[name].number, 22, rows.ravel(), 0, -1), name, out)
    assert np.array_equal(out.view("<u2")[..., 0], values)


class FakeError(Exception):
    """As the SDK's."""


class Node:
    def __init__(self, value, *, mode=4, step=None, symbolics=None):
        self._value, self.mode, self._step = value, mode, step
        if symbolics:
            self.symbolics = symbolics
        self.node = SimpleNamespace(get_access_mode=lambda: self.mode)

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        if self.mode != 4 or (hasattr(self, "symbolics") and value not in self.symbolics):
            raise FakeError("Node is not writable : AccessException thrown in node")
        self._value = round(value / self._step) * self._step if self._step else value
        Node.log.append((self.name, value))


class IInteger(Node):
    pass


class IFloat(Node):
    pass


class IEnumeration(Node):
    pass


class IBoolean(Node):
    pass


class FakeSdk:
    """harvesters, genicam and one FLIR-like camera, as far as they are called."""

    def __init__(self, tl_type="GEV"):
        Node.log = self.log = []
        self.buffers = []
        self.queued = 0
        lines = ("Line0", "Line2", "Line3")
        self.nodes = {
            "PixelFormat": IEnumeration("Mono8", symbolics=("Mono8", "BayerRG8")),
            "Width": IInteger(1440), "Height": IInteger(1080), "OffsetX": IInteger(100), "OffsetY": IInteger(100),
            "ExposureAuto": IEnumeration("Continuous", symbolics=("Off", "Continuous")),
            "ExposureMode": IEnumeration("Timed", symbolics=("Timed",)),
            "ExposureTime": IFloat(10_000.0, step=10.0),
            "GainAuto": IEnumeration("Continuous", symbolics=("Off", "Continuous")), "Gain": IFloat(5.0, step=0.01),
            "TriggerSelector": IEnumeration("FrameStart", symbolics=("FrameStart",)),
            "TriggerMode": IEnumeration("On", symbolics=("Off", "On")),
            "TriggerSource": IEnumeration("Line0", symbolics=lines),
            "TriggerActivation": IEnumeration("FallingEdge", symbolics=("RisingEdge", "FallingEdge")),
            "AcquisitionFrameRateEnable": IBoolean(False), "AcquisitionFrameRate": IFloat(30.0),
            "AcquisitionResultingFrameRate": IFloat(60.0, mode=3), "TimestampLatch": IBoolean(False, mode=2),
            "ChunkModeActive": IBoolean(False), "ChunkSelector": IEnumeration("", symbolics=("LineStatusAll",)),
            "ChunkEnable": IBoolean(False), "ChunkLineStatusAll": IInteger(5, mode=3),
        }  # fmt: skip
        for name, node in self.nodes.items():
            node.name = name
        node_map = SimpleNamespace(**self.nodes, has_node=self.nodes.__contains__)
        info = {"serial_number": "18", "model": "Blackfly", "vendor": "FLIR", "tl_type": tl_type, "id_": "x"}
        self.acquirer = SimpleNamespace(
            remote_device=SimpleNamespace(node_map=node_map), min_num_buffers=2, num_buffers=0,
            add_callback=lambda *_: None, start=lambda: None, destroy=lambda: None, try_fetch=self._fetch,
        )  # fmt: skip
        harvester = SimpleNamespace(
            add_file=lambda *_, **__: None, update=lambda: None, reset=lambda: None,
            device_info_list=[SimpleNamespace(property_dict=info)], create=lambda _: self.acquirer,
        )  # fmt: skip
        events = SimpleNamespace(INCOMPLETE_BUFFER=1)
        self.core = SimpleNamespace(
            Harvester=lambda: harvester, Callback=object, ImageAcquirer=SimpleNamespace(Events=events), __name__="fake"
        )

    def _fetch(self, **_):
        buffer = self.buffers.pop(0)
        if isinstance(buffer, Exception):
            raise buffer
        return buffer

    def frame(self, frame_id, timestamp_ns, width=1440, height=1080):
        raw = SimpleNamespace(
            frame_id=frame_id, timestamp_ns=timestamp_ns, width=width, height=height, pixel_format=0x01080001,
            padding_x=0, image_offset=0, raw_buffer=bytes(width * height), parent=self,
        )  # fmt: skip
        self.buffers.append(raw)

    def queue_buffer(self, _):
        self.queued += 1


@pytest.fixture
def flir(monkeypatch):
    sdk = FakeSdk()
    monkeypatch.setattr(genicam_device, "_sdk", lambda: (sdk.core, (FakeError,), None))
    return sdk


def flir_camera(make, **options):
    return make(**({"producer": "/x.cti", "serial": "18", "rate_hz": None, "roi": None} | options))


def test_every_setting_goes_by_its_sfnc_name_in_an_order_that_works(make, flir):
    camera = flir_camera(
        make, rate_hz=120, exposure_us=2000, gain_db=6, trigger={"line": "Line3"}, line_status_chunk="LineStatusAll",
        roi={"width_px": 640, "height_px": 480, "x_px": 8, "y_px": 16}, transport_us=900,
    )  # fmt: skip
    form = camera.open()
    assert flir.log == [
        ("PixelFormat", "Mono8"), ("OffsetX", 0), ("OffsetY", 0), ("Width", 640), ("Height", 480), ("OffsetX", 8),
        ("OffsetY", 16), ("ExposureAuto", "Off"), ("ExposureMode", "Timed"), ("ExposureTime", 2000.0),
        ("GainAuto", "Off"), ("Gain", 6.0), ("TriggerSelector", "FrameStart"), ("TriggerSource", "Line3"),
        ("TriggerActivation", "RisingEdge"), ("TriggerMode", "On"), ("ChunkModeActive", True),
        ("ChunkSelector", "LineStatusAll"), ("ChunkEnable", True),
    ]  # fmt: skip
    assert (form.width, form.height, form.rate_hz, form.time_source, form.tick_hz) == (640, 480, 120, "device", 1e9)
    assert form.transport_ns == 900_000


def test_free_run_switches_the_trigger_off_and_the_rate_on(make, flir):
    flir.nodes["AcquisitionResultingFrameRate"]._value = 50.0
    assert flir_camera(make, rate_hz=50).open().rate_hz == 50
    assert [one for one in flir.log if one[0].startswith(("Trigger", "Acquisition"))] == [
        ("TriggerSelector", "FrameStart"), ("TriggerMode", "Off"), ("AcquisitionFrameRateEnable", True),
        ("AcquisitionFrameRate", 50.0),
    ]  # fmt: skip


def test_a_value_that_the_camera_rounds_is_an_error_that_says_what_it_can_do(make, flir):
    with pytest.raises(CameraOpenError, match=r"ExposureTime=1234\.0 was set, and the camera has 1230\.0"):
        flir_camera(make, exposure_us=1234).open()


def test_a_later_setting_that_moves_an_earlier_one_is_an_error(make, flir):
    class Binning(IInteger):
        @property
        def value(self):
            return self._value

        @value.setter
        def value(self, value):
            self._value = value
            flir.nodes["Width"]._value //= value

    flir.nodes["BinningHorizontal"] = flir.acquirer.remote_device.node_map.BinningHorizontal = Binning(1)
    roi = {"width_px": 640, "height_px": 480}
    with pytest.raises(CameraOpenError, match="Width=640 was set, and a later setting made it 320"):
        flir_camera(make, roi=roi, features={"BinningHorizontal": 2}).open()


def test_a_rate_that_exposure_or_cable_do_not_allow_is_an_error(make, flir):
    with pytest.raises(CameraOpenError, match=r"rate_hz=90 is set, but .* leave 60 Hz"):
        flir_camera(make, rate_hz=90).open()


def test_ticks_lines_and_wrapped_counter(make, flir):
    camera = flir_camera(make, exposure_us=2000, line_status_chunk="LineStatusAll")
    form = camera.open()
    camera.start(0)
    for frame_id, t_ns in ((65_534, 1_000), (65_535, 2_000), (1, 3_000), (3, 5_000)):
        flir.frame(frame_id, t_ns)
    out = np.empty(form.shape, np.uint8)
    grabs = [camera.read_into(out, 0.1) for _ in range(4)]
    assert [grab.seq for grab in grabs] == [65_534, 65_535, 65_536, 65_538]
    assert [grab.ticks for grab in grabs] == [1_000, 2_000, 3_000, 5_000]
    assert {(grab.t_exposure_ns, grab.exposure_us, grab.line_status) for grab in grabs} == {(-1, 2000, 5)}
    assert flir.queued == 3, "each buffer goes back before the next is taken"


def test_a_cable_that_is_pulled(make, flir):
    camera = flir_camera(make)
    form = camera.open()
    camera.start(0)
    flir.buffers.append(FakeError("device was removed : thrown in node"))
    with pytest.raises(CameraLostError, match=r"camera cam: Blackfly 18 is gone .*device was removed"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
