"""The exchange fit against worlds whose truth is known: error, bound, drift, faults; and the clock that it steers."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from ethostream.sync.clock import MAX_SLEW, FakeClock, FollowedClock
from ethostream.sync.errors import ClockError
from ethostream.sync.time_exchange import (
    LOCKED_SPAN_NS,
    MAX_EXCHANGES,
    N_SETTLED,
    N_STEP,
    WINDOW_NS,
    Exchange,
    HostClockFit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_700_000_000 * S


class World:
    """Two clocks and a network. The local clock begins at 0 and drifts; rig time is the truth."""

    def __init__(self, drift_ppm: float, seed: int = 1, loss: float = 0.0) -> None:
        self.drift = drift_ppm * 1e-6
        self.loss = loss
        self.jump_ns = 0
        self.rng = np.random.default_rng(seed)

    def local_ns(self, t_ns: int) -> int:
        return t_ns + round(t_ns * self.drift) + self.jump_ns

    def exchange(self, t_ns: int, there_ns: int, back_ns: int, inside_ns: int = 30_000) -> Exchange:
        served = t_ns + there_ns
        return Exchange(
            self.local_ns(t_ns),
            START_NS + served,
            START_NS + served + inside_ns,
            self.local_ns(served + inside_ns + back_ns),
        )

    def exchanges(
        self, seconds: float, there_ms: tuple[float, float], back_ms: tuple[float, float], rate_hz: float = 2.0
    ) -> Iterator[tuple[int, Exchange]]:
        """A burst of 16, then paced; each with the true time at which its answer came."""
        t, n = 0, 0
        while t < seconds * S:
            n += 1
            t += round(0.05 * S if n <= 16 else S / rate_hz)
            there, back = (round(self.rng.uniform(*one) * MS) for one in (there_ms, back_ms))
            if self.rng.random() >= self.loss:
                yield t + there + 30_000 + back, self.exchange(t, there, back)

    def error_ns(self, fit: HostClockFit, t_ns: int) -> int:
        """Estimated less true rig time at true time ``t_ns``."""
        assert fit.estimate is not None
        return fit.estimate.to_rig_ns(self.local_ns(t_ns)) - (START_NS + t_ns)


def follow(
    fit: HostClockFit,
    exchanges: Iterator[tuple[int, Exchange]],
    look: Callable[[int, HostClockFit], None] = lambda t_ns, fit: None,
) -> int:
    """Add them all; returns when the last one came."""
    last = 0
    for t_ns, exchange in exchanges:
        last = t_ns
        fit.add(exchange)
        look(t_ns, fit)
    return last


@pytest.mark.parametrize("drift_ppm", [0.0, 50.0, -200.0])
def test_jitter_of_half_a_millisecond_leaves_tens_of_microseconds_after_thirty_seconds(drift_ppm: float) -> None:
    errors: list[float] = []
    for seed in range(15):
        world, fit = World(drift_ppm, seed, loss=0.02), HostClockFit()
        last = follow(fit, world.exchanges(30, (0.5, 1.5), (0.5, 1.5)))
        assert fit.locked and fit.n_outliers == 0
        errors.append(abs(world.error_ns(fit, last)))
    assert np.median(errors) < 40_000
    assert max(errors) < 200_000


def test_an_hour_of_drift_is_followed() -> None:
    world = World(50.0, seed=3, loss=0.02)
    errors: list[int] = []
    drifts: list[float] = []

    def look(t_ns: int, fit: HostClockFit) -> None:
        if t_ns > 30 * S:
            assert fit.estimate is not None
            errors.append(abs(world.error_ns(fit, t_ns)))
            drifts.append(abs(fit.estimate.drift_ppm - 50.0))

    follow(HostClockFit(), world.exchanges(3600, (0.5, 1.5), (0.5, 1.5), rate_hz=0.5), look)
    assert len(errors) > 1700
    assert np.quantile(errors, 0.99) < 200_000
    assert drifts[-1] < 2.0 and max(drifts) < 20.0


def test_what_is_always_longer_one_way_cannot_be_seen_and_is_half_of_the_difference() -> None:
    world, fit = World(50.0, seed=4), HostClockFit()
    last = follow(fit, world.exchanges(60, (1.5, 1.501), (0.5, 0.501)))
    assert fit.estimate is not None
    assert world.error_ns(fit, last) == pytest.approx(500_000, abs=5_000)
    assert fit.estimate.residual_us[2] < 5, "and nothing in the data tells"
    assert fit.estimate.error_bound_ns == pytest.approx(1_000_000, abs=2_000)


@settings(max_examples=40)
@given(
    there=st.floats(0.01, 20), back=st.floats(0.01, 20), jitter=st.floats(0, 5), drift=st.floats(-400, 400),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_the_error_is_never_beyond_half_the_least_round_trip(
    there: float, back: float, jitter: float, drift: float, seed: int
) -> None:
    world, fit = World(drift, seed), HostClockFit()
    for last, exchange in world.exchanges(20, (there, there + jitter), (back, back + jitter)):
        fit.add(exchange)
        if fit.estimate is not None and fit.estimate.span_ns > 8 * S:
            # The bound is for a steady drift that is known; what the slope is off by adds to it at the window's end.
            slack = 20_000 + round(jitter * MS * 0.75)
            assert abs(world.error_ns(fit, last)) <= fit.estimate.error_bound_ns + slack


def test_a_late_answer_teaches_what_it_can_and_does_no_harm() -> None:
    world, fit, last = World(10.0, seed=5), HostClockFit(), 0
    for n, (t_ns, exchange) in enumerate(world.exchanges(30, (0.5, 0.7), (0.5, 0.7))):
        last = t_ns
        fit.add(world.exchange(t_ns, 30 * MS, MS) if n % 5 == 4 else exchange)
    assert fit.n_outliers == 0
    assert abs(world.error_ns(fit, last)) < 60_000


def test_answers_that_cannot_be_are_left_out() -> None:
    world, fit = World(0.0), HostClockFit()
    for t_ns, exchange in world.exchanges(15, (0.5, 0.6), (0.5, 0.6)):
        fit.add(exchange)
        before = fit.estimate
        backwards = exchange._replace(t_server_sent_ns=exchange.t_server_received_ns - 1)
        too_fast = exchange._replace(t_server_sent_ns=exchange.t_server_received_ns + S)
        assert not fit.add(backwards) and not fit.add(too_fast) and not fit.add(exchange), t_ns
        assert fit.estimate is before


def test_a_single_wrong_answer_is_an_outlier_and_five_that_agree_are_a_step() -> None:
    world, fit = World(20.0, seed=6), HostClockFit()
    stream = world.exchanges(200, (0.5, 1.5), (0.5, 1.5))
    for _ in range(60):
        fit.add(next(stream)[1])
    t_ns, exchange = next(stream)
    wrong = exchange._replace(
        t_server_received_ns=exchange.t_server_received_ns + 50 * MS,
        t_server_sent_ns=exchange.t_server_sent_ns + 50 * MS,
    )
    assert not fit.add(wrong)
    assert (fit.n_outliers, fit.n_steps) == (1, 0)
    t_ns, exchange = next(stream)
    assert fit.add(exchange) and abs(world.error_ns(fit, t_ns)) < 300_000

    world.jump_ns = 7 * S  # as if the rig's host had been held
    verdicts: list[bool] = []
    while not any(verdicts):
        t_ns, exchange = next(stream)
        verdicts.append(fit.add(exchange))
    assert len(verdicts) <= N_STEP + 1, "one may have been on its way when the clock jumped"
    assert fit.n_steps == 1 and fit.stepped and not fit.locked
    assert abs(world.error_ns(fit, t_ns)) < 1_500_000
    last = follow(fit, stream)
    assert fit.locked and not fit.stepped and abs(world.error_ns(fit, last)) < 200_000


def test_wrong_answers_in_the_first_burst_do_not_count() -> None:
    world, fit, n = World(0.0, seed=7), HostClockFit(), 0
    for n, (_, exchange) in enumerate(world.exchanges(3, (0.5, 1.0), (0.5, 1.0)), 1):
        if n in (2, 5):
            sent_ns, served_ns = exchange.t_server_received_ns - S, exchange.t_server_sent_ns - S
            fit.add(exchange._replace(t_server_received_ns=sent_ns, t_server_sent_ns=served_ns))
        else:
            fit.add(exchange)
    assert n > N_SETTLED and fit.n_outliers == 2 and fit.estimate is not None
    assert abs(fit.estimate.to_rig_ns(world.local_ns(3 * S)) - START_NS - 3 * S) < 500_000


def test_holdover_runs_on_at_the_last_drift_and_the_return_is_no_step() -> None:
    world, fit = World(80.0, seed=8), HostClockFit()
    last = follow(fit, world.exchanges(120, (0.5, 0.6), (0.5, 0.6)))
    later = last + 600 * S
    assert abs(world.error_ns(fit, later)) < 600_000, "ten minutes: 48 ms without the drift"
    assert fit.add(world.exchange(later, 550_000, 550_000))
    assert fit.n_steps == 0


def test_a_drift_that_changes_is_found_again() -> None:
    world, fit = World(0.0, seed=9), HostClockFit()
    t = 0
    for t in range(0, 300 * S, S // 2):
        # From 20 to 30 ppm at one stroke, with the time continuous.
        local = t + round(20e-6 * t) + (round(10e-6 * (t - 150 * S)) if t > 150 * S else 0)
        there, back = (round(world.rng.uniform(0.1, 0.2) * MS) for _ in range(2))
        end = t + there + back
        end_local = local + round((there + back) * 1.00003)
        fit.add(Exchange(local, START_NS + t + there, START_NS + t + there, end_local))
        assert fit.estimate is None or abs(fit.estimate.to_rig_ns(end_local) - START_NS - end) < 500_000
    assert fit.n_steps == 0 and fit.estimate is not None
    assert fit.estimate.drift_ppm == pytest.approx(30.0, abs=1.0)


def test_memory_is_bounded() -> None:
    world, fit = World(0.0), HostClockFit()
    for t in range(0, (MAX_EXCHANGES + 50) * S // 20, S // 20):
        fit.add(world.exchange(t, MS, MS))
    assert fit.estimate is not None and fit.estimate.n_used == MAX_EXCHANGES
    assert fit.estimate.span_ns <= WINDOW_NS
    with pytest.raises(ClockError, match="too short"):
        HostClockFit(LOCKED_SPAN_NS - 1)


def test_n_step_answers_of_different_minds_are_no_step() -> None:
    world, fit = World(0.0, seed=10), HostClockFit()
    for _, exchange in world.exchanges(15, (0.5, 0.6), (0.5, 0.6)):
        fit.add(exchange)
    for n in range(2 * N_STEP):
        exchange = world.exchange((20 + n) * S, MS, MS)
        shift = (n + 1) * 100 * MS
        assert not fit.add(
            exchange._replace(
                t_server_received_ns=exchange.t_server_received_ns + shift,
                t_server_sent_ns=exchange.t_server_sent_ns + shift,
            )
        )
    assert fit.n_steps == 0


@given(
    errors=st.lists(st.tuples(st.integers(-5 * MS, 5 * MS), st.floats(-4e-4, 4e-4)), min_size=1, max_size=12),
    pause=st.integers(1, 3 * S),
)
def test_a_followed_clock_never_goes_back_and_never_steps(errors: list[tuple[int, float]], pause: int) -> None:
    local = FakeClock(5 * S)
    clock = FollowedClock(local)
    with pytest.raises(ClockError, match="not known"):
        clock.now_ns()
    clock.steer(local.now_ns(), START_NS, 0.0)
    last, last_local = clock.now_ns(), local.now_ns()
    assert last == START_NS
    for error_ns, rate in errors:
        clock.steer(local.now_ns(), clock.now_ns() + error_ns, rate)
        for _ in range(5):
            local.advance_ns(pause // 5 + 1)
            now, now_local = clock.now_ns(), local.now_ns()
            elapsed = now_local - last_local
            assert now >= last
            assert abs((now - last) - elapsed) <= elapsed * (MAX_SLEW + 4.001e-4) + 2
            last, last_local = now, now_local


def test_a_followed_clock_reaches_what_it_is_steered_to_and_holds_the_rate() -> None:
    local = FakeClock(0)
    clock = FollowedClock(local)
    clock.steer(0, START_NS, 20e-6)
    assert clock.steer(0, START_NS + 300_000, 20e-6) == 300_000
    local.advance_ns(2 * S)
    assert clock.now_ns() == pytest.approx(START_NS + 2 * S + 300_000 + 40_000, abs=2)
    local.advance_ns(100 * S)
    assert clock.now_ns() == pytest.approx(START_NS + 102 * S + 300_000 + 2_040_000, abs=2)
    with pytest.raises(ClockError, match="ppm"):
        clock.steer(local.now_ns(), START_NS, 1e-3)


def test_a_followed_clock_sleeps_until_its_own_time() -> None:
    local = FakeClock(0)
    clock = FollowedClock(local)
    clock.steer(0, START_NS, -400e-6)
    clock.sleep_until_ns(START_NS + 10 * S)
    assert START_NS + 10 * S <= clock.now_ns() < START_NS + 10 * S + MS
