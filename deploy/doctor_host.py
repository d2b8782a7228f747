"""The machine itself: cores, clock, limits, USB and network settings.

Everything is read below a root folder, so that the files of any machine can be looked at. Nothing is changed.
"""

import fnmatch
from collections.abc import Callable, Collection
from pathlib import Path

from .doctor_finding import Finding, read_line, read_number

LOAD_WARNING = 0.7
"""Load per core above which a rig shares its cores."""

GOOD_CLOCKS = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page")
"""Clock sources that are read without a trap into the kernel, or nearly so."""

OPEN_FILES = 4096
USBFS_MB = 1000
"""What makers of USB3 cameras ask for; Linux starts with 16, which is four 1080p frames and a bit."""

RMEM_MAX = 8 * 2**20
"""Receive buffer that makers of GigE cameras ask for."""

JUMBO = 8000
"""Bytes of a packet from which a network counts as set up for cameras."""

DAEMONS = {
    "chronyd": "chrony",
    "ptp4l": "ptp",
    "phc2sys": "ptp",
    "ntpd": "ntpd",
    "systemd-timesyn": "systemd-timesyncd",
}

RxRing = Callable[[str], tuple[int, int] | None]
"""Receive descriptors of a network port, now and at most; None where the driver does not say."""


def cores(root: Path, n_cores: int) -> list[Finding]:
    """Cores that this process may use, what runs on them, and whether they slow down to save power."""
    findings: list[Finding] = []
    load = float((read_line(root / "proc/loadavg") or "0").split()[0])
    if load > LOAD_WARNING * n_cores:
        findings.append(
            Finding(
                "cores",
                "warning",
                f"{n_cores} cores, and a load of {load:.1f}: others are using them",
                "see with `top` what runs, and stop it before a session",
            )
        )
    else:
        findings.append(Finding("cores", "ok", f"{n_cores} cores, load {load:.1f}"))
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    governors = {read_line(path) or "?" for path in files}
    if not governors:
        findings.append(Finding("power", "ok", "cores have no power governor here (a virtual machine, or fixed speed)"))
    elif governors == {"performance"}:
        findings.append(Finding("power", "ok", "all cores at full speed (governor performance)"))
    else:
        findings.append(
            Finding(
                "power",
                "warning",
                f"cores slow down when idle (governor {', '.join(sorted(governors))}): late frames",
                "sudo cpupower frequency-set -g performance",
            )
        )
    return findings


def clock(root: Path, believed: str = "exchange") -> list[Finding]:
    """The clock that time is read from, and who corrects it.

    Args:
        root: of the file system.
        believed: ``time.source`` of the rig file.
    """
    folder = root / "sys/devices/system/clocksource/clocksource0"
    source = read_line(folder / "current_clocksource") or "unknown"
    findings = [Finding("clock", "ok", f"clock source {source}")]
    if source not in GOOD_CLOCKS:
        others = (read_line(folder / "available_clocksource") or "").split()
        better = next((one for one in GOOD_CLOCKS if one in others), None)
        findings = [
            Finding(
                "clock",
                "warning",
                f"clock source {source}: reading it is slow, and may be coarse",
                f"echo {better} | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
                if better
                else "look into the kernel's log for why tsc was given up: dmesg | grep -i tsc",
            )
        ]
    running = {DAEMONS[name] for name in _processes(root) if name in DAEMONS}
    if believed in ("chrony", "ptp") and believed not in running:
        findings.append(
            Finding(
                "time daemon",
                "error",
                f"the rig file believes {believed}, and no {believed} runs here",
                "start it (`systemctl start chronyd`, or ptp4l with phc2sys), or write time: {source: exchange}",
                refuses=True,
            )
        )
    elif running:
        findings.append(Finding("time daemon", "ok", f"{', '.join(sorted(running))} runs"))
    else:
        text = "no chrony, ntpd or ptp4l runs: the date may be off; one host needs none, several exchange their time"
        findings.append(Finding("time daemon", "ok", text))
    return findings


def limits(open_files: int, real_time: int, locked_by: Collection[str] = ()) -> list[Finding]:
    """What the system allows one process.

    Args:
        open_files: soft limit of file descriptors; -1: none.
        real_time: greatest real-time priority.
        locked_by: kinds of camera of the rig whose SDK raises the priority of its threads.
    """
    findings: list[Finding] = []
    if 0 <= open_files < OPEN_FILES:
        findings.append(
            Finding(
                "open files",
                "warning",
                f"at most {open_files} per process; {OPEN_FILES} are wanted",
                f"ulimit -n {OPEN_FILES}, or a line `* soft nofile {OPEN_FILES}` in /etc/security/limits.conf",
            )
        )
    else:
        findings.append(Finding("open files", "ok", "unlimited" if open_files < 0 else f"{open_files} per process"))
    if real_time == 0 and locked_by:
        findings.append(
            Finding(
                "real-time priority",
                "warning",
                f"not allowed; the software of {', '.join(sorted(locked_by))} cameras then receives with the others",
                "a line `@video - rtprio 99` in /etc/security/limits.conf, with you in the group video; log in again",
            )
        )
    else:
        text = f"up to {real_time}" if real_time else "not allowed; nothing of this rig asks for it"
        findings.append(Finding("real-time priority", "ok", text))
    return findings


