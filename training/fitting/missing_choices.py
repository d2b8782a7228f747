"""What of a fit could not be chosen, since there was nothing to choose it on, and why: of keypoints and of video."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from ..splits import PARTS
from .head_data import HeadData

Choice = Literal["epoch", "temperature", "stabiliser"]
_KEPT: Final[Mapping[Choice, str]] = {
    "epoch": "the last epoch",
    "temperature": "a temperature of 1",
    "stabiliser": "the configured stabiliser",
}


def missing_choices(
    data: Sequence[HeadData],
    fits: Sequence[Mapping[str, Any]],
    unfound: Mapping[Choice, bool],
    monitor: str,
    look_ahead_frames: int,
    where: str = "the validation part",
) -> list[str]:
    """What nothing has chosen, what is kept instead, and why: a line per reason; empty: everything was chosen.

    Without any validation part there is no epoch to choose, which is no news to who has asked for none.

    Args:
        data: what was fitted on, as it is labelled; part ``validation`` is what is chosen on.
        fits: what `run_stage` says of each fit, or of an ensemble with its ``members``; no epoch was chosen where a
            ``best_value`` is None.
        unfound: whether a temperature and a stabiliser were asked for and not found.
        monitor: the measure that chooses the epoch.
        look_ahead_frames: of the head, which is asked so many frames later.
        where: name of what is chosen on.
    """
    members = [member for one in fits for member in one.get("members", [one])]
    n_last = sum(one["best_value"] is None for one in members) if _is_there(data) else 0
    missing: list[Choice] = [choice for choice, yes in unfound.items() if yes]
    if n_last:
        missing.insert(0, "epoch")
    some = f" in {n_last} of {len(members)} fits" if n_last < len(members) else ""
    valueless = f"{monitor} has no value on {where}{some}"
    because: dict[str, list[Choice]] = {}
    for choice in missing:
        because.setdefault(_why(choice, data, look_ahead_frames, where) or valueless, []).append(choice)
    return [
        f"nothing to choose {_joined(choices)} on, since {why}: {_joined([_KEPT[one] for one in choices])}"
        for why, choices in because.items()
    ]


def _is_there(data: Sequence[HeadData]) -> bool:
    return any((one.parts == PARTS.index("validation")).any() for one in data)


def _why(choice: Choice, data: Sequence[HeadData], look_ahead_frames: int, where: str) -> str | None:
    """What the data lack; None: nothing."""
    if not _is_there(data):
        return "there is no validation part"
    for n_frames in (0, look_ahead_frames):
        which = f" with the {n_frames} frames of look-ahead after it" if n_frames else ""
        asked = [one.looking_ahead(n_frames) for one in data]
        if not any(one.known_in("validation").any() for one in asked):
            return f"no frame of {where}{which} is labelled"
        # A temperature asks of each behaviour whether it is there; scores, and so all else, are of the one of a frame.
        if choice != "temperature" and not any(one.mask("validation").any() for one in asked):
            return f"no frame of {where}{which} has one behaviour alone"
    return None


def _joined(words: Sequence[str]) -> str:
    return " and ".join(one for one in (", ".join(words[:-1]), words[-1]) if one)
