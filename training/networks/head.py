"""Heads: features in, class probabilities out, all memory in explicit state tensors.

Each causal head has one code path for a whole sequence and for one step (a step is a sequence of length 1), so that
training, offline use and the live rig cannot disagree. What lies before the first step is zeros, never other data.
Beside each stands a twin that is not causal, for comparison: it takes whole sequences only. What there is, and what it
costs, stands in ``docs/heads.md``.
"""

from collections.abc import Callable
from typing import Final, Literal, Self

import torch
from torch import Tensor, nn

from ...inference.graph_spec import HeadOutput
from ...sync.errors import DataError, LookAheadError
from ..config.head import HeadConfig, HeadKind, NormKind
from .attention import TransformerCore, TwoSidedTransformerCore
from .convolution import CentredTcnCore, TcnCore
from .core import Core, FramewiseCore, State, make_norm
from .recurrent import BidirectionalCore, GruCore, LstmCore

ANY_MEMORY_S: Final = 1.0
"""A head that forgets nothing by itself is trusted after this long."""


class HeadModule(nn.Module):
    """What one head and an ensemble have in common.

    Attributes:
        kind: of the head, for the manifest.
        n_features: length f of ``x``.
        n_classes: length c of ``p``.
        output: the classes exclude each other and p sums to one (``softmax``), or each has a probability of its own
            (``independent``).
        look_ahead_frames: what comes out at a step speaks of the step so many before it.
        causal: it may run step by step.
    """

    kind: HeadKind | Literal["ensemble"]
    n_features: int
    n_classes: int
    output: HeadOutput
    look_ahead_frames: int
    causal: bool

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each state tensor without the batch axis; all float32, and zero at first."""
        raise NotImplementedError

    def state_taps(self) -> list[list[int]] | None:
        """Rows of each state tensor that one step needs; None: all of everything."""
        raise NotImplementedError

    def receptive_field(self) -> int | None:
        """Steps that one output depends on; None: all there were."""
        raise NotImplementedError

    def forward_sequence(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Probabilities [b, t, c] of x [b, t, f]; where it is causal, step i has seen steps 0..i and the state only."""
        raise NotImplementedError

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What p is made of, [b, t, c], of x [b, t, f], and the state after the last step.

        With ``softmax`` these are log probabilities but for a constant, with ``independent`` log odds of each class.
        """
        raise NotImplementedError

    def scale_logits(self, factor: float) -> Self:
        """Multiply all logits from now on: calibration by a temperature T (Guo et al. 2017) is a factor of 1 / T."""
        raise NotImplementedError

    def initial_state(self, n_batch: int) -> State:
        """Zeros, [b, ...] each."""
        like = next(self.parameters())
        return tuple(like.new_zeros((n_batch, *shape)) for shape in self.state_shapes())

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Probabilities [b, c] of one step x [b, f].

        Raises:
            LookAheadError: it is not causal.
        """
        if not self.causal:
            raise LookAheadError(f"head {self.kind!r} is not causal: it takes whole sequences, and has no single step")
        p, after = self.forward_sequence(x[:, None], state)
        return p[:, 0], after


