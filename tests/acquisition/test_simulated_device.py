"""The device's side of the cable, over arbitrary faults and arbitrary hosts."""

from ethostream.acquisition.ledger import FrameLedger
from ethostream.acquisition.simulated_device import FaultDraws, InstantClock, SimulatedDevice, SimulatedFaults
from ethostream.sync.clock import NS_PER_MS, NS_PER_S
from hypothesis import given
from hypothesis import strategies as st

probability = st.floats(0.0, 0.4)
faults = st.builds(
    SimulatedFaults,
    drop_p=probability,
    duplicate_p=probability,
    reorder_p=probability,
    late_p=probability,
    late_ms=st.floats(0.0, 120.0),
)
START_NS = 1_700_000_000_000_000_000


def device(f, rate_hz, n_buffer=8, seed=1):
    instants = InstantClock(START_NS, rate_hz)
    return instants, SimulatedDevice(instants, FaultDraws(f, seed, "cam"), 3 * NS_PER_MS, n_buffer, 0)


@given(faults, st.sampled_from([25.0, 30.0, 59.94, 120.0]), st.integers(0, 1000))
def test_a_host_in_time_gets_all_that_was_not_dropped(f, rate_hz, seed):
    _, dev = device(f, rate_hz, seed=seed)
    draws = FaultDraws(f, seed, "cam")
    now, seqs, before = START_NS, [], 0
    for _ in range(200):
        delivery = dev.next_delivery(now)
        assert delivery.t_ns >= before, "deliveries come in the order of time"
        before = now = max(now, delivery.t_ns)
        dev.take()
        seqs.append(delivery.instant)
    sure = max(seqs) - 30  # later frames may still be on their way
    expected = [k for k in range(max(sure, 0)) if not draws.dropped(k)]
    assert sorted({k for k in seqs if k < sure}) == expected
    for k in expected:
        assert seqs.count(k) == 1 + draws.duplicated(k)


@given(faults, st.lists(st.integers(0, 600), min_size=5, max_size=60), st.integers(1, 12))
def test_the_account_closes_for_any_host(f, pauses_ms, n_buffer):
    instants, dev = device(f, 50.0, n_buffer)
    ledger, now = FrameLedger(), START_NS
    for pause in pauses_ms:
        now += pause * NS_PER_MS
        delivery = dev.next_delivery(now)
        again = dev.next_delivery(max(now, delivery.t_ns))
        now = max(now, delivery.t_ns)
        assert instants.exposure_ns(again.instant) + 3 * NS_PER_MS <= now
        dev.take()
        ledger.arrive(again.instant, instants.exposure_ns(again.instant))
    ledger.declare(end=True)
    assert ledger.captured + ledger.dropped == ledger.last_seq - ledger.first_seq + 1
    assert ledger.pending == 0


@given(st.floats(1.0, 500.0), st.integers(0, 10**17), st.integers(0, 10**7))
def test_instants_are_exact(rate_hz, after_ns, k):
    clock = InstantClock(START_NS, rate_hz)
    first = clock.first_instant_at(START_NS + after_ns)
    assert clock.exposure_ns(first) >= START_NS + after_ns
    assert first == 0 or clock.exposure_ns(first - 1) < START_NS + after_ns
    assert abs(clock.exposure_ns(k + 1) - clock.exposure_ns(k) - NS_PER_S / rate_hz) <= 1.001
