"""The report page of a calibration: one HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..acquisition.calibration.board import Board
from ..acquisition.calibration.rig_calibration import RigCalibration
from ..sync.camera_model import Array, CameraModel
from ..sync.errors import ReportError
from ..sync.whole_file import write_whole
from .calibration_figures import coverage_map, error_bars, residual_arrows, rig_views
from .palette import class_color

_STYLE = """
:root { --ground:#0d1117; --card:#141a22; --line:#222b36; --ink:#dbe3ec; --dim:#7f8c9b; --good:#3fc79a; --warn:#e6a23c;
  --bad:#ff6b6b; --live:#56b4e9; font:14px/1.45 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif; }
* { box-sizing:border-box; }
body { margin:0 auto; max-width:1180px; padding:22px 20px 60px; background:var(--ground); color:var(--ink);
  font-variant-numeric:tabular-nums; }
h1 { font-size:22px; margin:0 0 2px; } h2 { font-size:16px; margin:30px 0 10px; } h3 { font-size:15px; margin:0; }
.dim { color:var(--dim); } .good { color:var(--good); } .warn { color:var(--warn); } .bad { color:var(--bad); }
.chip { padding:1px 10px; border:1px solid currentcolor; border-radius:999px; font-size:12px; margin-left:8px; }
.figures { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:10px; margin-top:16px; }
.figure, .card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px; }
.figure b { display:block; font-size:20px; font-weight:600; } .figure span { color:var(--dim); font-size:12px; }
.views { display:grid; grid-template-columns:repeat(3,1fr); gap:10px; }
.card { margin-bottom:12px; border-left:3px solid var(--mark,var(--line)); }
.card header { display:flex; flex-wrap:wrap; gap:4px 18px; align-items:baseline; margin-bottom:8px; }
.three { display:grid; grid-template-columns:1.5fr 1fr 1fr; gap:14px; align-items:start; }
.three figcaption { color:var(--dim); font-size:12px; margin-bottom:3px; } figure { margin:0; }
svg { width:100%; height:auto; display:block; }
ul { margin:8px 0 0; padding-left:18px; }
table { border-collapse:collapse; width:100%; } th { text-align:left; color:var(--dim); font-weight:500; }
th,td { padding:4px 12px 4px 0; border-bottom:1px solid var(--line); }
.frame { fill:#0d1117; stroke:var(--line); } .grid { stroke:#2b3644; stroke-width:.7; }
.tick { fill:var(--dim); font-size:9.5px; } .title { fill:var(--dim); font-size:12px; } .name { font-size:12px; }
.pale { fill:#33566f; } .full { fill:var(--live); } .heat { fill:var(--live); } .limit { stroke:var(--warn); }
.cross { fill:var(--bad); font-size:13px; text-anchor:middle; } .arrow { stroke:var(--good); fill:var(--good); }
.arrow,.far { stroke-width:.8; } .far { stroke:var(--bad); fill:var(--bad); } .axis { stroke:var(--dim); }
.board { fill:#dbe3ec; fill-opacity:.02; stroke:#dbe3ec; stroke-opacity:.25; stroke-width:.6; }
@media (max-width:860px) { .views,.three { grid-template-columns:1fr; } }
"""


def calibration_page(
    found: RigCalibration,
    models: Sequence[CameraModel],
    result: Mapping[str, Any],
    metadata: Mapping[str, Any],
    board: Board,
    to_world: Any,
) -> str:
    """The page as text.

    Args:
        found: the calibration.
        models: the cameras as they were written, in the world of the file.
        result: of `calibration_result`.
        metadata: of the file.
        board: what was shown.
        to_world: pose that takes the calibration's world to that of ``models``.
    """
    boards = {instant: to_world.after(pose) for instant, pose in found.boards.items()}
    on_floor = metadata.get("world") == "floor"
    body = [
        _head(result, metadata),
        f"<h2>The rig</h2><div class=views>{rig_views(models, boards, _outline(board), on_floor)}</div>",
        _pairs(result),
        "<h2>Cameras</h2>",
        *(_camera(found, model, result, place) for place, model in enumerate(models)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Calibration: {escape(', '.join(model.name for model in models))}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def write_page(path: Path, page: str) -> None:
    """Write the page; whoever reads sees the old file or the new.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        write_whole(path, page)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _head(result: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    limit = result["max_rms_px"]
    if result["ok"]:
        chip = '<span class="chip good">good</span>'
    else:
        worst = result["worst"]
        chip = f'<span class="chip bad">{escape(worst["what"])}: {worst["rms_px"]:.2f} px, allowed {limit:g}</span>'
    held = result["held_out"]
    square = None if held is None else held["square"]
    many = len(result["cameras"]) > 1
    figures = [("rms over all corners", f"{result['rms_px']:.3f} px")]
    if many:
        figures.append(("before bundle adjustment", f"{result['rms_before_px']:.3f} px"))
    figures.append(("held-out pictures", "none kept" if held is None else f"{held['rms_px']:.3f} px"))
    if square is not None:
        figures.append(
            (
                f"square measured, true {square['true_mm']:g} mm ({square['sides']} held-out sides)",
                f"{square['mean_mm']:.3f} ± {square['std_mm']:.3f} mm",
            )
        )
    floor = metadata.get("floor")
    world = (
        "the floor, z up"
        if metadata["world"] == "floor"
        else f"the frame of {metadata['world'].removeprefix('camera ')}"
    )
    figures.append(("world", world if floor is None else f"{world}"))
    cells = "".join(
        f"<div class=figure><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures
    )
    about = f"board {metadata['board']} · {metadata['created_utc']} · {metadata['software']}"
    hints = "".join(f"<li>{escape(hint)}</li>" for hint in result["link_hints"])
    return (
        f"<h1>Calibration of {len(result['cameras'])} camera{'s' if many else ''}{chip}</h1>"
        f"<div class=dim>{escape(about)}</div><div class=figures>{cells}</div>"
        + (f"<ul class=warn>{hints}</ul>" if hints else "")
    )


def _pairs(result: Mapping[str, Any]) -> str:
    if not result["pairs"]:
        return ""
    limit = result["max_rms_px"]
    rows = "".join(
        f"<tr><td>{escape(pair['first'])} &ndash; {escape(pair['second'])}</td>"
        f'<td class="{"bad" if pair["rms_px"] > limit else ""}">{pair["rms_px"]:.3f} px</td>'
        f"<td>{pair['baseline_mm']:.2f} mm</td><td>{pair['angle_deg']:.1f}°</td><td>{pair['instants']}</td>"
        f"<td>{pair['corners']}</td><td>{'places a camera' if pair['in_tree'] else ''}</td></tr>"
        for pair in result["pairs"]
    )
    names = ("pair", "rms", "distance", "between the axes", "shared instants", "corners", "")
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    return f"<h2>Pairs</h2><div class=card><table>{head}{rows}</table></div>"


def _camera(found: RigCalibration, model: CameraModel, result: Mapping[str, Any], place: int) -> str:
    name = model.name
    one = result["cameras"][name]
    held = result["held_out"]
    size = (model.width, model.height)
    limit = result["max_rms_px"]
    facts = [f"lens {_rms(one['lens_rms_px'], limit)}", f"in the rig {_rms(one['rig_rms_px'], limit)}"]
    if held is not None and held["rig_rms_px"].get(name) is not None:
        facts.append(f"held out {_rms(held['rig_rms_px'][name], limit)}")
    facts += [
        f"<span class=dim>{one['images_used']} of {one['images']} pictures, {one['images_with_board']} with a board"
        "</span>",
        f"<span class=dim>{model.width} x {model.height}, {'fisheye' if model.fisheye else 'Brown-Conrady'} "
        f"{len(model.distortion)}, f {one['focal_px'][0]:.1f} ± {one['focal_std_px'][0]:.1f}, "
        f"{one['focal_px'][1]:.1f} ± {one['focal_std_px'][1]:.1f} px, centre {one['centre_px'][0]:.1f}, "
        f"{one['centre_px'][1]:.1f}</span>",
    ]
    notes = [f"<li class=warn>{escape(hint)}</li>" for hint in one["hints"]]
    for instant, why in one["rejected"].items():
        notes.append(f"<li class=bad>picture {escape(instant)} left out: {escape(why)}</li>")
    bars = error_bars(one["image_lens_rms_px"], one["image_rig_rms_px"], one["rejected"], limit)
    figures = (
        ("error of each picture", bars),
        ("corners seen", coverage_map(found.pixels[name], size)),
        ("residuals", residual_arrows(found.pixels[name], found.residuals[name], size)),
    )
    drawn = "".join(f"<figure><figcaption>{title}</figcaption>{figure}</figure>" for title, figure in figures)
    told = " ".join(f"<span>{fact}</span>" for fact in facts)
    listed = f"<ul>{''.join(notes)}</ul>" if notes else ""
    return (
        f'<div class=card style="--mark:{class_color(place)}"><header><h3>{escape(name)}</h3>{told}</header>'
        f"<div class=three>{drawn}</div>{listed}</div>"
    )


def _rms(value: float, limit: float) -> str:
    return f'<b class="{"bad" if value > limit else "good"}">{value:.3f} px</b>'


def _outline(board: Board) -> Array:
    """(4, 3): the rectangle of the board's inner corners."""
    points = board.points_mm
    (x0, y0), (x1, y1) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return np.array([[x0, y0, 0.0], [x1, y0, 0.0], [x1, y1, 0.0], [x0, y1, 0.0]])
