"""Which commands a running model obeys."""

import logging

from ..streaming.messages import Control
from .model_host import ModelHost

log = logging.getLogger(__name__)


def may_obey(message: Control, context: ModelHost) -> bool:
    """Whether a command is in time; an ``arm`` that is not is left out, and logged. Disarming is never too late.

    Who asked is told after a while that nobody answered: what was given up so must not take effect later. A process
    that is still starting answers nobody, and could be ready only when its answer is not awaited any more.
    """
    if message.command != "arm":
        return True
    expired = 0 < message.until_ns < context.clock.now_ns()
    if not expired and context.state != "starting":
        return True
    log.warning("an arm that came too late, or before this process was ready, is left out")
    return False
