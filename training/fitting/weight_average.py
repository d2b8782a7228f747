"""The weights of a fit averaged over its steps: an average lies nearer to the middle of a valley than any one step.

After Polyak & Juditsky (1992), with a memory that fades exponentially.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, dict[str, Tensor]]
"""Weights and buffers by the name of the module and their own."""

BEGIN_SHARE = 0.25
"""Share of all steps after which averaging begins: what is learnt first moves too fast to be averaged."""


class WeightAverage:
    """The exponential moving average of the weights of some modules.

    Args:
        decay: share of the average that stays at every step.

    Attributes:
        weights: the average so far; empty before the first step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: Weights = {}

    @torch.no_grad()
    def add(self, modules: Mapping[str, nn.Module], n_steps_done: int, n_steps: int) -> None:
        """Take in the weights after a step; until `BEGIN_SHARE` of all steps the average is what they are now.

        Args:
            modules: by name.
            n_steps_done: this step included.
            n_steps: of the whole stage, if no epoch is left out.
        """
        begun = bool(self.weights) and n_steps_done > BEGIN_SHARE * n_steps
        for name, module in modules.items():
            held = self.weights.setdefault(name, {})
            for key, value in module.state_dict().items():
                if begun and value.is_floating_point():
                    # Not a sum of two products: a buffer that never changes has to stay what it is, to the bit.
                    held[key] = held[key].to(value.device).lerp_(value, 1.0 - self.decay)
                else:
                    held[key] = value.clone()

    @contextmanager
    def in_place(self, modules: Mapping[str, nn.Module]) -> Generator[None]:
        """The modules have the average for the time being."""
        newest = copied_weights(modules)
        for name, weights in self.weights.items():
            modules[name].load_state_dict(weights)
        try:
            yield
        finally:
            for name, weights in newest.items():
                modules[name].load_state_dict(weights)


def copied_weights(modules: Mapping[str, nn.Module]) -> Weights:
    """The weights as they are now, on the CPU."""
    return {
        name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
        for name, module in modules.items()
    }
