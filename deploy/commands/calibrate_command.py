"""``ethostream calibrate``: from pictures of a board to cameras in millimetres."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...sync.errors import CalibrationError, ConfigError
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from ...acquisition.calibration.board import Board
    from ...acquisition.calibration.detection import CameraDetections, Progress
    from ...acquisition.calibration.pose import Pose
    from ...acquisition.calibration.rig_calibration import RigCalibration
    from ...sync.camera_model import CameraModel


def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A sub-folder of pictures, or a video, per camera.")],
    board: Annotated[
        str,
        typer.Option(
            metavar="BOARD",
            help="`charuco:8x11:24:18.75:DICT_4X4_1000` (squares, mm of square and marker, dictionary; `:legacy` for "
            "prints from before OpenCV 4.6) or `chessboard:9x6:30` (inner corners, mm).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.toml", help="The calibration.")] = Path("calibration.toml"),
    rig: Annotated[
        Path | None, typer.Option(metavar="RIG.yaml", help="Check names and picture sizes against this rig.")
    ] = None,
    live: Annotated[
        Path | None,
        typer.Option(metavar="RIG.yaml", help="First take the pictures into FOLDER with the cameras of this rig."),
    ] = None,
    fisheye: Annotated[bool, typer.Option("--fisheye", help="Lenses of about 100 degrees and more.")] = False,
    coefficients: Annotated[int, typer.Option(help="Distortion of other lenses: 4, 5 or 8 numbers.")] = 5,
    fix_aspect: Annotated[bool, typer.Option("--fix-aspect", help="One focal length for both axes.")] = False,
    fix_tangential: Annotated[bool, typer.Option("--fix-tangential", help="No tangential distortion.")] = False,
    keep_lenses: Annotated[
        bool, typer.Option("--keep-lenses", help="Do not fit the lenses once more together with the rig.")
    ] = False,
    hold_out: Annotated[
        float, typer.Option(help="Share of instants kept aside, to judge by; the result uses all.")
    ] = 0.2,
    max_rms_px: Annotated[
        float, typer.Option(min=0, help="Worse than this is an error, and nothing is written.")
    ] = 1.0,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Cameras may lack instants that others have.")
    ] = False,
    floor: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures of the board lying on the floor: the world becomes the floor."),
    ] = None,
    floor_points: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Or three or more points of the floor: point,camera,x_px,y_px."),
    ] = None,
    board_thickness_mm: Annotated[float, typer.Option(help="Of the board on the floor.")] = 0.0,
    from_below: Annotated[bool, typer.Option("--from-below", help="The cameras look up through the floor.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="A page with figures and drawings.")] = None,
    json_path: JsonOption = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="With --live: end after this long; 0: when all is covered.")
    ] = 0.0,
    blind_seconds: Annotated[
        float, typer.Option(min=0, help="With --live: give up without a board after this.")
    ] = 60.0,
) -> None:
    """Calibrate cameras, stereo pairs and the whole rig from pictures of a board.

    FOLDER holds a sub-folder per camera, named as in the rig file; pictures of one instant have the same name, or the
    same last number in their names, in all of them. Or it holds one video per camera; frame i of each is one instant.
    Hold the board still, near and far, in every corner of every picture, tilted to all four sides, and often where two
    cameras see it at once.

    Each lens is fitted alone, then every pair, then all together. A part of the pictures is kept aside to judge by.
    The page (--report) shows what is not good yet and what to show more. Exit status 5 when the error is above
    --max-rms-px, when cameras are not joined by shared views, or when the pictures contradict each other.

    Example: `ethostream calibrate pictures --board charuco:8x11:24:18.75:DICT_4X4_1000 --report calibration.html`
    """
    from ...acquisition.calibration.board import parse_board
    from ...acquisition.calibration.coverage import coverage_of
    from ...acquisition.calibration.detection import require_boards
    from ...acquisition.calibration.lens_freedom import LensFreedom
    from ...acquisition.calibration.rig_calibration import RigOptions, calibrate_rig
    from ...sync.calibration_file import utc_text, write_calibration
    from ...sync.clock import ClockAnchor
    from ..calibration_result import calibration_result, file_metadata
    from ..report import software_version

    for option, path in (("--out", out), ("--report", report), ("--json", json_path)):
        require_writable(path, option)
    if floor is not None and floor_points is not None:
        raise ConfigError("--floor and --floor-points both say where the floor is; give one")
    shown = parse_board(board)
    if fisheye:
        lens = LensFreedom(4, fix_aspect=fix_aspect, fisheye=True)
    else:
        lens = LensFreedom(coefficients, fix_aspect=fix_aspect, fix_tangential=fix_tangential)
    quiet = to_stdout(json_path)
    if live is not None:
        from .calibrate_live import take_pictures

        take_pictures(live, shown, folder, seconds or None, blind_seconds, quiet=quiet)
    with _progress(quiet) as progress:
        detections = _detect(folder, shown, allow_missing, progress)
        require_boards(detections, shown)
        if rig is not None or live is not None:
            _check_rig(rig or live, detections)  # pyright: ignore[reportArgumentType]
        options = RigOptions(lens=lens, refine_lenses=not keep_lenses, hold_out=hold_out)
        found = calibrate_rig(detections, shown, options, progress)
        models, to_world, floor_facts = _floor(
            found, shown, floor, floor_points, board_thickness_mm, from_below, progress
        )
    result = calibration_result(found, detections, shown, coverage_of(detections, shown), max_rms_px)
    result["floor"] = floor_facts
    world = "floor" if floor_facts is not None else f"camera {found.models[0].name}"
    software = f"ethostream {software_version() or 'from a tree'}"
    metadata = file_metadata(result, software, utc_text(ClockAnchor.take().utc_ns), world)
    if report is not None:
        from ..calibration_report import calibration_page, write_page

        write_page(report, calibration_page(found, models, result, metadata, shown, to_world))
    if json_path is not None:
        write_result(json_path, result)
    if not quiet:
        _print(result)
    if not result["ok"]:
        worst = result["worst"]
        raise CalibrationError(
            f"{worst['what']}: error {worst['rms_px']:.2f} px, allowed {max_rms_px:g}; {out} was not written. "
            f"{'Look at ' + str(report) if report else 'Make a page with --report FILE.html'}: pictures with long bars "
            "are blurred or were taken while the board moved, a pattern in the residuals means another lens model "
            "(--fisheye, --coefficients 8), and all bars long means that the board's numbers are not those of the print"
        )
    write_calibration(out, models, metadata)
    if not quiet:
        typer.echo(f"written: {out}" + (f", {report}" if report else ""))


def _detect(folder: Path, board: "Board", allow_missing: bool, progress: "Progress") -> "list[CameraDetections]":
    from ...acquisition.calibration.detection import detect_images, find_sources
    from ...acquisition.calibration.video_frames import detect_videos

    sources = find_sources(folder, allow_missing=allow_missing)
    if any(source.video is not None for source in sources.values()):
        return detect_videos(sources, board, allow_missing=allow_missing, progress=progress)
    return detect_images(sources, board, progress)


def _check_rig(rig: Path, detections: "Sequence[CameraDetections]") -> None:
    """Names and sizes are those of the rig file, as far as it states sizes."""
    from ..config import load_run

    cameras = load_run(rig).rig.cameras
    seen = {one.camera: one for one in detections}
    if strange := sorted(set(seen) - set(cameras)):
        raise ConfigError(
            f"pictures of {', '.join(strange)}, and {rig} has {', '.join(cameras)}; name the folders as the rig does"
        )
    if missing := sorted(set(cameras) - set(seen)):
        raise ConfigError(f"no pictures of {', '.join(missing)}, which {rig} has; take pictures with all its cameras")
    for name, one in seen.items():
        settings = cameras[name].model_dump()
        stated = settings.get("width"), settings.get("height")
        for what, value, real in zip(("width", "height"), stated, (one.width, one.height), strict=True):
            if isinstance(value, int) and value > 0 and value != real:
                raise ConfigError(
                    f"{name}: the pictures have a {what} of {real} px, {rig} says {value}; a calibration holds for one "
                    "size and region of the sensor: take the pictures with the rig's settings"
                )


def _floor(
    found: "RigCalibration",
    board: "Board",
    floor: Path | None,
    floor_points: Path | None,
    thickness_mm: float,
    from_below: bool,
    progress: "Progress",
) -> "tuple[tuple[CameraModel, ...], Pose, dict[str, Any] | None]":
    """Cameras in the world of the file, how to get there, and what is known of the floor."""
    from ...acquisition.calibration.floor import floor_from_board, floor_from_points, in_frame, read_floor_points
    from ...acquisition.calibration.pose import IDENTITY

    if floor is not None:
        seen = _detect(floor, board, True, progress)
        pose = floor_from_board(found.models, seen, board, thickness_mm=thickness_mm, seen_from_below=from_below)
        facts: dict[str, Any] = {"from": "board", "cameras": [one.camera for one in seen if one.images]}
    elif floor_points is not None:
        pixels = read_floor_points(floor_points, found.models)
        pose, points = floor_from_points(found.models, pixels, seen_from_below=from_below)
        facts = {"from": "points", "largest_height_mm": float(abs(points[:, 2]).max()), "points_mm": points.tolist()}
    else:
        return found.models, IDENTITY, None
    return in_frame(found.models, pose), pose, facts


@contextmanager
def _progress(quiet: bool) -> "Generator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    limit = result["max_rms_px"]
    held = result["held_out"]

    def px(value: float | None) -> str:
        if value is None:
            return ""
        return f"[{'red' if value > limit else 'green'}]{value:.3f}[/]"

    out = Console(highlight=False)
    table = Table("camera", "pictures", "lens px", "rig px", "held out px", "what to show next", box=None)
    for name, one in result["cameras"].items():
        held_px = None if held is None else held["rig_rms_px"].get(name)
        used = f"{one['images_used']} of {one['images']}"
        table.add_row(
            name, used, px(one["lens_rms_px"]), px(one["rig_rms_px"]), px(held_px), (one["hints"] or ["-"])[0]
        )
    out.print(table)
    if result["pairs"]:
        pairs = Table("pair", "shared", "px", "distance mm", box=None)
        for pair in result["pairs"]:
            named = f"{pair['first']} - {pair['second']}"
            pairs.add_row(named, str(pair["instants"]), px(pair["rms_px"]), f"{pair['baseline_mm']:.2f}")
        out.print(pairs)
        out.print(f"bundle adjustment: {result['rms_before_px']:.3f} -> {px(result['rms_px'])} px")
    for name, one in result["cameras"].items():
        for instant, why in one["rejected"].items():
            out.print(f"[yellow]left out[/] {name} {instant}: {why}")
    if held is not None:
        out.print(f"held-out pictures ({len(held['instants'])}): {px(held['rms_px'])} px")
        if held["square"] is not None:
            square = held["square"]
            out.print(
                f"square measured on them: {square['mean_mm']:.3f} ± {square['std_mm']:.3f} mm, true "
                f"{square['true_mm']:g}"
            )
