"""The three files that describe a run: rig (hardware), task (paradigm), session (this animal, today).

Each kind's options stand beside the kind and are composed here. Unknown keys are errors; units stand in the names.
Relative paths in a file are relative to that file; those given with ``--set`` are relative to the working directory.
"""

import fnmatch
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from ..acquisition.kinds import CameraConfig, follows_pulses
from ..acquisition.pose.config import PoseSourceConfig
from ..acquisition.trigger_config import TriggerConfig
from ..inference.config import TaskConfig
from ..inference.remote_config import RemoteModelConfig
from ..streaming.address import check_address
from ..streaming.board_config import BoardConfig
from ..streaming.lsl_config import LslConfig
from ..streaming.process_config import ProcessConfig
from ..streaming.recording_config import RecordingConfig
from ..streaming.time_config import TimeConfig
from ..sync.errors import AddressError, ConfigError
from ..sync.strict import StrictModel, read_yaml, validate
from .monitor.config import MonitorConfig

_PATH_KEYS = {"path", "bundle", "producer", "keys", "calibration"}
_CAMERA_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class BusConfig(StrictModel):
    """How frames travel.

    Attributes:
        transport: ``ipc`` on one host; ``tcp`` on loopback ports from ``first_port`` on.
        pixels: ``ring`` (shared memory, one write), or ``raw`` / ``jpeg`` inside the message.
        ring_slots: frames per camera in shared memory: how far a reader may fall behind before frames are lost to it.
        first_port: of the tcp transport.
        bind: address of this host that the tcp transport binds; other than loopback only with ``keys``.
        keys: folder of this host's CURVE keys; every socket of the rig then lets in those of its allow-list only.
    """

    transport: Literal["ipc", "tcp"] = "ipc"
    pixels: Literal["ring", "raw", "jpeg"] = "ring"
    ring_slots: int = Field(default=64, ge=4, le=480)
    first_port: int = Field(default=17600, ge=1024, le=65000)
    bind: str = "127.0.0.1"
    keys: Path | None = None

    @field_validator("bind")
    @classmethod
    def _one_address(cls, bind: str) -> str:
        try:
            address = ipaddress.IPv4Address(bind)
        except ValueError as error:
            raise ValueError("give one IPv4 address of this host, as `ip address` lists them") from error
        if address.is_unspecified or address.is_multicast:
            raise ValueError("give the one address that others shall use; all of them at once are refused")
        return bind

    @model_validator(mode="after")
    def _ports_for_the_address(self) -> "BusConfig":
        if self.transport == "ipc" and self.bind != "127.0.0.1":
            raise ValueError(f"bind {self.bind}: has no effect with transport ipc; set transport: tcp, or leave it out")
        return self


class SetsConfig(StrictModel):
    """How frames of one instant are matched. None: a quarter of the period, and one period."""

    tolerance_ms: float | None = Field(default=None, gt=0)
    deadline_ms: float | None = Field(default=None, gt=0)


class RigConfig(StrictModel):
    """The hardware: cameras and other sources, bus, recording and monitor."""

    name: str = Field(min_length=1, max_length=64)
    cameras: dict[str, CameraConfig] = Field(default_factory=dict[str, CameraConfig])
    pose: dict[str, PoseSourceConfig] = Field(default_factory=dict[str, PoseSourceConfig])
    bus: BusConfig = BusConfig()
    sets: SetsConfig = SetsConfig()
    recording: RecordingConfig = RecordingConfig()
    monitor: MonitorConfig = MonitorConfig()
    time: TimeConfig = TimeConfig()
    lsl: LslConfig = LslConfig()
    trigger: TriggerConfig | None = None
    remote_model: RemoteModelConfig | None = None
    process: ProcessConfig = ProcessConfig()
    links: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    max_clock_drift_ppm: float = Field(default=200.0, gt=0)

    @model_validator(mode="after")
    def _trigger_names_cameras(self) -> "RigConfig":
        unknown = set((self.trigger and self.trigger.cameras) or ()) - set(self.cameras)
        if unknown:
            raise ValueError(f"trigger.cameras: the rig has no camera {', '.join(sorted(unknown))}; check the names")
        return self

    @model_validator(mode="after")
    def _trigger_is_followed(self) -> "RigConfig":
        if self.trigger is None:
            return self
        named = self.cameras if self.trigger.cameras is None else self.trigger.cameras
        free = [name for name in named if name in self.cameras and not follows_pulses(self.cameras[name])]
        if free:
            kinds = ", ".join(f"{name} (kind {self.cameras[name].kind})" for name in free)
            raise ValueError(
                f"trigger: camera {kinds} is not set to follow its pulses; set its own trigger (basler: trigger: "
                "{kind: hardware, line: Line1}; genicam: trigger: {line: Line1}; the other kinds have none), "
                "or leave it out of trigger.cameras"
            )
        return self

    @model_validator(mode="after")
    def _keys_where_others_can_reach(self) -> "RigConfig":
        bind = f"tcp://{self.bus.bind}:{self.bus.first_port}"
        remote = self.remote_model
        for key, address in (
            ("bus.bind", bind),
            ("time.serve", self.time.serve),
            ("time.follow", self.time.follow),
            ("remote_model.crops", remote and remote.crops),
            ("remote_model.model", remote and remote.model),
        ):
            if address is not None and self.bus.keys is None:
                try:
                    check_address(address)
                except AddressError as error:
                    raise ValueError(f"{key}: {error}") from error
        return self

    @model_validator(mode="after")
    def _remote_model_knows_the_time(self) -> "RigConfig":
        if self.remote_model is not None and self.time.serve is None:
            raise ValueError("remote_model: a model on another host needs this rig's time: set time.serve")
        return self

    @model_validator(mode="after")
    def _has_sources(self) -> "RigConfig":
        if not self.cameras and not self.pose:
            raise ValueError("cameras: there is none, and no pose source either; name one at least")
        if twice := sorted(set(self.cameras) & set(self.pose)):
            raise ValueError(f"pose.{twice[0]}: a camera is called so as well; frames are counted by these names")
        return self

    @field_validator("cameras", "pose")
    @classmethod
    def _plain_names(cls, sources: dict[str, Any]) -> dict[str, Any]:
        import re

        for name in sources:
            if not re.match(_CAMERA_NAME, name):
                raise ValueError(f"name {name!r}: use letters, digits, '-' and '_' (it names files and topics)")
        return sources


