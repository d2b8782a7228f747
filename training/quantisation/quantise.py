"""An int8 bundle from a float32 one: calibrated on the training part, judged on validation, reported on the test part.

Only the embedder is quantised. The head is small, and its state would carry rounding from step to step.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ...inference.bundle import Bundle, make_parity, write_bundle
from ...inference.bundle_files import read_bundle_files
from ...inference.bundled import resolve_bundle
from ...inference.graph_spec import EMBEDDER_FILE, HEAD_SEQUENCE_FILE, HEAD_STEP_FILE
from ...inference.manifest import PARITY_FILE, Manifest
from ...inference.onnxruntime_backend import open_graph
from ...inference.precision import PrecisionJudgement, Quantisation
from ...sync.clock import ClockAnchor, RigClock
from ...sync.errors import BundleError, ScoreLossError
from ..answers.learnt_frames import refuse_learnt
from ..answers.of_video import Answers, answers_of_part, evaluation_of
from ..config.export import ExportConfig
from ..config.training_file import TrainConfig, load_config
from ..data.video_sources import Source, learnt_counts, open_sources
from ..export.bundle_record import compute_of, scores_of, this_machine, versions_made_anew
from ..fitting.crop_recordings import check_split
from .calibration_crops import Calibration, plan_calibration, stream_crops
from .graph_quantiser import quantise_graph
from .precision_cost import judge, measure_speed, part_to_judge, refusal

_SPEED_SECONDS: Final = 2.0
_NAME_LENGTH: Final = 64
_SUFFIX: Final = "-int8"


@dataclass(frozen=True, slots=True)
class Quantised:
    """A bundle with an int8 embedder that costs no more than was allowed, not written yet.

    Attributes:
        source: the float32 bundle.
        record: how it was made and what it cost.
        evaluation: as `evaluate` gives it, of int8 on the test part.
        answers: of int8 on the test part, frame by frame.
        fields, files: for `write_bundle`.
    """

    source: Bundle
    record: Quantisation
    evaluation: dict[str, Any]
    answers: list[Answers]
    fields: dict[str, Any]
    files: dict[str, bytes]

    def write(self, out: Path) -> str:
        """Write the bundle, load it again, and give its identity.

        Raises:
            BundleError: ``out`` is the float32 bundle itself.
        """
        if out.resolve() == self.source.path.resolve():
            raise BundleError(f"{out}: is the float32 bundle; give the int8 one a folder of its own")
        write_bundle(out, self.fields, self.files)
        return Bundle.load(out, max_look_ahead_frames=None).identity


def quantise(
    bundle: str | Path,
    config_path: Path,
    data: Path | None,
    options: dict[str, Any],
    quiet: bool = False,
    judged: Callable[[PrecisionJudgement], None] | None = None,
) -> Quantised:
    """Quantise a bundle; `Quantised.write` writes it.

    Args:
        bundle: folder, zip or name of a shipped bundle, float32.
        config_path: the training file: its train part calibrates, its validation part decides, its test part scores.
        data: data folder instead of the file's own.
        options: values of `ExportConfig` that replace those of the file's ``export``.
        quiet: nothing is printed.
        judged: told what decides, before anything is refused.

    Raises:
        ConfigError, DataError, VideoError, BundleError: see `load_config`, `open_sources`, `Bundle.load`.
        ScoreLossError: see `quantise_bundle`.
    """
    config, root = load_config(config_path, data)
    loaded = Bundle.load(resolve_bundle(bundle), max_look_ahead_frames=None)
    sources = open_sources(config, root)
    check_split(sources, config)
    chosen = ExportConfig.model_validate(config.export.model_dump() | options | {"precision": "int8"})
    return quantise_bundle(loaded, config, sources, chosen, Console(quiet=quiet, stderr=True), judged=judged)


def quantise_bundle(
    bundle: Bundle,
    config: TrainConfig,
    sources: Sequence[Source],
    options: ExportConfig,
    console: Console,
    float32: list[Answers] | None = None,
    speed_seconds: float = _SPEED_SECONDS,
    judged: Callable[[PrecisionJudgement], None] | None = None,
) -> Quantised:
    """As `quantise`, for a bundle and recordings that are open already.

    The validation part decides and the test part is run once, after that: what is refused never sees it. Where there is
    no validation part the test part decides.

    Args:
        bundle: float32, on the CPU.
        config: classes and split.
        sources: its recordings.
        options: how.
        console: for progress.
        float32: what the bundle answered on the test part, where that is known.
        speed_seconds: about how long each of the (up to four) measurements of speed may take.
        judged: told what decides, before anything is refused.

    Raises:
        BundleError: the bundle is int8 already, or holds nothing that can be quantised.
        DataError: the training part holds no frame, or the bundle has learnt from frames of the test part.
        ScoreLossError: int8 loses more than ``max_score_loss``.
    """
    manifest = bundle.manifest
    if manifest.quantisation is not None:
        raise BundleError(
            f"bundle {bundle.identity} is int8 already; quantise {manifest.quantisation.source}, that it came from"
        )
    refuse_learnt(manifest, config, sources)
    stored = read_bundle_files(bundle.path)
    calibration = plan_calibration(config, sources, options.calibration_frames)
    embedder, sample = _quantised_embedder(bundle, stored[EMBEDDER_FILE], calibration, options, console)
    pair = _Pair(bundle, replace(bundle, embedder_graph=open_graph(embedder, EMBEDDER_FILE, "cpu", 1)))
    decisive = part_to_judge(config, sources)
    scored = pair.scored(decisive, config, sources, options, console, float32)
    verdict = scored.judgement
    if judged is not None:
        judged(verdict)
    if verdict.loss > options.max_score_loss:
        raise ScoreLossError(refusal(verdict, options.weight_bits, calibration.n_frames, str(bundle.path)))
    if decisive != "test":
        scored = pair.scored("test", config, sources, options, console, float32)
    evaluation = evaluation_of(pair.int8, config, scored.int8, learnt_counts=learnt_counts(list(sources), config))
    console.print("measuring the speed of both embedders")
    batch = np.resize(sample, (len(sources[0].views), *sample.shape[1:]))
    clock = RigClock(ClockAnchor.take())
    record = Quantisation(
        source=bundle.identity,
        weight_bits=options.weight_bits,
        calibrated_on=calibration.members,
        n_calibration_frames=calibration.n_frames,
        n_calibration_crops=calibration.n_crops,
        score_loss=verdict.loss,
        max_score_loss=options.max_score_loss,
        speed=measure_speed(stored[EMBEDDER_FILE], embedder, batch, clock, speed_seconds),
        float32_bytes=len(stored[EMBEDDER_FILE]),
        int8_bytes=len(embedder),
        machine=this_machine(),
        validation=None if decisive == "test" else verdict,
        **scored.on_test(),
    )
    fields = _fields(manifest) | {
        "scores": scores_of(evaluation, config),
        "compute": compute_of(evaluation, list(sources)),
        "quantisation": record,
    }
    return Quantised(bundle, record, evaluation, scored.int8, fields, _files(stored, embedder, fields))


@dataclass(frozen=True, slots=True)
class _Scored:
    """What both embedders answered on one part, and what the difference costs."""

    float32: list[Answers]
    int8: list[Answers]
    judgement: PrecisionJudgement

    def on_test(self) -> dict[str, Any]:
        """What a `Quantisation` says of the test part."""
        change = [np.abs(a.p - b.p).max(axis=1) for a, b in zip(self.float32, self.int8, strict=True)]
        p_change = np.concatenate(change)
        return {
            "n_test_frames": self.judgement.n_frames,
            "stabilised": self.judgement.stabilised,
            "raw": self.judgement.raw,
            "p_change_p99": float(np.percentile(p_change, 99)),
            "p_change_max": float(p_change.max()),
            "scored_on": self.judgement.scored_on,
        }


@dataclass(frozen=True, slots=True)
class _Pair:
    """The bundle with either embedder."""

    float32: Bundle
    int8: Bundle

    def scored(
        self,
        part: Literal["validation", "test"],
        config: TrainConfig,
        sources: Sequence[Source],
        options: ExportConfig,
        console: Console,
        known: list[Answers] | None,
    ) -> _Scored:
        """Run both over a part; ``known`` is what float32 answered on the test part, where somebody has asked it."""

        def tell(name: str) -> None:
            console.print(f"  {name}")

        console.print(f"scoring the {part} part with both embedders")
        first = known if part == "test" else None
        before = first or answers_of_part(self.float32, config, list(sources), part, progress=tell)
        after = answers_of_part(self.int8, config, list(sources), part, progress=tell)
        return _Scored(before, after, judge(part, config, sources, before, after, options.max_score_loss))


def _quantised_embedder(
    bundle: Bundle, float32: bytes, calibration: Calibration, options: ExportConfig, console: Console
) -> tuple[bytes, NDArray[np.uint8]]:
    """The graph in int8, and the first crops that it was calibrated on, uint8 [n, height, width]."""
    sample: list[NDArray[np.uint8]] = []
    console.print("calibrating on the training part")
    with Progress(console=console, disable=console.quiet) as progress:
        crops = _watched(bundle, calibration, sample, progress)
        graph = quantise_graph(float32, crops, options.weight_bits)
    if calibration.n_frames < options.calibration_frames:
        console.print(f"the training part has given {calibration.n_frames:,} of {options.calibration_frames:,} frames")
    return graph, sample[0]


def _fields(manifest: Manifest) -> dict[str, Any]:
    """Of the manifest of the int8 bundle: those that do not wait for its scores."""
    fields = {
        name: getattr(manifest, name) for name in Manifest.model_fields if name not in ("files", "schema_version")
    }
    name = manifest.name[: _NAME_LENGTH - len(_SUFFIX)] + _SUFFIX
    return fields | {"name": name, "library_versions": versions_made_anew(manifest)}


def _files(stored: dict[str, bytes], embedder: bytes, fields: dict[str, Any]) -> dict[str, bytes]:
    """Of the int8 bundle, with what its own graphs answer on the frames of the float32 one."""
    with np.load(io.BytesIO(stored[PARITY_FILE]), allow_pickle=False) as archive:
        frames, times_ns = archive["frames"], archive["times_ns"]
    graphs = {EMBEDDER_FILE: embedder} | {name: stored[name] for name in (HEAD_STEP_FILE, HEAD_SEQUENCE_FILE)}
    return graphs | {PARITY_FILE: make_parity(fields, graphs, frames, times_ns)}


def _watched(
    bundle: Bundle, calibration: Calibration, sample: list[NDArray[np.uint8]], progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    """The crops, with a bar; the first batch is kept as a ``sample``."""
    task = progress.add_task("frames", total=calibration.n_to_read)
    for crops in stream_crops(bundle, calibration, lambda n: progress.advance(task, n)):
        if not sample:
            sample.append(crops)
        yield crops
