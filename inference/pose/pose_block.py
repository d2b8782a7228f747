"""A block of frames as features see it: points that are always there, in order, with what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .layout import PoseLayout, ResolvedPlace
from .measures import Values, total

LeadKey = tuple[tuple[ResolvedPlace, ...], tuple[ResolvedPlace, ...]]
"""Places of an animal, and of its partner."""


@dataclass(frozen=True, slots=True)
class PoseBlock:
    """Frames one after the other.

    Attributes:
        xy: (t, a, k, 2) px, finite.
        seen: (t, a, k) whether the point is there in this very frame.
        since_s: (t, a, k) time since it was seen.
        age_s: (t, a, k) time since its value was found.
        likelihood: (t, a, k), 0 where it is not seen.
        twin: (t,) both animals of the tracker were one.
        scale_px: (t,) body length.
        leads: which of two animals comes first, by the places that decide it; measured once.
        means: where places are that were asked for; measured once, and not to be written into.
    """

    layout: PoseLayout
    xy: Values
    seen: NDArray[np.bool_]
    since_s: Values
    age_s: Values
    likelihood: Values
    twin: NDArray[np.bool_]
    scale_px: Values
    leads: dict[LeadKey, NDArray[np.bool_]] = field(default_factory=dict)
    means: dict[tuple[tuple[bool, int], ...], Values] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xy)

    def at(self, place: ResolvedPlace) -> Values:
        """Where a place is, (t, a, 2) px; of the partner as each animal has it."""
        found = self.means.get(place.points)
        if found is None:
            found = self.means[place.points] = self._mean(self.xy, place)
        return found

    def places(self, places: Sequence[ResolvedPlace]) -> Values:
        """Where several are, (t, a, n, 2) px."""
        return np.stack([self.at(place) for place in places], axis=2)

    def ages(self, places: Sequence[ResolvedPlace]) -> Values:
        """Mean age of what each place is made of, (t, a, n) s."""
        return np.stack([self._mean(self.age_s, place) for place in places], axis=2)

    def in_lengths(self, px: Values) -> Values:
        """Pixels (t, ...) in body lengths."""
        return px / self.scale_px.reshape(-1, *[1] * (px.ndim - 1))

    @staticmethod
    def _mean(values: Values, place: ResolvedPlace) -> Values:
        terms = [(values[:, ::-1] if of_partner else values)[:, :, number] for of_partner, number in place.points]
        return total(terms) / len(terms) if len(terms) > 1 else terms[0]
