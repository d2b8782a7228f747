"""The processes of a rig, as data: what runs, in which order it stops, who is started again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..acquisition.camera import CameraFormat
from ..inference.config import TaskConfig
from ..streaming.pose_format import PoseFormat
from ..streaming.process_config import NodeProcess
from .config import RunConfig

Restart = Literal["backoff", "never"]
StopOrder = Literal[-1, 0, 1, 2, 3]


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process.

    Attributes:
        node: name on the bus.
        entry: ``module:function`` that runs in it.
        stop_order: lower stops first; the trigger, then sources, then inference, then the recorder, then the monitor.
        restart: ``backoff``: started again when it fails after it was ready. ``never``: its failure ends the run.
        source: it brings frames; the run ends when every source has.
        upstream: publishers it must hear before it is ready.
        config: options of its entry.
        process: cores, priority, memory and garbage collection.
    """

    node: str
    entry: str
    stop_order: StopOrder
    restart: Restart
    source: bool = False
    upstream: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    process: NodeProcess = field(default_factory=NodeProcess)


INFERENCE = "inference"
SETS = "sets"
CROPPER = "cropper"
TRIGGER = "trigger"
RECORDER = "recorder"
MONITOR = "monitor"
TIME_SERVER = "time_server"
TIME_FOLLOWER = "time_follower"
TRUSTED_TIME = "trusted_time"
LSL_INLET = "lsl_inlet"
LSL_OUTLET = "lsl_outlet"
REPLAY = "replay"


def camera_node(camera: str) -> str:
    """Node name of a camera."""
    return f"camera.{camera}"


def pose_node(source: str) -> str:
    """Node name of a pose source."""
    return f"pose.{source}"


@dataclass(frozen=True, slots=True)
class PosesOfRun:
    """Pose sources of a run.

    Attributes:
        formats: what each delivers.
        model: the one that the model takes; None: it takes frames, or there is no model.
    """

    formats: Mapping[str, PoseFormat] = field(default_factory=dict[str, PoseFormat])
    model: str | None = None


NO_POSES = PosesOfRun()


def live_table(
    run: RunConfig,
    formats: Mapping[str, CameraFormat],
    rate_hz: float,
    recording_folder: str | None,
    poses: PosesOfRun = NO_POSES,
) -> list[ProcessRow]:
    """The processes of a live run.

    Args:
        run: the resolved configuration.
        formats: what each camera delivers.
        rate_hz: common rate of the cameras; without any, of a pose source.
        recording_folder: where to record; None: no recorder.
        poses: the pose sources.
    """
    rows = [
        ProcessRow(
            camera_node(name),
            "ethostream.acquisition.camera_node:main",
            0,
            "backoff",
            source=True,
            config={
                "name": name,
                "camera": run.rig.cameras[name].model_dump(mode="json"),
                "ring_slots": run.rig.bus.ring_slots,
                "pixels": run.rig.bus.pixels,
                "max_drift_ppm": run.rig.max_clock_drift_ppm,
            },
        )
        for name in formats
    ]
    rows += [
        ProcessRow(
            pose_node(name),
            "ethostream.acquisition.pose.pose_node:main",
            0,
            "backoff",
            source=True,
            config={"name": name, "pose": run.rig.pose[name].model_dump(mode="json")},
        )
        for name in poses.formats
    ]
    sources = tuple(row.node for row in rows)
    models = model_rows(run, formats, rate_hz, poses)
    rows += models
    deciding = tuple(row.node for row in models)
    outside = [
        *trigger_rows(run, formats, rate_hz),
        *time_rows(run),
        *lsl_rows(run, tuple(formats), upstream=deciding),
    ]
    rows += outside
    if recording_folder is not None:
        rows.append(
            ProcessRow(
                RECORDER,
                "ethostream.streaming.recorder_node:main",
                2,
                "never",
                upstream=(*sources, *deciding, *(row.node for row in outside)),
                config={
                    "folder": recording_folder,
                    "cameras": {name: camera_format_config(one) for name, one in formats.items()},
                    "poses": {name: one.model_dump(mode="json") for name, one in poses.formats.items()},
                    "recording": run.rig.recording.model_dump(mode="json"),
                    "run": run.model_dump(mode="json"),
                },
            )
        )
    if run.rig.monitor.enabled:
        rows.append(monitor_row(run, formats, rate_hz, poses))
    return with_processes(run, rows)


def with_processes(run: RunConfig, rows: list[ProcessRow]) -> list[ProcessRow]:
    """Each row with what the rig file's ``process`` section says of it."""
    return [replace(row, process=run.rig.process.of(row.node)) for row in rows]


def time_rows(run: RunConfig) -> list[ProcessRow]:
    """Time between hosts, as far as the rig file asks for it."""
    time = run.rig.time
    rows: list[ProcessRow] = []
    if time.source != "exchange":
        config = {"source": time.source, "max_offset_us": time.max_offset_us}
        rows.append(
            ProcessRow(TRUSTED_TIME, "ethostream.streaming.trusted_time_node:main", 1, "backoff", config=config)
        )
    if time.serve is not None:
        config = {"serve": time.serve}
        rows.append(ProcessRow(TIME_SERVER, "ethostream.streaming.time_server:main", 1, "backoff", config=config))
    if time.follow is not None:
        config = {"follow": time.follow, "server": time.server, "rate_hz": time.rate_hz}
        rows.append(ProcessRow(TIME_FOLLOWER, "ethostream.streaming.time_client:main", 1, "backoff", config=config))
    return rows


