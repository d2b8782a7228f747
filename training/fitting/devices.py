"""What a fit computes on: GPUs that have to be there, threads of the CPU for the time being."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from ...sync.errors import ConfigError
from ..config.fit import FitConfig


def require_devices(rule: FitConfig) -> None:
    """Refuse devices that are not there.

    Raises:
        ConfigError: see above.
    """
    if rule.device == "cpu":
        return
    n_there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_there:
        raise ConfigError("fit.device: cuda, but torch finds no GPU here; use device: cpu, or a torch with CUDA")
    if rule.devices > n_there:
        raise ConfigError(f"fit.devices: {rule.devices} GPUs asked for, {n_there} found; ask for at most so many")


@contextmanager
def torch_threads(n: int) -> Generator[None]:
    """So many threads on the CPU for the time being."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
