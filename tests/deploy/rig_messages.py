"""A small world of messages for the tests of what people look at."""

from typing import Any

from ethostream.streaming import messages as m
from ethostream.sync.clock import NS_PER_MS, NS_PER_S

T0 = 1_790_000_000 * NS_PER_S
PERIOD_NS = NS_PER_S // 60
CLASSES = ("locomote", "rear", "groom", "still")


def source(camera: str, i: int, epoch: int = 0) -> m.SourceFrame:
    t = T0 + i * PERIOD_NS
    return m.SourceFrame(camera, epoch, i, t, 2000, t + 5 * NS_PER_MS)


def truth(camera: str, i: int, behavior: str, instant: int | None = None) -> m.FrameTruth:
    return m.FrameTruth(camera, 0, i, i if instant is None else instant, T0 + i * PERIOD_NS, behavior)


def frame_set(cameras: tuple[str, ...], i: int, missing: tuple[str, ...] = ()) -> m.FrameSet:
    sources = tuple(source(camera, i) for camera in cameras if camera not in missing)
    t = T0 + i * PERIOD_NS
    return m.FrameSet(i, "partial" if missing else "complete", sources, missing, t + NS_PER_MS, t + 6 * NS_PER_MS)


def behavior(
    cameras: tuple[str, ...], i: int, label: str, *, warm: bool = True, n_skipped: int = 0, p: float = 0.91
) -> m.Behavior:
    t = T0 + i * PERIOD_NS
    rest = (1 - p) / (len(CLASSES) - 1)
    raw = label or CLASSES[0]
    return m.Behavior(
        set_id=i,
        status="complete",
        sources=tuple(source(camera, i) for camera in cameras),
        missing=(),
        bundle="demo_mouse",
        p=tuple(p if name == raw else rest for name in CLASSES),
        raw=raw,
        label=label,
        label_since_ns=t,
        n_skipped=n_skipped,
        gap_frames=n_skipped,
        warm=warm,
        classes=tuple(CLASSES),
        boxes=tuple(m.Box(camera, 100 + i % 200, 120, 160, 120, True) for camera in cameras),
        t_exposure_ns=t,
        t_received_ns=t + 5 * NS_PER_MS,
        t_taken_ns=t + 6 * NS_PER_MS,
        t_cropped_ns=t + 7 * NS_PER_MS,
        t_embedded_ns=t + 12 * NS_PER_MS,
        t_head_ns=t + 13 * NS_PER_MS,
        t_decided_ns=t + 14 * NS_PER_MS,
    )


def clock_status(name: str, state: Any = "locked", p99_us: float = 40.0, **other: Any) -> m.ClockStatus:
    values = {"epoch": 0, "offset_ns": 7, "drift_ppm": 12.5, "n_outliers": 0, "n_steps": 0, **other}
    return m.ClockStatus(
        clock=name, state=state, residual_p50_us=1.0, residual_p99_us=p99_us, residual_max_us=2 * p99_us, n_used=100,
        t_ns=T0, **values,
    )  # fmt: skip


def decision(i: int, action: str, reason: str = "", rule: str = "rear_light") -> m.Decision:
    t = T0 + i * PERIOD_NS
    return m.Decision(
        rule=rule,
        set_id=i,
        action="fired" if action == "fired" else "sham" if action == "sham" else "withheld",
        reason=reason,
        behavior="rear",
        p=0.93,
        actuator="log",
        sources=(source("cam0", i),),
        t_exposure_ns=t,
        t_received_ns=t + 5 * NS_PER_MS,
        t_decided_ns=t + 14 * NS_PER_MS,
        t_fired_ns=t + 15 * NS_PER_MS if action == "fired" else 0,
    )


def camera_status(camera: str, n: int, *, dropped: int = 0, epoch: int = 0, state: str = "running") -> m.CameraStatus:
    kind = {"running": "running", "stopped": "stopped", "lost": "lost"}[state]
    return m.CameraStatus(camera, epoch, kind, 0, n + dropped - 1, n, dropped, 1, 59.97, T0 + n * PERIOD_NS)  # pyright: ignore[reportArgumentType]