def lsl_rows(run: RunConfig, cameras: tuple[str, ...], upstream: tuple[str, ...]) -> list[ProcessRow]:
    """Lab Streaming Layer, as far as the rig file asks for it."""
    lsl = run.rig.lsl
    rows: list[ProcessRow] = []
    if lsl.inlets:
        config = {"inlets": {name: one.model_dump(mode="json") for name, one in lsl.inlets.items()}}
        rows.append(ProcessRow(LSL_INLET, "ethostream.streaming.lsl_inlet_node:main", 1, "backoff", config=config))
    if lsl.outlet:
        rows.append(
            ProcessRow(
                LSL_OUTLET,
                "ethostream.streaming.lsl_outlet_node:main",
                2,
                "backoff",
                upstream=upstream,
                config={"rig": run.rig.name, "cameras": list(cameras)},
            )
        )
    return rows


def trigger_rows(run: RunConfig, formats: Mapping[str, CameraFormat], rate_hz: float) -> list[ProcessRow]:
    """The process that makes the cameras' trigger pulses, where the rig has one; it is never started again."""
    trigger = run.rig.trigger
    if trigger is None:
        return []
    return [
        ProcessRow(
            TRIGGER,
            "ethostream.acquisition.trigger_node:main",
            -1,
            "never",
            upstream=tuple(camera_node(name) for name in formats),
            config={
                "trigger": trigger.model_dump(mode="json"),
                "rate_hz": trigger.rate_hz or rate_hz,
                "cameras": list(formats),
                "triggered": [name for name in formats if trigger.cameras is None or name in trigger.cameras],
            },
        )
    ]


def replay_table(
    run: RunConfig,
    formats: Mapping[str, CameraFormat],
    rate_hz: float,
    replay_config: dict[str, Any],
    poses: PosesOfRun = NO_POSES,
) -> list[ProcessRow]:
    """The processes of a replay: one source in place of the cameras, the same inference node."""
    rows = [
        ProcessRow(
            REPLAY,
            "ethostream.streaming.replay_node:main",
            0,
            "never",
            source=True,
            config=replay_config,
        ),
        inference_row(run, formats, rate_hz, (REPLAY,), replay=True, poses=poses),
    ]
    if run.rig.monitor.enabled:
        rows.append(monitor_row(run, formats, rate_hz, poses))
    return with_processes(run, rows)


def model_node(run: RunConfig) -> str:
    """The process that publishes frame sets and behaviour: the model's own, or the one that crops for another host."""
    return INFERENCE if run.rig.remote_model is None or run.task.bundle is None else CROPPER


def model_rows(
    run: RunConfig, formats: Mapping[str, CameraFormat], rate_hz: float, poses: PosesOfRun
) -> list[ProcessRow]:
    """The processes that assemble frame sets and run the model, the model's last.

    A model that takes frames does both; where it is on another host, there is one here that crops for it. Beside a
    model that takes pose another process assembles the sets, where there are cameras.
    """
    cameras = tuple(camera_node(name) for name in formats)
    if poses.model is not None:
        row = inference_row(run, formats, rate_hz, (pose_node(poses.model),), replay=False, poses=poses)
        return [*([sets_row(run, formats, rate_hz, cameras)] if formats else []), row]
    if poses.formats and not formats:
        return []  # nothing to assemble, and nothing that looks on
    row = inference_row(run, formats, rate_hz, cameras, replay=False)
    if model_node(run) == INFERENCE:
        return [row]
    assert run.rig.remote_model is not None
    config = {**row.config, "remote": run.rig.remote_model.model_dump(mode="json")}
    return [replace(row, node=CROPPER, entry="ethostream.inference.cropper_node:main", config=config)]


def sets_row(
    run: RunConfig, formats: Mapping[str, CameraFormat], rate_hz: float, upstream: tuple[str, ...]
) -> ProcessRow:
    """The process that assembles frame sets beside a model that takes none."""
    plain = run.model_copy(update={"task": TaskConfig()})
    return replace(inference_row(plain, formats, rate_hz, upstream, replay=False), node=SETS)


def inference_row(
    run: RunConfig,
    formats: Mapping[str, CameraFormat],
    rate_hz: float,
    upstream: tuple[str, ...],
    replay: bool,
    poses: PosesOfRun = NO_POSES,
) -> ProcessRow:
    """The inference process, live or replayed."""
    pose = None
    if poses.model is not None:
        one = poses.formats[poses.model]
        formats, rate_hz = {}, one.rate_hz
        pose = {"source": poses.model, "format": one.model_dump(mode="json")}
    return ProcessRow(
        INFERENCE,
        "ethostream.inference.inference_node:main",
        1,
        "never" if replay else "backoff",
        upstream=upstream,
        config={
            "task": run.task.model_dump(mode="json"),
            "views": {name: list(one.shape) for name, one in formats.items()},
            "rate_hz": rate_hz,
            "tolerance_ms": run.rig.sets.tolerance_ms,
            "deadline_ms": run.rig.sets.deadline_ms,
            "replay": replay,
            "pose": pose,
        },
    )


def monitor_row(
    run: RunConfig, formats: Mapping[str, CameraFormat], rate_hz: float, poses: PosesOfRun = NO_POSES
) -> ProcessRow:
    """The monitor process."""
    return ProcessRow(
        MONITOR,
        "ethostream.deploy.monitor.monitor_node:main",
        3,
        "backoff",
        config={
            "monitor": run.rig.monitor.model_dump(mode="json"),
            "rig": run.rig.name,
            "cameras": list(formats),
            "poses": list(poses.formats),
            "rate_hz": rate_hz,
        },
    )


def camera_format_config(one: CameraFormat) -> dict[str, Any]:
    """A camera format as plain values."""
    return {"width": one.width, "height": one.height, "pixel_format": one.pixel_format, "rate_hz": one.rate_hz}