def usb(root: Path) -> list[Finding]:
    """Memory that the kernel gives USB devices for what is on its way."""
    size = read_number(root / "sys/module/usbcore/parameters/usbfs_memory_mb")
    if size is None:
        return [Finding("usb", "ok", "no USB on this machine")]
    if 0 < size < USBFS_MB:
        return [
            Finding(
                "usb",
                "warning",
                f"usbfs_memory_mb is {size}: USB3 cameras lose frames",
                f"echo {USBFS_MB} | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb, and to keep it "
                f"usbcore.usbfs_memory_mb={USBFS_MB} on the kernel's command line",
            )
        ]
    return [Finding("usb", "ok", f"usbfs_memory_mb is {size}")]


def network(root: Path, named: Collection[str], rx_ring: RxRing) -> list[Finding]:
    """Ports that cameras may be on: those that are hardware, and those that the rig names as links.

    Args:
        root: of the file system.
        named: links of the rig.
        rx_ring: asks the driver.
    """
    findings: list[Finding] = []
    ports = sorted(path.name for path in (root / "sys/class/net").glob("*") if path.name != "lo")
    hardware = [name for name in ports if (root / "sys/class/net" / name / "device").exists()]
    for name in sorted({*hardware, *(set(named) & set(ports))}):
        findings.extend(_port(root / "sys/class/net" / name, name, name in named, rx_ring))
    if not findings:
        return [Finding("network", "ok", "no network port of its own (a virtual machine or container)")]
    rmem = read_number(root / "proc/sys/net/core/rmem_max")
    if rmem is not None and rmem < RMEM_MAX:
        findings.append(
            Finding(
                "receive buffer",
                "warning",
                f"net.core.rmem_max is {rmem}: GigE cameras lose packets under load",
                f"sudo sysctl -w net.core.rmem_max={RMEM_MAX}, and the same line in /etc/sysctl.d/90-cameras.conf",
            )
        )
    elif rmem is not None:
        findings.append(Finding("receive buffer", "ok", f"net.core.rmem_max is {rmem}"))
    return findings


def _port(folder: Path, name: str, named: bool, rx_ring: RxRing) -> list[Finding]:
    speed, mtu = read_number(folder / "speed"), read_number(folder / "mtu")
    state = read_line(folder / "operstate") or "unknown"
    known = f"{speed} Mbit/s" if speed is not None and speed > 0 else "speed not told"
    text = f"{known}, MTU {mtu}, {state}"
    faults: list[tuple[str, str]] = []
    if named and state == "down":
        faults.append(("it is down", f"plug the cable in, or: sudo ip link set {name} up"))
    if speed is not None and 0 < speed < 1000 and (named or state == "up"):
        faults.append(("it is slow", "another cable or switch: a GigE camera needs 1000 Mbit/s"))
    if mtu is not None and mtu < JUMBO and named:
        faults.append(
            ("small packets cost time and loss", f"sudo ip link set {name} mtu 9000, and on switch and camera")
        )
    ring = rx_ring(name)
    if ring is not None:
        text += f", {ring[0]} of {ring[1]} receive descriptors"
        if named and ring[0] < ring[1]:
            faults.append(("few receive descriptors", f"sudo ethtool -G {name} rx {ring[1]}"))
    if not faults:
        return [Finding(f"port {name}", "ok", text)]
    return [Finding(f"port {name}", "warning", f"{text}: {what}", cure) for what, cure in faults]


def has_gpu(root: Path) -> bool:
    """Whether the driver of an NVIDIA GPU is loaded."""
    return (root / "proc/driver/nvidia/version").exists()


def graphics(root: Path) -> list[Finding]:
    """NVIDIA GPUs that the kernel's driver knows."""
    version = read_line(root / "proc/driver/nvidia/version")
    if version is None:
        return [Finding("gpu", "ok", "none with a driver; models run on the cores")]
    models: list[str] = []
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(errors="replace").splitlines()
        models.extend(line.partition(":")[2].strip() for line in lines if fnmatch.fnmatch(line, "Model:*"))
    driver = next((word for word in version.split() if word[:1].isdigit() and "." in word), "?")
    return [Finding("gpu", "ok", f"{', '.join(models) or 'unknown model'}, driver {driver}")]


def _processes(root: Path) -> set[str]:
    return {line for path in (root / "proc").glob("[0-9]*/comm") if (line := read_line(path))}
