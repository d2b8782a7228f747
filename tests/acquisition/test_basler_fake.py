"""What pylon's emulator cannot show, on a stand-in for the SDK: clocks, chunks, counters, PTP, actions, refusals."""

import importlib.util
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.basler_camera import BaslerCamera
from ethostream.acquisition.basler_config import BaslerCameraConfig
from ethostream.acquisition.basler_sdk import discover
from ethostream.sync.clock import NS_PER_MS, FakeClock
from ethostream.sync.errors import CameraLostError, CameraOpenError
from pydantic import ValidationError

START_NS = 1_700_000_000_000_000_000
_SPEC = importlib.util.spec_from_file_location("basler_sdk_fake", Path(__file__).with_name("basler_sdk_fake.py"))
fake = importlib.util.module_from_spec(_SPEC)
sys.modules["basler_sdk_fake"] = fake
_SPEC.loader.exec_module(fake)


class Bench:
    """One camera on a fake device; closed at the end."""

    def __init__(self):
        self.clock = FakeClock(START_NS)
        self.cameras = []

    def make(self, kind, **options):
        device = fake.Device(kind)
        sdk = fake.Sdk(device)
        camera = BaslerCamera("top", BaslerCameraConfig(serial="4001", **options), self.clock, sdk)
        self.cameras.append(camera)
        return device, camera, sdk

    def refused(self, kind, **options):
        device, camera, _ = self.make(kind, **options)
        with pytest.raises(CameraOpenError) as caught:
            camera.open()
        assert not device.opened, "a camera that was refused is let go"
        return str(caught.value)


@pytest.fixture
def bench():
    one = Bench()
    yield one
    for camera in one.cameras:
        camera.close()


def grabs(camera, form, results, device):
    device.results.extend(results)
    out = np.empty(form.shape, np.uint8)
    got = []
    while device.results:
        grab = camera.read_into(out, 0.1)
        if grab is not None:
            got.append(grab)
    assert all(one.released == 1 for one in device.all_results), "every buffer goes back to the driver"
    return got


def test_usb_ticks_counter_lines_and_exposure_come_from_chunks(bench):
    device, camera, _ = bench.make("usb", trigger={"kind": "hardware", "line": "Line3", "edge": "falling"})
    form = camera.open()
    assert (form.time_source, form.tick_hz, form.transport_ns) == ("device", 1e9, 9_000_000)
    assert device.chunks_on == {"Timestamp", "CounterValue", "LineStatusAll", "ExposureTime"}
    nodes = device.nodes
    assert [nodes[name].GetValue() for name in ("TriggerMode", "TriggerSource", "TriggerActivation", "LineMode")] == [
        "On", "Line3", "FallingEdge", "Input",
    ]  # fmt: skip
    assert nodes["CounterEventSource"].GetValue() == "Line3"
    assert nodes["CounterReset"].n_run == 1
    camera.start(START_NS)
    assert device.grabbing, "a triggered camera is armed before the start"
    results = [
        fake.Result(n, 5, chunks={"ChunkTimestamp": 10**9 + n * 1000, "ChunkCounterValue": count,
                                  "ChunkLineStatusAll": n & 3, "ChunkExposureTime": 1000.4 + n})
        for n, count in ((0, 1), (1, 2), (3, 4), (4, 6))
    ]  # fmt: skip
    got = grabs(camera, form, results, device)
    assert [(one.seq, one.trigger_id, one.ticks, one.line_status, one.exposure_us) for one in got] == [
        (n, count - 1, 10**9 + n * 1000, n & 3, 1000 + n) for n, count in ((0, 1), (1, 2), (3, 4), (4, 6))
    ]
    assert all(one.t_exposure_ns == -1 for one in got), "the node maps the ticks"


def test_a_trigger_counter_of_32_bits_is_continued(bench):
    device, camera, _ = bench.make("usb", trigger={"kind": "hardware"})
    form = camera.open()
    camera.start(START_NS)
    values = [2**32 - 2, 2**32 - 1, 0, 1]
    results = [fake.Result(n, chunks={"ChunkTimestamp": n + 1, "ChunkCounterValue": v}) for n, v in enumerate(values)]
    ids = [one.trigger_id for one in grabs(camera, form, results, device)]
    assert ids == list(range(ids[0], ids[0] + 4))


