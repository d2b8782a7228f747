"""What a running model needs of the process that it lives in."""

from typing import Literal, Protocol

from ..streaming.messages import Message
from ..streaming.node import NodeSpec, State
from ..streaming.topics import Topic
from ..sync.clock import Clock


class ModelHost(Protocol):
    """A node's context, or, where the rig is on another host, what stands for it (`remote_model.py`)."""

    @property
    def spec(self) -> NodeSpec:
        """Session, epoch, whether rules may fire at the start, and when the rig began."""
        ...

    @property
    def clock(self) -> Clock:
        """Rig time."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """Published with the heartbeat."""
        ...

    @property
    def state(self) -> State:
        """``starting`` while nobody hears what is published."""
        ...

    def publish(self, topic: Topic, message: Message, camera: str = "", pixels: bytes | None = None) -> bytes:
        """Publish on the bus."""
        ...

    def alarm(self, severity: Literal["warning", "error"], text: str) -> None:
        """Tell a person."""
        ...
