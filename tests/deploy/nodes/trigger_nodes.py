"""Cameras that are exposed by the trigger process's pulses, as processes on the real bus, headers without pixels."""

from ethostream.streaming.messages import CameraStatus, FrameHeader, Gap, SyncPulse
from ethostream.streaming.node import NodeContext
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, SYNC_PULSE

PERIOD_NS = 20_000_000
STATUS_NS = 100_000_000


class Follower:
    """A triggered camera. Options: ``deaf`` gives no frame; ``free`` runs by itself; ``base`` is its first trigger id;
    ``drops`` are pulses whose frame is lost and declared, ``misses`` those that it ignores."""

    def __init__(self, context: NodeContext) -> None:
        self.context = context
        self.name = context.spec.node.removeprefix("camera.")
        self.options = context.spec.config
        self.seq = -1
        self.captured = 0
        self.next_status_ns = 0

    def frame(self, t_ns: int, trigger_id: int) -> None:
        self.seq += 1
        self.captured += 1
        header = FrameHeader(
            self.name, 0, self.seq, t_ns, 1000, t_ns + 3_000_000, "device", 8, 4, "mono8", "", 0, 0, "raw", trigger_id
        )
        self.context.publish(FRAME, header, self.name, bytes(32))

    def pulse(self, one: SyncPulse) -> None:
        if one.pulse in self.options.get("misses", ()) or self.options.get("deaf"):
            return
        if one.pulse in self.options.get("drops", ()):
            self.seq += 1
            gap = Gap("device", self.name, 0, self.seq, 1, "frame counter jumped", one.t_ns)
            self.context.publish(GAP, gap, self.name)
            return
        self.frame(one.t_ns + 150_000, one.pulse + self.options.get("base", 0))

    def status(self, state: str) -> None:
        now = self.context.clock.now_ns()
        self.next_status_ns = now + STATUS_NS
        n_dropped = self.seq + 1 - self.captured
        first = 0 if self.seq >= 0 else -1
        one = CameraStatus(self.name, 0, state, first, self.seq, self.captured, n_dropped, 0, 50.0, now)  # type: ignore[arg-type]
        self.context.publish(CAMERA_STATUS, one, self.name)

    def run(self) -> None:
        context = self.context
        with context.subscribe([SYNC_PULSE], ["trigger"]) as bus:
            if context.wait_for_start() is None:
                return
            while "trigger" not in bus.heard and not context.should_stop:
                bus.receive(20)
                context.beat()
            context.set_state("running")
            free_ns = context.clock.now_ns()
            while not context.should_stop:
                for received in bus.receive(20):
                    if isinstance(received.message, SyncPulse) and received.message.line == "trigger":
                        self.pulse(received.message)
                now = context.clock.now_ns()
                while self.options.get("free") and now >= free_ns:
                    self.frame(free_ns, -1)
                    free_ns += PERIOD_NS
                if now >= self.next_status_ns:
                    self.status("running")
                context.beat()
            self.status("stopped")
            context.set_state("stopping")


def follower(context: NodeContext) -> None:
    Follower(context).run()
