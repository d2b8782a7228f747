"""Rings against a plain list of what each slot has seen."""

import numpy as np
from ethostream.inference.graph_spec import COLUMN, TAPS, StateTensor
from ethostream.inference.head_memory import Rings
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

N_SLOTS, WIDTH = 3, 2
REACH, ROWS = [2, 6, 5], [[0, 1], [0, 3], [1, 4]]
TENSORS = [
    StateTensor(name=f"state_{place}", shape=[reach, WIDTH], dtype="float32", initial=place / 2)
    for place, reach in enumerate(REACH)
]
ACTIONS = st.sampled_from(["step", "step", "step", "reset", "restore"])
SLOTS = st.sets(st.integers(0, N_SLOTS - 1), min_size=1).map(sorted)


def begin(place: int) -> list[NDArray[np.float32]]:
    return [np.full(WIDTH, place / 2, np.float32)] * REACH[place]


@given(moves=st.lists(st.tuples(ACTIONS, SLOTS), max_size=40))
def test_rings_hold_what_each_slot_was_given(moves: list[tuple[str, list[int]]]) -> None:
    rings = Rings(TENSORS, ROWS, N_SLOTS)
    told = [[begin(place) for place in range(len(REACH))] for _ in range(N_SLOTS)]
    count = 0
    for action, slots in moves:
        chosen = None if len(slots) == N_SLOTS else np.array(slots, np.intp)
        if action == "reset":
            rings.reset(chosen)
            for slot in slots:
                told[slot] = [begin(place) for place in range(len(REACH))]
        elif action == "restore":
            saved, rings = rings.snapshot(), Rings(TENSORS, ROWS, N_SLOTS)
            rings.restore(saved)
        else:
            expected = [[told[slot][place][row] for place, of in enumerate(ROWS) for row in of] for slot in slots]
            assert np.array_equal(rings.read(chosen)[TAPS], np.array(expected))
            size = len(slots) * len(REACH) * WIDTH
            column = (count + np.arange(size, dtype=np.float32)).reshape(len(slots), len(REACH), WIDTH)
            count += size
            rings.write({COLUMN: column}, chosen)
            for slot, rows in zip(slots, column, strict=True):
                told[slot] = [[*held[1:], row] for held, row in zip(told[slot], rows, strict=True)]
        for place, value in enumerate(rings.snapshot().values()):
            assert np.array_equal(value, np.array([told[slot][place] for slot in range(N_SLOTS)]))
