"""``ethostream calibrate --live``: pictures of a board taken with the running cameras, and what to show next."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ...acquisition.calibration.coverage import TARGET_CELL, TARGET_IMAGES, CameraCoverage
from ...acquisition.calibration.live_capture import BoardWatcher, LiveCapture, Look
from ...acquisition.kinds import make_camera
from ...sync.clock import ClockAnchor, RigClock
from ...sync.errors import ConfigError
from ..config import load_run

if TYPE_CHECKING:
    from ...acquisition.calibration.board import Board


def take_pictures(
    rig: Path, board: "Board", folder: Path, max_s: float | None, blind_s: float, *, quiet: bool = False
) -> None:
    """Run the rig's cameras until the coverage is complete, time is up, or Ctrl-C; pictures go to ``folder``.

    Raises:
        CalibrationError: no camera ever saw the board, or the folder holds pictures already.
        ConfigError: the rig has no camera.
        CameraError: a camera cannot be opened or was lost.
    """
    clock = RigClock(ClockAnchor.take())
    cameras = {name: make_camera(name, config, clock) for name, config in load_run(rig).rig.cameras.items()}
    if not cameras:
        raise ConfigError(f"{rig}: has no camera to take pictures with; name one under cameras")
    console = Console(stderr=True, quiet=quiet, highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(watcher: BoardWatcher, look: Look) -> None:
            live.update(coverage_table(watcher, look, tuple(cameras)), refresh=True)

        stop = _Interrupt()
        with stop:
            watcher = LiveCapture(cameras, board, folder, clock).run(
                show, blind_s=blind_s, max_s=max_s, should_stop=lambda: stop.asked
            )
    told = "all is covered" if watcher.tracker.done else "not all is covered"
    console.print(f"{watcher.tracker.n_instants} instants saved in {folder}; {told}")


class _Interrupt:
    """Ctrl-C ends the taking of pictures, and the calibration goes on with those."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> None:
        import signal

        self._before = signal.signal(signal.SIGINT, self._ask)

    def __exit__(self, *_error: object) -> None:
        import signal

        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_signal: object) -> None:
        self.asked = True


def coverage_table(watcher: BoardWatcher, look: Look, cameras: tuple[str, ...]) -> Table:
    """What each camera has, and what to show it next."""
    table = Table("camera", "board", "pictures", "ninths", "tilts", "next", box=None, padding=(0, 2, 1, 0))
    for name in cameras:
        coverage = watcher.tracker.camera(name)
        seen = "[yellow]moving[/]" if name in look.seen else "[dim]-[/]"
        seen = "[green]still[/]" if name in look.still else seen
        tilts = sum(n > 0 for n in coverage.tilts.values())
        pictures = f"{min(coverage.n_images, 99)} of {TARGET_IMAGES}"
        table.add_row(
            name, seen, pictures, _ninths(coverage), f"{tilts} of 4", (coverage.hints or ("[green]done[/]",))[0]
        )
    for hint in watcher.tracker.link_hints():
        table.add_row("", "", "", "", "", f"[yellow]{hint}[/]")
    kept = f"instant {look.kept} saved" if look.kept is not None else "hold the board still; Ctrl-C ends and calibrates"
    table.caption = kept
    return table


def _ninths(coverage: CameraCoverage) -> str:
    """Three lines of three signs: covered, thin, empty."""
    signs = [["#" if n >= TARGET_CELL else "+" if n else "." for n in row] for row in coverage.cells.tolist()]
    return "\n".join("".join(row) for row in signs)
