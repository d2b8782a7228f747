"""The seam between a model graph and the engine that runs it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from numpy.typing import DTypeLike, NDArray

RuntimeProvider = Literal["cpu", "cuda", "tensorrt"]
"""What ONNX Runtime runs a graph on."""
Provider = Literal["cpu", "cuda", "tensorrt", "tensorrt_native"]
"""What runs the embedder; ``tensorrt_native`` is TensorRT without ONNX Runtime."""
Precision = Literal["fp32", "fp16"]

Tell = Callable[[str, int, int], None]
"""Told of long work: what is done, how many steps of it, of how many (0: not known)."""


class Graph(Protocol):
    """One loaded graph. One thread runs it."""

    @property
    def name(self) -> str:
        """File name, for messages."""
        ...

    @property
    def inputs(self) -> dict[str, list[int | str]]:
        """Input names and shapes; a dynamic axis is a name."""
        ...

    @property
    def outputs(self) -> dict[str, list[int | str]]:
        """Output names and shapes."""
        ...

    def input_buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Zeroed memory to write an input into that is fed again and again, whole or its leading rows.

        What is fed from here is not copied on the host once more. It also says which shape is coming: an engine that is
        made for one shape is made now, which can take minutes.

        Raises:
            BundleError: there is no such input, or no engine for this shape.
            ParityError: the engine for this shape does not give what the CPU gives.
        """
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once. The outputs are new arrays that the caller owns: nothing is bound in place."""
        ...


class GraphOpener(Protocol):
    """Loads a graph for the provider asked for, or raises: it never runs elsewhere."""

    def __call__(self, model: bytes, name: str, provider: RuntimeProvider, threads: int) -> Graph:
        """Open one graph.

        Raises:
            ProviderError: the provider is not there; the message says what to install.
            BundleError: the graph cannot be read.
        """
        ...
