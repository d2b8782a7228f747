"""The training file's part about label names. Needs no torch."""

from typing import Literal

from pydantic import Field

from ...sync.strict import StrictModel


class LabelOptions(StrictModel):
    """How names in label files become classes.

    Attributes:
        rename: label → class, applied first.
        ignore: labels whose frames count as unlabelled.
        priority: classes, the most important first: where a file has two behaviours at once, the frame is the first of
            these; without it, and of behaviours that it does not name, overlaps are refused.
        overlap: ``one``: a frame has one class. ``each``: every behaviour is learnt on its own, several may be there at
            once; it goes with a binary loss. Frames of several are scored where ``priority`` names all that meet, and
            all frames count as looked at unless the file says otherwise.
        rest: class of the frames that no bout covers, for files in which all else was looked at and found empty; None:
            they are unlabelled.
        made_by: who labelled; it is said beside every score. None: nobody says.
    """

    rename: dict[str, str] = Field(default_factory=dict)
    ignore: list[str] = Field(default_factory=list)
    priority: list[str] = Field(default_factory=list)
    overlap: Literal["one", "each"] = "one"
    rest: str | None = None
    made_by: Literal["people", "machine"] | None = None
