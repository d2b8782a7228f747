"""What a sending thread owes: one report of each decision, whenever the run ends."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from actuator_bench import decision
from ethostream.inference.actuators.send_worker import UNREAD, Outcome, SendWorker
from ethostream.streaming.messages import Decision


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def words(worker: SendWorker) -> list[tuple[int, str]]:
    """Set id and state of each report."""
    return [(one.decision.set_id, one.state) for one in worker.reports() if one.decision is not None]


def test_a_send_that_hangs_leaves_no_decision_without_a_word() -> None:
    began, free = threading.Event(), threading.Event()

    def send(one: Decision, _still_wanted: Callable[[], bool]) -> Outcome:
        began.set()
        free.wait(30.0)
        return "acknowledged", f"after all: {one.set_id}"

    worker = SendWorker("send", send, most=8)
    for n in range(4):
        assert worker.offer(decision(n))
    assert began.wait(10.0)
    worker.end()
    assert words(worker) == [(1, "cancelled"), (2, "cancelled"), (3, "cancelled")], "before anybody waits"
    assert not worker.offer(decision(4))
    worker.close(0.01)
    assert words(worker) == [(0, "failed")]
    free.set()
    worker._thread.join(10.0)
    assert words(worker) == [], "one last word each"


@pytest.mark.parametrize("patience_s", [0.0, 10.0])
def test_each_decision_has_one_word_at_whichever_moment_the_run_ends(restless: None, patience_s: float) -> None:
    for n_before in range(6):
        for _ in range(40):
            sent = threading.Semaphore(0)

            def send(_one: Decision, _wanted: Callable[[], bool], sent: threading.Semaphore = sent) -> Outcome:
                sent.release()
                return "acknowledged", ""

            worker = SendWorker("send", send, most=8)
            for n in range(6):
                assert worker.offer(decision(n))
            for _ in range(n_before):
                assert sent.acquire(timeout=10.0)
            worker.close(patience_s)
            said = words(worker)
            worker._thread.join(10.0)
            assert sorted(n for n, _ in said) == list(range(6)) and words(worker) == [], said


def test_reports_that_nobody_reads_are_bounded_and_none_is_lost() -> None:
    worker = SendWorker("send", lambda _one, _wanted: ("acknowledged", ""), most=2)
    taken: list[int] = []
    for n in range(50):
        if worker.offer(decision(n)):
            taken.append(n)
        worker.cancel()
    assert len(taken) == UNREAD * 2
    worker.close(10.0)
    assert sorted(n for n, _ in words(worker)) == taken
