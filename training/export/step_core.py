"""What the one-step forms of all cores are made of."""

from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..networks.core import StepBatchNorm


class StepCore(nn.Module):
    """Y [b, n] and memory → y [b, n] and memory."""

    def carried_into(self, layer: nn.Linear) -> Tensor:
        """The bias of a layer that takes the output."""
        return layer.bias.detach().clone()


class FoldedLayer(nn.Module):
    """A linear layer, its normalisation and ReLU; batch normalisation lies in the weights.

    Args:
        weight: [n, m], float64.
        bias: [n], float64.
        norm: what stands behind the layer.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, norm: nn.Module) -> None:
        super().__init__()
        weight, bias = folded(weight, bias, norm)
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())
        self.norm = deepcopy(norm) if isinstance(norm, nn.LayerNorm) else None

    @classmethod
    def of(cls, layer: nn.Module, norm: nn.Module) -> Self:
        """Of a layer that was trained."""
        assert isinstance(layer, nn.Linear)
        return cls(layer.weight.detach().double(), layer.bias.detach().double(), norm)

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x, self.weight, self.bias)
        return torch.relu(y if self.norm is None else self.norm(y))


def folded(weight: Tensor, bias: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [n, ...] and bias [n] of a layer that does what a batch normalisation behind it does, too."""
    if not isinstance(norm, StepBatchNorm):
        return weight, bias
    scale, offset = (part.detach().double() for part in norm.affine_form())
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), bias * scale + offset
