"""Basler cameras on pylon's emulator: settings, playback, failed frames, triggers, removal."""

import os
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
from ethostream.acquisition.basler_camera import BaslerCamera
from ethostream.acquisition.basler_config import BaslerCameraConfig
from ethostream.acquisition.basler_sdk import discover
from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.pixel_format import values16
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import CameraError, CameraLostError, CameraOpenError

os.environ["PYLON_CAMEMU"] = "8"  # read when pylon is first asked for cameras
pytest.importorskip("pypylon.pylon")

SMALL = {"roi": {"width_px": 96, "height_px": 64}, "exposure_us": 1000, "rate_hz": 100}


@pytest.fixture
def clock():
    return RigClock(ClockAnchor.take())


@pytest.fixture
def make(clock):
    cameras = []

    def make(serial="0815-0000", **options):
        camera = BaslerCamera("top", BaslerCameraConfig.model_validate({"serial": serial, **SMALL, **options}), clock)
        cameras.append(camera)
        return camera

    yield make
    for camera in cameras:
        camera.close()


def read(camera, form, n):
    """The next ``n`` frames."""
    got = []
    for _ in range(1000):
        out = np.full(form.shape, 99, np.uint8)
        grab = camera.read_into(out, 0.5)
        if grab is not None:
            got.append((grab, out))
        if len(got) == n:
            return got
    raise AssertionError(f"only {len(got)} of {n} frames came")


def node(camera, name):
    return camera._camera.GetNodeMap().GetNode(name)


def test_the_emulated_cameras_are_found_with_their_modes():
    found = discover()
    assert {f"0815-000{i}" for i in range(8)} <= {one.serial for one in found}
    one = next(one for one in found if one.serial == "0815-0000")
    assert (one.kind, one.vendor, one.interface) == ("basler", "Basler", "BaslerCamEmu")
    assert "4096x4096 mono8 (Mono8)" in one.modes
    assert "4096x4096 mono12 (Mono12)" in one.modes


def test_a_wrong_serial_lists_what_is_there(make):
    with pytest.raises(CameraOpenError, match=r"camera top: .*serial 4711; there are .*0815-0007 \(Emulation\)"):
        make("4711").open()


def test_settings_are_on_the_device_and_in_the_format(make):
    camera = make(
        rate_hz=50, exposure_us=2500, gain_db=6.0, roi={"x_px": 8, "y_px": 4, "width_px": 160, "height_px": 120},
        binning=2, packet_size_bytes=8000, inter_packet_delay_ticks=10, features={"DigitalShift": 1, "ReverseX": True},
    )  # fmt: skip
    form = camera.open()
    assert (form.width, form.height, form.pixel_format, form.rate_hz) == (160, 120, "mono8", 50.0)
    assert (form.time_source, form.tick_hz, form.transport_ns) == ("host", 0.0, 0)
    names = ("OffsetX", "OffsetY", "BinningHorizontal", "BinningVertical", "ExposureTime", "GevSCPSPacketSize",
             "GevSCPD", "DigitalShift", "ReverseX", "TriggerMode", "ExposureAuto")  # fmt: skip
    assert [node(camera, one).GetValue() for one in names] == [8, 4, 2, 2, 2500, 8000, 10, 1, True, "Off", "Off"]
    assert node(camera, "Gain").GetValue() == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roi": {"width_px": 9999, "height_px": 64}}, "roi.width_px=9999: refused by Width .* 1 to 4096"),
        ({"gain_db": 99}, r"gain_db=99.0: refused by Gain .* 0.0 to 48"),
        ({"pixel_format": "mono12p"}, "pixel_format=mono12p: .*offers Mono8, "),
        ({"features": {"NoSuchThing": 1}}, "NoSuchThing"),
        ({"clock": "device"}, "clock=device: this model gives no time"),
        ({"exposure_us": 20_000}, "exposure_us=20000 is longer than the period"),
    ],
)
def test_what_the_camera_does_not_take_is_refused(make, options, words):
    with pytest.raises(CameraOpenError, match=f"camera top: .*{words}"):
        make(**options).open()


def test_free_run_begins_at_the_start_and_counts_every_frame(make, clock):
    camera = make()
    form = camera.open()
    t_start_ns = clock.now_ns() + 150 * NS_PER_MS
    camera.start(t_start_ns)
    assert camera.read_into(np.empty(form.shape, np.uint8), 0.02) is None
    got = read(camera, form, 30)
    assert clock.now_ns() > t_start_ns
    assert [grab.seq for grab, _ in got] == list(range(30))
    assert all(
        (grab.t_exposure_ns, grab.exposure_us, grab.ticks, grab.trigger_id) == (-1, 1000, -1, -1) for grab, _ in got
    )
    assert len({image.tobytes() for _, image in got}) > 1, "the emulator's picture moves"


def test_failed_frames_are_missing_from_seq_and_declared(make, clock):
    camera = make()
    form = camera.open()
    camera.start(clock.now_ns())
    got = read(camera, form, 5)
    for n_failed in (3, 1):
        node(camera, "ForceFailedBufferCount").SetValue(n_failed)
        node(camera, "ForceFailedBuffer").Execute()
        got += read(camera, form, 20)
    ledger = FrameLedger()
    for grab, _ in got:
        assert ledger.arrive(grab.seq, grab.seq) == "new"
    ledger.declare(end=True)
    assert (ledger.captured, ledger.dropped) == (45, 4)
    assert ledger.last_seq - ledger.first_seq + 1 == 49


