"""Edges of a trigger board that were lost on their way: at the board, on its serial line, or on the bus."""

from collections.abc import Callable

import msgspec

from ..streaming.messages import SyncPulse
from ..streaming.wire import Received


def with_losses(pulse: SyncPulse, received: Received, tell: Callable[[str], None]) -> SyncPulse:
    """The edge, with all in ``n_lost`` that was lost before it: any of them may have been the one that disarms.

    Args:
        pulse: the message.
        received: what it came in.
        tell: called with an alarm's words where any was lost.
    """
    n_lost = pulse.n_lost + received.n_lost
    if not n_lost:
        return pulse
    tell(
        f"edges of trigger board {pulse.source} were lost: where a line's level arms the rules, they are disarmed "
        "until its next edge; check the serial line and the network, and whether this machine is overloaded"
    )
    return msgspec.structs.replace(pulse, n_lost=n_lost)
