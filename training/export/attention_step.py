"""Attention as a graph of one step: this step's query over the kept keys and values."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from ..networks.attention import AttentionBlock, TransformerCore
from .step_core import StepCore


class AttentionStep(StepCore):
    """Takes and gives keys [b, heads, e, window - 1] and values [b, heads, window - 1, e] of each block.

    They lie so that both products need no transposition.
    """

    def __init__(self, core: TransformerCore) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_BlockStep(one) for one in core.blocks if isinstance(one, AttentionBlock))
        self.norm = deepcopy(core.norm)

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after: list[Tensor] = []
        for place, block in enumerate(self.blocks):
            y, keys, values = block(y, memory[2 * place], memory[2 * place + 1])
            after += [keys, values]
        return self.norm(y), tuple(after)


class _BlockStep(nn.Module):
    bands: Tensor

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.n_heads, self.n_each = block.n_heads, block.n_each
        self.norm, self.step_norm = deepcopy(block.norm), deepcopy(block.step_norm)
        self.entry, self.exit = deepcopy(block.entry), deepcopy(block.exit)
        self.widen, self.narrow = deepcopy(block.widen), deepcopy(block.narrow)
        n_hidden = self.n_heads * self.n_each
        with torch.no_grad():
            self.entry.weight[:n_hidden] *= block.scale
            self.entry.bias[:n_hidden] *= block.scale
        # The newest place is the last one.
        self.register_buffer("bands", block.position.detach().flip(1)[:, None].clone())

    def forward(self, x: Tensor, past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        entered = self.entry(self.norm(x))
        query, key, value = (
            part.unflatten(1, (self.n_heads, 1, self.n_each)) for part in entered.split(entered.shape[1] // 3, dim=1)
        )
        keys = torch.cat([past_keys, key.transpose(2, 3)], dim=3)
        values = torch.cat([past_values, value], dim=2)
        seen = torch.softmax(query @ keys + self.bands, dim=-1) @ values
        x = x + self.exit(seen.flatten(1))
        x = x + self.narrow(torch.relu(self.widen(self.step_norm(x))))
        return x, keys[:, :, :, 1:], values[:, :, 1:]
