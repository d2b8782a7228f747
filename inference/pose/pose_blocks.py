"""A pose model over a whole recording: the front and the head in blocks, the stabiliser frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.errors import ConfigError
from ..backend import Graph
from ..bundle import Bundle
from ..gap import StepGrid
from ..graph_spec import HeadSpec
from ..head_memory import initial_state
from ..manifest import Manifest
from ..stabilisation.config import StabiliserConfig
from ..stabilisation.stabiliser import Stabiliser
from .pose_model import open_front

BLOCK_FRAMES: Final = 4096
"""Frames that are worked on at once: what they take stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class PoseAnswers:
    """What a model says of a recording, step by step, as it would have said it live.

    An answer is at the step at which it is given: where the model looks k frames ahead, that of step t is of the frame
    k steps before (`of_their_frames`).

    Attributes:
        frames: (n,) int64, the frame that each step is of: all of them, but where the rate rule leaves some out.
        p: (n, n_classes) float32.
        labels: (n,) int64 stabilised class, -1 before the first one.
        look_ahead_frames: of the model, in steps; 0 also where it sees the whole recording at once.
    """

    frames: NDArray[np.int64]
    p: NDArray[np.float32]
    labels: NDArray[np.int64]
    look_ahead_frames: int

    def of_their_frames(self) -> "PoseAnswers":
        """The same answers, each at the step that it is of; the last ones, which nobody answered, repeat the last."""
        at = np.minimum(np.arange(len(self.frames)) + self.look_ahead_frames, max(0, len(self.frames) - 1))
        return PoseAnswers(self.frames, self.p[at], self.labels[at], 0)


def run_pose_blocks(
    bundle: Bundle,
    points: NDArray[np.float32],
    rate_hz: float,
    stabiliser: StabiliserConfig | None = None,
    x: NDArray[np.float32] | None = None,
) -> PoseAnswers:
    """Run a pose bundle over a recording, from a fresh state.

    Args:
        bundle: loaded.
        points: (t, animals, keypoints, 3) raw, in the model's order of names (`PointSelection`).
        rate_hz: of the frames.
        stabiliser: instead of the bundle's defaults.
        x: the head's input (t, dims) of these points, where all are steps of the model and it is known already.

    Returns:
        What `PoseModel.step` answers on every frame, its probabilities to rounding: a label can differ where one lies
        that near to a threshold.

    Raises:
        ConfigError: rate or points do not suit the model.
        BundleError: feature code differs.
    """
    manifest = bundle.manifest
    grid = StepGrid(manifest.rate_hz, rate_hz, manifest.other_rates, "poses")
    times_ns = exposure_times(len(points), rate_hz)
    steps = [place for place, t_ns in enumerate(times_ns.tolist()) if grid.step(t_ns) is not None]
    frames = np.array(steps, np.int64)
    if x is None:
        used = points if len(frames) == len(points) else points[frames]
        blocks = run_front_blocks(manifest, used)
    elif x.shape == (len(frames), manifest.x_dims):
        blocks = (x[first : first + BLOCK_FRAMES] for first in range(0, max(1, len(x)), BLOCK_FRAMES))
    else:
        raise ConfigError(
            f"the head's input is given as {list(x.shape)}, and these points are [{len(frames)}, {manifest.x_dims}] of "
            "it; compute it from the same points at the model's rate"
        )
    p = run_head_blocks(manifest, bundle.head_sequence, blocks)
    stabiliser_ = Stabiliser(manifest.classes, stabiliser or manifest.stabiliser, grid.step_ns)
    labels = stabiliser_.run(p, times_ns[frames])
    return PoseAnswers(frames, p, labels, manifest.look_ahead_frames or 0)


def exposure_times(n_frames: int, rate_hz: float) -> NDArray[np.int64]:
    """(n,) ns: when frames at an even rate were exposed, the first at 1 ms."""
    return NS_PER_MS + np.round(np.arange(n_frames) * (NS_PER_S / rate_hz)).astype(np.int64)


def run_front_blocks(manifest: Manifest, points: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The head's input, block after block, (t, dims) each; at least one, which may be empty."""
    front = open_front(manifest)
    for first in range(0, max(1, len(points)), BLOCK_FRAMES):
        yield front.block(points[first : first + BLOCK_FRAMES])


def run_head_blocks(manifest: Manifest, sequence: Graph, blocks: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probabilities (t, n_classes) of blocks of input that follow each other.

    A head that looks ahead without bound gets all blocks as one.
    """
    spec = manifest.head
    if manifest.look_ahead_frames is None:
        blocks = iter([np.concatenate(list(blocks))])
    state = initial_state(spec.state, 1)
    found = [np.zeros((0, len(manifest.classes)), np.float32)]
    for x in blocks:
        if len(x):
            p, state = _run_block(sequence, spec, x, state)
            found.append(p)
    return np.concatenate(found)


def _run_block(
    sequence: Graph, spec: HeadSpec, x: NDArray[np.float32], state: list[NDArray[Any]]
) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
    names = [tensor.name for tensor in spec.state]
    values = sequence.run({"x": x[None], **dict(zip(names, state, strict=True))})
    return values["p"][0], [values[f"{name}_out"] for name in names]