def test_gige_names_tick_frequency_and_block_ids_over_the_wrap(bench):
    device, camera, _ = bench.make(
        "gige", exposure_us=4000, gain_raw=300, rate_hz=60, packet_size_bytes=8192, inter_packet_delay_ticks=1000,
        chunks=False,
    )  # fmt: skip
    form = camera.open()
    assert (form.time_source, form.tick_hz) == ("device", 125e6)
    assert form.transport_ns == round(64 * 48 / 125e6 * 1e9)
    values = [device.nodes[one].GetValue() for one in ("ExposureTimeAbs", "GainRaw", "GevSCPSPacketSize", "GevSCPD")]
    assert values == [4000.0, 300, 8192, 1000]
    camera.start(START_NS)
    ids = [65_533, 65_535, 1, 2]
    got = grabs(camera, form, [fake.Result(n, 100 + i) for i, n in enumerate(ids)], device)
    assert [one.seq for one in got] == [65_532, 65_534, 65_535, 65_536]
    assert [one.ticks for one in got] == [100, 101, 102, 103]
    assert device.nodes["AcquisitionStart"].n_run == 1


def test_an_older_gige_model_counts_triggers_itself(bench):
    device, camera, _ = bench.make("gige", trigger={"kind": "hardware"})
    form = camera.open()
    assert "Triggerinputcounter" in device.chunks_on
    camera.start(START_NS)
    results = [fake.Result(n, chunks={"ChunkTimestamp": n, "ChunkTriggerinputcounter": n}) for n in (1, 2, 4)]
    assert [one.trigger_id for one in grabs(camera, form, results, device)] == [0, 1, 3]


def test_failed_buffers_are_a_jump_and_never_delivered(bench):
    device, camera, _ = bench.make("usb", chunks=False)
    form = camera.open()
    camera.start(START_NS)
    results = [fake.Result(n, n + 1, good=n not in (2, 3)) for n in range(6)]
    assert [one.seq for one in grabs(camera, form, results, device)] == [0, 1, 4, 5]


def test_a_device_without_block_ids_declares_its_underruns(bench):
    device, camera, _ = bench.make("usb", chunks=False)
    form = camera.open()
    camera.start(START_NS)
    seqs = [one.seq for one in grabs(camera, form, [fake.Result(0, n + 1, good=n != 3) for n in range(6)], device)]
    device.statistics["Statistic_Missed_Frame_Count"].SetValue(2)
    seqs += [one.seq for one in grabs(camera, form, [fake.Result(0, 9)], device)]
    assert seqs == [0, 1, 2, 4, 5, 8]


def test_losses_after_the_last_good_frame_are_told(bench):
    device, camera, _ = bench.make("usb", chunks=False)
    assert camera.lost_at_end() == 0
    form = camera.open()
    camera.start(START_NS)
    got = grabs(camera, form, [fake.Result(n, n + 1, good=n != 1) for n in range(3)], device)
    assert [one.seq for one in got] == [0, 2]
    device.statistics["Statistic_Failed_Buffer_Count"].SetValue(1)
    assert camera.lost_at_end() == 0, "the jump of seq has shown it"
    device.statistics["Statistic_Failed_Buffer_Count"].SetValue(3)
    device.statistics["Statistic_Missed_Frame_Count"].SetValue(1)
    assert camera.lost_at_end() == 3
    device.unplug()
    assert camera.lost_at_end() == 0


def test_ptp_is_waited_for_and_sets_the_tick(bench):
    device, camera, _ = bench.make("gige", ptp=True)
    assert camera.open().tick_hz == 1e9
    assert device.nodes["GevIEEE1588DataSetLatch"].n_run == device.ptp_after
    assert bench.clock.now_ns() - START_NS == (device.ptp_after - 1) * 100 * NS_PER_MS, "it waits on the rig's clock"
    device, camera, _ = bench.make("gige", ptp=True, ptp_wait_s=0.2)
    device.ptp_after = 1000
    with pytest.raises(CameraOpenError, match=r"camera top: ptp: .*ptp_wait_s=0.2 \(status Listening\).*master"):
        camera.open()
    assert "no PtpEnable or GevIEEE1588" in bench.refused("usb", ptp=True)


