"""From a run folder to its bundle, made anew: other precision, another version of ONNX, or a bundle that was lost."""

from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ...inference.bundle import Bundle, write_bundle
from ...inference.manifest import Manifest
from ...inference.parity import require_opencv
from ...sync.errors import ConfigError
from ..config.export import ExportConfig
from ..data.video_sources import open_sources
from ..export.bundle_record import versions_made_anew
from ..export.graphs import OPSET, head_spec
from ..fitting.crop_recordings import check_split
from ..quantisation.quantise import quantise_bundle
from .kept_model import KeptModel, proven_files, read_kept
from .train_video import FLOAT32_FOLDER

_NOT_KEPT: Final = ("files", "schema_version")


def export_run(
    run: Path,
    out: Path,
    options: dict[str, Any] | None = None,
    opset: int = OPSET,
    data: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make the bundle of a run folder. A float32 bundle needs none of the recordings, an int8 one needs them all.

    Scores and times in its manifest are those of the training: the graphs have to compute what was trained.

    Args:
        run: folder that `train` wrote beside its bundle.
        out: folder of the bundle.
        options: values of `ExportConfig` in place of those of the training file.
        opset: version of the ONNX operators.
        data: data folder instead of the training file's own, for int8.
        quiet: nothing is printed.

    Returns:
        ``bundle`` (identity), ``out``, ``opset``, ``parity`` (relative errors); for int8 also ``quantisation`` and
        ``evaluation``.

    Raises:
        ConfigError: it is no run folder, or the options do not suit the model.
        ParityError: the graphs do not compute what was trained, or its features are of another main version of OpenCV,
            or of one that the run folder does not tell; no bundle is written.
        DataError, VideoError, ScoreLossError: as `quantise_bundle`.
    """
    console = Console(quiet=quiet, stderr=True, highlight=False)
    kept = read_kept(run)
    chosen = ExportConfig.model_validate(kept.config.export.model_dump() | (options or {}))
    asked = [*(options or {}), *(["data"] if data is not None else [])]
    if kept.config.is_pose and asked:
        raise ConfigError(
            f"{', '.join(asked)}: says something of embedders, and this model takes keypoints: it has a head alone, "
            "which is always float32"
        )
    int8 = chosen.precision == "int8"
    idle = [name for name in asked if name != "precision"]
    if idle and not int8:
        raise ConfigError(
            f"{', '.join(idle)}: matters to an int8 bundle alone, and this one is float32; leave it out, or give "
            "--precision int8"
        )
    if not kept.config.is_pose:
        require_opencv(kept.manifest, unknown=False)  # parity is made anew here, and would vouch for other features
    console.print("exporting, and comparing the graphs with what was trained")
    fields = {name: getattr(kept.manifest, name) for name in Manifest.model_fields if name not in _NOT_KEPT}
    fields |= {"head": head_spec(kept.head), "library_versions": versions_made_anew(kept.manifest)}
    files, parity = proven_files(kept.head, kept.embedder, kept.inputs, fields, opset)
    place = run / FLOAT32_FOLDER if int8 else out
    write_bundle(place, fields, files)
    loaded = Bundle.load(place, max_look_ahead_frames=None)
    result: dict[str, Any] = {"bundle": loaded.identity, "out": str(out), "opset": opset, "parity": parity}
    return result | _quantised(kept, loaded, chosen, out, data, console) if int8 else result


def _quantised(
    kept: KeptModel, loaded: Bundle, chosen: ExportConfig, out: Path, data: Path | None, console: Console
) -> dict[str, Any]:
    sources = open_sources(kept.config, data or kept.root)
    check_split(sources, kept.config, may_be_absent=True)  # what the training allowed is allowed here
    made = quantise_bundle(loaded, kept.config, sources, chosen, console)
    identity = made.write(out)
    return {
        "bundle": identity,
        "quantisation": made.record.model_dump(mode="json"),
        "evaluation": made.evaluation | {"bundle": identity},
    }
