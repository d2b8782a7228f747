"""``ethostream cameras``: what is there, which lines of the rig file mean it, and a picture of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .json_output import JsonOption, to_stdout, write_result

if TYPE_CHECKING:
    from rich.console import Console

    from ...acquisition.discovery import Discovered

_MODES_SHOWN = 6


def cameras(
    rig: Annotated[
        Path | None, typer.Option(metavar="RIG.yaml", help="Open the cameras of this rig instead of searching.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: `basler`, `genicam`, `opencv` ...")] = None,
    snapshot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Take one picture with each camera, as PNG, into this folder.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """List the cameras that are connected, with the lines of the rig file that mean them.

    Each kind is asked through its own software; where that is not installed, a line says what brings it. With --rig
    nothing is searched: every camera of the rig is opened as the rig would open it, and what it delivers is shown. A
    rig of simulated cameras works too, so that all this can be tried without any hardware.

    Exit status 5 when a camera of the rig does not open, or gives no picture.
    """
    from rich.console import Console

    from ...sync.errors import CameraOpenError

    console = Console(highlight=False, stderr=to_stdout(json_path))
    if snapshot is not None:
        _folder(snapshot)
    result = _search(console, kind, snapshot) if rig is None else _rig(console, rig, kind, snapshot)
    if json_path is not None:
        write_result(json_path, result)
    failed = [f"{name}: {one['error']}" for name, one in result.get("rig", {}).items() if one["error"]]
    if failed:
        raise CameraOpenError("\n".join(failed))


def _folder(path: Path) -> None:
    from ...sync.errors import ConfigError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--snapshot {path}: is no folder and cannot be made ({error.strerror})") from error


def _search(console: "Console", kind: str | None, snapshot: Path | None) -> dict[str, Any]:
    from ...acquisition.discovery import discover

    found = discover((kind,) if kind is not None else ())
    rows: list[dict[str, Any]] = []
    for answer in found:
        console.print(f"[bold]{answer.kind}[/] {len(answer.cameras)} camera(s)", end="")
        console.print(f"  [yellow]{_plain(answer.note)}[/]" if answer.note else "")
        rows.append({"kind": answer.kind, "note": answer.note, "cameras": _cameras(console, answer, snapshot)})
    if not any(answer.cameras for answer in found):
        console.print("No camera answers. Without hardware: ethostream demo, or cameras of kind simulated or file.")
    return {"found": rows}


def _cameras(console: "Console", answer: "Discovered", snapshot: Path | None) -> list[dict[str, Any]]:
    from ..camera_list import file_name, rig_lines, rig_options

    rows: list[dict[str, Any]] = []
    for one in answer.cameras:
        name, options = file_name(one), rig_options(one)
        row: dict[str, Any] = {
            "serial": one.serial, "model": one.model, "vendor": one.vendor, "interface": one.interface,
            "modes": list(one.modes), "detail": one.detail, "rig": options,
        }  # fmt: skip
        console.print(f"  [green]●[/] [bold]{_plain(one.model)}[/] {_plain(one.serial)}  {_plain(one.vendor)}", end="")
        console.print(f"  {_plain(one.interface)}")
        more = f" and {len(one.modes) - _MODES_SHOWN} more" if len(one.modes) > _MODES_SHOWN else ""
        if one.modes:
            console.print(f"    modes: {_plain('; '.join(one.modes[:_MODES_SHOWN]))}{more}")
        if options:
            console.print("\n".join(f"      {line}" for line in rig_lines(name, options).splitlines()), markup=False)
        if snapshot is not None and options:
            row |= _picture(console, name, options, snapshot / f"{name}.png")
        rows.append(row)
    return rows


def _picture(console: "Console", name: str, options: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take and write one picture; what goes wrong is said, since the other cameras shall have theirs."""
    from ...sync.clock import ClockAnchor, RigClock
    from ...sync.errors import CameraError, EthostreamError
    from ..camera_list import PICTURE_S, take_picture, validated, write_png

    row: dict[str, Any] = {"error": "", "snapshot": None}
    try:
        camera_format, frame = take_picture(name, validated(name, options), RigClock(ClockAnchor.take()))
        if frame is None:
            raise CameraError(f"camera {name}: no frame within {PICTURE_S:g} s; does it wait for a trigger?")
        write_png(path, camera_format, frame)
        row["snapshot"] = str(path)
        console.print(f"    picture: {path}", markup=False)
    except EthostreamError as error:
        row["error"] = str(error)
        console.print(f"    [red]{_plain(str(error))}[/]")
    return row


def _rig(console: "Console", path: Path, kind: str | None, snapshot: Path | None) -> dict[str, Any]:
    from rich.progress import track

    from ...sync.clock import ClockAnchor, RigClock
    from ...sync.errors import CameraError, ConfigError
    from ..camera_list import ask_format
    from ..config import load_run

    configs = {name: one for name, one in load_run(path).rig.cameras.items() if kind is None or one.kind == kind}
    if not configs:
        raise ConfigError(f"{path}: has no camera of kind {kind}")
    clock = RigClock(ClockAnchor.take())
    rows: dict[str, Any] = {}
    for name, config in track(configs.items(), "opening", console=console, transient=True, total=len(configs)):
        row: dict[str, Any] = {"kind": config.kind, "error": "", "snapshot": None, "format": None}
        rows[name] = row
        try:
            form = ask_format(name, config, clock)
        except (CameraError, ConfigError) as error:
            row["error"] = str(error)
            console.print(f"[red]●[/] [bold]{name}[/] {_plain(str(error))}")
            continue
        row["format"] = {
            "width": form.width, "height": form.height, "pixel_format": form.pixel_format, "rate_hz": form.rate_hz,
            "time_source": form.time_source,
        }  # fmt: skip
        console.print(
            f"[green]●[/] [bold]{name}[/] {config.kind}  {form.width}x{form.height} {form.pixel_format} at "
            f"{form.rate_hz:g} Hz, timed by: {form.time_source}"
        )
        if snapshot is not None:
            row |= _picture(console, name, config.model_dump(mode="json"), snapshot / f"{name}.png")
    return {"rig": rows}


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
