"""What a head remembers between its steps, held outside the graph: whole state tensors, or rings.

The state of a dilated convolution is a stretch of its past of which one step needs a few rows. Where the manifest
names these (``HeadSpec.taps``), the graph gets them alone and gives back what is new: one row per state tensor.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .cropper import State
from .graph_spec import COLUMN, TAPS, HeadSpec, StateTensor


def initial_state(tensors: list[StateTensor], n: int) -> list[NDArray[Any]]:
    """The state tensors of ``n`` slots before the first step, each (n, ...)."""
    return [np.full((n, *tensor.shape), tensor.initial, np.dtype(tensor.dtype)) for tensor in tensors]


class HeadMemory(Protocol):
    """The memory of a number of slots; ``slots`` are ascending, each once, None: every one."""

    @property
    def inputs(self) -> list[str]:
        """Inputs of the step graph beside ``x``."""
        ...

    @property
    def outputs(self) -> list[str]:
        """Outputs of the step graph beside ``p``."""
        ...

    def read(self, slots: NDArray[np.intp] | None) -> dict[str, NDArray[Any]]:
        """What the graph is fed for one step, by input name."""
        ...

    def write(self, values: dict[str, NDArray[Any]], slots: NDArray[np.intp] | None) -> None:
        """Take over what the graph gave, by output name; it is this object's from now on."""
        ...

    def reset(self, slots: NDArray[np.intp] | None) -> None:
        """Back to the initial state."""
        ...

    def snapshot(self) -> State:
        """The state tensors of all slots by name, (n, ...) each, copied."""
        ...

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        ...


def open_memory(spec: HeadSpec, n_slots: int) -> HeadMemory:
    """The memory that the manifest asks for, in its initial state."""
    return WholeTensors(spec.state, n_slots) if spec.taps is None else Rings(spec.state, spec.taps, n_slots)


class WholeTensors:
    """Every state tensor goes into each step and comes out as a new array."""

    def __init__(self, tensors: list[StateTensor], n_slots: int) -> None:
        self.inputs = [tensor.name for tensor in tensors]
        self.outputs = [f"{name}_out" for name in self.inputs]
        self._tensors = tensors
        self._n_slots = n_slots
        self._state = initial_state(tensors, n_slots)

    def read(self, slots: NDArray[np.intp] | None) -> dict[str, NDArray[Any]]:
        held = self._state if slots is None else [tensor[slots] for tensor in self._state]
        return dict(zip(self.inputs, held, strict=True))

    def write(self, values: dict[str, NDArray[Any]], slots: NDArray[np.intp] | None) -> None:
        for place, name in enumerate(self.outputs):
            if slots is None:
                self._state[place] = values[name]
            else:
                self._state[place][slots] = values[name]

    def reset(self, slots: NDArray[np.intp] | None) -> None:
        for place, value in enumerate(initial_state(self._tensors, self._n_slots)):
            if slots is None:
                self._state[place] = value
            else:
                self._state[place][slots] = value[slots]

    def snapshot(self) -> State:
        return {name: value.copy() for name, value in zip(self.inputs, self._state, strict=True)}

    def restore(self, state: State) -> None:
        self._state = [state[name].copy() for name in self.inputs]


class Rings:
    """A ring of rows per slot and state tensor; each slot turns by itself, once per step of its own.

    All rings lie in one array of rows, and every position is a row number in it: so a step is a gather, a scatter and
    a look-up of the next position, whatever the slots have missed.
    """

    def __init__(self, tensors: list[StateTensor], taps: list[list[int]], n_slots: int) -> None:
        self.inputs = [TAPS]
        self.outputs = [COLUMN]
        self._names = [tensor.name for tensor in tensors]
        self._reach = [tensor.shape[0] for tensor in tensors]
        self._n_slots = n_slots
        first = np.concatenate([[0], np.cumsum(self._reach)[:-1]]).astype(np.intp)
        per_slot = sum(self._reach)
        slot = np.arange(n_slots, dtype=np.intp)[:, None] * per_slot
        rows = [start + row for start, of_one in zip(first, taps, strict=True) for row in of_one]
        self._first_oldest = slot + first
        self._first_taps = slot + np.array(rows, np.intp)
        self._next = np.arange(1, n_slots * per_slot + 1, dtype=np.intp)
        for start, reach in zip(first, self._reach, strict=True):
            self._next[slot + start + reach - 1] = slot + start
        self._initial = np.concatenate(initial_state(tensors, 1), axis=1, dtype=np.float32)
        self._rows = self._initial.repeat(n_slots, axis=0).reshape(n_slots * per_slot, -1)
        self._oldest, self._taps = self._first_oldest.copy(), self._first_taps.copy()

    def read(self, slots: NDArray[np.intp] | None) -> dict[str, NDArray[Any]]:
        taps = self._taps if slots is None else self._taps[slots]
        return {TAPS: self._rows.take(taps, axis=0)}

    def write(self, values: dict[str, NDArray[Any]], slots: NDArray[np.intp] | None) -> None:
        # The oldest row of a ring is the one that no later step needs.
        if slots is None:
            self._rows[self._oldest] = values[COLUMN]
            self._oldest, self._taps = self._next.take(self._oldest), self._next.take(self._taps)
        else:
            oldest = self._oldest[slots]
            self._rows[oldest] = values[COLUMN]
            self._oldest[slots], self._taps[slots] = self._next[oldest], self._next[self._taps[slots]]

    def reset(self, slots: NDArray[np.intp] | None) -> None:
        # The rows of a ring all begin with one value, so it may stay turned as it is.
        by_slot = self._rows.reshape(self._n_slots, -1, self._rows.shape[1])
        by_slot[slice(None) if slots is None else slots] = self._initial

    def snapshot(self) -> State:
        state: State = {}
        for place, (name, reach) in enumerate(zip(self._names, self._reach, strict=True)):
            first = self._first_oldest[:, place, None]
            turned = self._oldest[:, place, None] - first
            state[name] = self._rows[first + (turned + np.arange(reach)) % reach]
        return state

    def restore(self, state: State) -> None:
        self._oldest, self._taps = self._first_oldest.copy(), self._first_taps.copy()
        joined = np.concatenate([state[name] for name in self._names], axis=1, dtype=np.float32)
        self._rows[:] = joined.reshape(self._rows.shape)
