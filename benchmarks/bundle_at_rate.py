"""The bundled model at another frame rate, for benchmarks that step on every set."""

import json
from pathlib import Path

import numpy as np
from ethostream.inference.bundle import make_parity, write_bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.sync.clock import NS_PER_S


def bundle_at(rate_hz: float, folder: Path) -> str:
    """A copy of the bundled model that calls itself one of ``rate_hz``: the same work per step."""
    source = resolve_bundle("demo")
    fields = json.loads((source / "manifest.json").read_text())
    fields["rate_hz"] = rate_hz
    del fields["files"]
    files = {path.name: path.read_bytes() for path in source.glob("*.onnx")}
    with np.load(source / "parity.npz") as stored:
        frames, n = stored["frames"], len(stored["times_ns"])
    times_ns = (np.arange(n) * NS_PER_S / rate_hz).astype(np.int64)
    files["parity.npz"] = make_parity(fields, files, frames, times_ns)
    write_bundle(folder / "bundle", fields, files)
    return str(folder / "bundle")
