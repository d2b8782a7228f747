"""A thread that hands the event log to the operating system, so that a slow disk never holds up the recorder."""

import threading

from ..sync.errors import RecordingError
from .durable import BusyTimer
from .event_log import EventLogWriter

_PERIOD_S = 0.25
_PATIENCE_S = 0.1


class EventFlusher:
    """Flushes an `EventLogWriter` soon after each `kick`. The log itself is filled by another thread.

    Attributes:
        timer: of the writes; its ``busy_ns`` says for how long the disk has taken nothing.
        error: why the last flush failed, None where it did not; it is tried again by itself.
    """

    def __init__(self, events: EventLogWriter) -> None:
        self.timer = BusyTimer()
        self.error: RecordingError | None = None
        self._events = events
        self._wake = threading.Event()
        self._done = threading.Condition()
        self._n_asked = 0
        self._n_done = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def kick(self) -> None:
        """Flush soon. While the disk refuses, this does nothing: it is tried four times a second by itself."""
        if self._events.n_pending and self.error is None:
            with self._done:
                self._n_asked += 1
            self._wake.set()

    @property
    def idle(self) -> bool:
        """All that was asked for has been tried."""
        return self._n_done >= self._n_asked

    def wait_written(self, position: int) -> None:
        """Return once the log is with the operating system up to ``position``; at once while the disk refuses it."""
        with self._done:
            while self._events.written < position and self.error is None and not self._ending:
                self._wake.set()
                self._done.wait(_PATIENCE_S)

    def end(self) -> None:
        """Try once more and end the thread; may be called twice."""
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            self._wake.wait(_PERIOD_S)
            self._wake.clear()
            ending = self._ending
            asked = self._n_asked
            try:
                with self.timer:
                    self._events.flush()
                self.error = None
            except RecordingError as error:
                self.error = error
            with self._done:
                self._n_done = asked
                self._done.notify_all()
