from ethostream.acquisition.ledger import REORDER_WINDOW, FrameLedger, Missing
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=300)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.booleans(), st.integers(0, REORDER_WINDOW - 2), st.booleans()), max_size=200),
)
def test_device_frames_are_captured_or_declared(first: int, plan: list[tuple[bool, int, bool]]) -> None:
    """Each frame is dropped, or arrives up to a window late, perhaps twice; the first ones too."""
    deliveries: list[tuple[int, int]] = []
    delivered: set[int] = set()
    for place, (drop, delay, twice) in enumerate(plan):
        if not drop:
            delivered.add(first + place)
            deliveries += [(place + delay, first + place)] * (2 if twice else 1)
    deliveries.sort()
    ledger = FrameLedger()
    declared: set[int] = set()
    for _, seq in deliveries:
        assert ledger.arrive(seq, seq) != "back"
        runs = ledger.declare()
        declared |= {seq for run in runs for seq in range(run.first_seq, run.first_seq + run.n)}
        assert ledger.last_seq - ledger.first_seq + 1 == ledger.captured + ledger.dropped + ledger.pending
    declared |= {seq for run in ledger.declare(end=True) for seq in range(run.first_seq, run.first_seq + run.n)}
    assert ledger.captured == len(delivered)
    assert ledger.duplicates == len(deliveries) - len(delivered)
    assert declared == (set(range(min(delivered), max(delivered) + 1)) - delivered if delivered else set())
    assert ledger.dropped == len(declared) and ledger.pending == 0


def test_frames_lost_after_the_last_one_are_part_of_the_sum() -> None:
    ledger = FrameLedger()
    assert ledger.lose_last(3) is None, "there is no number to go on from"
    for seq in (4, 5, 7):
        ledger.arrive(seq, seq)
    ledger.declare(end=True)
    assert ledger.lose_last(0) is None
    assert ledger.lose_last(2) == Missing(8, 2)
    assert (ledger.first_seq, ledger.last_seq, ledger.captured, ledger.dropped) == (4, 9, 3, 3)


def test_a_jump_of_any_length_takes_no_memory() -> None:
    ledger = FrameLedger()
    ledger.arrive(0, 0)
    ledger.arrive(10**12, 10**12)
    runs = ledger.declare(end=True)
    assert sum(run.n for run in runs) == 10**12 - 1
    assert ledger.dropped == 10**12 - 1


@given(st.integers(257, 1000), st.integers(0, 10**6))
def test_far_behind_is_a_counter_that_went_back(n: int, first: int) -> None:
    ledger = FrameLedger()
    for seq in range(first, first + n):
        ledger.arrive(seq, seq)
    before = (ledger.captured, ledger.first_seq, ledger.last_seq)
    assert ledger.arrive(first + n - 258, 0) == "back"
    assert ledger.arrive(first + n - 1, first + n) == "back"
    assert ledger.arrive(first + n - 1, first + n - 1) == "duplicate"
    assert (ledger.captured, ledger.first_seq, ledger.last_seq) == before


def test_before_the_first_frame() -> None:
    ledger = FrameLedger()
    seqs = (100, 99, 68, 67, 101, 68)
    assert [ledger.arrive(seq, seq) for seq in seqs] == ["new", "new", "new", "duplicate", "new", "duplicate"]
    assert (ledger.first_seq, ledger.last_seq, ledger.captured, ledger.pending) == (68, 101, 4, 30)
