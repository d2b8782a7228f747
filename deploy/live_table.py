"""The live table in the terminal: a full picture four times a second, or one plain line every few seconds."""

import sys
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..streaming.wire import Received
from ..sync.clock import NS_PER_S, Clock
from .live_state import LiveState
from .palette import class_color
from .report import RunReport
from .snapshot import BehaviorNow, CameraNow, ClockNow, Snapshot

REFRESH_NS = NS_PER_S // 4
LINE_NS = 5 * NS_PER_S
SHOWN_PROBLEMS = 4
SIDE_BY_SIDE = 112
"""Columns from which the behaviour stands beside the figures."""
_GOOD, _WARN, _BAD, _DIM = "green", "yellow", "bold red", "bright_black"
_STATE_STYLE = {"running": _GOOD, "waiting": _DIM, "stopped": _DIM, "silent": _BAD, "lost": _BAD}


class LiveTable:
    """Shows a run while it goes on; a `Display` of `supervised_run`. One thread, and no thread of its own.

    Args:
        state: what to show; it is fed by `on_message`.
        clock: rig time.
        headless: one plain line every few seconds instead of a table.
        console: where to; standard output when None. Without a terminal it is headless anyway.
    """

    def __init__(
        self, state: LiveState, clock: Clock, *, headless: bool = False, console: Console | None = None
    ) -> None:
        self._state = state
        self._clock = clock
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._headless = headless or not self._console.is_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._next_ns = 0
        self._phase = ""
        self._said_port: int | None = None

    def __enter__(self) -> Self:
        if not self._headless:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._headless:
            self._live.stop()

    def on_message(self, received: Received) -> None:
        """Take one message of the bus."""
        self._state.add(received.message, self._clock.now_ns())

    def on_tick(self, phase: str, report: RunReport | None = None) -> None:
        """Draw again where it is time, or the phase has changed."""
        now = self._clock.now_ns()
        if now < self._next_ns and phase == self._phase:
            return
        snapshot = self._state.snapshot(now)
        if self._headless:
            self._say_address(snapshot)
            self._console.print(plain_line(snapshot, phase), soft_wrap=True, markup=False, highlight=False)
        else:
            self._live.update(table(snapshot, phase, self._console.width), refresh=True)
        self._phase = phase
        self._next_ns = now + (LINE_NS if self._headless else REFRESH_NS)

    def _say_address(self, snapshot: Snapshot) -> None:
        if snapshot.monitor_port is not None and snapshot.monitor_port != self._said_port:
            self._said_port = snapshot.monitor_port
            self._console.print(f"monitor: {address(snapshot.monitor_port)}", markup=False, highlight=False)


def address(port: int) -> str:
    """Where the monitor page is."""
    return f"http://127.0.0.1:{port}"


