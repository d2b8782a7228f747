"""What a run folder keeps so that its bundle can be made anew: weights, the manifest, and input to prove parity on.

``weights.pt`` holds tensors and numbers alone (``torch.load(weights_only=True)``), ``export_input.npz`` arrays,
``bundle.json`` the manifest of the float32 bundle.
"""

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import make_parity, make_pose_parity
from ...inference.graph_spec import EMBEDDER_FILE, HEAD_STEP_FILE
from ...inference.manifest import PARITY_FILE, Manifest
from ...inference.manifest_file import read_manifest
from ...sync.errors import ConfigError, DataError, ReportError
from ...sync.strict import read_yaml, validate
from ...sync.whole_file import write_whole
from ..config.embedder import ResNet18Config
from ..config.training_file import TrainConfig
from ..export.graphs import OPSET, check_embedder_parity, check_head_parity, export_embedder, export_head
from ..fitting.checkpoint import read_checkpoint, write_checkpoint
from ..fitting.video_fit import build_networks
from ..networks.embedders import Embedder
from ..networks.ensemble import EnsembleHead
from ..networks.head import HeadModule, SequenceHead, build_head
from ..run_files import BUNDLE_FILE, COMMAND_FILE, CONFIG_FILE, EXPORT_INPUT_FILE, WEIGHTS_FILE

_OF_POINTS: Final = ("x", "points", "times_ns")
_OF_VIDEO: Final = ("x", "crops", "frames", "times_ns")


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A fitted model as its run folder keeps it.

    Attributes:
        config: the training file.
        root: folder that its relative paths start from; it need not be there any more.
        manifest: of the float32 bundle.
        head: fitted.
        embedder: fitted; None: the model takes keypoints.
        inputs: ``x`` float32 [b, t, f] for the head; of video ``crops`` uint8 [n, side, side], ``frames`` and
            ``times_ns``, of keypoints ``points`` and ``times_ns`` for ``parity.npz``.
    """

    config: TrainConfig
    root: Path
    manifest: Manifest
    head: HeadModule
    embedder: Embedder | None
    inputs: dict[str, NDArray[Any]]


def keep_model(run: Path, head: HeadModule, embedder: Embedder | None, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Keep what a bundle is made of, but for its manifest; see `KeptModel` for the inputs.

    Raises:
        DiskFullError: there is no room.
        DataError, ReportError: they cannot be written.
    """
    heads = head.heads if isinstance(head, EnsembleHead) else [head]
    content: dict[str, Any] = {
        "heads": [one.state_dict() for one in heads],
        "factor": head.factor if isinstance(head, EnsembleHead) else 1.0,
        "embedder": None if embedder is None else embedder.state_dict(),
    }
    write_checkpoint(run / WEIGHTS_FILE, content)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **inputs)
    part = run / f".{EXPORT_INPUT_FILE}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(run / EXPORT_INPUT_FILE)
    except OSError as error:
        raise ReportError(f"{run / EXPORT_INPUT_FILE}: cannot be written ({error.strerror}); make room") from error
    finally:
        part.unlink(missing_ok=True)


