"""A thread that sends what may take its time: the loop never waits, and what does not fit is refused."""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError
from .actuator import Report

Outcome = tuple[Literal["acknowledged", "cancelled"], str]
CANCELLED: Final[Outcome] = ("cancelled", "released before it was sent")
_LOOK_S = 0.1


class SendWorker:
    """Sends decisions in their order on a thread of its own.

    Args:
        name: of the thread.
        send: called on it, once per decision, with a question that it asks when all is ready and nothing is sent yet:
            whether the decision is still wanted. Returns what became of it (`CANCELLED` where it was not; None: nothing
            is known), and raises `ActuatorError` where it failed. Whatever else it raises is reported just so.
        most: how many may wait.
        patience_s: how long `close` waits for the one that is being sent.
    """

    def __init__(
        self, name: str, send: Callable[[Decision, Callable[[], bool]], Outcome | None], most: int, patience_s: float
    ) -> None:
        self._send = send
        self._patience_s = patience_s
        self._queue: queue.Queue[tuple[int, Decision]] = queue.Queue(maxsize=most)
        self._reports: queue.Queue[Report] = queue.Queue(maxsize=4 * most)
        self._generation = 0
        self._ending = threading.Event()
        self._sending: Decision | None = None
        self._left = False
        self._word = threading.Lock()
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
        """Cancel what waits, and end the thread; one that hangs in a send is left, and every decision reported."""
        self.cancel()
        self._ending.set()
        self._thread.join(self._patience_s)
        with self._word:
            self._left = True
            if self._sending is not None:
                text = f"still being sent after {self._patience_s:g} s: whether it arrived is not known"
                self._keep(Report(self._sending, "failed", text))
            while True:
                try:
                    _, waiting = self._queue.get_nowait()
                except queue.Empty:
                    return
                self._keep(Report(waiting, *CANCELLED))

    def _run(self) -> None:
        while True:
            try:
                generation, decision = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._ending.is_set():
                    return
                continue
            self._report_on(decision, partial(self._is_current, generation))

    def _is_current(self, generation: int) -> bool:
        return generation == self._generation

    def _report_on(self, decision: Decision, still_wanted: Callable[[], bool]) -> None:
        self._sending = decision
        try:
            outcome = self._send(decision, still_wanted) if still_wanted() else CANCELLED
        except ActuatorError as error:
            self._report(Report(decision, "failed", str(error)))
        except Exception as error:  # noqa: BLE001 - a thread that ended would take firings and send none of them
            self._report(Report(decision, "failed", f"{type(error).__name__}: {error}"))
        else:
            if outcome is not None:
                self._report(Report(decision, *outcome))
        self._sending = None

    def _report(self, report: Report) -> None:
        while not self._ending.is_set():
            try:
                return self._reports.put(report, timeout=_LOOK_S)
            except queue.Full:
                continue
        with self._word:
            # Cleared together with the report: `close` has the last word where it came first.
            self._sending = None
            if not self._left:
                self._keep(report)

    def _keep(self, report: Report) -> None:
        """The run is ending and nobody waits: what does not fit is dropped."""
        try:
            self._reports.put_nowait(report)
        except queue.Full:
            return
