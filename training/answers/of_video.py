"""What a bundle says of recordings of video, and its scores: the whole pipeline, from raw frames, causally."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...sync.clock import NS_PER_MS, NS_PER_S, ClockAnchor, RigClock
from ...sync.errors import ConfigError, DataError
from ..config.recordings import SimulatedData
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..export.bundle_record import this_machine
from ..scores.answers_file import RecordingAnswers
from ..scores.evaluation_record import evaluation_record
from ..scores.score_warnings import LabelSource
from ..splits import Part, part_mask
from .learnt_frames import Judgeable
from .look_ahead import answer_lag, moved_back
from .offline import run_offline

STAGES = ("crop", "embed", "head")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the pipeline said of one recording; its arrays are over the frames of one part that have a label, [n].

    Attributes:
        recording: all of it, from its first frame on.
        stage_ms: milliseconds per stage of every step of the recording.
    """

    recording: RecordingAnswers
    stage_ms: dict[str, NDArray[np.float64]]

    @property
    def name(self) -> str:
        """Of the recording."""
        return self.recording.name

    @property
    def truth(self) -> NDArray[np.int16]:
        """Class index [n]."""
        return self.recording.truth[self.recording.known]

    @property
    def compare(self) -> dict[str, NDArray[np.int16]]:
        """Labels of other raters on the same frames, below 0 where they have none."""
        return {name: labels[self.recording.known] for name, labels in self.recording.raters.items()}

    @property
    def raw(self) -> NDArray[np.int16]:
        """Arg max of p [n]."""
        return self.recording.raw[self.recording.known]

    @property
    def label(self) -> NDArray[np.int16]:
        """Stabilised [n], -1 before the first one."""
        return self.recording.label[self.recording.known]

    @property
    def p(self) -> NDArray[np.float32]:
        """Probabilities [n, c]."""
        return self.recording.p[self.recording.known]


def answers_of_part(
    bundle: Bundle,
    config: TrainConfig,
    sources: list[Source],
    part: Part = "test",
    progress: Callable[[str], None] | None = None,
    masks: Mapping[str, NDArray[np.bool_]] | None = None,
    frames_done: Callable[[int], None] | None = None,
) -> list[Answers]:
    """Run the pipeline over every recording that has labelled frames of a part.

    Args:
        bundle: loaded.
        config: classes and split.
        sources: the recordings.
        part: that is asked for.
        progress: told the name of each recording.
        masks: frames of each recording by name that count, bool [t]; None: those of the part.
        frames_done: told after each frame.

    Raises:
        ConfigError: the bundle knows other classes.
        DataError: there is no such frame.
    """
    refuse_classes(bundle, config)
    answers: list[Answers] = []
    for source in sources:
        if source.part is not None and source.part != part:
            continue
        if progress is not None:
            progress(source.name)
        asked = None if masks is None else masks[source.name]
        found = answers_of(bundle, config, source, part, asked, frames_done)
        if found is not None:
            answers.append(found)
    if not answers:
        raise DataError(f"the {part} part holds no labelled frame; label some, or choose another split")
    return answers


def refuse_classes(bundle: Bundle, config: TrainConfig) -> None:
    """Refuse a training file with other classes than a bundle.

    Raises:
        ConfigError: they are.
    """
    classes = bundle.manifest.classes
    if list(config.classes) != list(classes):
        raise ConfigError(
            f"bundle {bundle.manifest.name!r} knows {', '.join(classes)}, the training file "
            f"{', '.join(config.classes)}; use the file that the bundle was trained with"
        )


def evaluation_of(
    bundle: Bundle,
    config: TrainConfig,
    answers: list[Answers],
    part: Part = "test",
    learnt_counts: Mapping[str, int] | None = None,
    training_s: float | None = None,
    notes: Sequence[str] = (),
    judged: Judgeable | None = None,
) -> dict[str, Any]:
    """Scores of answers, as `evaluate` gives them.

    Args:
        bundle: that answered.
        config: classes and split.
        answers: of one part.
        part: which.
        learnt_counts: frames of each class that were learnt from; see `learnt_counts`.
        training_s: how long the training took, where that is known.
        notes: what is odd about the data.
        judged: what the bundle has learnt from, where that was asked.
    """
    split: dict[str, Any] = config.split.model_dump(mode="json")
    record = evaluation_record(
        [one.recording for one in answers],
        bundle.manifest.classes,
        split if judged is None else judged.about(split),
        causal=bundle.manifest.look_ahead_frames == 0,
        look_ahead_frames=bundle.manifest.look_ahead_frames or 0,
        part=part,
        learnt_counts=learnt_counts,
        label_source=label_source_of(config),
        learnt_from=() if judged is None else judged.learnt_from,
        doubtful=() if judged is None else judged.doubtful,
        notes=notes if judged is None else [*notes, *judged.notes],
        compute={"training_s": training_s, "per_minute_s": _per_minute_s(answers), "machine": this_machine()},
    )
    return {"bundle": bundle.identity, "provider": bundle.provider, **record, "compute_ms": _compute(answers)}


