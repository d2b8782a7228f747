"""Which pulses a board reported, from their numbers alone."""

import pytest
from ethostream.acquisition.trigger_node import PulseTally
from ethostream.sync.errors import TriggerError


def test_what_was_skipped_is_named_once() -> None:
    tally = PulseTally()
    assert [list(tally.add(count)) for count in (0, 1, 4, 5)] == [[], [], [2, 3], []]
    assert list(tally.close(8)) == [6, 7]
    assert (tally.n_seen, tally.n_missing) == (4, 4)


@pytest.mark.parametrize("count", [0, 2**20, 2**32 - 1])
def test_a_number_that_cannot_be_is_refused(count: int) -> None:
    """A count near the end of its 32 bits would otherwise be four thousand million lost pulses."""
    tally = PulseTally()
    tally.add(0)
    with pytest.raises(TriggerError, match=f"reports pulse {count} after pulse 0"):
        tally.add(count)
    with pytest.raises(TriggerError, match=f"made {count} pulses"):
        tally.close(count)
