"""What a cache was good for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class CacheAccount:
    """Counts since a cache was opened.

    Attributes:
        n_found: entries that were there.
        n_computed: entries that were computed and kept.
        n_not_kept: entries that there was no place for: larger than the whole cache may be, or than what is left of it
            beside entries of this training and of others whose entries are not ours to remove.
        damaged: entries that were there and of no use, with the fault of each; they were removed and computed anew.
    """

    n_found: int = 0
    n_computed: int = 0
    n_not_kept: int = 0
    damaged: list[str] = field(default_factory=list)

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """For JSON, with the folder that it is of."""
        return {
            "folder": str(folder),
            "found": self.n_found,
            "computed": self.n_computed,
            "not_kept": self.n_not_kept,
            "damaged": self.damaged,
        }


def joined_account(folder: Path, accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several processes say of one cache, as one; see `CacheAccount.to_dict`."""
    counts = {name: sum(int(one[name]) for one in accounts) for name in ("found", "computed", "not_kept")}
    return {"folder": str(folder), **counts, "damaged": [words for one in accounts for words in one["damaged"]]}
