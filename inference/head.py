"""The causal classifier, one step at a time, with its state held outside the graph."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import BundleError
from .backend import Graph
from .cropper import State
from .manifest import HeadSpec, StateTensor


def initial_state(tensors: list[StateTensor], n: int) -> list[NDArray[Any]]:
    """The state tensors of ``n`` slots before the first step, each (n, ...)."""
    return [np.full((n, *tensor.shape), tensor.initial, np.dtype(tensor.dtype)) for tensor in tensors]


def run_sequence(graph: Graph, spec: HeadSpec, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The whole sequence at once, from the initial state: ``head_sequence.onnx``.

    Args:
        graph: the opened sequence graph.
        spec: of the head.
        x: (b, t, dims) float32.

    Returns:
        (b, t, n_classes) float32 probabilities.
    """
    state = initial_state(spec.state, len(x))
    feeds = {"x": x} | {tensor.name: value for tensor, value in zip(spec.state, state, strict=True)}
    return graph.run(feeds)["p"]


class Head:
    """Steps of ``n_slots`` independent streams (views, or one for joined views) over one graph.

    A slot that is not stepped keeps its state. State goes in and comes out as separate arrays: nothing is bound in
    place.
    """

    def __init__(self, graph: Graph, spec: HeadSpec, n_slots: int) -> None:
        """Check that the graph has the inputs and outputs of the manifest.

        Raises:
            BundleError: a name is missing.
        """
        self._graph = graph
        self._spec = spec
        self._n_slots = n_slots
        self._names = [tensor.name for tensor in spec.state]
        self._output_names = [f"{name}_out" for name in self._names]
        absent = ({"x", *self._names} - set(graph.inputs)) | ({"p", *self._output_names} - set(graph.outputs))
        if absent:
            raise BundleError(
                f"{graph.name}: has no {', '.join(sorted(absent))} (inputs {', '.join(graph.inputs)}; outputs "
                f"{', '.join(graph.outputs)}); export the head as the manifest says"
            )
        self._state = initial_state(spec.state, n_slots)

    def step(self, x: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """One step.

        Args:
            x: (b, dims) float32.
            slots: (b,) which slot each row is, ascending, each once.

        Returns:
            (b, n_classes) float32 probabilities.
        """
        every = len(slots) == self._n_slots
        feeds: dict[str, NDArray[Any]] = {"x": x}
        for name, tensor in zip(self._names, self._state, strict=True):
            feeds[name] = tensor if every else tensor[slots]
        values = self._graph.run(feeds)
        for place, name in enumerate(self._output_names):
            if every:
                self._state[place] = values[name]
            else:
                self._state[place][slots] = values[name]
        return values["p"]

    def reset(self, slots: NDArray[np.intp] | None = None) -> None:
        """Back to the initial state: some slots, or all."""
        for place, value in enumerate(initial_state(self._spec.state, self._n_slots)):
            if slots is None:
                self._state[place] = value
            else:
                self._state[place][slots] = value[slots]

    def snapshot(self) -> State:
        return {name: value.copy() for name, value in zip(self._names, self._state, strict=True)}

    def restore(self, state: State) -> None:
        self._state = [state[name].copy() for name in self._names]
