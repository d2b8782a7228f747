"""The seam between a model graph and the engine that runs it."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Provider = Literal["cpu", "cuda", "tensorrt"]


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

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once. The outputs are new arrays that the caller owns: nothing is bound in place."""
        ...


class GraphOpener(Protocol):
    """Loads a graph for the provider asked for, or raises: it never runs elsewhere."""

    def __call__(self, model: bytes, name: str, provider: Provider, threads: int) -> Graph:
        """Open one graph.

        Raises:
            ProviderError: the provider is not there; the message says what to install.
            BundleError: the graph cannot be read.
        """
        ...
