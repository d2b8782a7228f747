"""Heads as graphs of one step: the same numbers as the sequence, in few large operators.

A step of one animal is spent in the number of operators, a step of many in their arithmetic, so: the scale of the
features lies in the first layer's weights, a gate of a recurrent layer is one product of its input beside its state, a
dilated convolution one of its taps, and biases are carried on to where one is added anyway. ONNX's own ``GRU`` and
``LSTM``, which the sequence uses, take longer for a single step of several rows. The parity gate compares the two.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .heads import CausalHead, GruCore, LstmCore, TcnCore

MAX_FOLDED_OFFSET: Final = 8.0
"""Largest norm of what the mean of the features adds to a unit of the first layer, for it to be folded into the bias:
the products then cancel, which costs at most about three bits of float32."""


class StepGraph(nn.Module):
    """``head_step.onnx`` as a module, from a trained head; its weights are copies."""

    mean: Tensor
    entry_weight: Tensor
    entry_bias: Tensor
    exit_weight: Tensor
    exit_bias: Tensor

    def __init__(self, head: CausalHead) -> None:
        super().__init__()
        weight = head.entry.weight.detach().double() / head.std.double()
        offset = weight * head.mean.double()
        self.subtracts = bool(offset.norm(dim=1).max() > MAX_FOLDED_OFFSET)
        bias = head.entry.bias.detach().double() - (0.0 if self.subtracts else offset.sum(dim=1))
        self.register_buffer("mean", head.mean.clone())
        self.register_buffer("entry_weight", weight.float())
        self.register_buffer("entry_bias", bias.float())
        self.core = _core_of(head)
        self.register_buffer("exit_weight", head.exit.weight.detach().clone())
        self.register_buffer("exit_bias", self.core.carried_into(head.exit))

    def forward(self, x: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """X [b, f] and the memory that the manifest names → p [b, c] and the memory after it."""
        centred = x - self.mean if self.subtracts else x
        y, after = self.core(torch.relu(linear(centred, self.entry_weight, self.entry_bias)), memory)
        return (torch.softmax(linear(y, self.exit_weight, self.exit_bias), dim=-1), *after)


class _StepCore(nn.Module):
    """Y [b, n] and memory → y [b, n] and memory."""

    def carried_into(self, layer: nn.Linear) -> Tensor:
        """The bias of a layer that takes the output."""
        return layer.bias.detach().clone()


def _core_of(head: CausalHead) -> _StepCore:
    core = head.core
    if isinstance(core, TcnCore):
        return _TcnStep(core)
    if isinstance(core, GruCore):
        return _GruStep(core)
    assert isinstance(core, LstmCore)
    return _LstmStep(core)


class _RecurrentStep(_StepCore):
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


class _LstmStep(_RecurrentStep):
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


class _GruStep(_RecurrentStep):
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


class _TcnStep(_StepCore):
    """Takes the taps [b, blocks * (kernel - 1), n], gives the inputs of the blocks [b, blocks, n].

    A block adds its product to what it was given, and the sum of all biases so far to the column alone: ``y`` goes
    without them, and the next layer's bias makes up for that.
    """

    def __init__(self, core: TcnCore) -> None:
        super().__init__()
        self.n_blocks, self.n_hidden = len(core.dilations), core.n_hidden
        offset = torch.zeros(core.n_hidden, dtype=torch.float64)
        offsets: list[Tensor] = []
        for block, (dilated, mixing) in enumerate(zip(core.dilated, core.mixing, strict=True)):
            assert isinstance(dilated, nn.Conv1d) and isinstance(mixing, nn.Conv1d)
            assert dilated.bias is not None and mixing.bias is not None
            weight = dilated.weight.detach()
            bias = dilated.bias.detach().double() + weight[:, :, -1].double() @ offset
            self.register_buffer(f"dilated_{block}", weight.permute(0, 2, 1).flatten(1))
            self.register_buffer(f"bias_{block}", bias.float())
            self.register_buffer(f"mixing_{block}", mixing.weight.detach()[:, :, 0].t().contiguous())
            offsets.append(offset)
            offset = offset + mixing.bias.detach().double()
        self.register_buffer("offsets", torch.cat(offsets).float())
        self.carried = offset

    def carried_into(self, layer: nn.Linear) -> Tensor:
        return (layer.bias.detach().double() + layer.weight.detach().double() @ self.carried).float()

    def forward(self, y: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        flat = memory[0].flatten(1)
        taps = flat.split(flat.shape[1] // self.n_blocks, dim=1) if self.n_blocks > 1 else (flat,)
        column: list[Tensor] = []
        for block, past in enumerate(taps):
            dilated, bias, mixing = (self.get_buffer(f"{name}_{block}") for name in ("dilated", "bias", "mixing"))
            column.append(y)
            y = torch.addmm(y, torch.relu(linear(torch.cat([past, y], dim=1), dilated, bias)), mixing)
        together = torch.cat(column, dim=1) + self.get_buffer("offsets")
        return y, (together.unflatten(1, (self.n_blocks, self.n_hidden)),)


def _gates(rnn: nn.LSTM | nn.GRU, name: str) -> Tensor:
    """A stacked weight or bias with an axis of its own for the gates."""
    stacked = getattr(rnn, name).detach()
    return stacked.unflatten(0, (3 if isinstance(rnn, nn.GRU) else 4, -1))