def test_action_commands_are_sent_by_the_camera_that_has_the_address(bench):
    keys = {"kind": "action", "device_key": 7, "group_key": 0x112233, "group_mask": 6}
    device, camera, sdk = bench.make("gige", trigger=keys)
    camera.open()
    camera.start(START_NS)
    names = ("ActionDeviceKey", "ActionGroupKey", "ActionGroupMask", "TriggerSource", "TriggerMode")
    assert [device.nodes[one].GetValue() for one in names] == [7, 0x112233, 6, "Action1", "On"]
    assert device.grabbing
    assert not any(thread.name == "trigger-top" for thread in threading.enumerate())
    _, sender, sdk = bench.make("gige", rate_hz=50, trigger={**keys, "broadcast_address": "10.0.0.255"})
    sender.open()
    sender.start(START_NS + 5 * NS_PER_MS)
    while len(sdk.factory.commands) < 4:
        pass  # the fake clock is only moved by the thread that sends
    sender.close()
    assert set(sdk.factory.commands) == {(7, 0x112233, 6, "10.0.0.255")}


def test_a_software_trigger_that_the_device_ignored_is_told_by_its_clock(bench):
    """Trigger 2 is given and not taken: the frame after it says so by its ticks, and no frame moves by one instant."""
    device, camera, _ = bench.make("usb", rate_hz=50, chunks=False, trigger={"kind": "software", "max_late_us": 10**6})
    form = camera.open()
    camera.start(START_NS)
    while device.n_triggers < 8:
        pass
    period = 20 * NS_PER_MS
    taken = [0, 1, 3, 4, 5]
    got = grabs(camera, form, [fake.Result(n, 10**6 + k * period) for n, k in enumerate(taken)], device)
    assert [one.seq for one in got] == taken
    assert [one.trigger_id for one in got] == taken


def test_a_frame_that_nobody_triggered_is_an_error(bench):
    device, camera, _ = bench.make("usb", trigger={"kind": "software"}, chunks=False)
    form = camera.open()
    camera.start(START_NS + 10**15)
    camera._trigger.stop()
    camera._match._fired.clear()
    with pytest.raises(CameraLostError, match="delivered frame 0, and no trigger"):
        grabs(camera, form, [fake.Result(0, 5)], device)


def test_settings_are_applied_from_a_known_state(bench):
    device, camera, _ = bench.make("usb", user_set="UserSet1")
    camera.open()
    assert device.nodes["UserSetLoad"].n_run == 1
    assert device.nodes["TriggerMode"].GetValue() == "Off", "nothing is left of who used it before"
    device, camera, _ = bench.make("usb", user_set=None, chunks=False)
    camera.open()
    assert device.nodes["UserSetLoad"].n_run == 0
    assert not device.chunks_on


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("usb", {"roi": {"width_px": 50, "height_px": 48}}, ["roi.width_px", "asked for 50", "takes 48", "steps of 4"]),
        ("usb", {"roi": {"width_px": 4000, "height_px": 48}}, ["roi.width_px=4000", "16 to 64 in steps of 4"]),
        ("usb", {"gain_db": 30.0}, ["gain_db=30.0", "0 to 24.0"]),
        ("usb", {"gain_raw": 300}, ["gain_raw=300", "has no GainRaw"]),
        ("gige", {"gain_db": 3.0}, ["gain_db=3.0", "has no Gain;"]),
        ("usb", {"packet_size_bytes": 8192}, ["packet_size_bytes", "has no GevSCPSPacketSize"]),
        ("usb", {"pixel_format": "bayer_rg8"}, ["pixel_format=bayer_rg8", "offers Mono8, Mono12p"]),
        ("usb", {"rate_hz": 150.0, "exposure_us": 1000}, ["rate_hz=150", "reaches 100.00 Hz"]),
        ("usb", {"rate_hz": 60.0, "exposure_us": 20_000}, ["exposure_us=20000", "longer than the period"]),
        ("usb", {"user_set": "UserSet9"}, ["user_set=UserSet9", "Default, UserSet1"]),
        ("usb", {"trigger": {"kind": "hardware", "line": "Line2"}}, ["trigger.line=Line2", "Line1, Line3"]),
        ("usb", {"trigger": {"kind": "action", "device_key": 1, "group_key": 1}}, ["has no ActionDeviceKey"]),
        ("usb", {"binning": 2}, ["binning=2", "has no BinningHorizontal"]),
        ("usb", {"features": {"Width": "wide"}}, ["features.Width='wide'", "holds a int"]),
        ("usb", {"features": {"PayloadSize": 7}}, ["features.PayloadSize=7", "is 3072 and cannot be changed"]),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_taken_is_named(bench, kind, options, words):
    message = bench.refused(kind, **options)
    assert message.startswith("camera top: ")
    for word in words:
        assert word in message


