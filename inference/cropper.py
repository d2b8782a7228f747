"""Where the animal is in a view, and what moved there: the protocol, and the croppers that do not search.

Croppers see every step's whole frame and return a box of a fixed size in pixels, inside the image, so that the crops
of all views with one image size form one batch. They are pure steps: no clock, and the state is a dict of arrays.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.errors import BundleError, ConfigError
from .crop_rule import BackgroundCrop, CropRule, FixedCrop
from .grey import grey_view

State = dict[str, NDArray[Any]]

EVERY_CAMERA: Final = "*"
MOTION_SAMPLE_WIDTH_PX: Final = 320
"""Croppers without a background model point-sample to this width for the motion measure."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The box of one view in one step, and the measures that feature steps read. Lengths are pixels of the full frame.

    Attributes:
        x_px: left edge.
        y_px: upper edge.
        width_px: width; the same in every step.
        height_px: height; the same in every step.
        valid: False: no animal was seen, and the box is the last one.
        center_x_px: centre of the animal, not clamped and not smoothed; of the box where none is searched.
        center_y_px: as above.
        area_px: area of the animal; 0 where it was not seen or not searched.
        elongation: ratio of its long to its short axis, at least 1; 1 where it was not seen or not searched.
        motion: mean absolute difference of grey levels to the step before inside the box.
    """

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    valid: bool
    center_x_px: float
    center_y_px: float
    area_px: float
    elongation: float
    motion: float

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the box."""
        return (
            slice(self.y_px, self.y_px + self.height_px),
            slice(self.x_px, self.x_px + self.width_px),
        )


class Cropper(Protocol):
    """Follows the animal through the frames of one view."""

    @property
    def box_shape(self) -> tuple[int, int]:
        """Height and width of every box, pixels."""
        ...

    def step(self, image: NDArray[np.uint8]) -> Crop:
        """Look at the next frame, (h, w) or (h, w, 3) uint8."""
        ...

    def settle(self) -> None:
        """Learn from the last frame what only later steps need. Left out, the next step does it first."""
        ...

    def snapshot(self) -> State:
        """Everything it remembers; copies."""
        ...

    def restore(self, state: State) -> None:
        """Continue from a snapshot, bit for bit."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...


class Sampler:
    """Point-samples frames to a small grey image and keeps the one before.

    Every ``stride``-th pixel is taken without averaging: averaging costs ten times more and hides what noise there is.
    """

    def __init__(self, image_shape: tuple[int, ...], width_px: int, multiple: int = 1) -> None:
        if len(image_shape) == 3 and image_shape[2] != 3:
            raise ConfigError(f"frames of shape {image_shape} are neither mono8 nor bgr8; set pixel_format to mono8")
        height, width = image_shape[0], image_shape[1]
        self.stride = max(1, -(-width // width_px))
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        self.shape = (max(rows // multiple, 1) * multiple, max(columns // multiple, 1) * multiple)
        if rows < multiple or columns < multiple:
            raise ConfigError(f"image of {width} x {height} px is too small to be cropped; use crop kind 'full'")
        self.now: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self.before: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self.difference: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self.n_seen = 0
        self._image_shape = tuple(image_shape)

    def step(self, image: NDArray[np.uint8]) -> None:
        """Sample ``image`` into ``now``; ``difference`` is then the absolute difference to the step before."""
        if image.shape != self._image_shape:
            raise ConfigError(f"frame of shape {image.shape} where {self._image_shape} was announced")
        self.now, self.before = self.before, self.now
        rows, columns = self.shape
        np.copyto(self.now, grey_view(image)[:: self.stride, :: self.stride][:rows, :columns])
        if self.n_seen:
            cv2.absdiff(self.now, self.before, dst=self.difference)
        else:
            self.difference[:] = 0
        self.n_seen += 1

    def motion(self, x_px: int, y_px: int, width_px: int, height_px: int) -> float:
        """Mean absolute difference inside a box of the full frame, grey levels."""
        top, left = y_px // self.stride, x_px // self.stride
        bottom = max(top + 1, (y_px + height_px) // self.stride)
        right = max(left + 1, (x_px + width_px) // self.stride)
        inside = self.difference[top:bottom, left:right]
        return float(cv2.mean(inside)[0]) if inside.size else 0.0

    def snapshot(self) -> State:
        return {"now": self.now.copy(), "n_seen": np.array(self.n_seen)}

    def restore(self, state: State) -> None:
        np.copyto(self.now, state["now"])
        self.n_seen = int(state["n_seen"])

    def reset(self) -> None:
        self.n_seen = 0


class FixedCropper:
    """The same box in every step."""

    def __init__(self, box: tuple[int, int, int, int], image_shape: tuple[int, ...]) -> None:
        """Box is x, y, width, height in pixels, inside the image."""
        self._box = box
        self._sampler = Sampler(image_shape, MOTION_SAMPLE_WIDTH_PX)

    @property
    def box_shape(self) -> tuple[int, int]:
        return self._box[3], self._box[2]

    def step(self, image: NDArray[np.uint8]) -> Crop:
        x, y, width, height = self._box
        self._sampler.step(image)
        return Crop(
            x_px=x,
            y_px=y,
            width_px=width,
            height_px=height,
            valid=True,
            center_x_px=x + width / 2,
            center_y_px=y + height / 2,
            area_px=0.0,
            elongation=1.0,
            motion=self._sampler.motion(x, y, width, height),
        )

    def settle(self) -> None:
        """Nothing is learnt."""

    def snapshot(self) -> State:
        return self._sampler.snapshot()

    def restore(self, state: State) -> None:
        self._sampler.restore(state)

    def reset(self) -> None:
        self._sampler.reset()


class FullFrameCropper(FixedCropper):
    """The whole image."""

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__((0, 0, image_shape[1], image_shape[0]), image_shape)


def side_px(side: float, image_shape: tuple[int, ...]) -> int:
    """Side of a square crop in whole, even pixels, that fits into the image."""
    height, width = image_shape[0], image_shape[1]
    return max(2, min(round(side * width / 2) * 2, height // 2 * 2, width // 2 * 2))


def make_cropper(rule: CropRule, camera: str, image_shape: tuple[int, ...], rate_hz: float) -> Cropper:
    """The cropper of one view.

    Args:
        rule: from the manifest.
        camera: name of the view.
        image_shape: (h, w) or (h, w, 3) of its frames.
        rate_hz: steps per second of the model.

    Raises:
        BundleError: a fixed rule has no box for this camera.
        ConfigError: the image is too small for the rule.
    """
    if isinstance(rule, BackgroundCrop):
        from .background_cropper import BackgroundCropper

        return BackgroundCropper(rule, image_shape, rate_hz)
    if isinstance(rule, FixedCrop):
        box = rule.boxes.get(camera, rule.boxes.get(EVERY_CAMERA))
        if box is None:
            raise BundleError(
                f"the fixed crop rule has boxes for {', '.join(rule.boxes)}, none for camera {camera!r}; "
                f"name it so, or give the bundle a box for '*'"
            )
        height, width = image_shape[0], image_shape[1]
        side = side_px(box.side, image_shape)
        x = min(max(round(box.x * width) - side // 2, 0), width - side)
        y = min(max(round(box.y * height) - side // 2, 0), height - side)
        return FixedCropper((x, y, side, side), image_shape)
    return FullFrameCropper(image_shape)
