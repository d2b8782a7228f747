"""Behaviours that may be there at once: each by itself, is it there or not. Only numpy.

The other scores know one class per frame, the most probable or the stabilised one; frames of several behaviours stand
in them only where a priority made one of these the frame's class. Here every judged frame counts that somebody looked
at.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from .answers_file import RecordingAnswers
from .frames import average_precision, divided, known_value

THERE: Final = 0.5
"""A behaviour is said to be there from this probability on."""


def behavior_scores(recordings: Sequence[RecordingAnswers], classes: Sequence[str]) -> dict[str, Any] | None:
    """Scores of every behaviour by itself; None where frames have one class each.

    Args:
        recordings: with ``present``; others are left out.
        classes: names.

    Returns:
        ``n_frames``, ``n_several`` (frames with two behaviours or more), ``threshold``, ``macro_f1``, ``macro_pr_auc``
        and ``per_class`` with ``n_present``, ``precision``, ``recall``, ``f1``, ``pr_auc``. A behaviour that no frame
        shows has null and is not in the means.
    """
    shown = [(one, one.present) for one in recordings if one.present is not None]
    if not shown:
        return None
    masks = [one.judged & (one.raw >= 0) & ~np.isnan(present).any(axis=1) for one, present in shown]
    truth = np.concatenate([present[mask] for (_, present), mask in zip(shown, masks, strict=True)]) >= THERE
    p = np.concatenate([one.p[mask] for (one, _), mask in zip(shown, masks, strict=True)])
    said = p >= THERE
    hits, n_there, n_said = (truth & said).sum(axis=0), truth.sum(axis=0), said.sum(axis=0)
    precision = np.where(n_there > 0, divided(hits, n_said), np.nan)
    f1 = np.where(n_there > 0, divided(2.0 * hits, n_there + n_said), np.nan)
    recall = divided(hits, n_there)
    areas = [average_precision(truth[:, place], p[:, place]) for place in range(len(classes))]
    known = [area for area in areas if area is not None]
    return {
        "n_frames": len(truth),
        "n_several": int((truth.sum(axis=1) > 1).sum()),
        "threshold": THERE,
        "macro_f1": float(np.nanmean(f1)) if known else None,
        "macro_pr_auc": float(np.mean(known)) if known else None,
        "per_class": {
            name: {
                "n_present": int(n_there[place]),
                "precision": known_value(precision[place]),
                "recall": known_value(recall[place]),
                "f1": known_value(f1[place]),
                "pr_auc": areas[place],
            }
            for place, name in enumerate(classes)
        },
    }
