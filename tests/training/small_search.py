"""A search over small sessions of two animals that is done in seconds."""

from pathlib import Path
from typing import Any

from ethostream.sync.strict import validate
from ethostream.training.config.search import Choices, Domain, Range
from ethostream.training.config.training_file import TrainConfig
from social_sessions import CLASSES, KEYPOINTS, make_social_folder

N_FRAMES = 170
SPACE: dict[str, Domain] = {
    "fit.learning_rate": Range(low=0.002, high=0.05, log=True),
    "head.hidden": Choices(choices=[2, 4]),
}


def sessions(folder: Path, numbers: list[int]) -> Path:
    return make_social_folder(folder, numbers, N_FRAMES)


def small_config(parts: dict[int, str | None], **changes: Any) -> TrainConfig:
    """A training file of sessions by number, with the part of each."""
    keys: dict[str, Any] = {
        "name": "small",
        "classes": CLASSES,
        "data": [
            {
                "kind": "pose",
                "name": str(number),
                "path": f"dlc_csv/{number}DLC_resnet_el_filtered.csv",
                "labels": f"annotations/{number}_annot.txt",
                "stream": "S1",
                "rate_hz": 30.0,
                **({} if part is None else {"part": part}),
            }
            for number, part in parts.items()
        ],
        "labels": {"ignore": ["base"]},
        "pose": {
            "scale": {"path": list(KEYPOINTS[:3])},
            "features": [{"name": "pose_distances", "parameters": {"cross": True}}],
        },
        "head": {"kind": "mlp", "hidden": 4, "dropout": 0.0},
        "split": {"by": "recording" if any(parts.values()) else "leave_one_out"},
        "fit": {"head_epochs": 2, "stretch_frames": 60, "batch_windows": 4, "learning_rate": 0.01, "threads": 1},
        "choose": {"epochs": False, "stabiliser": True},
    }
    return validate(TrainConfig, keys | changes, "small")
