"""Recurrent cores as ONNX operators, for whole sequences; a single step is in ``onnx_step.py``.

The exporter unrolls torch's LSTM and GRU over the example's steps, which fixes the length of the sequence; so the two
are written as the ONNX operators ``LSTM`` and ``GRU`` here, from the same weights. The parity gate compares the result
with torch.
"""

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.core import Core, State
from ..networks.ensemble import EnsembleHead
from ..networks.head import HeadModule, SequenceHead
from ..networks.recurrent import BidirectionalCore, GruCore, LstmCore


def exportable(head: HeadModule) -> HeadModule:
    """The same head with cores that export for any number of steps; its recurrent weights are copies."""
    if isinstance(head, EnsembleHead):
        return EnsembleHead([_exportable_member(one) for one in head.heads]).scale_logits(head.factor)
    assert isinstance(head, SequenceHead)
    return _exportable_member(head)


def _exportable_member(head: SequenceHead) -> SequenceHead:
    core = head.core
    return _with_core(head, _OnnxRnn(core)) if isinstance(core, LstmCore | GruCore | BidirectionalCore) else head


def _with_core(head: SequenceHead, core: Core) -> SequenceHead:
    twin = copy(head)
    twin._modules = {**head._modules, "core": core}  # pyright: ignore[reportPrivateUsage]
    return twin


class _OnnxRnn(Core):
    def __init__(self, core: LstmCore | GruCore | BidirectionalCore) -> None:
        super().__init__(core.n_in, core.n_out)
        self.causal = core.causal
        self.operator = "LSTM" if isinstance(core.rnn, nn.LSTM) else "GRU"
        self.n_layers, self.n_hidden = core.shape
        self.shapes = core.state_shapes()
        directions = [""] if core.causal else ["", "_reverse"]
        self.n_directions = len(directions)
        for layer in range(self.n_layers):
            for name, of_torch in (("w", ["weight_ih"]), ("r", ["weight_hh"]), ("b", ["bias_ih", "bias_hh"])):
                stacked = [
                    torch.cat([_stacked(core.rnn, f"{one}_l{layer}{way}") for one in of_torch]) for way in directions
                ]
                self.register_buffer(f"{name}_{layer}", torch.stack(stacked))

    def state_shapes(self) -> list[tuple[int, ...]]:
        return self.shapes

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x.transpose(0, 1)
        n_steps, n_batch, _ = y.shape
        shapes = [[n_steps, self.n_directions, n_batch, self.n_hidden]]
        shapes += [[self.n_directions, n_batch, self.n_hidden] for _ in state]
        attributes: dict[str, Any] = {"hidden_size": self.n_hidden}
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1
        if self.n_directions > 1:
            attributes["direction"] = "bidirectional"
        after: list[list[Tensor]] = [[] for _ in state]
        for layer in range(self.n_layers):
            initial = [part[:, layer : layer + 1].transpose(0, 1) for part in state]
            out = torch.onnx.ops.symbolic_multi_out(
                self.operator,
                (y, *self._weights(layer), *([None, *initial] if initial else [])),
                attributes,
                dtypes=[torch.float32] * len(shapes),
                shapes=shapes,
                version=14,
            )
            y = out[0][:, 0] if self.n_directions == 1 else out[0].transpose(1, 2).flatten(2)
            for parts, part in zip(after, out[1:], strict=True):
                parts.append(part.transpose(0, 1))
        return y.transpose(0, 1), tuple(torch.cat(parts, dim=1) for parts in after)

    def _weights(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.get_buffer(f"w_{layer}"), self.get_buffer(f"r_{layer}"), self.get_buffer(f"b_{layer}")


def _stacked(rnn: nn.LSTM | nn.GRU, name: str) -> Tensor:
    # torch stacks LSTM gates as i f g o and GRU gates as r z n; ONNX as i o f g and z r n.
    order = (0, 3, 1, 2) if isinstance(rnn, nn.LSTM) else (1, 0, 2)
    gates = getattr(rnn, name).detach().chunk(len(order), dim=0)
    return torch.cat([gates[place] for place in order], dim=0).clone()