def test_a_reader_that_stalls_loses_nothing_without_a_number(make, clock):
    camera = make(max_buffers=4)
    form = camera.open()
    camera.start(clock.now_ns())
    read(camera, form, 3)
    clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 4)
    seqs = [grab.seq for grab, _ in read(camera, form, 12)]
    assert all(b > a for a, b in pairwise(seqs))
    assert camera._account.unexplained(camera._statistics()) == 0


def test_images_of_a_folder_are_played_back(make, clock, tmp_path):
    images = [np.random.default_rng(i).integers(0, 256, (64, 96), np.uint8) for i in range(3)]
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    camera = make(features={"TestImageSelector": False, "ImageFilename": str(tmp_path), "ImageFileMode": True})
    form = camera.open()
    camera.start(clock.now_ns())
    played = [next((i for i, one in enumerate(images) if np.array_equal(one, image)), -1)
              for _, image in read(camera, form, 9)]  # fmt: skip
    assert -1 not in played
    assert all((b - a) % 3 == 1 for a, b in pairwise(played))


@pytest.mark.parametrize(("kind", "bits"), [("mono10", 10), ("mono12", 12)])
def test_more_than_8_bits_are_not_stretched(make, clock, kind, bits):
    """The emulator's ramp of 256 steps, in steps of its own depth."""
    camera = make(pixel_format=kind, roi={"width_px": 512, "height_px": 64})
    form = camera.open()
    assert (form.pixel_format, form.shape) == ("mono16", (64, 512, 2))
    camera.start(clock.now_ns())
    ((_, image),) = read(camera, form, 1)
    values = values16(image)
    assert (1 << bits - 1) < values.max() < (1 << bits)
    assert np.gcd.reduce(values.reshape(-1)) == 1 << (bits - 8)


@pytest.mark.parametrize("kind", ["bayer_rg8", "bayer_gr8", "bayer_gb8", "bayer_bg8", "rgb8"])
def test_colour_is_delivered(make, clock, kind):
    camera = make(pixel_format=kind)
    form = camera.open()
    assert (form.pixel_format, form.shape) == ("bgr8", (64, 96, 3))
    camera.start(clock.now_ns())
    assert read(camera, form, 2)[1][1].std() > 0


def test_software_triggers_are_given_at_their_instants(make, clock):
    rate_hz, late_us = 25, 5000
    cameras = [
        make(f"0815-000{i}", rate_hz=rate_hz, trigger={"kind": "software", "max_late_us": late_us}) for i in (1, 2)
    ]
    forms = [camera.open() for camera in cameras]
    t_start_ns = clock.now_ns() + 100 * NS_PER_MS
    for camera in cameras:
        camera.start(t_start_ns)
    for camera, form in zip(cameras, forms, strict=True):
        got = [grab for grab, _ in read(camera, form, 12)]
        assert all(b.seq > a.seq for a, b in pairwise(got))
        for grab in got:
            late_ns = grab.t_exposure_ns - t_start_ns - round(grab.seq * NS_PER_S / Fraction(rate_hz))
            assert 0 <= late_ns <= late_us * 1000
            assert grab.trigger_id == grab.seq


def test_a_camera_that_cannot_follow_its_trigger_drops_instants_and_moves_none(make, clock):
    """The emulator is ready again after more than 10 ms: of 100 instants a second many are left out."""
    camera = make(rate_hz=100, trigger={"kind": "software", "max_late_us": 500})
    form = camera.open()
    t_start_ns = clock.now_ns() + 50 * NS_PER_MS
    camera.start(t_start_ns)
    got = [grab for grab, _ in read(camera, form, 8)]
    assert got[-1].seq - got[0].seq > 7, "instants were left out"
    for grab in got:
        assert 0 <= grab.t_exposure_ns - t_start_ns - grab.seq * NS_PER_S // 100 <= 500_000


def test_a_removed_camera_is_lost_and_comes_back(make, clock):
    camera = make()
    form = camera.open()
    camera.start(clock.now_ns())
    read(camera, form, 3)
    node(camera, "FirePnPCallback").Execute()
    out = np.empty(form.shape, np.uint8)
    with pytest.raises(CameraLostError, match="camera top: is not connected any more"):
        for _ in range(100):
            camera.read_into(out, 0.1)
    camera.close()
    assert camera.open() == form
    camera.start(clock.now_ns())
    assert [grab.seq for grab, _ in read(camera, form, 3)] == [0, 1, 2]


def test_order_of_calls_and_a_quick_stop(make, clock):
    camera = make()
    with pytest.raises(CameraError, match=r"camera top: start\(\) before open"):
        camera.start(clock.now_ns())
    form = camera.open()
    with pytest.raises(CameraLostError, match="open\\(\\) and start\\(\\)"):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
    camera.start(clock.now_ns())
    read(camera, form, 2)
    camera.start(clock.now_ns())
    assert [grab.seq for grab, _ in read(camera, form, 3)] == [0, 1, 2]
    camera.close()
    camera.close()
    with pytest.raises(CameraLostError):
        camera.read_into(np.empty(form.shape, np.uint8), 0.1)