def duration(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def plain_line(now: Snapshot, phase: str) -> str:
    """One line for logs: the same figures, without colour."""
    rates = [camera.rate_hz for camera in now.cameras]
    parts = [f"[{duration(now.run_s)}] {phase}"]
    if now.poses:
        parts.append("; ".join(f"pose {one.name} {one.rate_hz:.1f} Hz, {one.captured} frames" for one in now.poses))
    if rates:
        dropped, declared = sum(c.dropped for c in now.cameras), sum(c.declared for c in now.cameras)
        low, high = f"{min(rates):.1f}", f"{max(rates):.1f}"
        # Before the first frames, and after the last, no rate is known.
        rate = "" if not max(rates) else f" {low} Hz" if low == high else f" {low} to {high} Hz"
        parts.append(f"{len(rates)} cameras{rate}, {dropped} dropped by them, {declared} on the way")
    if now.cameras or not now.poses:
        parts.append(f"sets {now.sets.complete} complete, {now.sets.partial} partial")
    if now.behavior is not None:
        one = now.behavior
        best = max((entry.p for entry in one.classes), default=0.0)
        parts.append(f"{one.label or '(none yet)'} p {best:.2f}, {one.steps} steps, {one.skipped} sets skipped")
    if now.latency is not None:
        parts.append(f"latency p50 {now.latency.exposure_p50:.1f}, p99 {now.latency.exposure_p99:.1f} ms")
    if now.rules:
        parts.append(f"fired {sum(rule.fired for rule in now.rules)}")
    if now.armed is False:
        parts.append(f"rules disarmed by {now.armed_by}")
    if now.recording is not None:
        recording = now.recording
        parts.append(f"{recording.written} frames written, {recording.gib_free:.0f} GiB left")
    parts += [f"{problem.severity.upper()} {problem.who}: {problem.text}" for problem in now.problems[:2]]
    return " | ".join(parts)


def table(now: Snapshot, phase: str, width: int = SIDE_BY_SIDE) -> RenderableType:
    """The whole picture, for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [_head(now, phase)]
    if now.cameras or not now.poses:
        parts.append(_sources("camera", now.cameras))
    if now.poses:
        parts.append(_sources("pose source", now.poses))
    blocks: list[RenderableType] = []
    if now.behavior is not None:
        blocks.append(_boxed(_behavior(now.behavior), "behaviour"))
    blocks.append(_boxed(_figures(now), "run"))
    if width >= SIDE_BY_SIDE:
        side = Table.grid(padding=(0, 1, 0, 0))
        side.add_row(*blocks)
        blocks = [side]
    parts += blocks
    parts += [_problem_line(now, place) for place in range(min(SHOWN_PROBLEMS, len(now.problems)))]
    if len(now.problems) > SHOWN_PROBLEMS:
        parts.append(Text(f"  and {len(now.problems) - SHOWN_PROBLEMS} more", style=_DIM))
    return Group(*parts)


def _boxed(inner: RenderableType, title: str) -> Panel:
    return Panel(inner, title=f"[{_DIM}]{title}", title_align="left", border_style="grey30", expand=False)


def _head(now: Snapshot, phase: str) -> Text:
    line = Text.assemble(
        ("ethostream ", "bold"), (now.rig, "bold cyan"), f"  {now.mode}  {phase}  ", (duration(now.run_s), "bold")
    )
    if now.monitor_port is not None:
        line.append("   ").append(address(now.monitor_port), style="underline blue")
    return line


def _sources(kind: str, sources: tuple[CameraNow, ...]) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_DIM)
    grid.add_column(kind, overflow="fold", min_width=8)
    grid.add_column("state", min_width=8)
    for name in ("Hz", "frames", "dropped", "declared", "repeats", "age ms"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one in sources:
        grid.add_row(
            one.name,
            Text(one.state, style=_STATE_STYLE[one.state]),
            f"{one.rate_hz:.2f}",
            f"{one.captured:,}",
            _count(one.dropped),
            _count(one.declared),
            _count(one.duplicates, "default"),
            "-" if one.age_ms is None else f"{one.age_ms:.0f}",
        )
    return grid


def _count(n: int, style: str = _WARN) -> Text:
    return Text(f"{n:,}", style=style if n else _DIM)


def _behavior(one: BehaviorNow) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=10)
    grid.add_column(width=24)
    grid.add_column(justify="right")
    held = f"for {one.for_ms / 1000:.1f} s" if one.label else "warming up" if not one.warm else "no label yet"
    names = [entry.name for entry in one.classes]
    color = class_color(names.index(one.label)) if one.label in names else _DIM
    grid.add_row(Text(one.label or "-", style=f"bold {color}"), Text(held, style=_DIM), "")
    if one.truth:
        right = one.truth == one.label
        grid.add_row(Text("in truth", style=_DIM), Text(one.truth, style=_DIM if right else _WARN), "")
    for place, entry in enumerate(one.classes):
        color = class_color(place)
        style = "bold" if entry.name == one.label else ""
        bar = Bar(1.0, 0, entry.p, color=color, bgcolor="grey19")
        grid.add_row(Text(entry.name, style=style), bar, f"{entry.p:.2f}")
    return grid


def _figures(now: Snapshot) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=_DIM, no_wrap=True)
    grid.add_column()
    sets = now.sets
    line = Text(f"{sets.complete:,} complete  ").append_text(_count(sets.partial)).append(" partial  ")
    grid.add_row("sets", line.append_text(_count(sets.late)).append(" late"))
    if now.clocks:
        grid.add_row("clocks", _clocks(now.clocks))
    if now.behavior is not None:
        skipped = _count(now.behavior.skipped)
        grid.add_row("model", Text(f"{now.behavior.steps:,} steps  ").append_text(skipped).append(" skipped"))
    if now.latency is not None:
        one = now.latency
        grid.add_row(
            "latency",
            f"p50 {one.exposure_p50:.1f}  p99 {one.exposure_p99:.1f}  max {one.max_run:.1f} ms  exposure to label",
        )
    if now.armed is not None:
        words = Text("armed" if now.armed else "disarmed", style=_GOOD if now.armed else _WARN)
        grid.add_row("rules", words.append(f"  by {now.armed_by}", style=_DIM))
    for rule in now.rules:
        sham = f"  sham {rule.sham}" if rule.sham else ""
        grid.add_row(f"rule {rule.name}", f"fired {rule.fired}{sham}  withheld {rule.withheld}")
    if now.recording is not None:
        one = now.recording
        good = one.state in ("started", "running", "stopped")
        left = "" if one.hours_left is None else f", {one.hours_left:.1f} h"
        line = Text(one.state.replace("_", " "), style=_GOOD if good else _BAD)
        line.append(f"  {one.written:,} written  ", style="default").append_text(_count(one.declared))
        grid.add_row("recording", line.append(" declared", style="default"))
        grid.add_row("disk", f"{one.gib_free:.1f} GiB left{left}")
    else:
        grid.add_row("recording", Text("off", style=_WARN))
    return grid


def _clocks(clocks: tuple[ClockNow, ...]) -> Text:
    settled = [one for one in clocks if one.state in ("locked", "trusted")]
    n_steps = sum(one.n_steps for one in clocks)
    line = Text(f"{len(settled)} of {len(clocks)} settled", style=_GOOD if len(settled) == len(clocks) else _WARN)
    if settled:
        line.append(f"  residual p99 {max(one.residual_p99_us for one in settled):.1f} us", style="default")
    if n_steps:
        line.append("  ").append_text(_count(n_steps)).append(" steps", style="default")
    return line


def _problem_line(now: Snapshot, place: int) -> Text:
    one = now.problems[place]
    times = f"  (x{one.n})" if one.n > 1 else ""
    ago_s = (now.t_ms - one.t_ms) / 1000
    ago = f"  {ago_s:.0f} s ago" if ago_s >= 1 else ""
    style = _BAD if one.severity == "error" else _WARN
    return Text.assemble((f"{one.severity.upper():8}", style), f"{one.who}: {one.text}{times}", (ago, _DIM))
