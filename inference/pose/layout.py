"""What a pose model is told of its input once: keypoints, animals and rate; and how features name places in it."""

from dataclasses import dataclass
from typing import Final

from ...sync.errors import ConfigError

PARTNER: Final = "partner."
"""Before the name of a keypoint: the other animal's, seen from each of two."""

Place = str | list[str]
"""A keypoint (``nose``, or ``partner.nose``), or the mean of several."""
Segment = tuple[Place, Place]
"""From one place to another."""


@dataclass(frozen=True, slots=True)
class ResolvedPlace:
    """A place by numbers.

    Attributes:
        name: for the names of outputs.
        points: (whether of the partner, number of the keypoint).
    """

    name: str
    points: tuple[tuple[bool, int], ...]

    def seen_by_partner(self) -> frozenset[tuple[bool, int]]:
        """The same place from the other animal's side."""
        return frozenset((not of_partner, number) for of_partner, number in self.points)

    @property
    def is_social(self) -> bool:
        return any(of_partner for of_partner, _ in self.points)


@dataclass(frozen=True, slots=True)
class PoseLayout:
    """Names and rate."""

    keypoints: tuple[str, ...]
    n_animals: int
    rate_hz: float

    @property
    def dt_s(self) -> float:
        return 1.0 / self.rate_hz

    def frames(self, seconds: float) -> int:
        """A time in whole frames, one at least."""
        return max(1, round(seconds * self.rate_hz))

    def number(self, keypoint: str) -> int:
        """Number of a keypoint.

        Raises:
            ConfigError: there is none of that name.
        """
        if keypoint not in self.keypoints:
            raise ConfigError(
                f"keypoint {keypoint!r} is not among those of the model ({', '.join(self.keypoints)}); correct the name"
            )
        return self.keypoints.index(keypoint)

    def numbers(self, keypoints: list[str] | None) -> tuple[int, ...]:
        """Numbers of several keypoints; None: all."""
        names = self.keypoints if keypoints is None else keypoints
        if not names:
            raise ConfigError("a list of keypoints is empty: no point is left; name one, or leave the list out for all")
        return tuple(self.number(name) for name in names)

    def place(self, place: Place) -> ResolvedPlace:
        """A place by numbers.

        Raises:
            ConfigError: a name is not there, or a partner is named and there are not two animals.
        """
        names = [place] if isinstance(place, str) else place
        if not names:
            raise ConfigError("a place is the mean of no keypoints; name one at least")
        points: list[tuple[bool, int]] = []
        for name in names:
            of_partner = name not in self.keypoints and name.startswith(PARTNER)
            if of_partner:
                self.need_two(f"{name!r}")
            points.append((of_partner, self.number(name.removeprefix(PARTNER) if of_partner else name)))
        return ResolvedPlace("+".join(names), tuple(points))

    def need_two(self, what: str) -> None:
        """Refuse what is defined between two animals alone.

        Raises:
            ConfigError: there are fewer or more.
        """
        if self.n_animals != 2:
            raise ConfigError(f"{what} is between two animals, and the model has {self.n_animals}; leave it out")
