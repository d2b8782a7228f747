"""One LSL stream, received in a thread of its own: found, opened, pulled, found again when it is lost.

LSL's calls wait for the network, so a node cannot make them between two heartbeats. The thread hands over what it has
through a bounded queue; what does not fit is counted, and shows as a jump of ``first_sample``.
"""

import queue
import threading
from typing import Any, NamedTuple

from ..sync.clock import NS_PER_S, Clock
from .lsl_clock import StreamClock, load_pylsl, measure_relation
from .lsl_config import LslInletConfig
from .messages import ClockStatus, LslSamples

QUEUE_CHUNKS = 256
_PULL_S = 0.05
"""Samples of so long travel in one message."""
_WAIT_S = 5.0
_CLOCK_PERIOD_NS = 2 * NS_PER_S
_LOOK_S = 0.1
_LOOKS_ALONE = 8
_FORGET_S = 2.0
_MAX_VALUES = 40_000
"""Per message, time stamps included: 9 bytes each at most, well below the bound of the topic."""
_MAX_TEXT_BYTES = 400_000


class Note(NamedTuple):
    """Something to tell a person: the stream was found, lost, is not unique."""

    kind: str
    text: str


class LslInlet:
    """A stream and its thread. The node calls `take`, `close`; all else happens in the thread.

    Attributes:
        n_samples: received since the node began.
        n_dropped: of them, not handed over because the node did not keep up.
        n_lost: times that the stream was lost.
    """

    def __init__(self, name: str, config: LslInletConfig, clock: Clock, epoch: int) -> None:
        self.name = name
        self.n_samples = 0
        self.n_dropped = 0
        self.n_lost = 0
        self._config = config
        self._clock = clock
        self._epoch = epoch
        self._lsl = load_pylsl()
        self._stream_clock = StreamClock()
        self._gone_uids: list[str] = []
        self._queue: queue.Queue[LslSamples | ClockStatus | Note] = queue.Queue(QUEUE_CHUNKS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lsl {name}")
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs; one that has ended by itself has failed."""
        return self._thread.is_alive()

    def take(self) -> list[LslSamples | ClockStatus | Note]:
        """What has come since the last call."""
        taken: list[LslSamples | ClockStatus | Note] = []
        for _ in range(QUEUE_CHUNKS):
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return taken

    def begin_close(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False where it still runs."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from pylsl.util import LostError
        from pylsl.util import TimeoutError as LslTimeoutError

        while not self._stop.is_set():
            info = self._find()
            if info is None:
                return
            uid = str(info.uid())
            try:
                # With recover LSL would wait in silence for the stream to come back; here a loss is told.
                inlet: Any = self._lsl.StreamInlet(info, max_buflen=self._config.buffer_s, recover=False)
                inlet.open_stream(_WAIT_S)
                if not self._stop.is_set():
                    self._receive(inlet, inlet.info(_WAIT_S))
            except (LostError, LslTimeoutError) as error:
                self.n_lost += 1
                self._gone_uids = [*self._gone_uids[-15:], uid]
                self._put(self._stream_clock.status(self.name, self._epoch, self._clock.now_ns(), lost=True))
                self._put(Note("lost", f"LSL stream {self.name}: lost ({error}); it is looked for again"))
                self._stream_clock.restart()

    def _find(self) -> Any | None:
        resolver = self._lsl.ContinuousResolver(pred=self._config.predicate, forget_after=_FORGET_S)
        said, turns, alone, n_alone = "", 0, "", 0
        while not self._stop.is_set():
            found = {str(one.uid()): one for one in resolver.results()}
            for uid in self._gone_uids:
                found.pop(uid, None)
            # A second one may only be on its way to be found: the same has to be alone for a while.
            now_alone = next(iter(found)) if len(found) == 1 else ""
            n_alone = n_alone + 1 if now_alone and now_alone == alone else 0
            alone = now_alone
            if n_alone >= _LOOKS_ALONE:
                info = found[alone]
                kind, word = ("back", "found again") if self.n_lost else ("found", "found")
                self._put(Note(kind, f"LSL stream {self.name}: {info.name()} of {info.hostname()} {word}"))
                return info
            if len(found) > 1 and said != "several":
                said = "several"
                listed = ", ".join(sorted(f"{one.name()} ({one.source_id()})" for one in found.values()))[:300]
                why = f"{len(found)} streams fit {self._config.predicate}: {listed}; ask for one more exactly"
                self._put(Note(said, f"LSL stream {self.name}: {why}"))
            turns += 1
            if not found and not said and turns * _LOOK_S >= 2 * _WAIT_S:
                said = "missing"
                why = f"no stream fits {self._config.predicate}; is its sender running, on this network?"
                self._put(Note(said, f"LSL stream {self.name}: {why}"))
            self._stop.wait(_LOOK_S)
        return None

    def _receive(self, inlet: Any, info: Any) -> None:
        channels = _channel_labels(info)
        text = info.channel_format() == self._lsl.cf_string
        rate_hz = float(info.nominal_srate())
        most = max(1, min(1024, _MAX_VALUES // (len(channels) + 2)))
        next_clock_ns, heard_ns, silent = 0, self._clock.now_ns(), False
        while not self._stop.is_set():
            now = self._clock.now_ns()
            if now >= next_clock_ns:
                next_clock_ns = now + _CLOCK_PERIOD_NS
                relation = measure_relation(self._clock, self._lsl.local_clock)
                # Waits for the first estimate only: no sample is mapped before it is there.
                self._stream_clock.add(inlet.time_correction(_WAIT_S), relation, now)
                self._put(self._stream_clock.status(self.name, self._epoch, now))
            rows, stamps = inlet.pull_chunk(timeout=_PULL_S, max_samples=most, as_numpy=True)
            if len(stamps):
                heard_ns = self._clock.now_ns()
                self._hand_over(channels, rows, stamps.tolist(), text=text)
            quiet = rate_hz > 0 and self._clock.now_ns() - heard_ns > _WAIT_S * NS_PER_S
            if quiet != silent:
                silent = quiet
                words = f"sends nothing, at a rate of {rate_hz:g} Hz" if quiet else "sends again"
                self._put(Note("silent" if quiet else "back", f"LSL stream {self.name}: {words}"))

    def _hand_over(self, channels: tuple[str, ...], rows: Any, stamps: list[float], *, text: bool) -> None:
        if not text:
            self._send(channels, stamps, values=tuple(map(tuple, rows.astype(float).tolist())))
            return
        texts = tuple(tuple(bytes(one).decode("utf-8", "replace") for one in row) for row in rows)
        start, size = 0, 0
        for place, row in enumerate(texts):
            width = sum(len(one) * 4 for one in row)
            if size and size + width > _MAX_TEXT_BYTES:
                self._send(channels, stamps[start:place], texts=texts[start:place])
                start, size = place, 0
            size += width
        self._send(channels, stamps[start:], texts=texts[start:])

    def _send(
        self,
        channels: tuple[str, ...],
        stamps: list[float],
        values: tuple[tuple[float, ...], ...] = (),
        texts: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        times = tuple(map(self._stream_clock.to_rig_ns, stamps))
        samples = LslSamples(self.name, self._epoch, self.n_samples, channels, tuple(stamps), times, values, texts)
        self.n_samples += len(stamps)
        if not self._put(samples):
            self.n_dropped += len(stamps)

    def _put(self, what: LslSamples | ClockStatus | Note) -> bool:
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            return False
        return True


def _channel_labels(info: Any) -> tuple[str, ...]:
    """As the sender describes them, else by number."""
    count = int(info.channel_count())
    labels: list[str] = []
    channel = info.desc().child("channels").child("channel")
    while not channel.empty() and len(labels) < count:
        labels.append(str(channel.child_value("label"))[:64])
        channel = channel.next_sibling("channel")
    if len(labels) == count and all(labels):
        return tuple(labels)
    return tuple(f"ch{place}" for place in range(count))
