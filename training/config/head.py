"""The options of a head in a training file. Needs no torch."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel

HeadKind = Literal["linear", "mlp", "lstm", "gru", "tcn", "transformer"]
NormKind = Literal["none", "layer", "batch"]


def stride_fault(kind: str, kernel: int, dilations: Sequence[int], causal: bool, k: int) -> str | None:
    """Why a head cannot learn from every k-th frame and run on every frame as the same network; None: it can."""
    if k == 1 or kind in ("linear", "mlp"):
        return None
    if kind != "tcn":
        return f"{k}, but a {kind} remembers by the step, and at the full rate would be another head; use 1, or a tcn"
    if odd := [dilation for dilation in dilations if dilation % k]:
        return f"{k}, but head.dilations, which are those at the full rate, hold {odd[0]}, which is no multiple of it"
    if not causal and kernel % 2 == 0:
        return f"{k}, but a kernel of {kernel} has no middle; use an odd head.kernel for a twin that is not causal"
    return None


class HeadConfig(StrictModel):
    """The network from features to probabilities. What each kind does and costs stands in ``docs/heads.md``.

    Attributes:
        kind: which; all are causal.
        hidden: width of its layers; not of linear.
        layers: of mlp, lstm, gru and transformer.
        kernel, dilations: of tcn.
        attention_heads: of transformer; ``hidden`` is a multiple of it.
        attention_frames: how many frames each layer of transformer sees, the newest included.
        dropout: of the features, and of what passes from layer to layer; while it learns.
        input_dropout: of each feature at each frame by itself; None: as ``dropout``.
        exit_dropout: before the last layer; None: as ``dropout``.
        norm: normalisation behind the first layer, and behind each one of mlp and tcn.
        look_ahead_frames: so many frames of the future are waited for; every answer comes that much later.
        ensemble: so many heads are fitted, which differ by their seed, and their answers averaged.
        causal: false: the twin that sees all that comes later, for comparison; no rig runs it.
    """

    kind: HeadKind = "gru"
    hidden: Annotated[int, Field(ge=1, le=4096)] = 32
    layers: int = Field(default=1, ge=1, le=8)
    kernel: int = Field(default=3, ge=2, le=31)
    dilations: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [1, 2, 4, 8], min_length=1)
    attention_heads: int = Field(default=4, ge=1, le=64)
    attention_frames: int = Field(default=32, ge=2, le=4096)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    input_dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    exit_dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    norm: NormKind = "none"
    look_ahead_frames: int = Field(default=0, ge=0, le=1000)
    ensemble: int = Field(default=1, ge=1, le=16)
    causal: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.causal and self.kind in ("linear", "mlp"):
            raise ValueError(f"causal: {self.kind} sees one frame at a time and has no other twin; leave it out")
        if not self.causal and self.look_ahead_frames:
            raise ValueError(
                f"look_ahead_frames: {self.look_ahead_frames} beside causal: false, which sees all that comes later; "
                "leave one out"
            )
        if self.kind == "linear" and self.norm != "none":
            raise ValueError(f"norm: {self.norm} has no layer to stand behind in a linear head; leave it out")
        if self.kind == "transformer" and self.hidden % self.attention_heads:
            raise ValueError(f"hidden: {self.hidden} is no multiple of attention_heads, {self.attention_heads}")
        return self
