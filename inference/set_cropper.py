"""From the frames of a set to the crops that the model embeds: every view's cropper, and the batches they fill.

The model crops with it where it sees the frames, and the camera host with the same object where the model runs on
another one (`crop_outlet.py`): there is one way to crop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import ConfigError
from .cropper import Crop, Cropper, State, make_cropper
from .grey import grey_view
from .manifest import Manifest

Batch = tuple[list[int], NDArray[np.uint8]]
"""Places of views in model order, and their crops (n, h, w)."""
MakeBuffer = Callable[[tuple[int, int, int]], NDArray[np.uint8]]
"""Memory for crops of one shape (n, h, w)."""


@dataclass(frozen=True, slots=True)
class CroppedSet:
    """The crops of one set. Places count the model's views.

    Attributes:
        crops: place → where the box lies, and what moved in it; in model order.
        batches: crops of one shape together; valid until the next set is cropped.
    """

    crops: dict[int, Crop]
    batches: list[Batch]


def ordinary_buffer(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Crops in ordinary memory."""
    return np.zeros(shape, np.uint8)


class SetCropper:
    """Crops the views of one set after the other. One thread.

    Args:
        manifest: of the bundle: crop rule and rate.
        views: view → array shape of its frames, in model order.
        make_buffer: where crops are put: the embedder's own memory, where it has some.

    Attributes:
        views: their names, in model order.

    Raises:
        ConfigError: the number of views does not suit the model, or an image is too small.
        BundleError: a fixed crop rule has no box for a view.
    """

    def __init__(
        self,
        manifest: Manifest,
        views: Mapping[str, tuple[int, ...]],
        make_buffer: MakeBuffer = ordinary_buffer,
    ) -> None:
        video = manifest.video
        self.views = list(views)
        if not self.views or (video.n_views is not None and video.n_views != len(self.views)):
            raise ConfigError(
                f"bundle {manifest.name!r} takes {video.n_views or 'at least 1'} view(s), trained on "
                f"{', '.join(video.view_names)}; {len(self.views)} are given ({', '.join(self.views)}): set task.views"
            )
        self._croppers: list[Cropper] = [
            make_cropper(video.crop, view, tuple(shape), manifest.rate_hz) for view, shape in views.items()
        ]
        self._buffers = self._make_buffers(make_buffer)

    def _make_buffers(self, make_buffer: MakeBuffer) -> list[Batch]:
        """Views with crops of one shape share a batch buffer."""
        groups: dict[tuple[int, int], list[int]] = {}
        for place, cropper in enumerate(self._croppers):
            groups.setdefault(cropper.box_shape, []).append(place)
        return [(places, make_buffer((len(places), *shape))) for shape, places in groups.items()]

    def box_shape(self, place: int) -> tuple[int, int]:
        """Height and width of every crop of a view, pixels."""
        return self._croppers[place].box_shape

    def step(self, images: Mapping[str, NDArray[np.uint8]]) -> CroppedSet:
        """Crop the next set; views that are missing are left out. The images are not read after this returns.

        Args:
            images: view → frame, (h, w) or (h, w, 3) uint8; they may lie in shared memory.
        """
        crops = {place: self._croppers[place].step(images[view]) for place, view in self._present(images)}
        return self._fill(
            crops, {place: grey_view(images[self.views[place]])[crop.slices] for place, crop in crops.items()}
        )

    def take(self, crops: Mapping[int, Crop], pixels: Mapping[int, NDArray[np.uint8]]) -> CroppedSet:
        """Crops that were made elsewhere by this same class: copied into the batches, and no cropper steps.

        Args:
            crops: place → box, in model order.
            pixels: place → (h, w) uint8 of that box.
        """
        return self._fill(dict(crops), pixels)

    def _present(self, images: Mapping[str, NDArray[np.uint8]]) -> Sequence[tuple[int, str]]:
        return [(place, view) for place, view in enumerate(self.views) if view in images]

    def _fill(self, crops: dict[int, Crop], pixels: Mapping[int, NDArray[np.uint8]]) -> CroppedSet:
        """The batches that are not empty, with the views in them."""
        batches: list[Batch] = []
        for places, buffer in self._buffers:
            here = [place for place in places if place in crops]
            for row, place in enumerate(here):
                np.copyto(buffer[row], pixels[place])
            if here:
                batches.append((here, buffer[: len(here)]))
        return CroppedSet(crops, batches)

    def settle(self) -> None:
        """Learn what only later steps need; left out, the next step does it first."""
        for cropper in self._croppers:
            cropper.settle()

    def reset(self) -> None:
        """Forget the background and where the animal was."""
        for cropper in self._croppers:
            cropper.reset()

    def snapshot(self) -> State:
        """Everything that the croppers remember; copies."""
        return {
            f"{place}.{key}": value
            for place, cropper in enumerate(self._croppers)
            for key, value in cropper.snapshot().items()
        }

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same views, bit for bit."""
        for place, cropper in enumerate(self._croppers):
            cropper.restore(under(state, f"{place}."))


def under(state: State, prefix: str) -> State:
    """What a state holds below ``prefix``, which is taken off the names."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
