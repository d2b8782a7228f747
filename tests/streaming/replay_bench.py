"""A replay node that is driven message by message."""

import os
import uuid
from pathlib import Path
from typing import Any

from ethostream.streaming import replay_node
from ethostream.streaming.messages import Message, ReplaySet
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.replay_node import ReplayNodeConfig
from ethostream.streaming.topics import FRAME_SET, REPLAY_SET
from ethostream.streaming.wire import decode
from ethostream.sync.clock import ClockAnchor


class Bench:
    """The replay node without its sockets; nobody answers, and it need not wait for answers."""

    def __init__(self, folder: Path, recording: Recording, **options: Any) -> None:
        config = ReplayNodeConfig(recording=recording.path, exact=True, speed=None, ring_slots=480, **options)
        anchor = ClockAnchor.take()
        ends = {name: f"ipc://{folder}/{name}" for name in ("replay", "inference", "supervisor")}
        self.context = NodeContext(
            NodeSpec(
                node="replay", entry="-", session=uuid.uuid4().hex[:8], anchor_utc_ns=anchor.utc_ns,
                anchor_monotonic_ns=anchor.monotonic_ns, parent_pid=os.getppid(), endpoints=ends,
            )
        )  # fmt: skip
        self.said: list[Message] = []
        self.context.on_publish = lambda topic, camera, body: self.said.append(decode(topic.key(camera), body).message)
        self._answers = self.context.subscribe([FRAME_SET, REPLAY_SET], nodes=["inference"])
        self.replay: Any = replay_node._Replay(self.context, config, recording, self._answers)  # pyright: ignore[reportPrivateUsage]

    def play(self, recording: Recording) -> None:
        """All that is recorded; not yet told that there is no more."""
        for one in recording.messages():
            self.replay._handle(one.message)

    @property
    def handed(self) -> list[int]:
        return [one.set_id for one in self.said if isinstance(one, ReplaySet)]

    def close(self) -> None:
        self.replay.close()
        self._answers.close()
        self.context.close()
