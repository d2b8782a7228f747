"""What is measured of each animal, in an order that features can rely on."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...sync.errors import ConfigError
from ...sync.strict import StrictModel
from .layout import Place, PoseLayout
from .measures import Values, length, total
from .pose_block import LeadKey, PoseBlock

Animals = Literal["each", "sorted", "sum", "led"]
"""How measures of several animals come out: one after the other; each measure from the lowest animal to the highest;
their sum; or the animal first that leads. All but ``each`` are the same when two animals change places."""

AnimalsList = Annotated[list[Animals], Field(min_length=1)]


class Lead(StrictModel):
    """Which of two animals comes first: the one that has one of its ``points`` nearer to a place ``near`` of the other.

    On a tie the one with the shorter sum of all these distances; then the one whose points were seen later; then the
    one further to the left, and further up.
    """

    points: list[Place] = Field(min_length=1)
    near: list[Place] = Field(min_length=1)


class AnimalOptions(StrictModel):
    """For features that measure each animal.

    Attributes:
        animals: in which orders the measures come out, one after the other; with one animal all are the same one.
        lead: for ``led``.
    """

    animals: AnimalsList = Field(default_factory=lambda: ["each"])
    lead: Lead | None = None


class Arrangement:
    """Puts measures of animals (t, a, d) and of all together (t, j) side by side.

    Args:
        options: of the feature.
        layout: of the model.
        own: names of what is measured of each animal.
        joint: names of what is measured once.

    Raises:
        ConfigError: an order asks for two animals, or needs ``lead``.
    """

    def __init__(self, options: AnimalOptions, layout: PoseLayout, own: Sequence[str], joint: Sequence[str]) -> None:
        alone: list[Animals] = ["each"]  # of which all orders are the same
        self._modes: list[Animals] = alone if layout.n_animals == 1 else list(dict.fromkeys(options.animals))
        self._lead: LeadKey | None = None
        if "led" in self._modes:
            layout.need_two("animals: led")
            if options.lead is None:
                raise ConfigError("animals: led needs lead: {points: [...], near: [...]}, which says who comes first")
            points, near = ([layout.place(one) for one in some] for some in (options.lead.points, options.lead.near))
            if any(place.is_social for place in (*points, *near)):
                raise ConfigError(
                    "lead: points are the animal's own and near its partner's; name both without partner."
                )
            self._lead = tuple(points), tuple(near)
        n = layout.n_animals
        prefixes: list[str] = []
        for mode in self._modes:
            match mode:
                case "each":
                    prefixes += [f"animal{place}." for place in range(n)] if n > 1 else [""]
                case "sorted":
                    prefixes += ["low.", "high."] if n == 2 else [f"rank{place}." for place in range(n)]
                case "sum":
                    prefixes += ["sum."]
                case "led":
                    prefixes += ["first.", "second."]
        self.names: tuple[str, ...] = (
            *(f"{prefix}{name}" for prefix in prefixes for name in own),
            *joint,
        )

    def join(self, pose: PoseBlock, own: Values, joint: Values) -> NDArray[np.float32]:
        """(t, n) float32.

        Args:
            pose: the block.
            own: (t, a, d).
            joint: (t, j).
        """
        found = [self._arranged(mode, pose, own) for mode in self._modes] if own.shape[2] else []
        return np.concatenate([*found, joint], axis=1, dtype=np.float32, casting="same_kind")

    def _arranged(self, mode: Animals, pose: PoseBlock, own: Values) -> Values:
        n_frames, n_animals, _ = own.shape
        match mode:
            case "each":
                arranged = own
            case "sorted" if n_animals == 2:
                arranged = np.stack([np.minimum(own[:, 0], own[:, 1]), np.maximum(own[:, 0], own[:, 1])], axis=1)
            case "sorted":
                arranged = np.sort(own, axis=1)
            case "sum":
                arranged = total([own[:, animal] for animal in range(n_animals)])
            case "led":
                arranged = np.where(self._second_leads(pose)[:, None, None], own[:, ::-1], own)
        return arranged.reshape(n_frames, -1)

    def _second_leads(self, pose: PoseBlock) -> NDArray[np.bool_]:
        """(t,) whether the second of two animals comes first."""
        assert self._lead is not None
        if self._lead not in pose.leads:
            points, near = (pose.places(places) for places in self._lead)
            ways = length(points[:, :, :, None] - near[:, ::-1, None])
            shortest = np.minimum.reduce(ways, axis=(2, 3))
            together = total([ways[:, :, i, j] for i in range(ways.shape[2]) for j in range(ways.shape[3])])
            # Where it matters no more who leads, it still has to be the same one when the two change places.
            at = total([pose.xy[:, :, number] for number in range(pose.xy.shape[2])])
            second = np.zeros(len(pose), np.bool_)
            undecided = np.ones(len(pose), np.bool_)
            since = total([pose.since_s[:, :, number] for number in range(pose.xy.shape[2])])
            for measure in (shortest, together, since, at[..., 0], at[..., 1]):
                second |= undecided & (measure[:, 1] < measure[:, 0])
                undecided &= measure[:, 1] == measure[:, 0]
            pose.leads[self._lead] = second
        return pose.leads[self._lead]
