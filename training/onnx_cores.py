"""Recurrent cores as ONNX operators, for whole sequences; a single step is in ``onnx_step.py``.

The exporter unrolls torch's LSTM and GRU over the example's steps, which fixes the length of the sequence; so the two
are written as the ONNX operators ``LSTM`` and ``GRU`` here, from the same weights. The parity gate compares the result
with torch.
"""

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from .heads import CausalHead, Core, GruCore, LstmCore, State


def exportable(head: CausalHead) -> CausalHead:
    """The same head with a core that exports for any number of steps; its recurrent weights are a copy."""
    core = head.core
    return _with_core(head, _OnnxRnn(core)) if isinstance(core, LstmCore | GruCore) else head


def _with_core(head: CausalHead, core: Core) -> CausalHead:
    twin = copy(head)
    twin._modules = {**head._modules, "core": core}  # pyright: ignore[reportPrivateUsage]
    return twin


class _OnnxRnn(Core):
    def __init__(self, core: LstmCore | GruCore) -> None:
        super().__init__()
        self.is_lstm = isinstance(core, LstmCore)
        self.n_layers, self.n_hidden = core.shape
        self.shapes = core.state_shapes()
        for layer in range(self.n_layers):
            bias = [_stacked(core.rnn, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
            self.register_buffer(f"w_{layer}", _stacked(core.rnn, f"weight_ih_l{layer}"))
            self.register_buffer(f"r_{layer}", _stacked(core.rnn, f"weight_hh_l{layer}"))
            self.register_buffer(f"b_{layer}", torch.cat(bias, dim=1))

    def state_shapes(self) -> list[tuple[int, ...]]:
        return self.shapes

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y = x.transpose(0, 1)
        n_steps, n_batch, _ = y.shape
        shapes = [[n_steps, 1, n_batch, self.n_hidden], *([1, n_batch, self.n_hidden] for _ in state)]
        attributes: dict[str, Any] = {"hidden_size": self.n_hidden}
        if not self.is_lstm:
            attributes["linear_before_reset"] = 1
        after: list[list[Tensor]] = [[] for _ in state]
        for layer in range(self.n_layers):
            initial = [part[:, layer : layer + 1].transpose(0, 1) for part in state]
            out = torch.onnx.ops.symbolic_multi_out(
                "LSTM" if self.is_lstm else "GRU",
                (y, *self._weights(layer), None, *initial),
                attributes,
                dtypes=[torch.float32] * len(shapes),
                shapes=shapes,
                version=14,
            )
            y = out[0][:, 0]
            for parts, part in zip(after, out[1:], strict=True):
                parts.append(part.transpose(0, 1))
        return y.transpose(0, 1), tuple(torch.cat(parts, dim=1) for parts in after)

    def _weights(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.get_buffer(f"w_{layer}"), self.get_buffer(f"r_{layer}"), self.get_buffer(f"b_{layer}")


def _stacked(rnn: nn.LSTM | nn.GRU, name: str) -> Tensor:
    # torch stacks LSTM gates as i f g o and GRU gates as r z n; ONNX as i o f g and z r n.
    order = (0, 3, 1, 2) if isinstance(rnn, nn.LSTM) else (1, 0, 2)
    gates = getattr(rnn, name).detach().chunk(len(order), dim=0)
    return torch.cat([gates[place] for place in order], dim=0)[None].clone()
