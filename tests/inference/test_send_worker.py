"""What a sending thread still owes when the run ends while it hangs."""

import threading
from collections.abc import Callable

from actuator_bench import decision
from ethostream.inference.actuators.send_worker import Outcome, SendWorker
from ethostream.streaming.messages import Decision


def test_a_send_that_hangs_leaves_no_decision_without_a_word() -> None:
    began, free = threading.Event(), threading.Event()

    def send(one: Decision, _still_wanted: Callable[[], bool]) -> Outcome:
        began.set()
        free.wait(30.0)
        return "acknowledged", f"after all: {one.set_id}"

    worker = SendWorker("send", send, most=8, patience_s=0.01)
    for n in range(4):
        assert worker.offer(decision(n))
    assert began.wait(10.0)
    worker.close()
    said = [(one.decision.set_id, one.state) for one in worker.reports()]
    assert said == [(0, "failed"), (1, "cancelled"), (2, "cancelled"), (3, "cancelled")]
    free.set()
    worker._thread.join(10.0)
    assert worker.reports() == [], "one last word each"
