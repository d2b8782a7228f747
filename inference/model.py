"""Images in, stabilised label out: the pure step that the rig, replay, training and the parity test all run."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import Clock
from ..sync.errors import BundleError, ConfigError
from .backend import Graph
from .cropper import Crop, State
from .features import advance_of, open_feature_steps
from .gap import NEVER
from .manifest import Manifest
from .recogniser import Recogniser
from .set_cropper import Batch, CroppedSet, SetCropper, under
from .stabilisation.config import StabiliserConfig

EMBED_CROPS: Final = 16
"""Crops that are embedded at once where many frames are there: more do not make it faster, and take memory."""


@dataclass(frozen=True, slots=True)
class ModelStep:
    """What one step saw and answered.

    Attributes:
        views: cameras that were there, in model order; the rows of ``embeddings`` and ``features``.
        crops: box of each of them.
        embeddings: (n, d) float32.
        features: (n, f) float32: embedding and feature steps of each view.
        x: (b, dims) float32, the input of the head.
        p_slots: (b, n_classes) float32, the output of the head.
        p: (n_classes,) float32, fused.
        raw: class with the largest fused probability.
        label: stabilised behaviour, "" before the first one.
        label_since_ns: exposure time of the step that set it.
        behind_ns: how long before this step the frames were exposed that ``p``, ``raw`` and ``label`` are of.
        gap_frames: steps before this one without any input.
        reset: the gap was so long that the state was forgotten.
        warm: enough steps since the last reset.
        t_cropped_ns: the end of this stage; likewise ``t_embedded_ns`` and ``t_head_ns``.
    """

    views: tuple[str, ...]
    crops: tuple[Crop, ...]
    embeddings: NDArray[np.float32]
    features: NDArray[np.float32]
    x: NDArray[np.float32]
    p_slots: NDArray[np.float32]
    p: NDArray[np.float32]
    raw: str
    label: str
    label_since_ns: int
    behind_ns: int
    gap_frames: int
    reset: bool
    warm: bool
    t_cropped_ns: int
    t_embedded_ns: int
    t_head_ns: int


class BehaviorModel:
    """The whole chain from frames to behaviour, with explicit state. One thread steps it."""

    def __init__(
        self,
        manifest: Manifest,
        embedder: Graph,
        head_step: Graph,
        views: Mapping[str, tuple[int, ...]],
        set_rate_hz: float,
        clock: Clock,
        stabiliser: StabiliserConfig | None = None,
    ) -> None:
        """Prepare for a set of cameras.

        Args:
            manifest: of the bundle.
            embedder: opened ``embedder.onnx``.
            head_step: opened ``head_step.onnx``.
            views: camera → array shape of its frames, in the order in which views are joined.
            set_rate_hz: rate of the frame sets.
            clock: for the stage times only.
            stabiliser: instead of the bundle's defaults.

        Raises:
            ConfigError: number of views or rate do not suit the model.
            BundleError: feature code differs, or a graph lacks an input.
        """
        video = manifest.video
        self.manifest = manifest
        # Crops are written where the embedder reads them: page-locked memory, where it runs on a GPU.
        self.cropper = SetCropper(manifest, views, lambda shape: embedder.input_buffer("crops", shape, np.uint8))
        self.views = self.cropper.views
        self._joined = video.fusion == "joined"
        self._embedder = embedder
        self._clock = clock
        n_slots = 1 if self._joined else len(self.views)
        self._recogniser = Recogniser(manifest, head_step, n_slots, video.fusion, set_rate_hz, clock, stabiliser)
        self.stabiliser = self._recogniser.stabiliser
        self._step_s = 1.0 / manifest.rate_hz
        self._steps = open_feature_steps(manifest.features)
        self._advances = [advance_of(step) for step in self._steps]
        self.reset()

    def reset(self) -> None:
        """Forget everything: background, features, head, label and time."""
        self.cropper.reset()
        self._recogniser.reset()
        n = len(self.views)
        self._feature_states: list[list[State]] = [[step.initial() for step in self._steps] for _ in range(n)]
        self._last_step = np.full(n, NEVER, np.int64)
        self._last_features: NDArray[np.float32] = np.zeros((n, self.manifest.view_dims), np.float32)

    def step(
        self, images: Mapping[str, NDArray[np.uint8]], t_ns: int, check: Callable[[], None] | None = None
    ) -> ModelStep | None:
        """One frame set.

        Args:
            images: camera → frame; views that are missing are left out. They may lie in shared memory.
            t_ns: exposure time of the set.
            check: called when nothing of the images will be read again; it raises if they were overwritten meanwhile,
                and then this object must be reset.

        Returns:
            None: the set is no step of the model (the rate rule, or not newer than the last one).
        """
        self._require_views(images)
        grid = self._recogniser.grid
        before = grid.index
        index = grid.step(t_ns)
        if index is None:
            return None
        cropped = self.cropper.step(images)
        if check is not None:
            check()
        t_cropped_ns = self._clock.now_ns()
        return self._classify(cropped, self._embed(cropped.batches), t_ns, before, index, t_cropped_ns)

    def steps(self, sets: Sequence[tuple[Mapping[str, NDArray[np.uint8]], int]]) -> list[ModelStep | None]:
        """Frame sets that follow each other, as `step` answers them one by one; their crops are embedded together.

        Whatever was embedded alone or together differs by no more than the rounding of the embedder's graph. Afterwards
        `step` and this one go on from the same state.

        Args:
            sets: images by camera and exposure time of each, as `step` takes them.

        Returns:
            An answer for each; the times in it are those of the whole block.

        Raises:
            ConfigError: a set has none of the views; nothing was stepped then.
        """
        for images, _ in sets:
            self._require_views(images)
        grid = self._recogniser.grid
        taken: list[tuple[int, CroppedSet, int, int, int]] = []
        for place, (images, t_ns) in enumerate(sets):
            before = grid.index
            index = grid.step(t_ns)
            if index is None:
                continue
            cropped = self.cropper.step(images)
            kept = [(places, batch.copy()) for places, batch in cropped.batches]  # the next set is cropped over them
            taken.append((place, CroppedSet(cropped.crops, kept), t_ns, before, index))
        t_cropped_ns = self._clock.now_ns()
        embedded = self._embed_together([cropped.batches for _, cropped, *_ in taken])
        answers: list[ModelStep | None] = [None] * len(sets)
        for (place, cropped, t_ns, before, index), embeddings in zip(taken, embedded, strict=True):
            answers[place] = self._classify(cropped, embeddings, t_ns, before, index, t_cropped_ns)
        return answers

    def step_crops(self, cropped: CroppedSet, t_ns: int, t_cropped_ns: int) -> ModelStep | None:
        """One frame set of which the crops are there: what `step` does once it has cropped.

        Args:
            cropped: of one view at least, in this model's ``cropper``.
            t_ns: exposure time of the set.
            t_cropped_ns: when they were made.

        Returns:
            As `step`.
        """
        self._require_views({self.views[place] for place in cropped.crops})
        grid = self._recogniser.grid
        before = grid.index
        index = grid.step(t_ns)
        if index is None:
            return None
        return self._classify(cropped, self._embed(cropped.batches), t_ns, before, index, t_cropped_ns)

    def _require_views(self, names: Collection[str]) -> None:
        if not any(view in names for view in self.views):
            raise ConfigError(f"a set without any of the views {', '.join(self.views)} cannot be a step")

    def _classify(
        self,
        cropped: CroppedSet,
        embeddings: dict[int, NDArray[np.float32]],
        t_ns: int,
        before: int,
        index: int,
        t_cropped_ns: int,
    ) -> ModelStep:
        crops, present = cropped.crops, list(cropped.crops)
        last = self._last_features.copy()
        features = self._measure(cropped, embeddings, index)
        t_embedded_ns = self._clock.now_ns()

        def repeated(_: int, again: NDArray[np.intp]) -> NDArray[np.float32]:
            return last.reshape(1, -1) if self._joined else last[again]

        slots = np.zeros(1, np.intp) if self._joined else np.array(present, np.intp)
        x = self._last_features.reshape(1, -1).copy() if self._joined else features
        plans = self._recogniser.plan_gaps(slots, index)
        answer = self._recogniser.step(x, slots, index, t_ns, plans, repeated)
        return ModelStep(
            views=tuple(self.views[place] for place in present),
            crops=tuple(crops[place] for place in present),
            embeddings=np.stack([embeddings[place] for place in present]),
            features=features,
            x=x,
            p_slots=answer.p_slots,
            p=answer.p,
            raw=answer.raw,
            label=answer.label,
            label_since_ns=answer.label_since_ns,
            behind_ns=answer.behind_ns,
            gap_frames=index - before - 1 if before != NEVER else 0,
            reset=answer.reset,
            warm=answer.warm,
            t_cropped_ns=t_cropped_ns,
            t_embedded_ns=t_embedded_ns,
            t_head_ns=answer.t_head_ns,
        )

    def _embed(self, batches: list[Batch]) -> dict[int, NDArray[np.float32]]:
        embeddings: dict[int, NDArray[np.float32]] = {}
        for places, batch in batches:
            values = self._embedder.run({"crops": batch})["embedding"]
            if values.shape != (len(places), self.manifest.video.embedder.dims):
                raise BundleError(
                    f"{self._embedder.name}: gives {values.shape}, the manifest says "
                    f"{(len(places), self.manifest.video.embedder.dims)}; export the bundle again"
                )
            embeddings.update(zip(places, values, strict=True))
        return embeddings

    def _embed_together(self, sets: Sequence[list[Batch]]) -> list[dict[int, NDArray[np.float32]]]:
        """As `_embed` of each set: crops of one shape, whichever set they are of, make up common batches."""
        rows: dict[tuple[int, ...], list[tuple[int, int, NDArray[np.uint8]]]] = {}
        for number, batches in enumerate(sets):
            for places, batch in batches:
                for place, crop in zip(places, batch, strict=True):
                    rows.setdefault(crop.shape, []).append((number, place, crop))
        embeddings: list[dict[int, NDArray[np.float32]]] = [{} for _ in sets]
        for same in rows.values():
            for first in range(0, len(same), EMBED_CROPS):
                part = same[first : first + EMBED_CROPS]
                values = self._embed([(list(range(len(part))), np.stack([crop for _, _, crop in part]))])
                for row, (number, place, _) in enumerate(part):
                    embeddings[number][place] = values[row]
        return embeddings

    def _measure(
        self, cropped: CroppedSet, embeddings: dict[int, NDArray[np.float32]], index: int
    ) -> NDArray[np.float32]:
        """Feature steps of the views that are there; remembers and returns their features."""
        pixels = {place: row for places, rows in cropped.batches for place, row in zip(places, rows, strict=True)}
        for place, crop in cropped.crops.items():
            last = int(self._last_step[place])
            dt_s = self._step_s * (index - last if last != NEVER else 1)
            parts = [embeddings[place]]
            states = self._feature_states[place]
            for number, advance in enumerate(self._advances):
                states[number], values = advance(states[number], crop, pixels[place], dt_s)
                parts.append(values)
            self._last_features[place] = np.concatenate(parts)
            self._last_step[place] = index
        return self._last_features[list(cropped.crops)]

    def snapshot(self) -> State:
        """Everything that it remembers, as flat arrays."""
        state: dict[str, NDArray[Any]] = {
            "last_step": self._last_step.copy(),
            "last_features": self._last_features.copy(),
            **self._recogniser.snapshot(),
        }
        state.update({f"crop.{key}": value for key, value in self.cropper.snapshot().items()})
        for place, features in enumerate(self._feature_states):
            for number, feature in enumerate(features):
                state.update({f"feature.{place}.{number}.{key}": value for key, value in feature.items()})
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a model with the same manifest and views, bit for bit."""
        self._last_step = state["last_step"].copy()
        self._last_features = state["last_features"].copy()
        self._recogniser.restore(state)
        self.cropper.restore(under(state, "crop."))
        self._feature_states = [
            [under(state, f"feature.{place}.{number}.") for number in range(len(self._steps))]
            for place in range(len(self.views))
        ]
