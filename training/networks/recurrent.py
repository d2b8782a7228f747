"""Recurrent cores: LSTM and GRU, and their twins that run in both directions."""

from typing import Literal

from torch import Tensor, nn

from .core import Core, State


class LstmCore(Core):
    """A stack of LSTM layers; state is (h, c), each [b, layers, n] (Hochreiter & Schmidhuber 1997)."""

    def __init__(self, n_hidden: int, n_layers: int, dropout: float = 0.0) -> None:
        super().__init__(n_hidden, n_hidden)
        self.shape = (n_layers, n_hidden)
        self.rnn = nn.LSTM(n_hidden, n_hidden, n_layers, batch_first=True, dropout=_between(n_layers, dropout))

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [self.shape, self.shape]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = (part.transpose(0, 1).contiguous() for part in state)
        y, (h, c) = self.rnn(x, (h, c))
        return y, (h.transpose(0, 1), c.transpose(0, 1))


class GruCore(Core):
    """A stack of GRU layers; state is h [b, layers, n] (Cho et al. 2014)."""

    def __init__(self, n_hidden: int, n_layers: int, dropout: float = 0.0) -> None:
        super().__init__(n_hidden, n_hidden)
        self.shape = (n_layers, n_hidden)
        self.rnn = nn.GRU(n_hidden, n_hidden, n_layers, batch_first=True, dropout=_between(n_layers, dropout))

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [self.shape]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, h = self.rnn(x, state[0].transpose(0, 1).contiguous())
        return y, (h.transpose(0, 1),)


class BidirectionalCore(Core):
    """LSTM or GRU layers that run forwards and backwards (Schuster & Paliwal 1997), n units each way. Not causal."""

    causal = False

    def __init__(self, kind: Literal["lstm", "gru"], n_hidden: int, n_layers: int, dropout: float = 0.0) -> None:
        super().__init__(n_hidden, 2 * n_hidden)
        self.shape = (n_layers, n_hidden)
        network = nn.LSTM if kind == "lstm" else nn.GRU
        self.rnn: nn.LSTM | nn.GRU = network(
            n_hidden, n_hidden, n_layers, batch_first=True, bidirectional=True, dropout=_between(n_layers, dropout)
        )

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.rnn(x)[0], state


def _between(n_layers: int, dropout: float) -> float:
    """Torch warns of dropout between layers where there is one layer only."""
    return dropout if n_layers > 1 else 0.0
