from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.header_filter import REORDER_WINDOW, HeaderFilter
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.booleans(), st.integers(0, REORDER_WINDOW - 2), st.booleans()), min_size=1, max_size=120),
)
def test_it_calls_new_what_the_camera_calls_new(first: int, plan: list[tuple[bool, int, bool]]) -> None:
    """Each frame is dropped, or arrives up to a window late, perhaps twice; the first ones too."""
    deliveries: list[tuple[int, int]] = []
    for place, (drop, delay, twice) in enumerate(plan):
        if not drop:
            deliveries += [(place + delay, first + place)] * (2 if twice else 1)
    ledger, headers = FrameLedger(), HeaderFilter()
    for _, seq in sorted(deliveries):
        assert headers.is_new(0, seq) == (ledger.arrive(seq, seq) == "new")
    assert headers.n_duplicates.get(0, 0) == ledger.duplicates


def test_before_the_first_of_the_epoch() -> None:
    headers = HeaderFilter()
    seqs = (100, 99, 68, 67, 101, 68, 133, 101 - REORDER_WINDOW)
    assert [headers.is_new(0, seq) for seq in seqs] == [True, True, True, False, True, False, True, True]
    assert headers.is_new(1, 0)
    assert headers.n_duplicates == {0: 2}
