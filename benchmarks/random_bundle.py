"""A whole bundle around a network with random weights: the work of a trained one, and answers that mean nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ethostream.inference.bundle import make_parity, write_bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.inference.graph_spec import EMBEDDER_FILE, HEAD_SEQUENCE_FILE, HEAD_STEP_FILE
from ethostream.inference.manifest import PARITY_FILE
from ethostream.sync.clock import NS_PER_S
from ethostream.training.config.head import HeadConfig
from ethostream.training.export.graphs import export_embedder, export_head_sequence, export_head_step
from ethostream.training.networks.embedders import Embedder, ResNet18, SmallCnn, load_resnet18_weights
from ethostream.training.networks.head import build_head
from resnet50 import ResNet50

NETWORKS = ("resnet18", "resnet50", "small")
SIDE_PX = 224
PARITY_STEPS, PARITY_VIEWS = 6, 2
N_HIDDEN, N_LAYERS = 64, 3


def make_embedder(name: str, weights: Path | None) -> Embedder:
    """A network by name; ``weights`` is a state_dict under torchvision's names, for the ResNets."""
    torch.manual_seed(0)
    network: Embedder = {"resnet18": lambda: ResNet18(SIDE_PX), "resnet50": ResNet50, "small": SmallCnn}[name]()
    if weights is not None:
        load_resnet18_weights(network, weights)  # type: ignore[arg-type]  # any network under torchvision's names
    elif name != "small":
        _calibrate(network)
    return network.eval()


def _calibrate(network: Embedder) -> None:
    """Statistics of the batch norms from a few pictures: without, random layers blow the values up beyond float16."""
    network.train()
    pictures = torch.randint(0, 256, (4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(10):
            network(pictures)


def random_bundle(name: str, rate_hz: float, folder: Path, weights: Path | None = None) -> Path:
    """Write a bundle of this network with an LSTM head of 64 x 3; otherwise as the bundled one."""
    source = resolve_bundle("demo")
    fields: dict[str, Any] = json.loads((source / "manifest.json").read_text())
    embedder = make_embedder(name, weights)
    dims = embedder.dims + sum(step["dims"] for step in fields["features"])
    head = build_head(HeadConfig(kind="lstm", hidden=N_HIDDEN, layers=N_LAYERS), dims, len(fields["classes"])).eval()
    video = fields["inputs"][0]
    video["embedder"].update(name=name, dims=embedder.dims)
    video["embedder"]["output"]["shape"] = ["n", embedder.dims]
    state = [
        {"name": f"state_{place}", "shape": list(shape), "dtype": "float32", "initial": 0.0}
        for place, shape in enumerate(head.state_shapes())
    ]
    fields["head"].update(kind="lstm", dims=dims, state=state)
    fields["head"]["x"]["shape"] = ["b", dims]
    fields.update(name=f"{name}_random" if weights is None else name, rate_hz=rate_hz)
    del fields["files"]
    files = {
        EMBEDDER_FILE: export_embedder(embedder),
        HEAD_STEP_FILE: export_head_step(head),
        HEAD_SEQUENCE_FILE: export_head_sequence(head),
    }
    with np.load(source / PARITY_FILE) as stored:
        frames = stored["frames"][:PARITY_VIEWS, :PARITY_STEPS]
    times_ns = (np.arange(frames.shape[1]) * NS_PER_S / rate_hz).astype(np.int64)
    files[PARITY_FILE] = make_parity(fields, files, frames, times_ns)
    write_bundle(folder, fields, files)
    return folder
