"""`ethostream doctor`: parsers on files of other machines, the sum of every link, and the real command on this one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ethostream.acquisition.camera import CameraFormat
from ethostream.deploy import cli, doctor_disk, doctor_host, doctor_links, doctor_software
from ethostream.deploy.camera_list import CONFIG
from ethostream.deploy.config import RigConfig
from ethostream.deploy.doctor import Machine, ask_cameras, diagnose
from ethostream.deploy.doctor_disk import Space
from ethostream.deploy.doctor_finding import Finding
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.ring import ring_bytes
from ethostream.sync.clock import NS_PER_S, FakeClock
from ethostream.sync.errors import ConfigError, ProviderError
from typer.testing import CliRunner

HD60 = CameraFormat(1920, 1080, "mono8", 60.0, "device")

# The text files of /proc and /sys as such machines have them.
LAPTOP = {
    "proc/loadavg": "6.41 5.90 4.77 3/1423 91221\n",
    "proc/17/comm": "systemd-timesyn\n",
    "proc/sys/net/core/rmem_max": "212992\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "hpet tsc acpi_pm\n",
    "sys/module/usbcore/parameters/usbfs_memory_mb": "16\n",
    "sys/class/net/lo/mtu": "65536\n",
    "sys/class/net/eth2/mtu": "1500\n",
    "sys/class/net/eth2/speed": "100\n",
    "sys/class/net/eth2/operstate": "up\n",
    "sys/class/net/eth2/device/vendor": "0x8086\n",
}
RIG_HOST = {
    "proc/loadavg": "0.31 0.22 0.20 1/612 4411\n",
    "proc/88/comm": "chronyd\n",
    "proc/90/comm": "ptp4l\n",
    "proc/sys/net/core/rmem_max": "33554432\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed Jan 22 2025\nGCC\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX A4000\nIRQ:   \t\t 141\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/module/usbcore/parameters/usbfs_memory_mb": "1000\n",
    "sys/class/net/eth2/mtu": "9000\n",
    "sys/class/net/eth2/speed": "10000\n",
    "sys/class/net/eth2/operstate": "up\n",
    "sys/class/net/eth2/device/vendor": "0x8086\n",
}


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def levels(findings: list[Finding]) -> dict[str, str]:
    return {one.topic: one.level for one in findings}


def host(root: Path, *, named: tuple[str, ...] = ("eth2",), ring: tuple[int, int] | None = None) -> list[Finding]:
    return [
        *doctor_host.cores(root, 8),
        *doctor_host.clock(root),
        *doctor_host.usb(root),
        *doctor_host.network(root, named, lambda _: ring),
        *doctor_host.graphics(root),
    ]


def test_a_laptop_as_it_comes(tmp_path: Path) -> None:
    findings = host(plant(tmp_path, LAPTOP), ring=(256, 4096))
    assert levels(findings) == {
        "cores": "warning", "power": "warning", "clock": "warning", "time daemon": "ok", "usb": "warning",
        "port eth2": "warning", "receive buffer": "warning", "gpu": "ok",
    }  # fmt: skip
    assert all(one.cure for one in findings if one.level != "ok")
    cures = " ".join(one.cure for one in findings)
    for word in ("cpupower", "echo tsc", "usbfs_memory_mb", "mtu 9000", "rmem_max", "rx 4096", "another cable"):
        assert word in cures


def test_a_rig_that_somebody_has_set_up(tmp_path: Path) -> None:
    findings = host(plant(tmp_path, RIG_HOST), ring=(4096, 4096))
    assert set(levels(findings).values()) == {"ok"}
    text = " ".join(one.text for one in findings)
    for word in (
        "governor performance",
        "chrony, ptp",
        "10000 Mbit/s",
        "NVIDIA RTX A4000",
        "570.86.15",
        "4096 of 4096",
    ):
        assert word in text


def test_a_port_that_no_camera_is_on_is_left_alone(tmp_path: Path) -> None:
    plant(tmp_path, LAPTOP | {"sys/class/net/eth2/operstate": "down\n"})
    assert levels(doctor_host.network(tmp_path, (), lambda _: (256, 4096)))["port eth2"] == "ok"
    assert levels(doctor_host.network(tmp_path, ("eth2",), lambda _: None))["port eth2"] == "warning"


def test_an_empty_machine_is_no_crash(tmp_path: Path) -> None:
    assert set(levels(host(tmp_path)).values()) <= {"ok", "warning"}


def test_a_daemon_that_the_rig_believes_must_run(tmp_path: Path) -> None:
    plant(tmp_path, LAPTOP)
    (finding,) = [one for one in doctor_host.clock(tmp_path, "ptp") if one.topic == "time daemon"]
    assert finding.level == "error" and finding.refuses and "ptp" in finding.text
    plant(tmp_path, RIG_HOST)
    assert "error" not in levels(doctor_host.clock(tmp_path, "ptp")).values()


@pytest.mark.parametrize(("files", "level"), [(1024, "warning"), (4096, "ok"), (-1, "ok")])
def test_open_files(files: int, level: str) -> None:
    assert levels(doctor_host.limits(files, 99))["open files"] == level


def test_real_time_is_wanted_only_by_those_who_use_it() -> None:
    assert levels(doctor_host.limits(4096, 0))["real-time priority"] == "ok"
    assert levels(doctor_host.limits(4096, 0, {"basler"}))["real-time priority"] == "warning"


def simulated(link: str | None = "eth2", **options: Any) -> Any:
    size = {"width": 1920, "height": 1080, "rate_hz": 60}
    return CONFIG.validate_python({"kind": "simulated", "view": 0, "link": link, **size, **options})


def sums(n: int, link: str = "eth2", **options: Any) -> list[doctor_links.LinkSum]:
    configs = {f"cam{i}": simulated(link) for i in range(n)}
    return doctor_links.link_sums(
        configs, dict.fromkeys(configs, HD60), options.get("links", {}), options.get("measured", {})
    )


def test_one_1080p60_camera_is_995_mbit_s() -> None:
    assert doctor_links.wire_mbit_s(simulated(), HD60) == pytest.approx(995.3, abs=0.1)


@pytest.mark.parametrize(
    ("n", "link", "options", "level"),
    [
        (1, "eth2", {}, "error"),
        (1, "eth2", {"links": {"eth2": 10_000}}, "ok"),
        (9, "eth2", {"links": {"eth2": 10_000}}, "warning"),
        (10, "eth2", {"links": {"eth2": 10_000}}, "error"),
        (1, "eth2", {"links": {"eth2": 10_000}, "measured": {"eth2": 1000}}, "error"),
        (1, "eth2", {"measured": {"eth2": 2500}}, "ok"),
        (3, "usb3-1", {}, "warning"),
        (4, "usb3-1", {}, "error"),
        (1, "usb2", {}, "error"),
        (4, "cxp0", {}, "ok"),
        (1, "left wall", {}, "error"),
        (1, "left wall", {"links": {"left wall": 5000}}, "ok"),
    ],
)
def test_what_fits_and_what_does_not(n: int, link: str, options: dict[str, Any], level: str) -> None:
    (finding,) = doctor_links.judge(sums(n, link, **options))
    assert finding.level == level, finding.text
    assert finding.refuses == (level == "error")
    assert bool(finding.cure) == (level != "ok")


def test_the_parts_of_a_sum_are_named() -> None:
    (finding,) = doctor_links.judge(sums(2))
    assert finding.text == "cam0 995 + cam1 995 = 1991 Mbit/s, of 940 usable: does not fit"


GENICAM = {"kind": "genicam", "producer": "simulator"}
UVC = {"kind": "opencv", "device": 0, "width": 640, "height": 480, "rate_hz": 30}


@pytest.mark.parametrize(
    ("options", "n_bytes"),
    [
        ({**GENICAM}, 1), ({**GENICAM, "pixel_format": "bayer_rg8"}, 1), ({**GENICAM, "pixel_format": "rgb8"}, 3),
        ({**GENICAM, "pixel_format": "mono12"}, 2), ({"kind": "basler", "serial": "1"}, 1),
        ({"kind": "basler", "serial": "1", "pixel_format": "mono12p"}, 1.5), ({**UVC, "fourcc": "YUYV"}, 2),
        ({**UVC, "fourcc": "MJPG"}, None), ({"kind": "opencv", "url": "rtsp://x", "rate_hz": 30}, None),
        ({"kind": "file", "path": "x.mp4"}, None),
        ({"kind": "basler", "serial": "1", "pixel_format": "mono10p", "link": "usb3-1"}, 1.25),
        ({"kind": "basler", "serial": "1", "pixel_format": "mono10p", "link": "eth2"}, 1.5),
    ],
)  # fmt: skip
def test_bytes_on_the_cable(options: dict[str, Any], n_bytes: float | None) -> None:
    assert doctor_links.wire_bytes(CONFIG.validate_python(options)) == n_bytes


def test_what_depends_on_the_picture_is_not_claimed() -> None:
    configs = {"web": CONFIG.validate_python({**UVC, "fourcc": "MJPG", "link": "usb3-1"})}
    (finding,) = doctor_links.judge(doctor_links.link_sums(configs, {"web": HD60}, {}, {}))
    assert finding.level == "warning" and "not in the sum" in finding.text


def test_cameras_on_no_named_link_are_told_of() -> None:
    configs = {"a": CONFIG.validate_python(GENICAM), "b": simulated(None)}
    (finding,) = doctor_links.without_link(configs)
    assert finding.text.startswith("a: ")


def test_rings_against_shared_memory() -> None:
    formats = {f"cam{i}": HD60 for i in range(8)}
    needed = 8 * ring_bytes(HD60.shape, 64)
    assert doctor_disk.shared_memory(Space(2 * needed, needed), formats, 64)[0].level == "ok"
    (finding,) = doctor_disk.shared_memory(Space(needed, needed - 1), formats, 64)
    assert finding.refuses and "bus.ring_slots: 63" in finding.cure and "size=2G" in finding.cure
    assert doctor_disk.shared_memory(Space(2**26, 2**26), {}, 0)[0].level == "warning"


GB = 10**9


@pytest.mark.parametrize(
    ("codec", "speed", "free", "wanted"),
    [
        ("raw", 1200.0, 4000 * GB, {"disk": "ok", "disk space": "ok"}),
        ("raw", 400.0, 4000 * GB, {"disk": "error", "disk space": "ok"}),
        ("raw", 1200.0, 100 * GB, {"disk": "ok", "disk space": "warning"}),
        ("ffv1", 400.0, 100 * GB, {"disk": "warning", "disk space": "ok"}),
        ("h264", 10.0, 100 * GB, {"disk": "ok", "disk space": "ok"}),
        ("h264", 400.0, GB, {"disk": "ok", "disk space": "error"}),
        ("h264", None, GB, {"disk": "error"}),
    ],
)
def test_disk_for_each_codec(codec: Any, speed: float | None, free: int, wanted: dict[str, str]) -> None:
    formats = {f"cam{i}": HD60 for i in range(8)}
    assert doctor_disk.raw_mb_s(formats) == pytest.approx(995.3, abs=0.1)
    found = doctor_disk.disk(Path("x"), Space(10**13, free), speed, formats, RecordingConfig(codec=codec))
    assert levels(found) == wanted
    if wanted.get("disk space") == "ok":
        promised = "of raw video fit" if codec == "raw" else "were nothing compressed"
        assert promised in found[1].text


def test_the_disk_is_really_written_and_nothing_stays(tmp_path: Path) -> None:
    class Second(FakeClock):
        def now_ns(self) -> int:
            self.advance_ns(NS_PER_S)
            return super().now_ns()

    written: list[int] = []
    assert doctor_disk.write_speed(tmp_path, Second(), written.append) == pytest.approx(67.1, abs=0.1)
    assert sum(written) == doctor_disk.WRITE_BYTES
    assert list(tmp_path.iterdir()) == []


def only(*modules: str) -> Callable[[str], bool]:
    return lambda module: module in modules


def test_extras_that_the_rig_needs() -> None:
    findings = doctor_software.extras({"basler", "serial"}, only("serial"))
    assert [one.cure for one in findings if one.level == "error"] == ["pip install 'ethostream[basler]'"]
    assert levels(doctor_software.extras((), only())) == {"extras": "ok"}


def test_what_a_model_runs_on_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from ethostream.inference import onnxruntime_backend

    assert levels(doctor_software.providers(gpu=False))["provider cpu"] == "ok"

    def listed_but_silently_on_the_cores(*_: object) -> None:
        raise ProviderError("provider was asked for, but the session runs on the cores; install it")

    monkeypatch.setattr(onnxruntime_backend, "open_graph", listed_but_silently_on_the_cores)
    found = levels(doctor_software.providers(gpu=True))
    assert found == {"provider cpu": "error", "provider cuda": "warning", "provider tensorrt": "warning"}
    assert doctor_software.providers(gpu=False, installed=only())[0].level == "error"


def test_a_camera_that_does_not_open_is_red_and_the_others_are_asked() -> None:
    configs = {
        "gone": CONFIG.validate_python({"kind": "file", "path": "gone.mkv"}),
        "here": simulated(width=64, height=64),
    }
    formats, findings = ask_cameras(configs)
    assert list(formats) == ["here"]
    assert levels(findings) == {"camera gone": "error", "cameras": "ok"}


def test_a_whole_rig_on_a_machine_of_the_test(tmp_path: Path) -> None:
    rig = RigConfig.model_validate(
        {
            "name": "big",
            "cameras": {
                f"cam{i}": {"kind": "simulated", "view": i, "rate_hz": 1000, "exposure_us": 500, "link": "eth2"}
                for i in range(3)
            },
            "time": {"source": "ptp"},
        }
    )
    machine = Machine(plant(tmp_path, RIG_HOST), 8, 65_536, 99, lambda _: None, lambda _: Space(10**13, 10**12))
    (tmp_path / "out").mkdir()
    steps: list[str] = []
    findings = diagnose(machine, rig, tmp_path / "out", FakeClock(), steps.append)
    assert not [one for one in findings if one.refuses]
    link = next(one for one in findings if one.topic == "link eth2")
    assert "= 7373 Mbit/s, of 9400 usable" in link.text, "the port's own speed counts"
    assert steps == ["machine", "software", "cameras", "disk"]


def run(*words: object) -> Any:
    return CliRunner().invoke(cli.app, ["doctor", *map(str, words)])


def test_the_command_on_this_machine(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "recordings", "--json", tmp_path / "out.json")
    assert done.exit_code in (0, 1), done.output
    findings = json.loads((tmp_path / "out.json").read_text())["findings"]
    topics = {one["topic"] for one in findings}
    assert {"cores", "clock", "open files", "usb", "gpu", "extras", "shared memory", "disk"} <= topics
    assert f"{len(os.sched_getaffinity(0))} cores" in next(one["text"] for one in findings if one["topic"] == "cores")
    assert (done.exit_code == 1) == any(one["level"] == "error" for one in findings)
    assert not (tmp_path / "recordings").exists(), "it looks, and makes nothing"


def test_the_command_refuses_a_rig_that_cannot_fit(tmp_path: Path) -> None:
    cameras = {"n": {"kind": "simulated", "view": 0, "rate_hz": 400, "link": "eth9"}}
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump({"name": "big", "cameras": cameras, "bus": {"ring_slots": 4}}))
    done = run(tmp_path / "rig.yaml", "--out", tmp_path, "--json", "-")
    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 2
    assert "n 983 = 983 Mbit/s, of 940 usable: does not fit" in str(done.exception)
    assert json.loads(done.stdout)["fits"] is False


def test_a_folder_for_rings_may_be_named_from_where_the_rig_starts(tmp_path: Path) -> None:
    """Read once, when the program begins; so it is a program here."""
    (tmp_path / "rings").mkdir()
    words = "from ethostream.streaming.ring import SHM; print(SHM, SHM.relative_to('/'))"
    environment = {**os.environ, "ETHOSTREAM_SHM": "rings"}
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    whole = str((tmp_path / "rings").resolve())
    assert done.stdout.split() == [whole, whole.removeprefix("/")]
