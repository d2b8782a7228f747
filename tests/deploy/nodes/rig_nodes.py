"""Small nodes for the supervisor's tests; each is a real process on the real bus."""

import os
import signal
from pathlib import Path

from ethostream.streaming.frames import FrameSender
from ethostream.streaming.messages import Alarm, Control, Gap
from ethostream.streaming.node import SUPERVISOR, NodeContext
from ethostream.streaming.topics import ALARM, CONTROL, GAP
from ethostream.sync.clock import NS_PER_S
from ethostream.sync.errors import CameraLostError, CameraOpenError


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


def hears_commands(context: NodeContext) -> None:
    """Notes what a person asked and for how many seconds it holds, and answers nobody."""
    with context.subscribe([CONTROL], [SUPERVISOR]) as bus, Path(context.spec.config["note"]).open("a") as file:
        context.set_state("ready")
        while not context.should_stop:
            for received in bus.receive(20):
                message = received.message
                if isinstance(message, Control) and message.command == "start" and context.state == "ready":
                    context.set_state("running")
                elif isinstance(message, Control) and message.command != "start":
                    left_ns = message.until_ns - context.clock.now_ns() if message.until_ns else NS_PER_S * 3600
                    file.write(f"{message.command} {left_ns / NS_PER_S}\n")
                    file.flush()
            context.beat()


def hears_gaps(context: NodeContext) -> None:
    """Notes what the supervisor declares."""
    with context.subscribe([GAP], [SUPERVISOR]) as bus, Path(context.spec.config["note"]).open("a") as file:
        while not context.should_stop:
            for received in bus.receive(20):
                if isinstance(received.message, Gap):
                    file.write(f"{received.message.camera}: {received.message.reason}\n")
                    file.flush()
            context.ready_when_heard(bus.heard)
            context.beat()


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


def lost_for_a_while(context: NodeContext) -> None:
    """A camera that is lost after its start, is absent in epochs 1 to 3, and then comes back."""
    if 1 <= context.spec.epoch <= 3:
        raise CameraOpenError(f"camera {context.spec.node}: serial 4711 is not there; plug it in")
    run_until_stopped(context)


def run_until_stopped(context: NodeContext) -> None:
    """Runs; the first epoch is lost at once."""
    context.wait_for_start()
    context.set_state("running")
    if context.spec.epoch == 0:
        raise CameraLostError(f"camera {context.spec.node}: no frame for 5 s; check its cable")
    while not context.should_stop:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)


def hangs_when_started_again(context: NodeContext) -> None:
    """Is lost once, hangs while it opens its device in epoch 1, and runs after that."""
    while context.spec.epoch == 1 and not context.should_stop:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)
    run_until_stopped(context)


def verbose(context: NodeContext) -> None:
    """Fails in many lines once, then is killed without a word, then runs."""
    context.wait_for_start()
    context.set_state("running")
    if context.spec.epoch == 0:
        raise CameraLostError("\n".join(f"driver line {n}: \N{SNOWMAN} the transfer has stalled" for n in range(200)))
    if context.spec.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while not context.should_stop:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)


def chatty(context: NodeContext) -> None:
    """Says ``n`` things at once, notes that it has, and then runs quietly."""
    context.wait_for_start()
    context.set_state("running")
    for n in range(context.spec.config["n"]):
        context.publish(ALARM, Alarm(context.spec.node, "warning", f"{n}", context.clock.now_ns()))
    Path(context.spec.config["note"]).touch()
    while not context.should_stop:
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + 10_000_000)
        if context.spec.config.get("goes_on"):
            context.publish(ALARM, Alarm(context.spec.node, "warning", "still here", context.clock.now_ns()))
