from itertools import pairwise

from ethostream.streaming.seq_set import SeqSet
from hypothesis import given
from hypothesis import strategies as st

seqs = st.sets(st.integers(-5, 60), max_size=40)


def of(numbers: set[int]) -> SeqSet:
    return SeqSet((n, n + 1) for n in numbers)


@given(st.lists(st.integers(-5, 60), max_size=80))
def test_add_tells_what_is_new_in_any_order(numbers: list[int]) -> None:
    one, model = SeqSet(), set[int]()
    for n in numbers:
        assert one.add(n) == (n not in model)
        model.add(n)
        assert len(one) == len(model)
    assert list(one) == sorted(model)
    assert one == of(model)


@given(st.lists(st.tuples(st.integers(-5, 60), st.integers(0, 12)), max_size=20))
def test_runs_never_touch(runs: list[tuple[int, int]]) -> None:
    one, model = SeqSet(), set[int]()
    for start, n in runs:
        one.add_run(start, start + n)
        model.update(range(start, start + n))
    assert list(one) == sorted(model)
    ends = list(one.runs())
    assert all(stop < start for (_, stop), (start, _) in pairwise(ends))


@given(seqs, seqs, seqs, st.integers(0, 45))
def test_set_algebra(a: set[int], b: set[int], c: set[int], n: int) -> None:
    assert list(of(a).minus(of(b))) == sorted(a - b)
    assert list(of(a).union(of(b), of(c))) == sorted(a | b | c)
    assert list(of(a).smallest(n)) == sorted(a)[:n]
    assert all((seq in of(a)) == (seq in a) for seq in range(-6, 62))
    if a:
        assert (of(a).first, of(a).last) == (min(a), max(a))


def test_the_words_name_the_first_runs_only() -> None:
    seqs = of({3, 7, 8, 9, 20})
    assert seqs.named() == "3, 7-9, 20"
    assert seqs.named(2) == "3, 7-9 and 1 more run(s)"
    assert SeqSet().named() == ""