class SequenceHead(HeadModule):
    """One head: normalises the features, runs ``core`` over time and classifies each step.

    Args:
        kind: its name.
        n_features: length f of ``x``.
        n_classes: length c of ``p``.
        core: the part that runs over time; its input is as wide as x where ``enters`` is False.
        enters: a layer of its own, with ReLU, stands before the core.
        input_dropout: of the features, in training only.
        exit_dropout: of what leaves ``core``, in training only.
        norm: of the layer before the core.
        output, look_ahead_frames: as of `HeadModule`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: HeadKind,
        n_features: int,
        n_classes: int,
        core: Core,
        *,
        enters: bool = True,
        input_dropout: float = 0.0,
        exit_dropout: float = 0.0,
        norm: NormKind = "none",
        output: HeadOutput = "softmax",
        look_ahead_frames: int = 0,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.n_features = n_features
        self.n_classes = n_classes
        self.output = output
        self.look_ahead_frames = look_ahead_frames
        self.causal = core.causal
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.entry = nn.Linear(n_features, core.n_in) if enters else None
        self.entry_norm = make_norm(norm, core.n_in)
        self.core = core
        self.input_dropout = nn.Dropout(input_dropout)
        self.exit_dropout = nn.Dropout(exit_dropout)
        self.exit = nn.Linear(core.n_out, n_classes)

    @property
    def first_layer(self) -> nn.Linear:
        """The layer that takes the normalised features."""
        return self.exit if self.entry is None else self.entry

    def set_normalisation(self, mean: Tensor, std: Tensor) -> None:
        """Set what is subtracted from and divides each feature, float32 [f]; see `training_statistics`.

        Raises:
            DataError: a divisor is not above 0.
        """
        if not bool((std > 0.0).all()):
            raise DataError(f"a feature would be divided by {float(std.min()):g}; give 1 where one never changes")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def scale_logits(self, factor: float) -> Self:
        with torch.no_grad():
            self.exit.weight.mul_(factor)
            self.exit.bias.mul_(factor)
        return self

    def state_shapes(self) -> list[tuple[int, ...]]:
        return self.core.state_shapes()

    def state_taps(self) -> list[list[int]] | None:
        return self.core.state_taps()

    def receptive_field(self) -> int | None:
        return self.core.receptive_field

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        entered = self.input_dropout((x - self.mean) / self.std)
        if self.entry is not None:
            entered = self.entry_norm(self.entry(entered)).relu()
        y, after = self.core(entered, state)
        return self.exit(self.exit_dropout(y)), after

    def forward_sequence(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        logits, after = self.logits(x, state)
        return probabilities(logits, self.output), after


def probabilities(logits: Tensor, output: HeadOutput) -> Tensor:
    """P [..., c] of the logits of a head with that output."""
    return torch.sigmoid(logits) if output == "independent" else torch.softmax(logits, dim=-1)


def build_head(rule: HeadConfig, n_features: int, n_classes: int, output: HeadOutput = "softmax") -> SequenceHead:
    """The head that a training file asks for, with fresh weights; the caller seeds torch.

    Args:
        rule: its kind and sizes.
        n_features: length of its input.
        n_classes: length of its output.
        output: ``independent`` for a head that is fitted with a binary loss per behaviour.
    """
    n, layers, norm, dropout = rule.hidden, rule.layers, rule.norm, rule.dropout
    tcn = TcnCore if rule.causal else CentredTcnCore
    transformer = TransformerCore if rule.causal else TwoSidedTransformerCore
    cores: dict[HeadKind, Callable[[], Core]] = {
        "linear": lambda: FramewiseCore(n_features, 0),
        "mlp": lambda: FramewiseCore(n, layers - 1, norm, dropout),
        "lstm": lambda: LstmCore(n, layers, dropout) if rule.causal else BidirectionalCore("lstm", n, layers, dropout),
        "gru": lambda: GruCore(n, layers, dropout) if rule.causal else BidirectionalCore("gru", n, layers, dropout),
        "tcn": lambda: tcn(n, rule.kernel, rule.dilations, norm, dropout),
        "transformer": lambda: transformer(n, layers, rule.attention_heads, rule.attention_frames, dropout),
    }
    return SequenceHead(
        rule.kind,
        n_features,
        n_classes,
        cores[rule.kind](),
        enters=rule.kind != "linear",
        input_dropout=dropout if rule.input_dropout is None else rule.input_dropout,
        exit_dropout=dropout if rule.exit_dropout is None else rule.exit_dropout,
        norm=norm,
        output=output,
        look_ahead_frames=rule.look_ahead_frames,
    )


def warm_up_frames(head: HeadModule, rate_hz: float) -> int:
    """Steps after a reset until the output is to be trusted: what it depends on, and what it looks ahead.

    A head that forgets nothing by itself counts as warm after `ANY_MEMORY_S`.
    """
    reach = head.receptive_field()
    return (round(rate_hz * ANY_MEMORY_S) if reach is None else reach - 1) + head.look_ahead_frames
