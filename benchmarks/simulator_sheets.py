"""Contact sheets of the simulated scenes, as they stand in the documentation.

    .venv/bin/python benchmarks/simulator_sheets.py docs/images

One row per behaviour (of the face: one column), one column per camera. Nothing is random: the same pictures come out
again.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from ethostream.acquisition.simulated_face import FaceState, FaceWorld
from ethostream.acquisition.simulated_face_renderer import FaceRenderer
from ethostream.acquisition.simulated_lens import view_names
from ethostream.acquisition.simulated_scene import SceneState, SimulatedScene
from ethostream.acquisition.simulated_wide_renderer import WideRenderer
from numpy.typing import NDArray

Image = NDArray[np.uint8]
SEED = 7


def settled(scene: SimulatedScene, behavior: str, after_s: float = 0.0) -> SceneState:
    """The first state of a behaviour of the first animal that has lasted for half a second."""
    for t_s in np.arange(after_s + 0.5, 300.0, 0.1).tolist():
        state, before = scene.at(t_s).animals[0], scene.at(t_s - 0.5).animals[0]
        if state.behavior == behavior and state.bout == before.bout:
            return scene.at(t_s)
    raise LookupError(behavior)


def caption(image: Image, text: str) -> Image:
    """A copy with a few words in its corner."""
    image = image.copy()
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.rectangle(image, (0, 0), (wide + 10, high + 10), (0,), -1)
    cv2.putText(image, text, (5, high + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235,), 1, cv2.LINE_AA)
    return image


def wall_cage(animals: int, behaviors: tuple[str, ...], views: tuple[int, ...], width: int, height: int) -> Image:
    """Rows of behaviours, columns of cameras."""
    scene, names = SimulatedScene(SEED, animals, "extended"), view_names("wall_cage")
    renderers = [
        WideRenderer("wall_cage", view, 2 * width, 2 * height, SEED, 2.0, 0.05, True, 0.0, 0.3) for view in views
    ]
    rows: list[Image] = []
    for k, behavior in enumerate(behaviors):
        state = settled(scene, behavior)
        row: list[Image] = []
        for view, renderer in zip(views, renderers, strict=True):
            small = cv2.resize(renderer.render(state, k), (width, height), interpolation=cv2.INTER_AREA)
            row.append(caption(np.asarray(small, np.uint8), f"{names[view]}  {behavior}"))
        rows.append(np.hstack(row))
    return np.vstack(rows)


def face(width: int, height: int) -> Image:
    """Rows of cameras, columns of behaviours."""
    world, names = FaceWorld(SEED), view_names("face")
    states: dict[str, FaceState] = {}
    for t_s in np.arange(0.0, 120.0, 0.01).tolist():
        state = world.at(t_s)
        shown = {"whisk": state.whisk_rad > 0.5, "lick": state.tongue > 0.85, "blink": state.closure > 0.8}
        if shown.get(state.behavior, True):
            states.setdefault(state.behavior, state)
    rows: list[Image] = []
    for view, name in enumerate(names):
        renderer = FaceRenderer(view, 2 * width, 2 * height, SEED, 1.5, 0.04)
        row: list[Image] = []
        for behavior in ("still", "whisk", "lick", "blink"):
            image = renderer.render(states[behavior], 0)
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            row.append(caption(np.asarray(small, np.uint8), f"{name}  {behavior}"))
        rows.append(np.hstack(row))
    return np.vstack(rows)


def main() -> None:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the sheets go")
    parser.add_argument("--scale", type=float, default=1.0, help="of the pictures' sides")
    options = parser.parse_args()
    folder: Path = options.folder
    wide, high, face_high = (round(options.scale * one) for one in (400, 225, 240))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82]
    sheets = {
        "simulated_wall_cage.jpg": wall_cage(1, ("locomote", "wall_rear", "drink", "turn"), (0, 3, 5, 6), wide, high),
        "simulated_two_animals.jpg": wall_cage(2, ("groom", "rear"), (0, 3, 5, 6), wide, high),
        "simulated_face.jpg": face(wide, face_high),
    }
    for name, sheet in sheets.items():
        cv2.imwrite(str(folder / name), sheet, quality)
        print(f"{folder / name}: {sheet.shape[1]}x{sheet.shape[0]}")


if __name__ == "__main__":
    main()
