"""What a fit makes small: cross-entropy, focal and binary losses over frames that count, weighed by class."""

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..config.fit import LossConfig

ClassWeights = Literal["none", "balanced", "half"]
_LEAST: Final = 1e-6


class FrameLoss(nn.Module):
    """The loss of a batch of logits.

    Args:
        rule: which one.
        counts: frames (or sequences) of each class in the training part, [c]; a class without any has no weight.
        weights: of the classes, see `class_weights`.
        n: frames in all, where a frame may be of several classes, or of none; None: the sum of ``counts``.
    """

    weight: Tensor
    other_weight: Tensor
    adjustment: Tensor

    def __init__(
        self, rule: LossConfig, counts: NDArray[np.int64], weights: ClassWeights, n: int | None = None
    ) -> None:
        super().__init__()
        self._rule = rule
        # With `half` a rare class makes a batch count for more, as sample weights do; else each batch counts the same.
        self._relative = weights != "half"
        own, other = class_weights(counts, weights, rule.is_binary, n)
        prior = np.maximum(counts, 0.5) / max(float(counts.sum()), 1.0)
        self.register_buffer("weight", torch.from_numpy(own.astype(np.float32)), persistent=False)
        self.register_buffer("other_weight", torch.from_numpy(other.astype(np.float32)), persistent=False)
        adjustment = torch.from_numpy((rule.logit_adjustment * np.log(prior)).astype(np.float32))
        self.register_buffer("adjustment", adjustment, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        """The mean loss.

        Args:
            logits: [b, t, c].
            targets: share of each class, [b, t, c].
            counts: bool [b, t], the frames that are learnt from; without any the loss is 0.
        """
        chosen, wanted = logits[counts], targets[counts]
        if self._rule.is_binary:
            return self._binary(chosen, wanted)
        log_p = torch.log_softmax(chosen + self.adjustment, dim=-1)
        weighed = wanted * self.weight
        each = -log_p if self._rule.kind == "cross_entropy" else -log_p * self._faded(1.0 - log_p.exp())
        norm = weighed.sum() if self._relative else counts.sum()
        return (weighed * each).sum() / norm.clamp_min(_LEAST)

    def _binary(self, logits: Tensor, targets: Tensor) -> Tensor:
        yes, no = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
        if self._rule.kind == "binary_focal":
            p = torch.sigmoid(logits)
            yes, no = yes * self._faded(1.0 - p), no * self._faded(p)
        own, other = targets * self.weight, (1.0 - targets) * self.other_weight
        norm = (own + other).sum() if self._relative else torch.tensor(float(logits.numel()), device=logits.device)
        return (own * yes + other * no).sum() / norm.clamp_min(_LEAST)

    def _faded(self, missing: Tensor) -> Tensor:
        """The focal factor of what an answer lacks; of an exponent below 1 the slope at 0 would be infinite."""
        factor: Tensor = missing.clamp_min(_LEAST) ** self._rule.gamma
        return factor

    def temporal(self, logits: Tensor, inside: Tensor) -> Tensor:
        """Truncated mean squared change of the log probabilities between neighbouring frames (Farha & Gall 2019).

        Args:
            logits: [b, t, c].
            inside: bool [b, t], frames that are no padding.
        """
        log_p = functional.logsigmoid(logits) if self._rule.is_binary else torch.log_softmax(logits, dim=-1)
        limit = self._rule.temporal_limit
        change = (log_p[:, 1:] - log_p[:, :-1].detach()).clamp(-limit, limit) ** 2
        both = inside[:, 1:] & inside[:, :-1]
        return (change * both[:, :, None]).sum() / (both.sum() * logits.shape[2]).clamp_min(1)


def class_weights(
    counts: NDArray[np.int64], weights: ClassWeights, binary: bool, n_frames: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weight of each class, and that of its absence, [c] both.

    ``balanced`` is n / (k x count), with k classes, or with the two sides of a binary loss; ``half`` is n / (2 x count)
    always. A class or side that never occurs has 0.
    """
    n, own = int(counts.sum()) if n_frames is None else n_frames, counts.astype(np.float64)
    other = n - own
    if weights == "none":
        return np.ones(len(own)), np.ones(len(own))
    sides = 2.0 if weights == "half" or binary else float(len(own))

    def of(count: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(n, sides * count, out=np.zeros(len(count)), where=count > 0)

    return of(own), of(other)
