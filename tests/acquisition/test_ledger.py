from ethostream.acquisition.ledger import REORDER_WINDOW, FrameLedger
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=300)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.booleans(), st.integers(0, REORDER_WINDOW - 2), st.booleans()), max_size=200),
)
def test_device_frames_are_captured_or_declared(first: int, plan: list[tuple[bool, int, bool]]) -> None:
    """Each frame is dropped, or arrives up to a window late, perhaps twice."""
    deliveries: list[tuple[int, int]] = [(0, first)]
    delivered = {first}
    for place, (drop, delay, twice) in enumerate(plan, start=1):
        if not drop:
            delivered.add(first + place)
            deliveries += [(place + delay, first + place)] * (2 if twice else 1)
    deliveries.sort()
    ledger = FrameLedger()
    declared: set[int] = set()
    for _, seq in deliveries:
        ledger.arrive(seq)
        runs = ledger.declare()
        declared |= {seq for run in runs for seq in range(run.first_seq, run.first_seq + run.n)}
        assert ledger.last_seq - ledger.first_seq + 1 == ledger.captured + ledger.dropped + ledger.pending
    declared |= {seq for run in ledger.declare(end=True) for seq in range(run.first_seq, run.first_seq + run.n)}
    assert ledger.captured == len(delivered)
    assert ledger.duplicates == len(deliveries) - len(delivered)
    assert declared == set(range(first, max(delivered) + 1)) - delivered
    assert ledger.dropped == len(declared) and ledger.pending == 0


def test_a_jump_of_any_length_takes_no_memory() -> None:
    ledger = FrameLedger()
    ledger.arrive(0)
    ledger.arrive(10**12)
    runs = ledger.declare(end=True)
    assert sum(run.n for run in runs) == 10**12 - 1
    assert ledger.dropped == 10**12 - 1
