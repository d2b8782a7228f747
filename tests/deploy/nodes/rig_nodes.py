"""Small nodes for the supervisor's tests; each is a real process on the real bus."""

import os
import signal
from pathlib import Path

from ethostream.streaming.frames import FrameSender
from ethostream.streaming.node import NodeContext
from ethostream.sync.errors import CameraOpenError


def steady(context: NodeContext) -> None:
    """Runs until stopped; a file says that it stopped in order."""
    ring = FrameSender(context.spec.session, context.spec.node, context.spec.epoch, (8, 8), 4)
    try:
        if context.wait_for_start() is not None:
            context.set_state("running")
        while not context.should_stop:
            context.beat()
            context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)
    finally:
        ring.close()
    note = context.spec.config.get("note")
    if note:
        with Path(note).open("a") as file:
            file.write(f"{context.spec.node} armed={context.spec.armed} epoch={context.spec.epoch}\n")


def listener(context: NodeContext) -> None:
    """Becomes ready once it has heard its upstream."""
    with context.subscribe([]) as bus:
        while not context.should_stop:
            bus.receive(20)
            context.ready_when_heard(bus.heard)
            context.beat()
    note = context.spec.config.get("note")
    if note:
        with Path(note).open("a") as file:
            file.write(f"{context.spec.node}\n")


def short(context: NodeContext) -> None:
    """A source that ends by itself."""
    context.wait_for_start()
    context.set_state("running")


def refuses(context: NodeContext) -> None:
    raise CameraOpenError(f"camera {context.spec.node}: serial 4711 is not there; plug it in")


def crashes_once(context: NodeContext) -> None:
    """Dies by SIGKILL after its first start, then runs."""
    context.wait_for_start()
    context.set_state("running")
    if context.spec.epoch == 0:
        FrameSender(context.spec.session, context.spec.node, 0, (8, 8), 4).acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    while not context.should_stop:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)


def deaf(context: NodeContext) -> None:
    """Does not stop when asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.wait_for_start()
    context.set_state("running")
    while True:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)
