"""``ethostream engines``: TensorRT engines built ahead of a run, and which are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...sync.errors import ConfigError
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ...inference.backend import Precision
    from ...inference.gpu_config import GpuConfig

Builder = Literal["tensorrt", "tensorrt_native"]


def engines(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="Folder, zip, or the name of a shipped one: demo.")
    ] = None,
    provider: Annotated[str, typer.Option(help="As in the task file: tensorrt or tensorrt_native.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="As `gpu.precision` of the task file: fp32 or fp16.")] = "fp32",
    views: Annotated[
        int | None, typer.Option(min=1, help="How many views the model sees; as many as it was trained on.")
    ] = None,
    image: Annotated[str, typer.Option(metavar="WxH", help="Size of the cameras' images, pixels.")] = "1920x1080",
    device: Annotated[int, typer.Option(min=0, help="Number of the GPU.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="As `gpu.engine_cache`; else the user's cache folder.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Build the TensorRT engines of a bundle ahead of a run, or list those that are there.

    TensorRT compiles a network for one GPU, one shape and one precision, which can take minutes; a run that finds no
    engine builds it before it starts. Each engine is compared with the CPU before it counts. Give the provider, the
    precision, the number of views and the image size that the rig will run with.

    Without BUNDLE the engines of the cache are listed.

    Example: `ethostream engines my-bundle --precision fp16 --views 8 --image 1920x1080`
    """
    from ...inference.engine_cache import EngineCache

    require_writable(json_path)
    built: dict[str, Any] = {}
    if bundle is not None:
        from ...inference.gpu_config import GpuConfig
        from ...sync.strict import validate

        gpu = validate(
            GpuConfig, {"device": device, "precision": precision, "engine_cache": cache}, "ethostream engines"
        )
        built = _build(bundle, _builder(provider), gpu, views, _size(image))
    found = EngineCache(cache)
    result = {"folder": str(found.folder), "engines": found.records(), **built}
    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        _print(result)


def _builder(provider: str) -> Builder:
    if provider == "tensorrt" or provider == "tensorrt_native":
        return provider
    raise ConfigError(f"--provider {provider}: builds no engines; give tensorrt or tensorrt_native")


def _size(image: str) -> tuple[int, int]:
    """Height and width of ``WxH``."""
    width, _, height = image.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"--image {image}: give width and height in pixels, such as 1920x1080")
    return int(height), int(width)


def _build(
    bundle: Path, provider: Builder, gpu: "GpuConfig", n_views: int | None, shape: tuple[int, int]
) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ...inference.bundle import Bundle
    from ...inference.bundled import look_up, resolve_bundle
    from ...inference.device_graph import DeviceGraph
    from ...inference.model import BehaviorModel
    from ...sync.clock import MonotonicClock

    manifest, identity = look_up(bundle)
    names = manifest.video.view_names
    n_views = n_views or manifest.video.n_views or len(names)
    # A bundle with boxes for certain cameras is cropped as they are; any other one does not ask for names.
    names = names[:n_views] + [f"view{place}" for place in range(len(names), n_views)]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = _Bars(progress)
        loaded = Bundle.load(
            resolve_bundle(bundle),
            provider=provider,
            max_look_ahead_frames=manifest.look_ahead_frames or 0,
            gpu=gpu,
            tell=bars.tell,
        )
        shapes = dict.fromkeys(names, shape)
        BehaviorModel(manifest, loaded.embedder, loaded.head_step, shapes, manifest.rate_hz, MonotonicClock())
    assert isinstance(loaded.embedder, DeviceGraph)
    errors = {"x".join(map(str, one)): error for one, error in loaded.embedder.errors.items()}
    return {"bundle": identity, "provider": provider, "precision": gpu.precision, "relative_errors": errors}


class _Bars:
    """A bar for each phase of a build; one that only turns where the number of steps is not known."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def tell(self, what: str, done: int, of: int) -> None:
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=of or None)
        self._progress.update(self._bars[what], completed=done)
        if of and done >= of:
            self._progress.remove_task(self._bars.pop(what))


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if "relative_errors" in result:
        precision: Precision = result["precision"]
        console.print(f"{result['bundle']} on {result['provider']} ({precision}), compared with the CPU:")
        for shape, error in result["relative_errors"].items():
            console.print(f"  crops {shape}: differs by {error:.1e} of the largest value")
    if not result["engines"]:
        console.print(f"no engines in {result['folder']}", soft_wrap=True)
        return
    table = Table(title=f"Engines in {result['folder']}")
    for name in ("graph", "crops", "precision", "builder", "GPU", "TensorRT", "MB"):
        table.add_column(name, justify="right" if name == "MB" else "left", no_wrap=name == "MB", overflow="fold")
    for one in result["engines"]:
        shapes = ", ".join("x".join(map(str, shape)) for shape in one["shapes"].values())
        versions = one["versions"]
        megabytes = f"{one['n_bytes'] / 1e6:.1f}"
        graph = f"{one['graph']} {one['model_sha256'][:8]}"
        table.add_row(graph, shapes, one["precision"], one["builder"], versions["gpu"], versions["tensorrt"], megabytes)
    console.print(table)
