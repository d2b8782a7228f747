"""Cross-validation of a model of video: one training per fold, the folds' test parts pooled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ...sync.clock import NS_PER_S, MonotonicClock
from ..config.training_file import PoseData, SimulatedData, TrainConfig, VideoData
from ..export.bundle_record import this_machine
from ..scores.answers_file import ANSWERS_FILE, RecordingAnswers, read_answers, write_answers
from ..scores.evaluation_record import evaluation_record
from ..splits import FoldSplit, Part, RecordingSplit, folds_of
from .evaluate_video import label_source_of
from .record import EVALUATION_FILE, words_of, write_json, write_record
from .train_video import train_video

_CLOCK: Final = MonotonicClock()
_FEWEST_WITH_VALIDATION: Final = 3


def crossval_video(config: TrainConfig, root: Path, run: Path, rule: FoldSplit, quiet: bool = False) -> dict[str, Any]:
    """Cross-validate.

    In each fold the recordings of the next one are its validation part, where there are three folds at least; with two
    there is none, and the last epoch is kept.

    Args:
        config: of recordings of video; its own split is not looked at.
        root: folder that relative paths start from.
        run: folder for what is found, with a bundle and a run folder per fold.
        rule: the folds.
        quiet: nothing is printed.

    Returns:
        ``run``, ``folds`` (members and summary of each) and ``evaluation``, of all recordings pooled.

    Raises:
        ConfigError, DataError, VideoError: what the user gave does not fit.
    """
    began_ns = _CLOCK.now_ns()
    console = Console(quiet=quiet, stderr=True, highlight=False)
    entries = single_recordings(config.data)
    names = [_name(one) for one in entries]
    group_of = {name: one.group or "" for name, one in zip(names, entries, strict=True)}
    folds = folds_of(rule, names, [one.group for one in entries])
    write_record(run, config, root, ["crossval", "{config}", *words_of(rule), "--out", str(run.resolve())])
    answers: list[RecordingAnswers] = []
    summaries: list[dict[str, Any]] = []
    for number, held in enumerate(folds):
        spare = folds[(number + 1) % len(folds)] if len(folds) >= _FEWEST_WITH_VALIDATION else []
        console.print(f"[bold]fold {number + 1} of {len(folds)}[/]: scored on {', '.join(names[n] for n in held)}")

        def part_of(place: int, held: list[int] = held, spare: list[int] = spare) -> Part:
            return "test" if place in held else "validation" if place in spare else "train"

        data = [one.model_copy(update={"part": part_of(place)}) for place, one in enumerate(entries)]
        of_fold = config.model_copy(update={"data": data, "split": RecordingSplit()})
        out = run / f"fold-{number + 1}" / "bundle"
        result = train_video(of_fold, root, out, quiet, may_be_absent=True)
        found, _ = read_answers(Path(result["run"]) / ANSWERS_FILE)
        answers += [
            RecordingAnswers(
                name=one.name,
                rate_hz=one.rate_hz,
                truth=one.truth,
                raw=one.raw,
                label=one.label,
                p=one.p,
                judged=one.judged,
                group=group_of[one.name],
                raters=one.raters,
                fold=number,
            )
            for one in found
        ]
        summaries.append({"scored": [names[n] for n in held], "bundle": result["bundle"], "fit": result["fit"]})
    evaluation = evaluation_record(
        answers,
        config.classes,
        {**rule.model_dump(mode="json"), "n_folds": len(folds)},
        causal=not config.head.look_ahead_frames,
        label_source=label_source_of(config),
        compute={
            "training_s": (_CLOCK.now_ns() - began_ns) / NS_PER_S,
            "machine": this_machine(),
            "threads": config.fit.threads,
        },
    )
    evaluation = {"model": config.name, **evaluation}
    write_answers(run / ANSWERS_FILE, answers, config.classes)
    write_json(run / EVALUATION_FILE, evaluation)
    return {"run": str(run), "folds": summaries, "evaluation": evaluation}


def single_recordings(
    entries: Sequence[VideoData | SimulatedData | PoseData],
) -> list[VideoData | SimulatedData | PoseData]:
    """Entries with one recording and a name each: simulated sessions are one per seed."""
    found: list[VideoData | SimulatedData | PoseData] = []
    for one in entries:
        if isinstance(one, SimulatedData):
            found += [one.model_copy(update={"seeds": [seed]}) for seed in one.seeds]
        else:
            found.append(one.model_copy(update={"name": one.recording_name}))
    return found


def _name(entry: VideoData | SimulatedData | PoseData) -> str:
    """What the recording of an entry is called."""
    return f"{entry.name}-{entry.seeds[0]}" if isinstance(entry, SimulatedData) else entry.recording_name
