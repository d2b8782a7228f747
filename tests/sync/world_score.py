"""What became of generated worlds, one or many: what the scores of all kinds of worlds have in common."""

from dataclasses import dataclass, field, fields


@dataclass
class WorldScore:
    """Sums and lists; the score of many worlds is the sum of theirs.

    Attributes:
        worlds: how many.
        frames: how many.
        failed_seeds: worlds that did not keep a promise.
    """

    worlds: int = 0
    frames: int = 0
    failed_seeds: list[int] = field(default_factory=list)

    def add(self, other: "WorldScore") -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
