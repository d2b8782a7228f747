"""The causal classifier, one step at a time, with its state held outside the graph."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import BundleError
from .backend import Graph
from .cropper import State
from .graph_spec import HeadSpec
from .head_memory import initial_state, open_memory


def check_graph(graph: Graph, inputs: set[str], outputs: set[str]) -> None:
    """Compare the names of a graph with those that the manifest calls for.

    Raises:
        BundleError: one is missing, or the graph takes something that nothing is known of.
    """
    absent = (inputs - set(graph.inputs)) | (outputs - set(graph.outputs))
    if absent:
        raise BundleError(
            f"{graph.name}: has no {', '.join(sorted(absent))} (inputs {', '.join(graph.inputs)}; outputs "
            f"{', '.join(graph.outputs)}); export the head as the manifest says"
        )
    unknown = set(graph.inputs) - inputs
    if unknown:
        raise BundleError(
            f"{graph.name}: takes {', '.join(sorted(unknown))}, of which the manifest says nothing; export the head as "
            "the manifest says"
        )


def run_sequence(graph: Graph, spec: HeadSpec, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The whole sequence at once, from the initial state: ``head_sequence.onnx``.

    Args:
        graph: the opened sequence graph.
        spec: of the head.
        x: (b, t, dims) float32.

    Returns:
        (b, t, n_classes) float32 probabilities.

    Raises:
        BundleError: the graph takes other state than the manifest says.
    """
    check_graph(graph, {"x", *(tensor.name for tensor in spec.state)}, {"p"})
    state = initial_state(spec.state, len(x))
    feeds = {"x": x} | {tensor.name: value for tensor, value in zip(spec.state, state, strict=True)}
    return graph.run(feeds)["p"]


def run_steps(graph: Graph, spec: HeadSpec, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Step after step, from the initial state: ``head_step.onnx``.

    Args:
        graph: the opened step graph.
        spec: of the head.
        x: (t, b, dims) float32, a row for each of ``b`` slots.

    Returns:
        (t, b, n_classes) float32 probabilities.

    Raises:
        BundleError: the graph takes other state than the manifest says.
    """
    head, slots = Head(graph, spec, x.shape[1]), np.arange(x.shape[1], dtype=np.intp)
    return np.stack([head.step(row, slots) for row in x])


class Head:
    """Steps of ``n_slots`` independent streams (views, or one for joined views) over one graph.

    A slot that is not stepped keeps its state. State goes in and comes out as separate arrays: nothing is bound in
    place.
    """

    def __init__(self, graph: Graph, spec: HeadSpec, n_slots: int) -> None:
        """Check that the graph has the inputs and outputs of the manifest.

        Raises:
            BundleError: a name is missing, or one is there of which the manifest says nothing.
        """
        self._graph = graph
        self._n_slots = n_slots
        self._memory = open_memory(spec, n_slots)
        wanted_in, wanted_out = {"x", *self._memory.inputs}, {"p", *self._memory.outputs}
        check_graph(graph, wanted_in, wanted_out)

    def step(self, x: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """One step.

        Args:
            x: (b, dims) float32.
            slots: (b,) which slot each row is, ascending, each once.

        Returns:
            (b, n_classes) float32 probabilities.
        """
        chosen = None if len(slots) == self._n_slots else slots
        feeds: dict[str, NDArray[Any]] = self._memory.read(chosen)
        feeds["x"] = x
        values = self._graph.run(feeds)
        self._memory.write(values, chosen)
        return values["p"]

    def reset(self, slots: NDArray[np.intp] | None = None) -> None:
        """Back to the initial state: some slots, or all."""
        self._memory.reset(slots)

    def snapshot(self) -> State:
        """The state tensors of the manifest, (n_slots, ...) each, whichever way the graph takes them."""
        return self._memory.snapshot()

    def restore(self, state: State) -> None:
        """Continue from a snapshot, bit for bit."""
        self._memory.restore(state)