def label_source_of(config: TrainConfig) -> LabelSource:
    """Who labelled, as far as the training file says."""
    if all(isinstance(one, SimulatedData) for one in config.data):
        return "simulated"
    return config.labels.made_by or "unknown"


def _per_minute_s(answers: list[Answers]) -> float | None:
    """Seconds of crop, embed and head for a minute of recording; reading the video is not in it."""
    spent_ms = sum(float(values.sum()) for one in answers for values in one.stage_ms.values())
    minutes = sum(len(one.recording.truth) / one.recording.rate_hz / 60.0 for one in answers)
    return spent_ms / 1000.0 / minutes if minutes else None


def answers_of(
    bundle: Bundle,
    config: TrainConfig,
    source: Source,
    part: Part,
    asked: NDArray[np.bool_] | None = None,
    frames_done: Callable[[int], None] | None = None,
) -> Answers | None:
    """Run the pipeline over one recording, from its first frame to the last one that counts; None: there is none.

    Args:
        bundle: loaded.
        config: classes and split.
        source: the recording.
        part: that is asked for.
        asked: frames that count, bool [t]; None: those of the part.
        frames_done: told after each frame.

    Raises:
        DataError: the video ends before its labels do.
    """
    wanted = (part_mask(config.split, source, part) if asked is None else asked) & source.known
    if not wanted.any():
        return None
    n_wanted = int(np.flatnonzero(wanted)[-1]) + 1
    lag = answer_lag(bundle.manifest, source.rate_hz)
    said = _said_of(bundle, source, min(n_wanted + lag, len(source.labels)), frames_done)
    return Answers(
        RecordingAnswers(
            name=source.name,
            rate_hz=source.rate_hz,
            truth=source.labels[:n_wanted],
            raw=moved_back(said.raw, lag)[:n_wanted],
            label=moved_back(said.label, lag)[:n_wanted],
            p=moved_back(said.p, lag)[:n_wanted],
            judged=wanted[:n_wanted],
            group=source.group,
            raters={name: other[:n_wanted] for name, other in source.compare.items()},
            present=None if source.targets is None else source.targets[:n_wanted],
        ),
        stage_ms={stage: said.stage_ms[:, place] for place, stage in enumerate(STAGES)},
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What the pipeline said when each frame had been taken: a head that looks ahead says it of an earlier one.

    Attributes:
        raw, label: class index [n], -1 for none.
        p: probabilities [n, c].
        stage_ms: milliseconds of each of `STAGES` in every step [steps, 3].
    """

    raw: NDArray[np.int16]
    label: NDArray[np.int16]
    p: NDArray[np.float32]
    stage_ms: NDArray[np.float64]


def _said_of(bundle: Bundle, source: Source, n: int, frames_done: Callable[[int], None] | None) -> _Said:
    """Run the pipeline over the first ``n`` frames of a recording.

    Raises:
        DataError: it has fewer.
    """
    classes = bundle.manifest.classes
    raw, label = np.full(n, -1, np.int16), np.full(n, -1, np.int16)
    p = np.zeros((n, len(classes)), np.float32)
    stage_ns: list[tuple[int, int, int]] = []
    n_done = 0
    clock = RigClock(ClockAnchor.take())
    for place, answer in enumerate(run_offline(bundle, source.views, source.rate_hz, _timed_frames(source, n), clock)):
        n_done = place + 1
        if frames_done is not None:
            frames_done(1)
        if answer is None:  # left out by the model's rate: the answer before it holds
            raw[place], label[place], p[place] = raw[place - 1], label[place - 1], p[place - 1]
            continue
        raw[place] = classes.index(answer.raw)
        label[place] = classes.index(answer.label) if answer.label else -1
        p[place] = answer.p
        stage_ns.append(
            (
                answer.t_cropped_ns - answer.t_taken_ns,
                answer.t_embedded_ns - answer.t_cropped_ns,
                answer.t_head_ns - answer.t_embedded_ns,
            )
        )
    if n_done < n:
        raise DataError(
            f"{source.name}: labels go up to frame {n - 1}, but only {n_done} frames can be read; is the video whole?"
        )
    return _Said(raw, label, p, np.array(stage_ns, np.float64) / NS_PER_MS)


def _timed_frames(source: Source, n: int) -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
    """The first frames of a recording with their times of exposure, from 0 on."""
    for place, images in enumerate(source.open_frames()):
        if place == n:
            return
        yield round(place * NS_PER_S / source.rate_hz), images


def _compute(answers: list[Answers]) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        values = np.concatenate([one.stage_ms[stage] for one in answers])
        result[stage] = {
            "p50": float(np.percentile(values, 50)),
            "p99": float(np.percentile(values, 99)),
            "n": len(values),
        }
    return result