def test_a_setting_that_a_later_one_moves_is_found(bench):
    device, camera, _ = bench.make("usb", gain_db=3.0, rate_hz=50)
    device.nodes["AcquisitionFrameRate"].on_set = lambda value: (device.nodes["Gain"].SetValue(1.0), value)[1]
    with pytest.raises(CameraOpenError, match=r"gain_db: asked for 3.0, the camera takes 1.0 \(Gain\)"):
        camera.open()


def test_a_step_of_the_sensor_is_no_difference(bench):
    device, camera, _ = bench.make("usb", exposure_us=1001.0)
    camera.open()
    assert device.nodes["ExposureTime"].GetValue() == 1000.0


def test_unplugged_and_broken_cameras_are_lost(bench):
    device, camera, _ = bench.make("usb", chunks=False)
    form = camera.open()
    camera.start(START_NS)
    out = np.empty(form.shape, np.uint8)
    device.unplug()
    device.results.append(fake.Result(0, 1))
    with pytest.raises(CameraLostError, match="camera top: is not connected any more"):
        camera.read_into(out, 0.1)
    device, camera, _ = bench.make("usb", chunks=False)
    camera.open()
    camera.start(START_NS)
    device.results.append(fake.GenericException("bad status : thrown"))
    with pytest.raises(CameraLostError, match="camera top: the device failed"):
        camera.read_into(out, 0.1)
    device.results.append(fake.Result(0, 1, width=32))
    with pytest.raises(CameraLostError, match="sends 32x48"):
        camera.read_into(out, 0.1)
    device.results.append(fake.Result(1, 0))
    with pytest.raises(CameraLostError, match="carry no time; set clock to host"):
        camera.read_into(out, 0.1)
    device.removed = True
    with pytest.raises(CameraLostError, match="not connected"):
        camera.read_into(out, 0.1)


def test_a_camera_that_another_program_holds_is_named_and_listed(bench):
    device, camera, sdk = bench.make("usb")
    device.opened = True
    with pytest.raises(CameraOpenError, match=r"serial 4001 cannot be opened.*another program"):
        camera.open()
    device.opened = True
    found = discover(sdk)
    assert (found[0].serial, found[0].modes) == ("4001", ())
    assert "another application" in found[0].detail["not_opened"]
    device.opened = False
    assert discover(sdk)[0].modes == ("64x48 mono8 (Mono8)", "64x48 mono12p (Mono12p)")
    assert not device.opened


def test_clock_host_is_obeyed(bench):
    device, camera, _ = bench.make("usb", clock="host", chunks=False)
    form = camera.open()
    assert (form.time_source, form.tick_hz) == ("host", 0.0)
    camera.start(START_NS)
    assert grabs(camera, form, [fake.Result(0, 77)], device)[0].ticks == -1


@pytest.mark.parametrize(
    "options", [{"gain_db": 1, "gain_raw": 1}, {"trigger": {"kind": "line"}}, {"binning": 0}, {"roi": {}}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        BaslerCameraConfig(serial="1", **options)
