"""What a model said of recordings, frame by frame, beside the truth: ``answers.npz`` of a run folder. Only numpy."""

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_S
from ...sync.errors import DataError, ReportError

ANSWERS_FILE: Final = "answers.npz"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class RecordingAnswers:
    """One recording, whole: every array has one row per frame from its first to the last that was looked at.

    Attributes:
        name: of the recording.
        rate_hz: frames per second.
        truth: int16 [n] class index, below 0 where nothing is labelled; frames that are not judged keep theirs.
        raw: int16 [n] the most probable class, below 0 where nothing was said.
        label: int16 [n] after the stabiliser, below 0 before the first one.
        p: float32 [n, c].
        judged: bool [n], the frames of the part that is scored. Others may hold truth and answers as well, and count
            for nothing.
        group: what the recording belongs together with: an animal, a day; "" where nothing is said.
        raters: labels of other people on the same frames, int16 [n], below 0 where they have none.
        fold: of a cross-validation, from 0; -1: there were none.
        present: which behaviours are there, float32 [n, c], 0 or 1, where several may be at once; NaN where nobody has
            looked. None: a frame has one class.
    """

    name: str
    rate_hz: float
    truth: NDArray[np.int16]
    raw: NDArray[np.int16]
    label: NDArray[np.int16]
    p: NDArray[np.float32]
    judged: NDArray[np.bool_]
    group: str = ""
    raters: Mapping[str, NDArray[np.int16]] = field(default_factory=dict[str, NDArray[np.int16]])
    fold: int = -1
    present: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths.

        Raises:
            DataError: one is.
        """
        n = len(self.truth)
        arrays = {"raw": self.raw, "label": self.label, "p": self.p, "judged": self.judged, **self.raters}
        arrays |= {} if self.present is None else {"present": self.present}
        for what, array in arrays.items():
            if len(array) != n:
                raise DataError(
                    f"{self.name}: {what} has {len(array)} frames, the truth {n}; both are of one recording"
                )
        if self.rate_hz <= 0.0:
            raise DataError(f"{self.name}: a rate of {self.rate_hz} Hz cannot be; give frames per second")

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames that are scored: judged and labelled, bool [n]."""
        return self.judged & (self.truth >= 0)

    @property
    def t_ns(self) -> NDArray[np.int64]:
        """Exposure times from the first frame on, int64 [n]."""
        return np.rint(np.arange(len(self.truth)) * (NS_PER_S / self.rate_hz)).astype(np.int64)


def write_answers(path: Path, recordings: Sequence[RecordingAnswers], classes: Sequence[str]) -> None:
    """Write ``answers.npz``; whoever reads ``path`` sees the old file or the new, never a part.

    Raises:
        ReportError: it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "schema": np.array(SCHEMA),
        "classes": np.array(list(classes), np.str_),
        "names": np.array([one.name for one in recordings], np.str_),
        "groups": np.array([one.group for one in recordings], np.str_),
        "rates_hz": np.array([one.rate_hz for one in recordings], np.float64),
        "folds": np.array([one.fold for one in recordings], np.int64),
    }
    for place, one in enumerate(recordings):
        arrays[f"{place}.truth"] = one.truth.astype(np.int16)
        arrays[f"{place}.raw"] = one.raw.astype(np.int16)
        arrays[f"{place}.label"] = one.label.astype(np.int16)
        arrays[f"{place}.p"] = one.p.astype(np.float32)
        arrays[f"{place}.judged"] = one.judged.astype(np.bool_)
        arrays[f"{place}.raters"] = np.array(list(one.raters), np.str_)
        if one.present is not None:
            arrays[f"{place}.present"] = one.present.astype(np.float32)
        for number, labels in enumerate(one.raters.values()):
            arrays[f"{place}.rater.{number}"] = labels.astype(np.int16)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); make room or name another folder") from error
    finally:
        part.unlink(missing_ok=True)


def read_answers(path: Path) -> tuple[list[RecordingAnswers], list[str]]:
    """The recordings and the classes of ``answers.npz``.

    Raises:
        DataError: it cannot be read, is damaged, or is no such file.
    """
    arrays = _arrays(path)
    try:
        schema = int(arrays["schema"])
        if schema != SCHEMA:
            raise DataError(f"{path}: is of schema {schema}, this version reads {SCHEMA}; evaluate again")
        recordings = [
            RecordingAnswers(
                name=str(name),
                rate_hz=float(arrays["rates_hz"][place]),
                truth=arrays[f"{place}.truth"],
                raw=arrays[f"{place}.raw"],
                label=arrays[f"{place}.label"],
                p=arrays[f"{place}.p"],
                judged=arrays[f"{place}.judged"],
                group=str(arrays["groups"][place]),
                raters={
                    str(rater): arrays[f"{place}.rater.{number}"]
                    for number, rater in enumerate(arrays[f"{place}.raters"])
                },
                fold=int(arrays["folds"][place]),
                present=arrays.get(f"{place}.present"),
            )
            for place, name in enumerate(arrays["names"])
        ]
        return recordings, [str(name) for name in arrays["classes"]]
    except (KeyError, IndexError) as error:
        raise DataError(f"{path}: lacks {error}; it is not what a training run writes: evaluate again") from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):
            if not path.exists():
                raise DataError(f"{path}: is not there; evaluate again")
            raise DataError(f"{path}: is no .npz file, or is cut; evaluate again")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged ({error}); evaluate again") from error
