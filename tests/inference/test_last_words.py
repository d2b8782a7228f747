"""Whatever is lost between host and board, every fired decision has a last word."""

import ctypes
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from actuator_bench import LogBench, decision
from ethostream.inference.actuation import ActuationSchedule
from ethostream.streaming.messages import Actuation
from ethostream.sync.clock import FakeClock
from hardware_benches import SimulatedBench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FIRST = {"sent", "refused", "failed", "cancelled"}
STEP = st.one_of(
    st.tuples(st.just("fire"), st.sampled_from([0, 0, 30, 300])),
    st.tuples(st.just("wait"), st.integers(1, 600)),
    st.tuples(st.sampled_from(["lose from board", "lose from host", "hear", "disarm", "arm"]), st.just(0)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=1, max_size=25))
def test_every_decision_has_a_last_word(
    tmp_path: Path, simulated_board_library: ctypes.CDLL, steps: list[tuple[str, int]]
) -> None:
    with ExitStack() as stack:
        bench = SimulatedBench(stack, tmp_path, simulated_board_library)
        said: list[Actuation] = []
        # Between the watchdog and its answer's timeout lies a second firing.
        line = bench.open(pulse_ms=2.0, watchdog_ms=100, ack_timeout_ms=400.0)
        schedule = ActuationSchedule({"line": line}, bench.clock, said.append, lambda _text: None)
        schedule.arm()
        n = 0
        for what, value in steps:
            match what:
                case "fire":
                    n += 1
                    schedule.add(decision(n, bench.clock.now_ns() + value * 1_000_000 if value else 0))
                case "wait":
                    for _ in range(-(-value // 20)):
                        bench.world.run(min(value, 20) * 1000)
                        schedule.run_due()
                        schedule.poll()
                case "lose from board":
                    bench.world.from_board = lambda _data: b""
                case "lose from host":
                    bench.world.from_host = lambda data: data if len(data) < 20 else b""
                case "hear":
                    bench.world.from_board = bench.world.from_host = lambda data: data
                case "disarm":
                    schedule.disarm("person")
                case _:
                    schedule.pardon()
                    schedule.arm()
        schedule.close("end")
        check(said, n)


def check(said: list[Actuation], n: int) -> None:
    for set_id in range(1, n + 1):
        words = [one.state for one in said if one.set_id == set_id]
        assert words and words[0] in FIRST, (set_id, words)
        assert len([one for one in words if one in FIRST - {"failed", "refused"}]) <= 1, (set_id, words)
        if words[0] == "sent":
            assert words[1:] and set(words[1:]) <= {"acknowledged", "failed", "refused"}, (set_id, words)
            assert words.count("failed") + words.count("refused") <= 1, (set_id, words)
            assert words.count("acknowledged") <= 1, (set_id, words)
        else:
            assert len(words) == 1, (set_id, words)


def test_a_rise_that_was_lost_before_the_next_one_is_told(tmp_path: Path, simulated_board_library: ctypes.CDLL) -> None:
    with ExitStack() as stack:
        bench: Any = SimulatedBench(stack, tmp_path, simulated_board_library)
        line = bench.open(pulse_ms=2.0, watchdog_ms=100, ack_timeout_ms=4000.0)
        line.arm()
        bench.world.from_board = lambda _data: b""
        assert line.fire(decision(1))
        for _ in range(12):
            bench.world.run(10_000)
            line.poll()
        bench.world.from_board = lambda data: data
        assert line.fire(decision(2))
        reports = bench.until(line, lambda new: any(one.state == "acknowledged" for one in new))
        assert [(one.decision.set_id, one.state) for one in reports] == [(1, "failed"), (2, "acknowledged")]


def test_what_was_held_up_for_long_is_not_fired_afterwards(tmp_path: Path) -> None:
    """The process stood still (its machine slept, or was paged out) while firings came due."""
    with ExitStack() as stack:
        clock = FakeClock(10**18)
        bench = LogBench(stack, tmp_path)
        bench.clock = clock
        said: list[Actuation] = []
        schedule = ActuationSchedule({"line": bench.open()}, clock, said.append, lambda _text: None)
        schedule.arm()
        for set_id, after_ms in ((1, 200), (2, 1300)):
            schedule.add(decision(set_id, clock.now_ns() + after_ms * 1_000_000))
        clock.advance_ns(2_000_000_000)
        schedule.run_due()
        schedule.flush()
        assert [(one.set_id, one.state, one.reason) for one in said] == [
            (1, "refused", "due 1800 ms ago: held up too long"),
            (2, "sent", ""),
        ]
        schedule.close("end")
