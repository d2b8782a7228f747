"""What the graphs of a bundle take, give and remember.

Contracts:

========================  ==============================================================================================
``embedder.onnx``         ``crops`` uint8 [n, h, w] (n, h, w dynamic) -> ``embedding`` float32 [n, d]. Resize and
                          normalisation are inside the graph.
``head_step.onnx``        ``x`` float32 [b, f], ``state_0`` .. float32 [b, ...] -> ``p`` float32 [b, c] (probabilities),
                          ``state_0_out`` .. A head with ``taps`` takes, in place of the state, ``taps`` float32
                          [b, rows, n]: the named rows of each state tensor, one tensor after the other; and gives
                          ``column`` float32 [b, tensors, n]: the row that is appended to each, whose first then goes.
``head_sequence.onnx``    ``x`` float32 [b, t, f], ``state_0`` .. -> ``p`` float32 [b, t, c], ``state_0_out`` .. A head
                          that looks ahead without bound has this graph alone, and no state.
========================  ==============================================================================================

b is the number of views for ``mean`` and ``max`` fusion and 1 for ``joined``, where the views' features stand one after
the other in view order. The features of a view are its embedding followed by the outputs of the feature steps.
Normalisation of features is inside the head graphs.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from ..sync.strict import StrictModel

EMBEDDER_FILE = "embedder.onnx"
HEAD_STEP_FILE = "head_step.onnx"
HEAD_SEQUENCE_FILE = "head_sequence.onnx"
TAPS = "taps"
COLUMN = "column"

HeadName = Literal["linear", "mlp", "lstm", "gru", "tcn", "transformer", "ensemble", "other"]
HeadOutput = Literal["softmax", "independent"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


class StateTensor(StrictModel):
    """One state tensor: ``shape`` is without the batch axis, every element starts at ``initial``."""

    name: str
    shape: list[Count]
    dtype: Literal["float32", "float64", "int64", "uint8"]
    initial: float


class TensorSpec(StrictModel):
    """One input or output of a graph; a dynamic axis is a name."""

    name: str
    shape: list[int | str]
    dtype: Literal["float32", "uint8"]


class EmbedderSpec(StrictModel):
    """The image network: ``dims`` is the length of an embedding."""

    file: Literal["embedder.onnx"] = EMBEDDER_FILE
    name: str
    dims: Count
    input: TensorSpec
    output: TensorSpec

    @classmethod
    def build(cls, name: str, dims: int) -> Self:
        """The spec of an embedder that obeys the contract at the top of this file."""
        return cls(
            name=name,
            dims=dims,
            input=TensorSpec(name="crops", shape=["n", "h", "w"], dtype="uint8"),
            output=TensorSpec(name="embedding", shape=["n", dims], dtype="float32"),
        )


class FeatureStepSpec(StrictModel):
    """One stateful feature step: the code (by version and hash), its parameters and what it remembers per view."""

    name: str
    version: Count
    hash: Sha256
    parameters: dict[str, JsonValue]
    dims: Count
    state: list[StateTensor]


class HeadSpec(StrictModel):
    """The classifier.

    Attributes:
        kind: what it is made of; for people.
        members: of an ensemble, the kinds of the heads whose probabilities it averages; else empty.
        output: the classes exclude each other and ``p`` sums to one (``softmax``), or each class has a probability of
            its own (``independent``). Either way the label is one class.
        step_file: None: it is not causal and has no single step.
        dims: length of ``x``.
        state: what it remembers. With ``taps`` each is [rows, n] float32, oldest row first, and n is the same for all.
        taps: for each state tensor the rows that one step needs; None: the step graph takes the state as it is.
    """

    kind: HeadName
    members: list[HeadName] = Field(default_factory=list)
    output: HeadOutput = "softmax"
    step_file: Literal["head_step.onnx"] | None = HEAD_STEP_FILE
    sequence_file: Literal["head_sequence.onnx"] = HEAD_SEQUENCE_FILE
    dims: Count
    x: TensorSpec
    p: TensorSpec
    state: list[StateTensor]
    taps: list[list[int]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Bundles of the first forms gave every step its whole state, were single heads with classes that exclude each
        other, and did not say so.
        """
        return {"taps": None, "members": [], "output": "softmax", **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _taps_fit_the_state(self) -> Self:
        if self.taps is None:
            return self
        if not self.state or len(self.taps) != len(self.state):
            raise ValueError(f"taps: are of {len(self.taps)} state tensors, but there are {len(self.state)}")
        if any(len(one.shape) != 2 or one.dtype != "float32" for one in self.state):
            raise ValueError("taps: are rows of float32 state tensors with two axes only")
        if len({one.shape[1] for one in self.state}) != 1:
            raise ValueError(f"taps: rows are not of one length ({', '.join(str(one.shape) for one in self.state)})")
        for tensor, rows in zip(self.state, self.taps, strict=True):
            if not rows or rows != sorted(set(rows)) or rows[0] < 0 or rows[-1] >= tensor.shape[0]:
                raise ValueError(f"taps: {rows} of {tensor.name} are no ascending rows of its {tensor.shape[0]}")
        return self

    @classmethod
    def build(
        cls,
        kind: HeadName,
        dims: int,
        n_classes: int,
        state: list[StateTensor],
        taps: list[list[int]] | None = None,
        *,
        members: list[HeadName] | None = None,
        output: HeadOutput = "softmax",
        causal: bool = True,
    ) -> Self:
        """The spec of a head that obeys the contract at the top of this file."""
        return cls(
            kind=kind,
            members=members or [],
            output=output,
            step_file=HEAD_STEP_FILE if causal else None,
            dims=dims,
            x=TensorSpec(name="x", shape=["b", dims], dtype="float32"),
            p=TensorSpec(name="p", shape=["b", n_classes], dtype="float32"),
            state=state,
            taps=taps,
        )
