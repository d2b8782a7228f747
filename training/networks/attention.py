"""Self-attention over a bounded window of the past: keys and values of that window are the state.

Vaswani et al. 2017, with normalisation before each part (Xiong et al. 2020). Where a step lies is told by a number per
head and distance that is added to the scores (Raffel et al. 2020); it is learnt, and begins as the slopes of Press,
Smith & Lewis 2022. Nothing depends on how long ago a sequence began, so a step on the kept window is the sequence.
"""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .core import Core, State

_EXPANSION = 2
"""Width of the layers between two attentions, over that of the core."""


class TransformerCore(Core):
    """A stack of attention blocks; each looks at this step and the ``window`` - 1 before it.

    The state of a block is the keys [b, heads, n / heads, window - 1] and the values [b, heads, window - 1, n / heads]
    of the steps before, oldest first. Before the first step both are zeros: an empty place draws what its distance
    alone deserves, and gives nothing.

    Args:
        n_hidden: width, a multiple of ``n_heads``.
        n_layers: blocks.
        n_heads: of each block.
        window: steps that a block sees, its own included; 2 or more.
        dropout: of what each part adds, in training only.
    """

    def __init__(self, n_hidden: int, n_layers: int, n_heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(n_hidden, n_hidden)
        self.n_heads = n_heads
        self.window = window
        self.blocks = nn.ModuleList(
            AttentionBlock(n_hidden, n_heads, window, self.causal, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(n_hidden)

    @property
    def receptive_field(self) -> int:
        return 1 + len(self.blocks) * (self.window - 1)

    def state_shapes(self) -> list[tuple[int, ...]]:
        each, past = self.n_in // self.n_heads, self.window - 1
        return [(self.n_heads, each, past), (self.n_heads, past, each)] * len(self.blocks)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        after: list[Tensor] = []
        for place, block in enumerate(self.blocks):
            y, keys, values = block(y, state[2 * place], state[2 * place + 1])
            after += [keys, values]
        return self.norm(y), tuple(after)


class TwoSidedTransformerCore(TransformerCore):
    """The same blocks, each looking as far forwards as backwards. Not causal, no state.

    Attention over a whole recording would take memory by the square of its length; a window on both sides is the twin
    that differs in nothing but the direction.
    """

    causal = False

    @property
    def receptive_field(self) -> int:
        return 1 + 2 * len(self.blocks) * (self.window - 1)

    def state_shapes(self) -> list[tuple[int, ...]]:
        return []

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        each, past = self.n_in // self.n_heads, self.window - 1
        nothing = x.new_zeros((x.shape[0], self.n_heads, each, past))
        for block in self.blocks:
            y = block(y, nothing, nothing.transpose(2, 3))[0]
        return self.norm(y), state


class AttentionBlock(nn.Module):
    """Attention within the window, then two layers on each step; both add to what they are given."""

    distance: Tensor
    outside: Tensor

    def __init__(self, n_hidden: int, n_heads: int, window: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.n_each = n_hidden // n_heads
        self.window = window
        self.n_spans = 2 if causal else 3
        self.scale = 1.0 / sqrt(self.n_each)
        self.norm = nn.LayerNorm(n_hidden)
        self.entry = nn.Linear(n_hidden, 3 * n_hidden)
        self.exit = nn.Linear(n_hidden, n_hidden)
        self.step_norm = nn.LayerNorm(n_hidden)
        self.widen = nn.Linear(n_hidden, _EXPANSION * n_hidden)
        self.narrow = nn.Linear(_EXPANSION * n_hidden, n_hidden)
        self.dropout = nn.Dropout(dropout)
        nearest = 0 if causal else 1 - window
        slopes = torch.exp2(-8.0 * torch.arange(1, n_heads + 1) / n_heads)
        self.position = nn.Parameter(-slopes[:, None] * torch.arange(nearest, window).abs())
        # Of a span of queries and the spans of keys around it, the span itself being the second one.
        distance = torch.arange(window)[:, None] + window - torch.arange(self.n_spans * window)
        self.register_buffer("outside", (distance < nearest) | (distance >= window), persistent=False)
        self.register_buffer("distance", distance.clamp(nearest, window - 1) - nearest, persistent=False)

    def forward(self, x: Tensor, past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X [b, t, n] and the past → what it becomes, and the past after the last step."""
        queries, keys, values = (self._by_head(part) for part in self.entry(self.norm(x)).chunk(3, dim=2))
        keys = torch.cat([past_keys.transpose(2, 3), keys], dim=2)
        values = torch.cat([past_values, values], dim=2)
        seen = self._attend(queries * self.scale, keys, values).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.exit(seen))
        x = x + self.dropout(self.narrow(self.widen(self.step_norm(x)).relu()))
        kept = self.window - 1
        return x, keys[:, :, -kept:].transpose(2, 3), values[:, :, -kept:]

    def _by_head(self, x: Tensor) -> Tensor:
        """[b, t, n] → [b, heads, t, n / heads]."""
        return x.unflatten(2, (self.n_heads, self.n_each)).transpose(1, 2)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries [b, h, t, e] over keys and values [b, h, window - 1 + t, e] → [b, h, t, e].

        Time is cut into spans as long as the window, so that a span sees the spans beside it and nothing else: memory
        grows with the length, not with its square.
        """
        n_steps, window = queries.shape[2], self.window
        n_spans = n_steps // window + 1
        queries = pad(queries, (0, 0, 0, window))[:, :, : n_spans * window].unflatten(2, (n_spans, window))
        bands = self.position[:, self.distance].masked_fill(self.outside, -torch.inf)[:, None]
        scores = queries @ self._spans(keys, n_spans).transpose(3, 4) + bands
        found = torch.softmax(scores, dim=-1) @ self._spans(values, n_spans)
        return found.flatten(2, 3)[:, :, :n_steps]

    def _spans(self, x: Tensor, n_spans: int) -> Tensor:
        """[b, h, window - 1 + t, e] → [b, h, spans, window x spans that a query sees, e]."""
        n_cut = n_spans + self.n_spans - 1
        whole = pad(x, (0, 0, 1, 2 * self.window))[:, :, : n_cut * self.window]
        cut = whole.unflatten(2, (n_cut, self.window))
        return torch.cat([cut[:, :, place : place + n_spans] for place in range(self.n_spans)], dim=3)
