"""All that the doctor looks at, in the order in which it is told."""

import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..acquisition.camera import CameraFormat
from ..acquisition.file_camera import FileCameraConfig
from ..acquisition.pose.config import PoseSourceConfig
from ..acquisition.pose.pose_files import read_pose
from ..acquisition.pose.pose_source import format_of
from ..streaming.ring import SHM
from ..sync.clock import Clock, FakeClock
from ..sync.errors import CameraError, ConfigError, DataError
from . import doctor_disk, doctor_host, doctor_links, doctor_software
from .camera_list import ask_format
from .config import RigConfig
from .doctor_finding import Finding, read_number
from .ethtool import rx_ring

_PRIORITY = frozenset({"basler"})
"""Kinds whose SDK raises the priority of its receiving threads where it may."""

_EXTRA_OF_KIND = {"basler": "basler", "genicam": "genicam"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the doctor looks, and what it is told about this process.

    Attributes:
        root: of the file system that /proc and /sys are read from.
        n_cores: that this process may use.
        open_files: soft limit, -1: none.
        real_time: greatest priority.
        rx_ring: asks a network driver.
        space: asks a file system.
    """

    root: Path
    n_cores: int
    open_files: int
    real_time: int
    rx_ring: doctor_host.RxRing
    space: Callable[[Path], doctor_disk.Space]

    @classmethod
    def this(cls) -> "Machine":
        """The one that this runs on."""
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return cls(
            Path("/"),
            len(os.sched_getaffinity(0)),
            -1 if open_files == resource.RLIM_INFINITY else open_files,
            resource.getrlimit(resource.RLIMIT_RTPRIO)[0],
            rx_ring,
            doctor_disk.space,
        )


def diagnose(
    machine: Machine, rig: RigConfig | None, out: Path, clock: Clock, on_step: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Look at everything.

    Args:
        machine: what to look at.
        rig: also whether this rig fits; its cameras are opened.
        out: folder of the recordings.
        clock: measures the disk.
        on_step: told what is looked at now.
    """
    configs: Mapping[str, Any] = {} if rig is None else rig.cameras
    kinds = {config.kind for config in configs.values()}
    links = {one.link for one in configs.values() if not isinstance(one, FileCameraConfig) and one.link is not None}
    on_step("machine")
    findings = [
        *doctor_host.cores(machine.root, machine.n_cores),
        *doctor_host.clock(machine.root, "exchange" if rig is None else rig.time.source),
        *doctor_host.limits(machine.open_files, machine.real_time, kinds & _PRIORITY),
        *doctor_host.usb(machine.root),
        *doctor_host.network(machine.root, links, machine.rx_ring),
        *doctor_host.graphics(machine.root),
    ]
    on_step("software")
    findings += doctor_software.providers(doctor_host.has_gpu(machine.root))
    findings += doctor_software.extras(_needed(rig, kinds))
    on_step("cameras")
    formats, camera_findings = ask_cameras(configs)
    findings += camera_findings
    if rig is not None:
        findings += ask_poses(rig.pose)
        speeds = {link: read_number(machine.root / "sys/class/net" / link / "speed") or 0 for link in links}
        sums = doctor_links.link_sums(configs, formats, rig.links, speeds)
        findings += [*doctor_links.judge(sums), *doctor_links.without_link(configs)]
    slots = 0 if rig is None or rig.bus.pixels != "ring" else rig.bus.ring_slots
    in_rings = formats if slots else {}
    findings += doctor_disk.shared_memory(machine.space(machine.root / SHM.relative_to("/")), in_rings, slots)
    on_step("disk")
    folder = doctor_disk.existing_parent(out)
    try:
        speed = doctor_disk.write_speed(folder, clock)
    except OSError:
        speed = None
    findings += doctor_disk.disk(out, machine.space(folder), speed, formats, None if rig is None else rig.recording)
    return findings


def ask_cameras(configs: Mapping[str, Any]) -> tuple[dict[str, CameraFormat], list[Finding]]:
    """Open each camera as the rig would, one after the other."""
    formats: dict[str, CameraFormat] = {}
    findings: list[Finding] = []
    for name, config in configs.items():
        try:
            formats[name] = ask_format(name, config, FakeClock())
        except (CameraError, ConfigError) as error:
            findings.append(Finding(f"camera {name}", "error", str(error), "ethostream cameras shows what is there"))
    if formats:
        rates = ", ".join(sorted({f"{one.width}x{one.height} at {one.rate_hz:g} Hz" for one in formats.values()}))
        findings.append(Finding("cameras", "ok", f"{len(formats)} of {len(configs)} open: {rates}"))
    return formats, findings


def ask_poses(configs: Mapping[str, PoseSourceConfig]) -> list[Finding]:
    """Read the file of each pose source as the rig would."""
    findings: list[Finding] = []
    for name, config in configs.items():
        try:
            table = read_pose(config.path)
            form = format_of(name, config, table)
        except (DataError, ConfigError) as error:
            text, _, cure = str(error).rpartition("; ")
            findings.append(Finding(f"pose source {name}", "error", text or cure, cure if text else ""))
            continue
        said = f"{len(form.animals)} animal(s), {len(form.keypoints)} keypoints, {table.n_frames} frames"
        findings.append(Finding(f"pose source {name}", "ok", f"{said} at {form.rate_hz:g} Hz"))
    return findings


def _needed(rig: RigConfig | None, kinds: set[str]) -> set[str]:
    needed = {_EXTRA_OF_KIND[kind] for kind in kinds if kind in _EXTRA_OF_KIND}
    if rig is not None and rig.trigger is not None:
        needed.add("serial")
    if rig is not None and (rig.lsl.outlet or rig.lsl.inlets):
        needed.add("lsl")
    return needed
