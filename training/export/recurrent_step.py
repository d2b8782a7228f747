"""LSTM and GRU as graphs of one step.

ONNX's own ``GRU`` and ``LSTM``, which the sequence uses, take longer for a single step of several rows.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..networks.recurrent import GruCore, LstmCore
from .step_core import StepCore


class _RecurrentStep(StepCore):
    def __init__(self, core: LstmCore | GruCore) -> None:
        super().__init__()
        self.n_layers, self.n_hidden = core.shape

    def layers_of(self, state: Tensor) -> tuple[Tensor, ...]:
        """[b, layers, n] → layers x [b, n]."""
        flat = state.flatten(1)
        return flat.split(self.n_hidden, dim=1) if self.n_layers > 1 else (flat,)

    def state_of(self, layers: list[Tensor]) -> Tensor:
        """Layers x [b, n] → [b, layers, n]."""
        return torch.cat(layers, dim=1).unflatten(1, (self.n_layers, self.n_hidden))


class LstmStep(_RecurrentStep):
    """Every gate is one product of its input beside its state."""

    def __init__(self, core: LstmCore) -> None:
        super().__init__(core)
        for layer in range(self.n_layers):
            weight = torch.cat(
                [_gates(core.rnn, f"weight_ih_l{layer}"), _gates(core.rnn, f"weight_hh_l{layer}")], dim=2
            )
            bias = _gates(core.rnn, f"bias_ih_l{layer}") + _gates(core.rnn, f"bias_hh_l{layer}")
            gates = [0, 1, 3]  # torch stacks i f g o
            self.register_buffer(f"gate_{layer}", weight[gates].flatten(0, 1))
            self.register_buffer(f"gate_bias_{layer}", bias[gates].flatten())
            self.register_buffer(f"new_{layer}", weight[2])
            self.register_buffer(f"new_bias_{layer}", bias[2])

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after_h: list[Tensor] = []
        after_c: list[Tensor] = []
        for layer, (h, c) in enumerate(zip(*(self.layers_of(part) for part in memory), strict=True)):
            gate, gate_bias, new, new_bias = (
                self.get_buffer(f"{name}_{layer}") for name in ("gate", "gate_bias", "new", "new_bias")
            )
            seen = torch.cat([y, h], dim=1)
            i, f, o = torch.sigmoid(linear(seen, gate, gate_bias)).split(self.n_hidden, dim=1)
            after_c.append(f * c + i * torch.tanh(linear(seen, new, new_bias)))
            y = o * torch.tanh(after_c[-1])
            after_h.append(y)
        return y, (self.state_of(after_h), self.state_of(after_c))


class GruStep(_RecurrentStep):
    """The same, but for the new state, which the reset gate scales in part."""

    def __init__(self, core: GruCore) -> None:
        super().__init__(core)
        for layer in range(self.n_layers):
            of_input, of_state, bias, state_bias = (
                _gates(core.rnn, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            # torch stacks r z n; r scales what n gets from the state, so that product stays apart.
            for gate, name in enumerate("rz"):
                self.register_buffer(f"{name}_{layer}", torch.cat([of_input[gate], of_state[gate]], dim=1))
                self.register_buffer(f"{name}_bias_{layer}", bias[gate] + state_bias[gate])
            self.register_buffer(f"state_{layer}", of_state[2])
            self.register_buffer(f"state_bias_{layer}", state_bias[2])
            self.register_buffer(f"new_{layer}", of_input[2].t().contiguous())
            self.register_buffer(f"new_bias_{layer}", bias[2])

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after: list[Tensor] = []
        for layer, h in enumerate(self.layers_of(memory[0])):
            names = ("state", "state_bias", "new", "new_bias")
            state, state_bias, new, new_bias = (self.get_buffer(f"{name}_{layer}") for name in names)
            seen = torch.cat([y, h], dim=1)
            r, z = (
                torch.sigmoid(linear(seen, self.get_buffer(f"{name}_{layer}"), self.get_buffer(f"{name}_bias_{layer}")))
                for name in "rz"
            )
            n = torch.tanh(torch.addmm(r * linear(h, state, state_bias) + new_bias, y, new))
            y = n + z * (h - n)
            after.append(y)
        return y, (self.state_of(after),)


def _gates(rnn: nn.LSTM | nn.GRU, name: str) -> Tensor:
    """A stacked weight or bias with an axis of its own for the gates."""
    stacked = getattr(rnn, name).detach()
    return stacked.unflatten(0, (3 if isinstance(rnn, nn.GRU) else 4, -1))
