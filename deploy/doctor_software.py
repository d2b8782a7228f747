"""What is installed, and what a model would really run on."""

import importlib.util
from collections.abc import Callable, Collection

from ..sync.errors import EthostreamError
from .doctor_finding import Finding

EXTRAS = {
    # extra: a module that it brings, and what for
    "basler": ("pypylon", "Basler cameras"),
    "genicam": ("harvesters", "GenICam cameras (FLIR and others)"),
    "serial": ("serial", "trigger boards"),
    "lsl": ("pylsl", "Lab Streaming Layer"),
    "nidaq": ("nidaqmx", "NI-DAQ lines"),
    "gpio": ("gpiod", "lines of a single-board computer"),
    "osc": ("pythonosc", "OSC messages"),
    "sound": ("miniaudio", "tones"),
    "align": ("neo", "Spike2 and Open Ephys files"),
    "train": ("torch", "training"),
}


def is_installed(module: str) -> bool:
    """Whether the module can be imported; it is not."""
    return importlib.util.find_spec(module) is not None


def extras(needed: Collection[str] = (), installed: Callable[[str], bool] = is_installed) -> list[Finding]:
    """Which extras are there; one that the rig needs and that is not is an error.

    Args:
        needed: extras without which the rig does not run.
        installed: whether a module is there.
    """
    there = [name for name, (module, _) in EXTRAS.items() if installed(module)]
    absent = [name for name in EXTRAS if name not in there]
    findings = [
        Finding(
            "extras",
            "error",
            f"{name} is not installed, and the rig needs it for {EXTRAS[name][1]}",
            f"pip install 'ethostream[{name}]'",
            refuses=True,
        )
        for name in absent
        if name in needed
    ]
    text = f"installed: {', '.join(there) or 'none'}"
    if absent:
        text += f"; not installed: {', '.join(absent)}"
    return [*findings, Finding("extras", "ok", text)]


def providers(gpu: bool, installed: Callable[[str], bool] = is_installed) -> list[Finding]:
    """Open a real model with each provider: what is listed is not always what runs.

    Args:
        gpu: whether there is one, so that models are meant to run on it.
        installed: whether a module is there.
    """
    if not installed("onnxruntime"):
        cure = "pip install 'ethostream[cpu]', or 'ethostream[gpu]' with an NVIDIA GPU"
        return [Finding("models", "error", "ONNX Runtime is not installed: no model can run", cure)]
    from ..inference.bundled import resolve_bundle
    from ..inference.graph_spec import HEAD_STEP_FILE
    from ..inference.onnxruntime_backend import open_graph

    findings: list[Finding] = []
    model = (resolve_bundle("demo") / HEAD_STEP_FILE).read_bytes()
    for provider in ("cpu", "cuda", "tensorrt"):
        try:
            open_graph(model, HEAD_STEP_FILE, provider, 1)
        except EthostreamError as error:
            reason, _, cure = str(error).splitlines()[0].partition("; ")
            text = f"does not run here: {reason}"
            if provider == "cpu":
                findings.append(Finding(f"provider {provider}", "error", text, cure))
            elif gpu:
                findings.append(Finding(f"provider {provider}", "warning", text, cure))
            else:
                findings.append(Finding(f"provider {provider}", "ok", "does not run here, where there is no GPU"))
        else:
            findings.append(Finding(f"provider {provider}", "ok", "runs a model"))
    return findings
