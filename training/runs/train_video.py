"""From a training file to a bundle: read, fit, export, prove parity, score the unseen part, write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from ...inference.bundle import Bundle, write_bundle
from ...inference.disparity_config import DisparityOptions
from ...inference.features import spec_of
from ...inference.graph_spec import EmbedderSpec, FeatureStepSpec
from ...inference.model_input import VideoInput
from ...sync.clock import NS_PER_S, MonotonicClock
from ..answers.of_video import Answers, answers_of_part, evaluation_of
from ..cache.store import FeatureCache
from ..config.training_file import TrainConfig, load_config
from ..data.checks import check_data, print_check, refuse_whole
from ..data.video_sources import Source, learnt_counts, open_sources
from ..export.bundle_record import compute_of, scores_of
from ..export.graphs import MIN_PARITY_STEPS
from ..fitting.checkpoint import forget_checkpoints
from ..fitting.crop_head_data import embed_recording, head_input
from ..fitting.crop_recordings import EmbeddedRecording, Recording, check_split, members_of, parity_frames
from ..fitting.joint_fit import Networks
from ..fitting.video_fit import build_networks, fit_video, unchosen_of
from ..quantisation.quantise import Quantised, quantise_bundle
from ..run_files import DATA_FILE, EVALUATION_FILE
from ..scores.answers_file import ANSWERS_FILE, write_answers
from .crop_reading import learnt_from, read_crops
from .drafted_bundle import drafted_bundle
from .kept_model import keep_manifest, keep_model, proven_files
from .manifest_fields import manifest_fields
from .record import begin_run, seconds_before, write_json

FLOAT32_FOLDER = "float32"
_CLOCK: Final = MonotonicClock()


def train(config_path: Path, out: Path, data: Path | None = None, quiet: bool = False) -> dict[str, Any]:
    """As `train_video`, from a training file.

    Args:
        config_path: the training file.
        out: folder of the bundle.
        data: data folder instead of the file's own.
        quiet: nothing is printed.

    Raises:
        ConfigError: the file cannot be read, or a value is wrong.
    """
    config, root = load_config(config_path, data)
    return train_video(config, root, out, quiet)


def train_video(
    config: TrainConfig,
    root: Path,
    out: Path,
    quiet: bool = False,
    notes: Sequence[str] = (),
    may_be_absent: bool = False,
    cache: FeatureCache | None = None,
) -> dict[str, Any]:
    """Train a model of video and write its bundle.

    Beside the bundle, ``<out>.run/`` gets ``config.yaml`` (every key), ``command.txt``, ``data.json`` (what was odd
    about the data), ``metrics.jsonl`` (a line per epoch), ``evaluation.json`` and ``answers.npz``, and what
    `export_run` makes the bundle of again; with ``export: {precision: int8}`` also the float32 bundle, ``float32/``.

    Args:
        config: the training file.
        root: folder that its relative paths start from.
        out: folder of the bundle.
        quiet: nothing is printed.
        notes: what was assumed about the data, to be printed and kept.
        may_be_absent: a class may be missing from the training part, as in a fold of a cross-validation.
        cache: where crops or embeddings are looked for and kept; None: they are computed, and held in memory.

    Returns:
        ``bundle`` (identity), ``out``, ``run``, ``fit``, ``parity`` (relative errors) and ``evaluation``; for int8
        also ``quantisation``, its record; ``absent`` names classes that could not be learnt; ``unchosen``, what there
        was nothing to choose on (see `missing_choices`); ``cache``, what it was good for.

    Raises:
        ConfigError, DataError, VideoError: what the user gave does not fit.
        ParityError: the exported graphs do not compute what was trained; no bundle is written.
        DiskFullError: no room for the cache, or for what goes on after a kill.
        ScoreLossError: int8 loses more than ``export.max_score_loss``; only the float32 bundle is written.
    """
    began_ns = _CLOCK.now_ns()
    console = Console(quiet=quiet, stderr=True)
    sources = open_sources(config, root)
    absent = check_split(sources, config, may_be_absent)
    if absent:
        console.print(f"no frame of {', '.join(absent)} in the training part: it cannot be learnt")
    run = out.parent / f"{out.name}.run"
    config = config.model_copy(update={"notes": [*config.notes, *notes]})
    begin_run(run, config, root, ["train", "{config}", "--out", str(out.resolve())])
    said = _look_at(sources, config, run, console)
    with torch.random.fork_rng():
        networks = first_networks(config, sources, root)
        recordings = list(read_crops(learnt_from(sources), config, networks.embedder, cache, console))
        fitted = fit_video(config, recordings, networks, run, quiet)
    not_chosen = unchosen_of(config, recordings, fitted)
    for note in not_chosen:
        console.print(note)
    said = [*said, *not_chosen]
    inputs = _export_input(networks, recordings[0], config, sources)
    keep_model(run, networks.head, networks.embedder, inputs)
    console.print("exporting, and comparing the graphs with what was trained")
    fields = _fields(config, sources, networks)
    files, parity = proven_files(networks.head, networks.embedder, inputs, fields)
    before_s = seconds_before(fitted)
    training_s = (_CLOCK.now_ns() - began_ns) / NS_PER_S + before_s
    with drafted_bundle(run, fields, files) as drafted:
        answers, evaluation = _scored(drafted, config, sources, training_s, said, console)
    evaluation["compute"]["resumed"] = before_s > 0.0
    fields |= {"scores": scores_of(evaluation, config), "compute": compute_of(evaluation, sources)}
    int8 = config.export.precision == "int8"
    made = run / FLOAT32_FOLDER if int8 else out
    keep_manifest(run, write_bundle(made, fields, files))
    loaded = Bundle.load(made, max_look_ahead_frames=None)
    evaluation["bundle"] = loaded.identity  # the draft had another one
    write_json(run / EVALUATION_FILE, evaluation)
    more: dict[str, Any] = {}
    if int8:
        quantised = quantise_bundle(loaded, config, sources, config.export, console, answers)
        answers, evaluation = quantised.answers, _evaluation_of_int8(quantised, quantised.write(out), evaluation)
        more = {"quantisation": quantised.record.model_dump(mode="json")}
        write_json(run / EVALUATION_FILE, evaluation)
    write_answers(run / ANSWERS_FILE, [one.recording for one in answers], config.classes)
    forget_checkpoints(run)  # until here the same command goes on after a kill
    return {
        "bundle": evaluation["bundle"],
        "out": str(out),
        "run": str(run),
        "fit": fitted,
        "absent": absent,
        "unchosen": not_chosen,
        "parity": parity,
        "evaluation": evaluation,
        **({} if cache is None else {"cache": cache.to_dict()}),
        **more,
    }


def _look_at(sources: Sequence[Source], config: TrainConfig, run: Path, console: Console) -> list[str]:
    """What is odd about the data: printed, kept in the run folder, and given as notes.

    Raises:
        DataError: recordings with one label for all of them, which are not learnt from as such.
    """
    check = check_data([one.checked for one in sources], config.classes, config.notes, config.split)
    print_check(check, console)
    refuse_whole([one.checked for one in sources], config.fit.supervision)
    write_json(run / DATA_FILE, check.to_dict())
    return check.notes


def _scored(
    bundle: Bundle,
    config: TrainConfig,
    sources: list[Source],
    training_s: float,
    notes: Sequence[str],
    console: Console,
) -> tuple[list[Answers], dict[str, Any]]:
    """Answers on the test part, and their evaluation."""
    console.print("scoring the test part through the whole pipeline")
    answers = answers_of_part(bundle, config, sources, progress=lambda name: console.print(f"  {name}"))
    counts = learnt_counts(sources, config)
    return answers, evaluation_of(bundle, config, answers, learnt_counts=counts, training_s=training_s, notes=notes)


def first_networks(config: TrainConfig, sources: Sequence[Source], root: Path) -> Networks:
    """Networks with the weights that a fit begins with. Seeds torch, so call it where its generator may change."""
    torch.manual_seed(config.seed)
    n_features = sum(one.dims for one in feature_steps_of(config))
    return build_networks(config, len(sources[0].views), n_features, root)


def feature_steps_of(config: TrainConfig) -> list[FeatureStepSpec]:
    """What the manifest says of the feature steps beside the embedding."""
    return [spec_of(one.name, one.version, one.parameters) for one in config.features]


def _evaluation_of_int8(quantised: Quantised, identity: str, of_float32: dict[str, Any]) -> dict[str, Any]:
    """Scores of the int8 bundle that was written; times and notes of the training are those of its float32 one."""
    of_training = {name: of_float32["compute"][name] for name in ("training_s", "resumed")}
    compute = {**quantised.evaluation["compute"], **of_training}
    return quantised.evaluation | {"bundle": identity, "compute": compute, "notes": of_float32["notes"]}


def _export_input(
    networks: Networks, recording: Recording | EmbeddedRecording, config: TrainConfig, sources: list[Source]
) -> dict[str, NDArray[Any]]:
    """Real input for the parity gate, repeated where the recording is shorter than the gate asks; see `KeptModel`."""
    embeddings = embed_recording(networks.embedder, recording, torch.device("cpu"))
    x = head_input(embeddings, recording.features, config.fusion == "joined")
    x = np.tile(x, (1, -(-MIN_PARITY_STEPS // x.shape[1]), 1))[:, : 2 * MIN_PARITY_STEPS]
    frames, times_ns = _parity_input(config, sources)
    return {
        "x": np.ascontiguousarray(x),
        "crops": np.ascontiguousarray(recording.sample),
        "frames": frames,
        "times_ns": times_ns,
    }


def _parity_input(config: TrainConfig, sources: list[Source]) -> Any:
    """Frames for ``parity.npz`` from a stretch of the first recording in which the behaviour changes, if any."""
    changes = np.flatnonzero(np.diff(sources[0].labels) != 0)
    start = max(int(changes[0]) - 12, 0) if len(changes) else 0
    frames, times_ns = parity_frames(sources[0], start)
    return (frames[:1] if config.any_views else frames), times_ns


def _disparity(config: TrainConfig, views: list[str]) -> dict[str, DisparityOptions]:
    pairs = {} if config.disparity is None else config.disparity.views
    return {name: pairs[name].options for name in views if name in pairs}


def _fields(config: TrainConfig, sources: list[Source], networks: Networks) -> dict[str, Any]:
    views = list(sources[0].views)
    seen = VideoInput(
        n_views=None if config.any_views else len(views),
        view_names=views,
        fusion=config.fusion,
        crop=config.crop,
        embedder=EmbedderSpec.build(config.embedder.kind, networks.embedder.dims),
        disparity=_disparity(config, views),
    )
    return {
        **manifest_fields(
            config,
            networks.head,
            sources[0].rate_hz,
            feature_steps_of(config),
            config.stabiliser,
            [one.data for one in sources],
            lambda part: members_of(sources, config, part),
        ),
        "other_rates": "subsample",
        "inputs": [seen],
    }
