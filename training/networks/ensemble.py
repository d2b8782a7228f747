"""Several heads as one: the mean of their probabilities, their states side by side."""

from collections.abc import Sequence
from typing import Final, Self

import torch
from torch import Tensor, nn

from ...inference.graph_spec import HeadOutput
from ...sync.errors import ConfigError
from .core import State
from .head import HeadModule, SequenceHead, probabilities

_LEAST_P: Final = 1e-7


class EnsembleHead(HeadModule):
    """Heads that were fitted apart, of any kinds, averaged (Lakshminarayanan, Pritzel & Blundell 2017).

    Each keeps its own normalisation. In a bundle the ensemble is one head: one graph, one state.

    Args:
        members: two or more with the same features, classes, kind of output and look-ahead.

    Raises:
        ConfigError: they do not go together.
    """

    kind = "ensemble"

    def __init__(self, members: Sequence[SequenceHead]) -> None:
        super().__init__()
        if len(members) < 2:
            raise ConfigError(f"an ensemble of {len(members)} head: give two or more, or take the head as it is")
        first = members[0]
        for name in ("n_features", "n_classes", "output", "look_ahead_frames", "causal"):
            found = [getattr(one, name) for one in members]
            if len(set(found)) > 1:
                raise ConfigError(
                    f"ensemble: {name} of its heads is {', '.join(map(str, found))}; only heads that take and say the "
                    "same can be averaged"
                )
        self.members = nn.ModuleList(members)
        self.factor = 1.0
        self.n_features, self.n_classes = first.n_features, first.n_classes
        self.output, self.look_ahead_frames, self.causal = first.output, first.look_ahead_frames, first.causal

    @property
    def heads(self) -> list[SequenceHead]:
        """The members."""
        return [one for one in self.members if isinstance(one, SequenceHead)]

    def state_shapes(self) -> list[tuple[int, ...]]:
        return [shape for one in self.heads for shape in one.state_shapes()]

    def state_taps(self) -> list[list[int]] | None:
        """Rings only where every member has them, with rows of one length; otherwise each state goes in whole."""
        found = [one.state_taps() for one in self.heads]
        if any(taps is None for taps in found) or len({shape[-1] for shape in self.state_shapes()}) != 1:
            return None
        return [rows for taps in found if taps is not None for rows in taps]

    def receptive_field(self) -> int | None:
        """The longest of the members."""
        found = [one.receptive_field() for one in self.heads]
        known = [reach for reach in found if reach is not None]
        return max(known) if len(known) == len(found) else None

    def states_of(self, state: State) -> list[State]:
        """The part of each member."""
        parts: list[State] = []
        for one in self.heads:
            n = len(one.state_shapes())
            parts.append(state[:n])
            state = state[n:]
        return parts

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        p, after = self._mean(x, state)
        return log_odds(p, self.output) * self.factor, after

    def scale_logits(self, factor: float) -> Self:
        self.factor *= factor
        return self

    def forward_sequence(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        p, after = self._mean(x, state)
        return sharpened(p, self.output, self.factor), after

    def _mean(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        found = [one.forward_sequence(x, part) for one, part in zip(self.heads, self.states_of(state), strict=True)]
        p = torch.stack([p for p, _ in found]).mean(dim=0)
        return p, tuple(part for _, after in found for part in after)


def log_odds(p: Tensor, output: HeadOutput) -> Tensor:
    """Logits that a head with that output would have for p, held within 1e-7 of 0 and 1."""
    held = p.clamp(_LEAST_P, 1.0 - _LEAST_P)
    return held.log() if output == "softmax" else held.log() - (1.0 - held).log()


def sharpened(p: Tensor, output: HeadOutput, factor: float) -> Tensor:
    """P of the logits of p times a factor."""
    return p if factor == 1.0 else probabilities(log_odds(p, output) * factor, output)