def keep_manifest(run: Path, manifest: Manifest) -> None:
    """Keep the manifest of the bundle that was made.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        write_whole(run / BUNDLE_FILE, manifest.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise ReportError(f"{run / BUNDLE_FILE}: cannot be written ({error.strerror}); make room") from error


def read_kept(run: Path) -> KeptModel:
    """A model from its run folder. The recordings that it learnt from are not looked at.

    Raises:
        ConfigError: it is no run folder, or its training did not come to its end.
        DataError: what it keeps is damaged.
        BundleError: its manifest has a fault.
    """
    if not (run / CONFIG_FILE).is_file():
        raise ConfigError(f"{run}: is no run folder of `ethostream train`; it stands beside the bundle, as BUNDLE.run")
    raw = read_yaml(run / CONFIG_FILE)
    config = validate(TrainConfig, raw, str(run / CONFIG_FILE))
    try:
        text = (run / BUNDLE_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{run}: has no {BUNDLE_FILE}, so its training has not come to its end, or an older version made it; "
            f"give its command again, it stands in {run / COMMAND_FILE}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{run / BUNDLE_FILE}: is damaged ({error}); train again") from error
    manifest = read_manifest(text, str(run / BUNDLE_FILE))
    _refuse_other_names(run, config, manifest)
    if not (run / WEIGHTS_FILE).exists():
        raise ConfigError(f"{run}: has no {WEIGHTS_FILE}; train again, or export from the folder that holds it")
    _refuse_damaged(run / WEIGHTS_FILE)
    content = read_checkpoint(run / WEIGHTS_FILE) or {}
    embedder = None if config.is_pose else _embedder(config, manifest)
    heads: list[SequenceHead] = []
    try:
        for weights in content["heads"]:
            heads.append(build_head(config.head, manifest.x_dims, len(config.classes), manifest.head.output))
            heads[-1].load_state_dict(weights)
        if embedder is not None:
            embedder.load_state_dict(content["embedder"])
        head = _as_one(heads, float(content["factor"]))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{run / WEIGHTS_FILE}: does not fit {CONFIG_FILE} beside it ({reason:.160}); was one of them changed? "
            "Train again"
        ) from error
    inputs = _inputs(run / EXPORT_INPUT_FILE, _OF_POINTS if config.is_pose else _OF_VIDEO)
    root = Path(str(raw.get("data_root", ".")))
    return KeptModel(config, root, manifest, head, embedder, inputs)


def graphs_of(head: HeadModule, embedder: Embedder | None, opset: int = OPSET) -> dict[str, bytes]:
    """The graphs of a bundle by the names of their files."""
    embedded = {} if embedder is None else {EMBEDDER_FILE: export_embedder(embedder, opset)}
    return {**embedded, **export_head(head, opset)}


def prove_parity(
    head: HeadModule, embedder: Embedder | None, files: Mapping[str, bytes], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Relative errors of graphs against the networks; see `KeptModel` for the inputs.

    Raises:
        ParityError: they do not compute what was trained.
    """
    errors: dict[str, float] = {}
    if embedder is not None:
        errors["embedder"] = check_embedder_parity(embedder, files[EMBEDDER_FILE], inputs["crops"])
    step = files.get(HEAD_STEP_FILE)
    errors["head"] = check_head_parity(head, step, files["head_sequence.onnx"], inputs["x"])
    return errors


def proven_files(
    head: HeadModule,
    embedder: Embedder | None,
    inputs: Mapping[str, NDArray[Any]],
    fields: Mapping[str, Any],
    opset: int = OPSET,
) -> tuple[dict[str, bytes], dict[str, float]]:
    """The files of a bundle by their names, ``parity.npz`` included, and what `prove_parity` says of its graphs.

    Args:
        head: fitted.
        embedder: fitted; None: the model takes keypoints.
        inputs: see `KeptModel`.
        fields: of the manifest, without ``files``.
        opset: version of the ONNX operators.

    Raises:
        ParityError: the graphs do not compute what was trained.
        BundleError: the fields have a fault.
    """
    files = graphs_of(head, embedder, opset)
    errors = prove_parity(head, embedder, files, inputs)
    make, what = (make_pose_parity, "points") if embedder is None else (make_parity, "frames")
    files[PARITY_FILE] = make(fields, files, inputs[what], inputs["times_ns"])
    return files, errors


def _refuse_other_names(run: Path, config: TrainConfig, manifest: Manifest) -> None:
    """Refuse names in another order than they were learnt in: no number tells, and a bundle would vouch for them.

    Raises:
        DataError: classes or keypoints of the manifest are not those of the training file.
    """
    names = {"classes": (manifest.classes, config.classes)}
    if config.pose is not None and config.pose.keypoints is not None:
        names["keypoints"] = (manifest.pose.keypoints, config.pose.keypoints)
    for what, (here, learnt) in names.items():
        if here != learnt:
            raise DataError(
                f"{run / BUNDLE_FILE}: {what} are {', '.join(here)}, and in {CONFIG_FILE} beside it "
                f"{', '.join(learnt)} in this order; one of them was changed: put it back, or train again"
            )


def _embedder(config: TrainConfig, manifest: Manifest) -> Embedder:
    """The network of a training file with any weights: the file of published ones need not be there any more."""
    rule = config.embedder
    if isinstance(rule, ResNet18Config):
        rule = rule.model_copy(update={"weights": None})
    bare = config.model_copy(update={"embedder": rule})
    n_step_features = sum(one.dims for one in manifest.features)
    return build_networks(bare, len(manifest.video.view_names), n_step_features, Path()).embedder.eval()


def _as_one(heads: list[SequenceHead], factor: float) -> HeadModule:
    if not heads:
        raise ValueError("no head is in it")
    if len(heads) == 1:
        return heads[0].eval()
    return EnsembleHead(heads).scale_logits(factor).eval()


def _refuse_damaged(path: Path) -> None:
    """Compare every part of an archive with its checksum, which torch does not.

    Raises:
        DataError: it cannot be read, or one differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); train again") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: is damaged ({error}); train again") from error
    if bad is not None:
        raise DataError(f"{path}: is damaged (the checksum of {bad} differs); train again")


def _inputs(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    _refuse_damaged(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); train again") from error
    lacking = [name for name in names if name not in arrays]
    if lacking:
        raise DataError(f"{path}: lacks {', '.join(lacking)}; train again")
    return arrays
