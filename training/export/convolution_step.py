"""A TCN as a graph of one step, over the rows of its rings that the step needs."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..networks.convolution import TcnCore
from .step_core import StepCore, folded


class TcnStep(StepCore):
    """Takes the taps [b, blocks * (kernel - 1), n], gives the inputs of the blocks [b, blocks, n].

    A dilated convolution is one product of its taps. A block adds its product to what it was given, and the sum of all
    biases so far to the column alone: ``y`` goes without them, and the next layer's bias makes up for that.
    """

    def __init__(self, core: TcnCore) -> None:
        super().__init__()
        self.n_blocks, self.n_hidden = len(core.dilations), core.n_hidden
        offset = torch.zeros(core.n_hidden, dtype=torch.float64)
        offsets: list[Tensor] = []
        norms: list[nn.Module] = []
        for block, (dilated, mixing, norm) in enumerate(zip(core.dilated, core.mixing, core.norms, strict=True)):
            assert isinstance(dilated, nn.Conv1d) and isinstance(mixing, nn.Conv1d)
            assert dilated.bias is not None and mixing.bias is not None
            weight = dilated.weight.detach().double()
            bias = dilated.bias.detach().double() + weight[:, :, -1] @ offset
            weight, bias = folded(weight, bias, norm)
            norms.append(deepcopy(norm) if isinstance(norm, nn.LayerNorm) else nn.Identity())
            self.register_buffer(f"dilated_{block}", weight.permute(0, 2, 1).flatten(1).float())
            self.register_buffer(f"bias_{block}", bias.float())
            self.register_buffer(f"mixing_{block}", mixing.weight.detach()[:, :, 0].t().contiguous())
            offsets.append(offset)
            offset = offset + mixing.bias.detach().double()
        self.norms = nn.ModuleList(norms)
        self.register_buffer("offsets", torch.cat(offsets).float())
        self.carried = offset

    def carried_into(self, layer: nn.Linear) -> Tensor:
        return (layer.bias.detach().double() + layer.weight.detach().double() @ self.carried).float()

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        flat = memory[0].flatten(1)
        taps = flat.split(flat.shape[1] // self.n_blocks, dim=1) if self.n_blocks > 1 else (flat,)
        column: list[Tensor] = []
        for block, (past, norm) in enumerate(zip(taps, self.norms, strict=True)):
            dilated, bias, mixing = (self.get_buffer(f"{name}_{block}") for name in ("dilated", "bias", "mixing"))
            column.append(y)
            hidden = norm(linear(torch.cat([past, y], dim=1), dilated, bias))
            y = torch.addmm(y, torch.relu(hidden), mixing)
        together = torch.cat(column, dim=1) + self.get_buffer("offsets")
        return y, (together.unflatten(1, (self.n_blocks, self.n_hidden)),)
