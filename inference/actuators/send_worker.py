"""A thread that sends what may take its time: the loop never waits, and what does not fit is refused."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError
from .actuator import Report

Outcome = tuple[Literal["acknowledged", "cancelled"], str]
CANCELLED: Final[Outcome] = ("cancelled", "released before it was sent")
UNREAD: Final = 4
"""Decisions that were taken and whose report was not read yet, as a multiple of those that may wait."""


class SendWorker:
    """Sends decisions in their order on a thread of its own.

    A decision that was taken is at every moment in one place: it waits, is being sent, or has its report, and goes from
    one to the next under one lock. So each has one report at the most, and exactly one after `close`, but where its
    sending returned None.

    Args:
        name: of the thread.
        send: called on it, once per decision, with a question that it asks when all is ready and nothing is sent yet:
            whether the decision is still wanted. Returns what became of it (`CANCELLED` where it was not; None: nothing
            is known), and raises `ActuatorError` where it failed. Whatever else it raises is reported just so.
        most: how many may wait.
    """

    def __init__(self, name: str, send: Callable[[Decision, Callable[[], bool]], Outcome | None], most: int) -> None:
        self._send = send
        self._most = most
        self._word = threading.Condition()
        # Neither can grow without end: `offer` refuses what would be too many of both.
        self._waiting: deque[Decision] = deque()
        self._reports: deque[Report] = deque()
        self._sending: Decision | None = None
        self._generation = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Decisions that are not being sent yet."""
        return len(self._waiting)

    def offer(self, decision: Decision) -> bool:
        """Hand over; False: too many wait already, to be sent or for their report to be read."""
        with self._word:
            n_unread = len(self._waiting) + (self._sending is not None) + len(self._reports)
            if self._ending or len(self._waiting) >= self._most or n_unread >= UNREAD * self._most:
                return False
            self._waiting.append(decision)
            self._word.notify()
        return True

    def cancel(self) -> None:
        """What waits is not sent any more; each is reported as cancelled."""
        with self._word:
            self._generation += 1
            self._reports.extend(Report(one, *CANCELLED) for one in self._waiting)
            self._waiting.clear()

    def reports(self) -> list[Report]:
        """What became of those that were handed over, since the last call."""
        with self._word:
            found = list(self._reports)
            self._reports.clear()
        return found

    def end(self) -> None:
        """Cancel what waits, and tell the thread to end after the one that it sends; returns at once."""
        self.cancel()
        with self._word:
            self._ending = True
            self._word.notify()

    def close(self, patience_s: float) -> None:
        """`end`, and wait for the thread; one that hangs in a send is left, and its decision reported as failed."""
        self.end()
        self._thread.join(patience_s)
        with self._word:
            if self._sending is not None:
                text = "still being sent when the run had ended: whether it arrived is not known"
                self._reports.append(Report(self._sending, "failed", text))
                self._sending = None

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            generation, decision = taken
            self._finish(self._report_on(decision, partial(self._is_current, generation)))

    def _take(self) -> tuple[int, Decision] | None:
        """The next one, which is being sent from here on; None: the run ends."""
        with self._word:
            self._word.wait_for(lambda: self._ending or self._waiting)
            if self._ending:
                return None
            self._sending = self._waiting.popleft()
            return self._generation, self._sending

    def _finish(self, report: Report | None) -> None:
        with self._word:
            # None: `close` came first and has said the last word on it.
            if self._sending is not None and report is not None:
                self._reports.append(report)
            self._sending = None

    def _is_current(self, generation: int) -> bool:
        return generation == self._generation

    def _report_on(self, decision: Decision, still_wanted: Callable[[], bool]) -> Report | None:
        try:
            outcome = self._send(decision, still_wanted) if still_wanted() else CANCELLED
        except ActuatorError as error:
            return Report(decision, "failed", str(error))
        except Exception as error:  # noqa: BLE001 - a thread that ended would take firings and send none of them
            return Report(decision, "failed", f"{type(error).__name__}: {error}")
        return None if outcome is None else Report(decision, *outcome)
