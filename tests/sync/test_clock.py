from ethostream.sync.clock import NS_PER_S, ClockAnchor, FakeClock, RigClock


def test_rig_time_is_utc_at_the_anchor_and_never_steps_back() -> None:
    anchor = ClockAnchor.take()
    clock = RigClock(anchor)
    readings = [clock.now_ns() for _ in range(10_000)]
    assert readings == sorted(readings)
    assert 0 <= readings[0] - anchor.utc_ns < NS_PER_S
    assert anchor.uncertainty_ns < 1_000_000


def test_two_processes_with_one_anchor_agree() -> None:
    anchor = ClockAnchor(utc_ns=10**18, monotonic_ns=5)
    first, second = RigClock(anchor), RigClock(anchor)
    before = first.now_ns()
    between = second.now_ns()
    assert before <= between <= first.now_ns()


def test_sleep_until_returns_no_earlier() -> None:
    clock = RigClock(ClockAnchor.take())
    due = clock.now_ns() + 3_000_000
    clock.sleep_until_ns(due)
    assert clock.now_ns() >= due
    clock.sleep_until_ns(due - NS_PER_S)


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.advance_ns(7)
    clock.sleep_until_ns(3)
    assert clock.now_ns() == 12
    clock.sleep_until_ns(20)
    assert clock.now_ns() == 20
