"""One marker stream on the Lab Streaming Layer, pushed by whoever has something to mark."""

from typing import Any

from ..sync.closing import Closing
from .lsl_clock import load_pylsl

_BUFFER_S = 60


class LslMarker(Closing):
    """An outlet of text markers, stamped when they are pushed. One thread.

    Args:
        stream: its name; the source id is the same at every start, so that receivers recognise it.

    Raises:
        ConfigError: pylsl is not installed.
    """

    def __init__(self, stream: str) -> None:
        lsl = load_pylsl()
        info = lsl.StreamInfo(stream, "Markers", 1, 0.0, lsl.cf_string, f"ethostream.marker.{stream}")
        self._outlet: Any = lsl.StreamOutlet(info, 0, _BUFFER_S)

    def push(self, text: str) -> None:
        """Send one marker now; those who do not listen get nothing."""
        self._outlet.push_sample([text])

    def close(self) -> None:
        """May be called twice."""
        self._outlet = None
