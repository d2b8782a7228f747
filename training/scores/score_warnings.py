"""Warnings of an evaluation, in words: what its reader must know before believing a number."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..splits import Part
from .answers_file import RecordingAnswers
from .bouts import FEW_BOUTS
from .intervals import Intervals

LabelSource = Literal["people", "machine", "simulated", "unknown"]


def about_the_data(
    split: Mapping[str, Any],
    causal: bool,
    look_ahead_frames: int,
    part: Part,
    label_source: LabelSource,
    learnt_from: Sequence[str],
    doubtful: Sequence[str],
) -> list[str]:
    """What a reader must know of the data; for the arguments see `evaluation_record`."""
    found: list[str] = []
    if doubtful:
        found.append(
            f"Perhaps learnt from: {', '.join(doubtful)}. The model has learnt from recordings of the same name and "
            "number of frames, whose files were others. If they are the same sessions, these scores say nothing."
        )
    if learnt_from:
        found.append(
            f"The model has learnt from {', '.join(learnt_from)}, which stand among the scored recordings: their "
            "scores say what it knows by heart, not what it can."
        )
    if part != "test":
        found.append(f"Scored on the {part} part, which the training has already looked at: too good for new data.")
    if not causal and not look_ahead_frames:
        found.append("Not causal: answers used the whole recording, so no rig can give them while it runs.")
    elif not causal:
        found.append(
            f"Answers used the next {look_ahead_frames} frames: on a rig every label comes later by as much, which is "
            "not in the delays here."
        )
    if label_source == "machine":
        found.append("The labels were made by a machine, not by people: scores say how well the model repeats it.")
    if label_source == "simulated":
        found.append("Simulated recordings: scores say nothing of real animals.")
    if split.get("chosen"):
        found.append(
            f"Chosen on the very recordings that are scored: {split['chosen']}. The scores are a little too good; "
            "`ethostream crossval` chooses anew inside every fold."
        )
    if split.get("by") == "time_block":
        found.append(
            "Scored blocks lie in the same recordings as those that were learnt from: scores hold for more of the same "
            "recordings, not for a new animal or day."
        )
    return found


def about_the_dropped(recordings: Sequence[RecordingAnswers]) -> list[str]:
    """Recordings that no score of single labels is of."""
    dropped = [one.name for one in recordings if one.present is not None and not one.known.any()]
    if not dropped:
        return []
    return [
        f"No frame of {', '.join(dropped)} has one behaviour alone: such a recording counts under `behaviors`, and in "
        "no other score."
    ]


def about_the_scores(scores: Mapping[str, Any], classes: Sequence[str], intervals: Intervals) -> list[str]:
    """Where there is too little to say anything; ``scores`` are those of the stabilised label."""
    found: list[str] = []
    if intervals.too_few:
        found.append(f"No interval: {intervals.note}.")
    by_class = scores["per_class"]
    absent = [name for name in classes if not by_class[name]["support"]]
    if absent:
        found.append(f"The scored frames hold no {', '.join(absent)}: averages leave it out.")
    few = [f"{name} {by_class[name]['n_true']}" for name in classes if 0 < by_class[name]["n_true"] < FEW_BOUTS]
    if few:
        found.append(f"Few true bouts ({', '.join(few)}): these scores hang on single bouts.")
    return found
