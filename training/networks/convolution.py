"""Temporal convolutions: the causal one with a ring as its state, and its centred twin."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..config.head import NormKind
from .core import Core, State, make_norm


class TcnCore(Core):
    """Residual blocks of dilated causal convolutions (Bai, Kolter & Koltun 2018), never normalised over time.

    The state of a block is its last (kernel - 1) x dilation inputs, [b, (kernel - 1) * dilation, n], oldest first: a
    ring, of which one step needs kernel - 1 rows.
    """

    def __init__(
        self, n_hidden: int, kernel: int, dilations: list[int], norm: NormKind = "none", dropout: float = 0.0
    ) -> None:
        super().__init__(n_hidden, n_hidden)
        self.n_hidden = n_hidden
        self.kernel = kernel
        self.dilations = list(dilations)
        self.reach = [(kernel - 1) * dilation for dilation in dilations]
        self.dilated = nn.ModuleList(nn.Conv1d(n_hidden, n_hidden, kernel, dilation=d) for d in dilations)
        self.mixing = nn.ModuleList(nn.Conv1d(n_hidden, n_hidden, 1) for _ in dilations)
        self.norms = nn.ModuleList(make_norm(norm, n_hidden) for _ in dilations)
        self.dropout = nn.Dropout(dropout)

    @contextmanager
    def strided(self, k: int) -> Generator[None]:
        whole = self.dilations
        self._dilate([dilation // k for dilation in whole])
        try:
            yield
        finally:
            self._dilate(whole)

    def _dilate(self, dilations: list[int]) -> None:
        self.dilations = dilations
        self.reach = [(self.kernel - 1) * dilation for dilation in dilations]
        for module, dilation in zip(self.dilated, dilations, strict=True):
            assert isinstance(module, nn.Conv1d)
            module.dilation = (dilation,)

    @property
    def receptive_field(self) -> int:
        return 1 + sum(self.reach)

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [(reach, self.n_hidden) for reach in self.reach]

    def state_taps(self) -> list[list[int]] | None:
        return [[row * dilation for row in range(self.kernel - 1)] for dilation in self.dilations]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        after: list[Tensor] = []
        for block, (reach, past) in enumerate(zip(self.reach, state, strict=True)):
            seen = torch.cat([past, y], dim=1)
            after.append(seen[:, -reach:])
            y = y + self.convolved(block, seen)
        return y, tuple(after)

    def convolved(self, block: int, seen: Tensor) -> Tensor:
        """What a block adds, [b, t, n], from its input with everything that it reaches, [b, t + reach, n]."""
        hidden = self.norms[block](self.dilated[block](seen.transpose(1, 2)).transpose(1, 2)).relu()
        return self.mixing[block](self.dropout(hidden).transpose(1, 2)).transpose(1, 2)


class CentredTcnCore(TcnCore):
    """The same convolutions, half of their reach before and half after each step. Not causal, no state."""

    causal = False

    def state_shapes(self) -> list[tuple[int, ...]]:
        return []

    def state_taps(self) -> list[list[int]] | None:
        return None

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        for block, reach in enumerate(self.reach):
            y = y + self.convolved(block, pad(y, (0, 0, reach // 2, reach - reach // 2)))
        return y, state
