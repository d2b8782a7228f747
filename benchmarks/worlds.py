"""Ten thousand generated worlds for the tick fit and as many for the frame-set assembler, scored against their truth.

    python benchmarks/worlds.py [--worlds 10000] [--first 0] [--json worlds.json]

The worlds are those of the tests (``tests/sync/tick_worlds.py``, ``tests/sync/set_worlds.py``), each made from a seed:
a failed one is named and can be looked at alone. Exits 1 where anything was mispaired, unaccounted or missed.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time  # noqa: TID251
from typing import TypeVar

import numpy as np
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "sync"))

import set_worlds
import tick_worlds
from world_score import WorldScore

PROMISED_US = 100.0


S = TypeVar("S", bound=WorldScore)


def play_all(what: str, total: S, play: Callable[[int], S], first: int, n: int) -> tuple[S, float]:
    """Add the scores of the worlds of ``n`` seeds to ``total``; and the processor's seconds that they took."""
    began = process_time()
    for seed in track(range(first, first + n), what):
        total.add(play(seed))
    return total, round(process_time() - began, 1)


def percentiles(values: list[int] | list[float], scale: float = 1.0) -> dict[str, float]:
    """p50, p99, p99.9 and maximum of the absolute values."""
    found = np.abs(np.asarray(values, np.float64)) * scale
    return {
        **{f"p{q:g}": round(float(np.percentile(found, q)), 2) for q in (50, 99, 99.9)},
        "max": round(float(found.max()), 2),
    }


def tick_fit(first: int, n: int) -> dict[str, object]:
    """Score the tick fit."""
    total, processor_s = play_all(
        "tick fit", tick_worlds.TickScore(), lambda seed: tick_worlds.play(tick_worlds.tick_world(seed)), first, n
    )
    return {
        "worlds": total.worlds,
        "frames": total.frames,
        "jumps": total.jumps,
        "missed": total.missed,
        "false_steps": total.false_steps,
        "backwards": total.backwards,
        "leaps": total.leaps,
        "worlds_that_never_locked": total.never_locked,
        "error_of_the_line_us": percentiles(total.error_ns, 1e-3),
        "error_of_a_frame_us": percentiles(total.frame_error_ns, 1e-3),
        "frames_to_lock": percentiles(total.lock_frames),
        "seconds_to_lock": percentiles(total.lock_s),
        "failed_seeds": total.failed_seeds,
        "processor_s": processor_s,
    }


def frame_sets(first: int, n: int) -> dict[str, object]:
    """Score the assembler."""
    total, processor_s = play_all(
        "frame sets", set_worlds.SetScore(), lambda seed: set_worlds.play(set_worlds.set_world(seed)), first, n
    )
    return {**vars(total), "processor_s": processor_s}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first world")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = {
        "frame_sets": frame_sets(options.first, options.worlds),
        "tick_fit": tick_fit(options.first, options.worlds),
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    fit = result["tick_fit"]
    error = fit["error_of_the_line_us"]
    assert isinstance(error, dict)
    return int(bool(fit["failed_seeds"] or result["frame_sets"]["failed_seeds"] or error["p99"] > PROMISED_US))


if __name__ == "__main__":
    sys.exit(main())
