"""Small sessions of two animals in the layout social_pose, whose behaviours show in their points."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KEYPOINTS = ("top", "body", "tail", "tail-m", "tail-e")
ANIMALS = ("individual1", "individual2")
CLASSES = ["aggression", "nonsocial", "social"]
_AWAY_PX = {"base": 600.0, "nonsocial": 350.0, "social": 60.0, "aggression": 40.0}
_SHAKE_PX = {"base": 1.0, "nonsocial": 3.0, "social": 1.0, "aggression": 14.0}


def make_social_folder(folder: Path, numbers: list[int], n_frames: int = 480, seed: int = 0) -> Path:
    """Sessions with these numbers; each is another one, and the same again for the same seed."""
    for number in numbers:
        write_session(folder, number, n_frames, seed)
    return folder


def write_session(folder: Path, number: int, n_frames: int = 480, seed: int = 0) -> list[str]:
    """One session: the file of points, the labels, and the label of each frame."""
    rng = np.random.default_rng([seed, number])
    labels = _labels(rng, n_frames)
    write_points(folder / "dlc_csv" / f"{number}DLC_resnet_el_filtered.csv", _points(rng, labels))
    write_labels(folder / "annotations" / f"{number}_annot.txt", labels)
    return labels


def write_points(path: Path, points: NDArray[np.float64]) -> None:
    """A multi-animal DeepLabCut CSV of points (t, 2, 5, 2); NaN where missing."""
    rows = [(animal, point, what) for animal in ANIMALS for point in KEYPOINTS for what in ("x", "y", "likelihood")]
    lines = [
        ",".join(["scorer", *["net"] * len(rows)]),
        ",".join(["individuals", *(animal for animal, _, _ in rows)]),
        ",".join(["bodyparts", *(point for _, point, _ in rows)]),
        ",".join(["coords", *(what for _, _, what in rows)]),
    ]
    for frame, of_frame in enumerate(points.reshape(len(points), -1, 2).tolist()):
        cells = [",," if x != x else f"{x:.2f},{y:.2f},0.9" for x, y in of_frame]
        lines.append(",".join([str(frame), *cells]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_labels(path: Path, labels: list[str]) -> None:
    """Annotator text with the labels as stream S1, and whether animals are near each other as S2."""
    lines = ["Caltech Behavior Annotator - Annotation File", "", "Configuration file:"]
    lines += [f"{name}\t{name[0]}" for name in sorted(set(labels))] + [""]
    near = ["near" if name in ("social", "aggression") else "far" for name in labels]
    for stream, names in (("S1", labels), ("S2", near)):
        lines += [f"{stream}:\tstart\tend\ttype", "-" * 29]
        starts = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1]), len(names)]
        lines += [f"   \t{a + 1}\t{b}\t{names[a]}" for a, b in pairwise(starts)] + [""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def _labels(rng: np.random.Generator, n_frames: int) -> list[str]:
    """A while of nothing, then bouts of 25 to 60 frames, every behaviour in each round."""
    labels = ["base"] * 20
    while len(labels) < n_frames:
        for place in rng.permutation(len(CLASSES)).tolist():
            labels += [CLASSES[place]] * int(rng.integers(25, 60))
    return labels[:n_frames]


def _points(rng: np.random.Generator, labels: list[str]) -> NDArray[np.float64]:
    n = len(labels)
    away = np.array([_AWAY_PX[name] for name in labels])
    shake = np.array([_SHAKE_PX[name] for name in labels])
    middle = 500.0 + 50.0 * np.cumsum(rng.standard_normal((n, 2)), axis=0) / np.sqrt(n)
    apart = np.stack([away / 2, np.zeros(n)], axis=1)
    centers = np.stack([middle - apart, middle + apart], axis=1) + shake[:, None, None] * rng.standard_normal((n, 2, 2))
    body = np.array([[-40.0, 0.0], [0.0, 0.0], [40.0, 0.0], [60.0, 5.0], [80.0, 10.0]])
    points = centers[:, :, None] + body * np.array([[1.0, 1.0], [-1.0, 1.0]])[None, :, None]
    points = points + rng.standard_normal(points.shape)
    points[rng.random(points.shape[:3]) < 0.05] = np.nan
    return points
