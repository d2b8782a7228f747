"""A calibration as plain values: for JSON, for the metadata of its file and for the report page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..acquisition.calibration.board import Board
from ..acquisition.calibration.coverage import CoverageTracker
from ..acquisition.calibration.detection import CameraDetections
from ..acquisition.calibration.held_out import SquareCheck
from ..acquisition.calibration.rig_calibration import RigCalibration

CALIBRATION_SCHEMA = 1


def calibration_result(
    found: RigCalibration,
    detections: Sequence[CameraDetections],
    board: Board,
    tracker: CoverageTracker,
    max_rms_px: float,
) -> dict[str, Any]:
    """Everything that was reached, in JSON types; None where a thing was not measured."""
    by_name = {one.camera: one for one in detections}
    worst_of, worst = worst_rms(found)
    held = found.held_out
    return {
        "schema": CALIBRATION_SCHEMA,
        "ok": worst <= max_rms_px,
        "max_rms_px": max_rms_px,
        "worst": {"what": worst_of, "rms_px": worst},
        "board": board.spec,
        "rms_before_px": found.rms_before_px,
        "rms_px": found.rms_px,
        "steps": found.n_steps,
        "cameras": {model.name: _camera(found, by_name[model.name], tracker) for model in found.models},
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "rms_px": pair.rms_px,
                "baseline_mm": pair.baseline_mm,
                "angle_deg": pair.angle_deg,
                "instants": len(pair.instants),
                "corners": pair.n_corners,
                "in_tree": (pair.first, pair.second) in found.tree,
            }
            for pair in found.pairs
        ],
        "link_hints": list(tracker.link_hints()),
        "held_out": None
        if held is None
        else {
            "instants": list(held.instants),
            "lens_rms_px": _finite(held.lens_rms_px),
            "rig_rms_px": _finite(held.rig_rms_px),
            "rms_px": held.total_rms_px,
            "square": _square(held.square),
        },
    }


def worst_rms(found: RigCalibration) -> tuple[str, float]:
    """The largest error of any lens, pair or camera in the rig, and which it is."""
    every = {f"lens of {name}": one.rms_px for name, one in found.intrinsics.items()}
    every |= {f"pair {pair.first}, {pair.second}": pair.rms_px for pair in found.pairs}
    every |= {f"{name} in the rig": value for name, value in found.camera_rms_px.items()}
    worst = max(every, key=lambda name: every[name])
    return worst, every[worst]


def file_metadata(result: Mapping[str, Any], software: str, created_utc: str, world: str) -> dict[str, Any]:
    """What a calibration file says about itself; TOML has no None, so unknown things are left out."""
    metadata: dict[str, Any] = {
        "adjusted": len(result["cameras"]) > 1,
        "error": result["rms_px"],
        "units": "mm",
        "world": world,
        "board": result["board"],
        "created_utc": created_utc,
        "software": software,
        "rms_before_px": result["rms_before_px"],
        "lens_rms_px": {name: one["lens_rms_px"] for name, one in result["cameras"].items()},
        "rig_rms_px": {name: one["rig_rms_px"] for name, one in result["cameras"].items()},
        "images": {name: one["images_used"] for name, one in result["cameras"].items()},
    }
    if result["held_out"] is not None:
        held: dict[str, Any] = {"rms_px": result["held_out"]["rms_px"], "instants": result["held_out"]["instants"]}
        if result["held_out"]["square"] is not None:
            held["square_mm"] = result["held_out"]["square"]["mean_mm"]
            held["square_true_mm"] = result["held_out"]["square"]["true_mm"]
        metadata["held_out"] = held
    if result.get("floor") is not None:
        metadata["floor"] = result["floor"]
    return metadata


def _camera(found: RigCalibration, seen: CameraDetections, tracker: CoverageTracker) -> dict[str, Any]:
    name = seen.camera
    model = next(model for model in found.models if model.name == name)
    lens = found.intrinsics[name]
    coverage = tracker.camera(name)
    return {
        "width": model.width,
        "height": model.height,
        "fisheye": model.fisheye,
        "focal_px": [float(model.matrix[0, 0]), float(model.matrix[1, 1])],
        "centre_px": [float(model.matrix[0, 2]), float(model.matrix[1, 2])],
        "distortion": model.distortion.tolist(),
        "focal_std_px": [float(value) for value in found.lens_std[name][:2]],
        "centre_std_px": [float(value) for value in found.lens_std[name][2:4]],
        "images": len(seen.images) + len(seen.not_found),
        "images_with_board": len(seen.images),
        "images_used": len(found.image_rms_px[name]),
        "rejected": dict(found.rejected[name]),
        "lens_rms_px": lens.rms_px,
        "rig_rms_px": found.camera_rms_px[name],
        "image_lens_rms_px": dict(lens.image_rms_px),
        "image_rig_rms_px": dict(found.image_rms_px[name]),
        "cells": coverage.cells.tolist(),
        "tilts": dict(coverage.tilts),
        "hints": list(coverage.hints),
    }


def _square(square: SquareCheck | None) -> dict[str, Any] | None:
    if square is None:
        return None
    return {
        "mean_mm": square.mean_mm,
        "std_mm": square.std_mm,
        "true_mm": square.true_mm,
        "sides": square.n,
        "reprojection_rms_px": square.reprojection_rms_px,
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
