"""`ethostream cameras`: what is there, how the rig file names it, and a picture of each."""

import json
import struct
from pathlib import Path
from typing import ClassVar

import cv2
import pytest
import yaml
from ethostream.acquisition import v4l2
from ethostream.acquisition.discovery import FoundCamera, discover
from ethostream.deploy import cli
from ethostream.deploy.camera_list import CONFIG, file_name, rig_lines, rig_options
from ethostream.sync.errors import CameraOpenError, ConfigError
from typer.testing import CliRunner


def run(*words: object):
    return CliRunner().invoke(cli.app, ["cameras", *map(str, words)])


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    cameras = {f"cam{i}": {"kind": "simulated", "view": i, "width": 96, "height": 64} for i in range(2)}
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump({"name": "bench", "cameras": cameras}))
    return tmp_path / "rig.yaml"


def test_a_rig_without_hardware_gives_formats_and_pictures(rig: Path, tmp_path: Path) -> None:
    done = run("--rig", rig, "--snapshot", tmp_path / "pictures", "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    assert "cam1 simulated  96x64 mono8 at 30 Hz" in done.output
    rows = json.loads((tmp_path / "out.json").read_text())["rig"]
    assert list(rows) == ["cam0", "cam1"]
    for name, row in rows.items():
        picture = cv2.imread(row["snapshot"], cv2.IMREAD_UNCHANGED)
        assert Path(row["snapshot"]).name == f"{name}.png"
        assert picture is not None and picture.shape == (64, 96) and picture.std() > 5


def test_a_camera_of_the_rig_that_is_not_there_is_named_and_the_others_are_shown(rig: Path) -> None:
    data = yaml.safe_load(rig.read_text())
    data["cameras"]["gone"] = {"kind": "file", "path": "gone.mkv"}
    rig.write_text(yaml.safe_dump(data))
    done = run("--rig", rig)
    assert isinstance(done.exception, CameraOpenError)
    assert "gone.mkv" in str(done.exception) and "cam1 simulated" in done.output
    assert run("--rig", rig, "--kind", "simulated").exit_code == 0


def test_search_finds_simulator_and_its_lines_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genicam = pytest.importorskip("genicam", reason="the extra genicam is not installed")
    pytest.importorskip("harvesters", reason="the extra genicam is not installed")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(Path(genicam.__file__).parent))
    done = run("--kind", "genicam", "--snapshot", tmp_path, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    (answer,) = json.loads((tmp_path / "out.json").read_text())["found"]
    assert [one["serial"] for one in answer["cameras"]] == ["0", "1", "2"]
    for one in answer["cameras"]:
        picture = cv2.imread(one["snapshot"], cv2.IMREAD_UNCHANGED)
        assert picture is not None and picture.shape == (400, 400)
        CONFIG.validate_python(one["rig"])


def test_json_alone_on_stdout() -> None:
    done = CliRunner().invoke(cli.app, ["cameras", "--kind", "opencv", "--json", "-"])
    assert json.loads(done.stdout)["found"][0]["kind"] == "opencv"


def test_what_is_not_installed_is_a_line_that_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ethostream.acquisition import discovery

    monkeypatch.setattr(discovery.importlib.util, "find_spec", lambda _: None)
    notes = {one.kind: one.note for one in discover(("basler", "genicam"))}
    assert "ethostream[basler]" in notes["basler"]
    assert "ethostream[genicam]" in notes["genicam"]


def test_unknown_kind() -> None:
    assert isinstance(run("--kind", "webcam").exception, ConfigError)


@pytest.mark.parametrize(
    "found",
    [
        FoundCamera("basler", "40123456", "a2A1920", "Basler", "BaslerGigE"),
        FoundCamera("genicam", "18", "Blackfly", "FLIR", "U3V", (), {"producer": "/opt/spinnaker/FLIR_GenTL.cti"}),
        FoundCamera(
            "opencv", "", "HD cam", "", "USB", ("YUYV 640x480 at 30, 15 Hz", "MJPG 1920x1080 at 60 Hz"),
            {"device": "/dev/v4l/by-id/usb-HD_cam-video-index0"},
        ),
    ],
)  # fmt: skip
def test_the_lines_that_are_shown_are_a_valid_rig(found: FoundCamera) -> None:
    (options,) = yaml.safe_load(rig_lines(file_name(found), rig_options(found))).values()
    config = CONFIG.validate_python(options)
    assert config.kind == found.kind
    if found.kind == "opencv":
        assert (config.fourcc, config.width, config.height, config.rate_hz) == ("YUYV", 640, 480, 30)


class FakeKernel:
    """Answers as `uvcvideo` would; structures as in linux/videodev2.h. Never run on a device."""

    formats: ClassVar = {b"YUYV": [(640, 480, [30, 15])], b"MJPG": [(1920, 1080, [60]), (640, 480, [90])]}

    def __init__(self, capabilities: int) -> None:
        self._capabilities = capabilities

    def __call__(self, fd: int, request: int, data: bytearray) -> int:
        assert len(data) == request >> 16 & 0x3FFF, "the request carries the size of its structure"
        index = struct.unpack_from("<I", data)[0]
        try:
            match request & 0xFF:
                case 0:
                    names = b"uvcvideo", b"HD cam", b"usb-0000:00:14.0-1"
                    struct.pack_into("<16s32s32sIII", data, 0, *names, 0, 0x84A00001, self._capabilities)
                case 2:
                    struct.pack_into("<4s", data, 44, list(self.formats)[index])
                case 74:
                    width, height, _ = self.formats[bytes(data[4:8])][index]
                    struct.pack_into("<III", data, 8, 1, width, height)
                case 75:
                    size = struct.unpack_from("<II", data, 8)
                    rates = next(r for w, h, r in self.formats[bytes(data[4:8])] if (w, h) == size)
                    struct.pack_into("<III", data, 16, 1, 1, rates[index])
        except IndexError as error:
            raise OSError(22, "Invalid argument") from error
        return 0


def test_video4linux_devices_with_their_modes(tmp_path: Path) -> None:
    for folder in ("dev/v4l/by-id", "sys/class/video4linux/video0", "sys/devices/usb1/1-2/1-2:1.0"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dev/video0").write_bytes(b"")
    (tmp_path / "dev/v4l/by-id/usb-HD_cam-video-index0").symlink_to(tmp_path / "dev/video0")
    usb = tmp_path / "sys/devices/usb1/1-2"
    (tmp_path / "sys/class/video4linux/video0/device").symlink_to(usb / "1-2:1.0")
    for name, text in (("serial", "A1B2\n"), ("manufacturer", "Acme\n"), ("speed", "5000\n")):
        (usb / name).write_text(text)
    (found,), notes = v4l2.discover(tmp_path, FakeKernel(1))
    assert notes == []
    assert (found.serial, found.model, found.vendor, found.interface) == ("A1B2", "HD cam", "Acme", "USB")
    assert found.modes == ("YUYV 640x480 at 30, 15 Hz", "MJPG 1920x1080 at 60 Hz", "MJPG 640x480 at 90 Hz")
    assert found.detail["device"].endswith("by-id/usb-HD_cam-video-index0")
    assert v4l2.discover(tmp_path, FakeKernel(0x00800000)) == ([], []), "a node for metadata is no camera"


def test_a_device_that_may_not_be_read_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/video3").symlink_to(tmp_path / "nowhere")
    found, notes = v4l2.discover(tmp_path)
    assert found == []
    assert "video3" in notes[0] and "group video" in notes[0]