class SessionConfig(StrictModel):
    """Who and what today; written into the recording as it is."""

    subject: str = ""
    experimenter: str = ""
    notes: str = ""
    extra: dict[str, str] = Field(default_factory=dict)


class RunConfig(StrictModel):
    """Everything of one run, resolved; this is what the recording keeps."""

    rig: RigConfig
    task: TaskConfig
    session: SessionConfig


def load_run(
    rig: Path, task: Path | None = None, session: Path | None = None, overrides: Sequence[str] = ()
) -> RunConfig:
    """Read and check the files of a run.

    Args:
        rig: YAML of `RigConfig`.
        task: YAML of `TaskConfig`; None: no model, no rules.
        session: YAML of `SessionConfig`.
        overrides: ``key.key=value``; the first key is ``rig``, ``task`` or ``session`` (``rig`` may be left out). A
            ``*`` stands for every key that is there: ``cameras.*.rate_hz=60``.

    Raises:
        ConfigError: each fault with file, key path and value.
    """
    data = {
        "rig": _resolve_paths(read_yaml(rig), rig.parent),
        "task": {} if task is None else _resolve_paths(read_yaml(task), task.parent),
        "session": {} if session is None else read_yaml(session),
    }
    for override in overrides:
        _apply(data, override)
    where = {"rig": str(rig), "task": str(task or "task"), "session": str(session or "session")}
    run = RunConfig(
        rig=validate(RigConfig, data["rig"], where["rig"]),
        task=validate(TaskConfig, data["task"], where["task"]),
        session=validate(SessionConfig, data["session"], where["session"]),
    )
    _check_ports(run, where["task"])
    if run.rig.remote_model is not None and run.task.tracking is not None:
        raise ConfigError(
            f"{where['task']}: tracking looks at whole frames, and the rig's remote_model gets crops only; leave "
            "one of them out"
        )
    return run


def _check_ports(run: RunConfig, where: str) -> None:
    """A serial port has one owner, and trigger and actuators are driven by two processes."""
    for name, actuator in run.task.actuators.items():
        if run.rig.trigger is not None and isinstance(actuator, BoardConfig) and actuator.port == run.rig.trigger.port:
            raise ConfigError(
                f"{where}: actuators.{name}.port: {actuator.port} is the board that triggers the cameras; actuators "
                "need a board of their own"
            )


def load_task(path: Path, bundle: str | None = None) -> TaskConfig:
    """Read one task file alone; ``bundle`` is the model where the file names none.

    Raises:
        ConfigError: as `load_run`.
    """
    data = _resolve_paths(read_yaml(path), path.parent)
    return validate(TaskConfig, {"bundle": bundle, **data} if bundle else data, str(path))


def _resolve_paths(value: Any, base: Path) -> Any:
    if isinstance(value, dict):
        return {key: _resolve_path(key, item, base) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve_paths(item, base) for item in value]
    return value


def _resolve_path(key: Any, value: Any, base: Path) -> Any:
    if key in _PATH_KEYS and isinstance(value, str):
        # A bare name may be that of a shipped bundle; it is one only where no such file stands beside the YAML.
        beside = (base / value).resolve()
        return str(beside) if key in ("path", "keys", "calibration") or beside.exists() or "/" in value else value
    return _resolve_paths(value, base)


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML ({error})") from error
    parts = key.split(".")
    if parts[-1] in _PATH_KEYS and isinstance(value, str) and Path(value).exists():
        value = str(Path(value).resolve())
    if parts[0] not in data:
        parts.insert(0, "rig")
    targets: list[dict[str, Any]] = [data]
    for part in parts[:-1]:
        targets = [child for target in targets for child in _children(target, part, override)]
    for target in targets:
        if "*" in parts[-1]:
            for name in fnmatch.filter(list(target), parts[-1]):
                target[name] = value
        else:
            target[parts[-1]] = value


def _children(target: dict[str, Any], part: str, override: str) -> list[dict[str, Any]]:
    names = fnmatch.filter([str(name) for name in target], part) if "*" in part else [part]
    if not names:
        raise ConfigError(f"--set {override}: nothing matches {part!r}")
    children: list[dict[str, Any]] = []
    for name in names:
        child = target.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {name!r} is a value, not a group of keys")
        children.append(child)
    return children
