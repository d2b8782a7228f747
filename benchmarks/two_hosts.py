"""How well a second host follows rig time: for real in namespaces, and over a simulated hour. Prints JSON.

    python benchmarks/two_hosts.py [--seconds 30] [--simulated-s 3600] [--json two_hosts.json]

Real: the server in one network namespace, the client in another whose monotonic clock is shifted and made to drift by
50 ppm, between them a seeded process that delays (1 ms +- 0.5 ms each way, apart from one another) and loses 1 % of
the messages. Both stand on one machine, so the true offset is known. Simulated: the same network and drift without
sockets. Each also with delays that are always longer one way, which no exchange can see.
"""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ethostream.sync.time_exchange import Exchange, HostClockFit

NETWORKS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    # name -> least and most delay there and back, ms
    "1 ms +- 0.5 ms each way": ((0.5, 1.5), (0.5, 1.5)),
    "1.25 +- 0.25 ms there, 0.75 +- 0.25 ms back": ((1.0, 1.5), (0.5, 1.0)),
    "always 1.5 ms there, 0.5 ms back": ((1.5, 1.5), (0.5, 0.5)),
}
LOSS = 0.01
DRIFT_PPM = 50.0
START_NS = 1_700_000_000_000_000_000


def simulate(
    seconds: float, there_ms: tuple[float, float], back_ms: tuple[float, float], seed: int, rate_hz: float = 2.0
) -> dict[str, Any]:
    """One run of the filter alone; errors against truth, in us."""
    rng = np.random.default_rng(seed)
    fit = HostClockFit()
    t, n, at_30_s = 0, 0, None
    errors: list[tuple[float, float]] = []
    while t < seconds * 1e9:
        n += 1
        t += round(5e7 if n <= 16 else 1e9 / rate_hz)
        there, back = (round(rng.uniform(*one) * 1e6) for one in (there_ms, back_ms))
        if (rng.random(2) < LOSS).any():
            continue
        end = t + there + back + 30_000
        sent, received = (one + round(one * DRIFT_PPM * 1e-6) for one in (t, end))
        fit.add(Exchange(sent, START_NS + t + there, START_NS + t + there + 30_000, received))
        if fit.estimate is not None:
            error = (fit.estimate.to_rig_ns(received) - START_NS - end) / 1e3
            errors.append((t / 1e9, error))
            if at_30_s is None and t >= 30e9:
                at_30_s = error
    after = np.abs([error for when, error in errors if when >= 30])
    assert fit.estimate is not None
    return {
        "error_after_30_s_us": at_30_s,
        "error_p50_us": float(np.quantile(after, 0.5)),
        "error_p99_us": float(np.quantile(after, 0.99)),
        "error_max_us": float(after.max()),
        "error_at_end_us": errors[-1][1],
        "drift_ppm": fit.estimate.drift_ppm,
        "error_bound_us": fit.estimate.error_bound_ns / 1e3,
        "n_exchanges": n,
        "n_outliers": fit.n_outliers,
    }


def after_thirty_seconds(there_ms: tuple[float, float], back_ms: tuple[float, float], n_runs: int) -> dict[str, float]:
    """Many runs of half a minute, since one is a single draw."""
    errors = np.abs([simulate(30.6, there_ms, back_ms, seed)["error_after_30_s_us"] for seed in range(n_runs)])
    return {
        "n_runs": n_runs,
        "p50_us": float(np.quantile(errors, 0.5)),
        "p90_us": float(np.quantile(errors, 0.9)),
        "max_us": float(errors.max()),
    }


def real(seconds: float) -> dict[str, Any]:
    """In namespaces; says why where they are refused."""
    path = Path(__file__).resolve().parents[1] / "tests" / "streaming" / "two_hosts" / "namespaces.py"
    spec = importlib.util.spec_from_file_location("namespaces", path)
    assert spec is not None and spec.loader is not None
    hosts: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hosts)
    results: dict[str, Any] = {}
    for name, (there, back) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = hosts.run_two_hosts(Path(folder), seconds, there, back, LOSS, DRIFT_PPM, seed=len(results) + 11)
            except hosts.RefusedError as error:
                return {"refused": str(error)}
            found.pop("errors")
            results[name] = found
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each real run; 0: none")
    parser.add_argument("--simulated-s", type=float, default=3600.0)
    parser.add_argument("--runs", type=int, default=50, help="simulated runs of 30 s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = {
        "loss": LOSS,
        "drift_ppm": DRIFT_PPM,
        "questions_per_s": 2.0,
        "real": real(options.seconds) if options.seconds else {},
        "simulated_30_s": {name: after_thirty_seconds(*one, options.runs) for name, one in NETWORKS.items()},
        "simulated": {name: simulate(options.simulated_s, *one, seed=1) for name, one in NETWORKS.items()},
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
