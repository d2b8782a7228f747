"""Small sessions and a flat video for the bundled model, with the training file that names them."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

CLASSES = ["locomote", "rear", "groom", "still"]
VIEWS = 2
CALIBRATION_FRAMES = 40
N_VALIDATION_FRAMES = 250
N_TEST_FRAMES = 300


def session(part: str, seed: int, n_frames: int = 450) -> dict[str, Any]:
    """One simulated session of a part, as it stands under ``data``."""
    return {
        "kind": "simulated", "name": part, "part": part, "seeds": [seed], "n_frames": n_frames, "views": VIEWS,
    }  # fmt: skip


def training_file(path: Path, **changes: Any) -> Path:
    """A session per part, changed by keys of the file."""
    config: dict[str, Any] = {
        "name": "demo",
        "classes": CLASSES,
        "data": [
            session("train", 31),
            session("validation", 32, N_VALIDATION_FRAMES),
            session("test", 33, N_TEST_FRAMES),
        ],
        "any_views": True,
        "split": {"by": "recording"},
        "export": {"calibration_frames": CALIBRATION_FRAMES},
    }
    path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return path


def write_video(folder: Path, levels: list[int]) -> None:
    """``flat.mkv``, each frame of one grey level, and ``flat.csv``, in which the classes take turns."""
    with av.open(str(folder / "flat.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "gray"
        for level in levels:
            image = np.full((120, 160), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    rows = [f"{k},{k + 5},{CLASSES[k // 5 % 4]},3" for k in range(0, len(levels), 5)]
    (folder / "flat.csv").write_text("start_frame,stop_frame,behaviour,confidence\n" + "\n".join(rows) + "\n")
