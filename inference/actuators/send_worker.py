"""A thread that sends what may take its time: the loop never waits, and what does not fit is refused."""

import queue
import threading
from collections.abc import Callable
from typing import Final

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError
from .actuator import Report

_END: Final = None
_LOOK_S = 0.1


class SendWorker:
    """Sends decisions in their order on a thread of its own.

    Args:
        name: of the thread.
        send: called on it, once per decision; returns what is known of the answer (empty: nothing is), and raises
            `ActuatorError` where it failed.
        most: how many may wait.
        patience_s: how long `close` waits for the one that is being sent.
    """

    def __init__(self, name: str, send: Callable[[Decision], str | None], most: int, patience_s: float) -> None:
        self._send = send
        self._patience_s = patience_s
        self._queue: queue.Queue[tuple[int, Decision] | None] = queue.Queue(maxsize=most)
        self._reports: queue.Queue[Report] = queue.Queue(maxsize=4 * most)
        self._generation = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, decision: Decision) -> bool:
        """Hand over; False: too many wait already."""
        try:
            self._queue.put_nowait((self._generation, decision))
        except queue.Full:
            return False
        return True

    def cancel(self) -> None:
        """What waits is not sent any more; each is reported as cancelled."""
        self._generation += 1

    def reports(self) -> list[Report]:
        """What became of those that were handed over, since the last call."""
        found: list[Report] = []
        while True:
            try:
                found.append(self._reports.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """Cancel what waits, and end the thread."""
        self.cancel()
        self._ending.set()
        self._thread.join(self._patience_s)

    def _run(self) -> None:
        while True:
            try:
                generation, decision = self._queue.get(timeout=_LOOK_S) or (-1, None)
            except queue.Empty:
                if self._ending.is_set():
                    return
                continue
            if decision is None:
                return
            if generation != self._generation:
                self._report(Report(decision, "cancelled", "released before it was sent"))
                continue
            try:
                answer = self._send(decision)
            except ActuatorError as error:
                self._report(Report(decision, "failed", str(error)))
            else:
                if answer is not None:
                    self._report(Report(decision, "acknowledged", answer))

    def _report(self, report: Report) -> None:
        # Nobody polls any more: the run is ending.
        while not self._ending.is_set():
            try:
                return self._reports.put(report, timeout=_LOOK_S)
            except queue.Full:
                continue
        try:
            self._reports.put_nowait(report)
        except queue.Full:
            return
