"""Heads as graphs of one step: the same numbers as the sequence, in few large operators.

A step of one animal is spent in the number of operators, a step of many in their arithmetic, so: the scale of the
features lies in the first layer's weights, what batch normalisation has become lies in the weights before it, and each
core has a form of its own for a single step (``onnx_recurrent_step.py``, ``onnx_tcn_step.py``,
``onnx_attention_step.py``). The parity gate compares the two.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...inference.graph_spec import HeadOutput
from ...sync.errors import LookAheadError
from ..networks.attention import TransformerCore
from ..networks.convolution import TcnCore
from ..networks.core import FramewiseCore
from ..networks.ensemble import EnsembleHead, sharpened
from ..networks.head import HeadModule, SequenceHead, probabilities
from ..networks.recurrent import GruCore, LstmCore
from .attention_step import AttentionStep
from .convolution_step import TcnStep
from .recurrent_step import GruStep, LstmStep
from .step_core import FoldedLayer, StepCore

MAX_FOLDED_OFFSET: Final = 8.0
"""Largest norm of what the mean of the features adds to a unit of the first layer, for it to be folded into the bias:
the products then cancel, which costs at most about three bits of float32."""


def step_graph(head: HeadModule) -> nn.Module:
    """``head_step.onnx`` as a module, from a trained head: x [b, f] and the memory that the manifest names → p [b, c]
    and the memory after it.

    Raises:
        LookAheadError: the head is not causal.
    """
    if not head.causal:
        raise LookAheadError(f"head {head.kind!r} is not causal: it has no graph of one step")
    if isinstance(head, EnsembleHead):
        return EnsembleStep(head)
    assert isinstance(head, SequenceHead)
    return HeadStep(head)


class HeadStep(nn.Module):
    """One head; its weights are copies."""

    mean: Tensor
    exit_weight: Tensor
    exit_bias: Tensor

    def __init__(self, head: SequenceHead) -> None:
        super().__init__()
        first = head.first_layer
        weight = first.weight.detach().double() / head.std.double()
        offset = weight * head.mean.double()
        self.subtracts = bool(offset.norm(dim=1).max() > MAX_FOLDED_OFFSET)
        bias = first.bias.detach().double() - (0.0 if self.subtracts else offset.sum(dim=1))
        self.output: HeadOutput = head.output
        self.register_buffer("mean", head.mean.clone())
        self.entry = None if head.entry is None else FoldedLayer(weight, bias, head.entry_norm)
        self.core = _core_of(head)
        # Without a layer before the core the last layer is the first one, too.
        self.register_buffer(
            "exit_weight", (weight if head.entry is None else head.exit.weight.detach()).float().clone()
        )
        self.register_buffer("exit_bias", bias.float() if head.entry is None else self.core.carried_into(head.exit))

    def forward(self, x: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        y = x - self.mean if self.subtracts else x
        if self.entry is not None:
            y = self.entry(y)
        y, after = self.core(y, memory)
        return (probabilities(linear(y, self.exit_weight, self.exit_bias), self.output), *after)


class EnsembleStep(nn.Module):
    """All members beside each other, and the mean of what they say."""

    def __init__(self, head: EnsembleHead) -> None:
        super().__init__()
        self.output: HeadOutput = head.output
        self.factor = head.factor
        self.members = nn.ModuleList(HeadStep(one) for one in head.heads)
        taps = [one.state_taps() for one in head.heads]
        self.by_rows = head.state_taps() is not None
        self.sizes = [
            sum(map(len, rows)) if self.by_rows and rows is not None else len(one.state_shapes())
            for one, rows in zip(head.heads, taps, strict=True)
        ]
        if not self.by_rows:
            self.members = nn.ModuleList(
                one if rows is None else WholeState(one, rows) for one, rows in zip(self.members, taps, strict=True)
            )

    def forward(self, x: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        parts: list[tuple[Tensor, ...]] = []
        place = 0
        for size in self.sizes:
            parts.append((memory[0][:, place : place + size],) if self.by_rows else memory[place : place + size])
            place += size
        found = [member(x, *part) for member, part in zip(self.members, parts, strict=True)]
        p = sharpened(torch.stack([one[0] for one in found]).mean(dim=0), self.output, self.factor)
        after = [part for one in found for part in one[1:]]
        return (p, torch.cat(after, dim=1)) if self.by_rows else (p, *after)


class WholeState(nn.Module):
    """A step that takes rows of its state, as one that takes all of it and gives all of it back."""

    def __init__(self, step: nn.Module, taps: list[list[int]]) -> None:
        super().__init__()
        self.step = step
        self.taps = taps

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        held = [tensor[:, row : row + 1] for tensor, rows in zip(state, self.taps, strict=True) for row in rows]
        p, column = self.step(x, torch.cat(held, dim=1))
        kept = [torch.cat([tensor[:, 1:], column[:, place : place + 1]], dim=1) for place, tensor in enumerate(state)]
        return (p, *kept)


class _FramewiseStep(StepCore):
    def __init__(self, core: FramewiseCore) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            FoldedLayer.of(layer, norm) for layer, norm in zip(core.layers, core.norms, strict=True)
        )

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        for layer in self.layers:
            y = layer(y)
        return y, memory


def _core_of(head: SequenceHead) -> StepCore:
    core = head.core
    if isinstance(core, FramewiseCore):
        return _FramewiseStep(core)
    if isinstance(core, TcnCore):
        return TcnStep(core)
    if isinstance(core, GruCore):
        return GruStep(core)
    if isinstance(core, LstmCore):
        return LstmStep(core)
    assert isinstance(core, TransformerCore)
    return AttentionStep(core)
