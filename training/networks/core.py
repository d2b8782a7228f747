"""What stands between the first and the last layer of a head: a map over time that keeps its memory outside."""

from collections.abc import Generator
from contextlib import contextmanager

from torch import Tensor, nn

from ..config.head import NormKind

State = tuple[Tensor, ...]


class Core(nn.Module):
    """A map over time, [b, t, n_in] → [b, t, n_out].

    Attributes:
        causal: step i of the output depends on steps 0..i and the state alone. One that is not has no state, takes
            whole sequences, and finds zeros before and after them.
        n_in: width of the input.
        n_out: width of the output.
    """

    causal = True

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.n_in = n_in
        self.n_out = n_out

    @property
    def receptive_field(self) -> int | None:
        """Steps that one output depends on, itself included; None: all there were."""
        return None

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each state tensor without the batch axis."""
        return []

    def state_taps(self) -> list[list[int]] | None:
        """Rows of each state tensor that one step needs; None: all of everything."""
        return None

    @contextmanager
    def strided(self, k: int) -> Generator[None]:
        """For the time being every step counts as k: of every k-th row of x it makes what it made of them among all.

        Which cores can do so says `stride_fault`.
        """
        if k != 1:
            raise NotImplementedError
        yield

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """X [b, t, n_in] and state → y [b, t, n_out] and the state after the last step."""
        raise NotImplementedError


class StepBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the last axis of [..., n] (Ioffe & Szegedy 2015).

    Batch and time are one axis while it learns; afterwards it is a fixed scale and offset, and so causal.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input.flatten(0, -2)).reshape(input.shape)
        scale, offset = self.affine_form()
        return input * scale + offset

    def affine_form(self) -> tuple[Tensor, Tensor]:
        """Scale and offset [n] that it has become."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight / (self.running_var + self.eps).sqrt()
        return scale, self.bias - self.running_mean * scale


def make_norm(kind: NormKind, n: int) -> nn.Module:
    """Normalisation of [..., n]: each step by itself (Ba, Kiros & Hinton 2016), by what was learnt, or none."""
    return nn.LayerNorm(n) if kind == "layer" else StepBatchNorm(n) if kind == "batch" else nn.Identity()


class FramewiseCore(Core):
    """Layers that see one step at a time; no layer passes its input on. There is nothing to remember."""

    def __init__(self, width: int, n_layers: int, norm: NormKind = "none", dropout: float = 0.0) -> None:
        super().__init__(width, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers))
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in range(n_layers))
        self.dropout = nn.Dropout(dropout)

    @property
    def receptive_field(self) -> int:
        return 1

    @contextmanager
    def strided(self, k: int) -> Generator[None]:
        yield

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = norm(layer(self.dropout(y))).relu()
        return y, state
