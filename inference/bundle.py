"""A model bundle: loading it with every check, and writing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import BundleError, LookAheadError, ProviderError
from . import parity
from .backend import Graph, GraphOpener, Provider, Tell
from .bundle_files import check_hashes, read_bundle_files, sha256
from .device_embedder import open_device_embedder
from .gpu_config import GpuConfig
from .graph_spec import EMBEDDER_FILE, HEAD_SEQUENCE_FILE, HEAD_STEP_FILE
from .manifest import MANIFEST_FILE, PARITY_FILE, Manifest
from .manifest_file import build_manifest, read_manifest
from .onnxruntime_backend import open_graph
from .pose import pose_parity

IDENTITY_DIGITS: Final = 12
_NO_HASH: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that was checked on this machine and may run.

    Attributes:
        identity: ``name@`` and the first 12 digits of the manifest's sha256, which names every file of the bundle.
        parity_errors: relative error of each stored output on this machine.
        embedder_graph: None where the model takes no video.
        step_graph: None where the head is not causal.
    """

    path: Path
    manifest: Manifest
    identity: str
    provider: Provider
    embedder_graph: Graph | None
    step_graph: Graph | None
    head_sequence: Graph
    parity_errors: dict[str, float]

    @property
    def embedder(self) -> Graph:
        """Opened ``embedder.onnx``.

        Raises:
            BundleError: the model takes no video.
        """
        if self.embedder_graph is None:
            raise BundleError(f"bundle {self.manifest.name}: takes no video, and has no embedder")
        return self.embedder_graph

    @property
    def head_step(self) -> Graph:
        """Opened ``head_step.onnx``.

        Raises:
            BundleError: the head is not causal.
        """
        if self.step_graph is None:
            raise BundleError(
                f"bundle {self.manifest.name}: its head is not causal and has no single step; run it over whole "
                "recordings, or train a causal head"
            )
        return self.step_graph

    @classmethod
    def load(
        cls,
        path: Path,
        provider: Provider = "cpu",
        threads: int = 1,
        max_look_ahead_frames: int | None = 0,
        opener: GraphOpener = open_graph,
        gpu: GpuConfig | None = None,
        tell: Tell | None = None,
    ) -> Self:
        """Read, check and open a bundle, and prove that it gives the stored outputs here.

        Args:
            path: folder or zip.
            provider: what must run the embedder; the head runs where ``gpu`` says, or with it on the CPU. Without an
                embedder it is ``cpu``.
            threads: per graph.
            max_look_ahead_frames: frames of the future that the task allows; None: any number, for whole recordings.
            opener: the backend of what runs in ONNX Runtime from ordinary memory.
            gpu: options of a provider that is not ``cpu``; None: their defaults.
            tell: told when an engine is built, which can take minutes.

        Raises:
            BundleError: the manifest has a fault, or a graph cannot be opened.
            BundleHashError: a file is missing or was changed.
            LookAheadError: the model needs more of the future than is allowed.
            ProviderError: the provider is not there, or the model has nothing for it to run.
            ParityError: an output differs.
        """
        files = read_bundle_files(path)
        manifest = read_manifest(files[MANIFEST_FILE], f"{path}/{MANIFEST_FILE}")
        check_hashes(manifest, files, str(path))
        if len(manifest.inputs) != 1:
            raise BundleError(
                f"bundle {path}: takes {manifest.kinds} together; this version runs bundles with one input"
            )
        if max_look_ahead_frames is not None:
            check_look_ahead(manifest, max_look_ahead_frames)
        if manifest.takes_pose and provider != "cpu":
            raise ProviderError(
                f"bundle {manifest.name}: takes pose and has no embedder, which is what {provider} would run; set "
                "provider: cpu"
            )
        gpu = gpu or GpuConfig()
        head_on = "cpu" if provider == "cpu" else gpu.head
        embedder: Graph | None = None
        if manifest.takes_pose:
            pass  # nothing stands before the features
        elif provider == "cpu":
            embedder = opener(files[manifest.video.embedder.file], EMBEDDER_FILE, provider, threads)
        else:
            allowed = parity.tolerance(manifest, provider, gpu.precision)
            embedder = open_device_embedder(
                files[manifest.video.embedder.file], EMBEDDER_FILE, provider, threads, gpu, allowed, tell
            )
        step_file = manifest.head.step_file
        head_step = None if step_file is None else opener(files[step_file], HEAD_STEP_FILE, head_on, threads)
        head_sequence = opener(files[manifest.head.sequence_file], HEAD_SEQUENCE_FILE, head_on, threads)
        identity = identity_of(manifest, files[MANIFEST_FILE])
        stored = files[PARITY_FILE]
        if embedder is None:
            errors = pose_parity.check_pose_parity(manifest, head_step, head_sequence, stored, provider)
        elif head_step is None:
            raise BundleError(f"bundle {manifest.name}: a model on video has to be causal; train a causal head")
        else:
            errors = parity.check_parity(manifest, embedder, head_step, head_sequence, stored, provider, gpu.precision)
        return cls(path, manifest, identity, provider, embedder, head_step, head_sequence, errors)


