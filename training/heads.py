"""Causal heads: features in, class probabilities out, all memory in explicit state tensors.

Each head has one code path for a whole sequence and for one step (a step is a sequence of length 1), so that training,
offline use and the live rig cannot disagree. Nothing is padded: a TCN starts from a state of zeros on its left.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

HeadKind = Literal["lstm", "gru", "tcn"]
State = tuple[Tensor, ...]


class CausalHead(nn.Module):
    """Base: normalises the features, runs ``core`` over time and classifies each step.

    Args:
        n_features: length f of ``x``.
        n_classes: length c of ``p``.
        n_hidden: width of ``core``.
        core: the recurrent part, (x [b, t, n_hidden], state) → (y [b, t, n_hidden], state).
        dropout: of the features that enter and leave ``core``, in training only.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_features: int, n_classes: int, n_hidden: int, core: "Core", dropout: float = 0.0) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_classes = n_classes
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.entry = nn.Linear(n_features, n_hidden)
        self.core = core
        self.dropout = nn.Dropout(dropout)
        self.exit = nn.Linear(n_hidden, n_classes)

    def set_normalisation(self, mean: Tensor, std: Tensor) -> None:
        """Set what is subtracted from and divides each feature, float32 [f]."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each state tensor without the batch axis."""
        return self.core.state_shapes()

    def state_taps(self) -> list[list[int]] | None:
        """Rows of each state tensor that one step needs; None: all of everything."""
        return self.core.state_taps()

    def initial_state(self, n_batch: int) -> State:
        """Zeros, [b, ...] each."""
        return tuple(self.mean.new_zeros((n_batch, *shape)) for shape in self.state_shapes())

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Unnormalised log probabilities [b, t, c] of x [b, t, f], and the state after the last step."""
        entered = torch.relu(self.entry(self.dropout((x - self.mean) / self.std)))
        y, after = self.core(entered, state)
        return self.exit(self.dropout(y)), after

    def forward_sequence(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Probabilities [b, t, c] of x [b, t, f]; step i has seen steps 0..i and the state only."""
        logits, after = self.logits(x, state)
        return torch.softmax(logits, dim=-1), after

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Probabilities [b, c] of one step x [b, f]."""
        p, after = self.forward_sequence(x[:, None], state)
        return p[:, 0], after


class Core(nn.Module):
    """A causal map over time with explicit state."""

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each state tensor without the batch axis."""
        raise NotImplementedError

    def state_taps(self) -> list[list[int]] | None:
        """Rows of each state tensor that one step needs; None: all of everything."""
        return None

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """X [b, t, n] and state → y [b, t, n] and the state after the last step."""
        raise NotImplementedError


class LstmCore(Core):
    """A stack of LSTM layers; state is (h, c), each [b, layers, n] (Hochreiter & Schmidhuber 1997)."""

    def __init__(self, n_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.shape = (n_layers, n_hidden)
        self.rnn = nn.LSTM(n_hidden, n_hidden, n_layers, batch_first=True)

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [self.shape, self.shape]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = (part.transpose(0, 1).contiguous() for part in state)
        y, (h, c) = self.rnn(x, (h, c))
        return y, (h.transpose(0, 1), c.transpose(0, 1))


class GruCore(Core):
    """A stack of GRU layers; state is h [b, layers, n] (Cho et al. 2014)."""

    def __init__(self, n_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.shape = (n_layers, n_hidden)
        self.rnn = nn.GRU(n_hidden, n_hidden, n_layers, batch_first=True)

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [self.shape]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, h = self.rnn(x, state[0].transpose(0, 1).contiguous())
        return y, (h.transpose(0, 1),)


class TcnCore(Core):
    """Residual blocks of dilated causal convolutions (Bai, Kolter & Koltun 2018), without normalisation over time.

    The state of a block is its last (kernel - 1) x dilation inputs, [b, (kernel - 1) * dilation, n], oldest first: a
    ring, of which one step needs kernel - 1 rows.
    """

    def __init__(self, n_hidden: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.kernel = kernel
        self.dilations = list(dilations)
        self.reach = [(kernel - 1) * dilation for dilation in dilations]
        self.dilated = nn.ModuleList(nn.Conv1d(n_hidden, n_hidden, kernel, dilation=d) for d in dilations)
        self.mixing = nn.ModuleList(nn.Conv1d(n_hidden, n_hidden, 1) for _ in dilations)

    @property
    def receptive_field(self) -> int:
        """Steps, this one included, that one output depends on."""
        return 1 + sum(self.reach)

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [(reach, self.n_hidden) for reach in self.reach]

    def state_taps(self) -> list[list[int]]:
        return [[row * dilation for row in range(self.kernel - 1)] for dilation in self.dilations]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        after: list[Tensor] = []
        for dilated, mixing, reach, past in zip(self.dilated, self.mixing, self.reach, state, strict=True):
            seen = torch.cat([past, y], dim=1)
            after.append(seen[:, -reach:])
            y = y + mixing(torch.relu(dilated(seen.transpose(1, 2)))).transpose(1, 2)
        return y, tuple(after)


def build_head(
    kind: HeadKind,
    n_features: int,
    n_classes: int,
    n_hidden: int = 32,
    n_layers: int = 1,
    kernel: int = 3,
    dilations: list[int] | None = None,
    dropout: float = 0.0,
) -> CausalHead:
    """A head by name; ``n_layers`` is for lstm and gru, ``kernel`` and ``dilations`` for tcn."""
    cores: dict[HeadKind, Callable[[], Core]] = {
        "lstm": lambda: LstmCore(n_hidden, n_layers),
        "gru": lambda: GruCore(n_hidden, n_layers),
        "tcn": lambda: TcnCore(n_hidden, kernel, dilations or [1, 2, 4, 8]),
    }
    return CausalHead(n_features, n_classes, n_hidden, cores[kind](), dropout)


def warm_up_frames(head: CausalHead, rate_hz: float) -> int:
    """Steps after a reset until the output is to be trusted: the receptive field of a TCN, one second of an RNN."""
    if isinstance(head.core, TcnCore):
        return head.core.receptive_field - 1
    return round(rate_hz)
