"""The other host: its monotonic clock is shifted by a time namespace and drifts by a wrapper, so the truth is known."""

import json
import sys
from pathlib import Path

import zmq
from ethostream.streaming.keys import load_keys
from ethostream.streaming.time_client import TimeClient
from ethostream.sync.clock import MonotonicClock


class DriftingClock:
    """The monotonic clock, fast by ``ppm`` since it was made."""

    def __init__(self, ppm: float) -> None:
        self.raw = MonotonicClock()
        self.begun_ns = self.raw.now_ns()
        self.rate = ppm * 1e-6

    def at(self, raw_ns: int) -> int:
        return raw_ns + round((raw_ns - self.begun_ns) * self.rate)

    def now_ns(self) -> int:
        return self.at(self.raw.now_ns())

    def sleep_until_ns(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            self.raw.sleep_until_ns(self.raw.now_ns() + left)


address, folder, options = sys.argv[1:]
spec = json.loads(options)  # seconds, ppm, rate_hz, shift_ns, utc_ns, monotonic_ns
keys = load_keys(Path(folder))
clock = DriftingClock(spec["ppm"])


def truth_ns(raw_ns: int) -> int:
    """Rig time of an instant of this host's raw clock: both hosts stand on one machine."""
    return raw_ns - spec["shift_ns"] - spec["monotonic_ns"] + spec["utc_ns"]


context: "zmq.Context[zmq.Socket[bytes]]" = zmq.Context()
errors: list[tuple[float, int, int]] = []
n_back, last_ns = 0, 0
with TimeClient(context, address, clock, keys.name, spec["rate_hz"], keys, "rig") as client:
    begun = clock.raw.now_ns()
    seen = 0
    while (elapsed := clock.raw.now_ns() - begun) < spec["seconds"] * 1e9:
        client.poll(20)
        if not client.clock.is_set:
            continue
        now_ns = client.clock.now_ns()
        n_back += now_ns < last_ns
        last_ns = now_ns
        if client.n_good > seen:
            seen = client.n_good
            raw = clock.raw.now_ns()
            estimate = client.fit.estimate
            assert estimate is not None
            fit_error = estimate.to_rig_ns(clock.at(raw)) - truth_ns(raw)
            before = clock.raw.now_ns()
            followed = client.clock.now_ns()
            after = clock.raw.now_ns()
            errors.append((elapsed / 1e9, fit_error, followed - truth_ns((before + after) // 2)))
    estimate = client.fit.estimate
    print(
        json.dumps(
            {
                "state": client.state,
                "offset_error_us": errors[-1][1] / 1e3,
                "followed_error_us": errors[-1][2] / 1e3,
                "errors": [(round(t, 3), fit / 1e3, followed / 1e3) for t, fit, followed in errors],
                "drift_ppm": estimate.drift_ppm,
                "true_drift_ppm": spec["ppm"],
                "error_bound_us": estimate.error_bound_ns / 1e3,
                "delay_us": estimate.delay_ns / 1e3,
                "local_minus_rig_s": (clock.now_ns() - truth_ns(clock.raw.now_ns())) / 1e9,
                "n_sent": client.n_sent,
                "n_answered": client.n_good,
                "n_lost": client.n_lost,
                "n_late": client.n_late,
                "n_outliers": client.fit.n_outliers,
                "n_went_back": n_back,
            }
        ),
        flush=True,
    )
context.term()