def identity_of(manifest: Manifest, content: bytes) -> str:
    """Name of a bundle and the beginning of the sha256 of its manifest file, which holds the hash of every other."""
    return f"{manifest.name}@{sha256(content)[:IDENTITY_DIGITS]}"


def check_look_ahead(manifest: Manifest, allowed: int) -> None:
    """Refuse a model that needs more of the future than the task allows.

    Raises:
        LookAheadError: the message states the need and the delay.
    """
    needed = manifest.look_ahead_frames
    if needed is None:
        raise LookAheadError(
            f"bundle {manifest.name} looks ahead without bound (bidirectional or centred): it cannot run online; train "
            "a causal head"
        )
    if needed > allowed:
        raise LookAheadError(
            f"bundle {manifest.name} needs {needed} frames of the future ({needed / manifest.rate_hz * 1000.0:.0f} ms) "
            f"and the task allows {allowed}; set max_look_ahead_frames: {needed} if that delay is acceptable"
        )


def make_parity(
    fields: Mapping[str, Any], files: Mapping[str, bytes], frames: NDArray[np.uint8], times_ns: NDArray[np.int64]
) -> bytes:
    """Make ``parity.npz`` for a bundle that is about to be written.

    Args:
        fields: of the manifest, without ``files``.
        files: ``embedder.onnx`` and ``head_step.onnx``.
        frames: (n_views, t, h, w) uint8 grey, small, in which the animal moves.
        times_ns: (t,) int64 exposure times at the model's rate.

    Raises:
        BundleError: the fields have a fault.
    """
    names = (EMBEDDER_FILE, HEAD_STEP_FILE, HEAD_SEQUENCE_FILE, PARITY_FILE)
    manifest = build_manifest({**fields, "files": dict.fromkeys(names, _NO_HASH)}, MANIFEST_FILE)
    embedder = open_graph(files[EMBEDDER_FILE], EMBEDDER_FILE, "cpu", 1)
    head_step = open_graph(files[HEAD_STEP_FILE], HEAD_STEP_FILE, "cpu", 1)
    return parity.make_parity(manifest, embedder, head_step, frames, times_ns)


def make_pose_parity(
    fields: Mapping[str, Any], files: Mapping[str, bytes], points: NDArray[np.float32], times_ns: NDArray[np.int64]
) -> bytes:
    """Make ``parity.npz`` for a pose bundle that is about to be written.

    Args:
        fields: of the manifest, without ``files``.
        files: ``head_sequence.onnx``, and of a causal head ``head_step.onnx``.
        points: (t, animals, keypoints, 3) float32 raw, some hundred frames in which the animals move.
        times_ns: (t,) int64 exposure times at the model's rate.

    Raises:
        BundleError: the fields have a fault, or there are no frames.
    """
    names = (HEAD_STEP_FILE, HEAD_SEQUENCE_FILE, PARITY_FILE)
    manifest = build_manifest({**fields, "files": dict.fromkeys(names, _NO_HASH)}, MANIFEST_FILE)
    step = manifest.head.step_file
    head_step = None if step is None else open_graph(files[step], step, "cpu", 1)
    head_sequence = open_graph(files[HEAD_SEQUENCE_FILE], HEAD_SEQUENCE_FILE, "cpu", 1)
    return pose_parity.make_pose_parity(manifest, head_step, head_sequence, points, times_ns)


def write_bundle(folder: Path, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> Manifest:
    """Write a bundle folder: the files, and a manifest with their hashes.

    Args:
        folder: made if it is not there.
        fields: of the manifest, without ``files``; models or plain values.
        files: name → bytes of the graphs and ``parity.npz``.

    Raises:
        BundleError: the fields have a fault, and nothing is written then; or there is no room.
    """
    hashes = {name: sha256(data) for name, data in sorted(files.items())}
    manifest = build_manifest({**fields, "files": hashes}, str(folder / MANIFEST_FILE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        # The last one: without it, or with an older one, what lies there is no bundle.
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"{folder}: the bundle cannot be written ({error.strerror}); make room, or name another folder"
        ) from error
    return manifest
