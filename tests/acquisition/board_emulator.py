"""A trigger board on a pseudo-terminal, as a process of its own, that can be told to fail.

The honest board is the firmware's own core, compiled (`firmware_host.cpp`); this one is for what a real board does only
when it is broken. Usage: ``board_emulator.py FAULT [NUMBER]``; prints the path of its terminal and runs until its
standard input ends. Faults: none, mute, other_version, refuse (a command type), garbage (bytes between frames, one in
NUMBER), lose_edge (number), repeat_edge (number), stall (after so many pulses it does nothing any more), freeze (it
answers, and pulses no more), restart, vanish (the port goes away), overcount, undercount, wrong_token, clock_jump,
babble (something else talks there).
"""

import os
import random
import select
import sys
import termios
import tty
from collections.abc import Callable
from time import monotonic_ns  # noqa: TID251

from ethostream.sync.board_protocol import (
    PROTOCOL_VERSION,
    Ack,
    Arm,
    BoardMessage,
    Decoder,
    Edge,
    Hello,
    HelloIs,
    Nak,
    Ping,
    Pong,
    Query,
    Reason,
    Start,
    Status,
    Stop,
    encode,
)


class Board:
    """The board; it draws the time of its pulses from the machine's clock."""

    def __init__(self, fd: int, slave: int, fault: str, number: int) -> None:
        self.fd = fd
        self.slave = slave
        self.fault = fault
        self.number = number
        self.seq = 0
        self.decoder = Decoder()
        self.armed = self.running = False
        self.start_us = 0
        self.begin_us = monotonic_ns() // 1000
        self.order = Start(0, 1000, 1, 10)
        self.pulses = 0
        self.random = random.Random(7)
        self.answers: dict[type[BoardMessage], Callable[[BoardMessage], None]] = {Hello: self.hello, Ping: self.ping}

    def now_us(self) -> int:
        jump = 3_000_000 if self.fault == "clock_jump" and self.pulses > self.number else 0
        return monotonic_ns() // 1000 - self.begin_us + jump

    def say(self, message: BoardMessage) -> None:
        data = encode(message, self.seq)
        self.seq += 1
        if self.fault == "garbage" and self.random.randrange(self.number) == 0:
            data = self.random.randbytes(self.random.randrange(1, 60)) + b"\0" + data
        os.write(self.fd, data)

    def hello(self, _message: BoardMessage) -> None:
        version = PROTOCOL_VERSION + (self.fault == "other_version")
        self.say(HelloIs(version, 1, 0, 4, 4, self.now_us() % (1 << 32), "emulator"))

    def ping(self, message: BoardMessage) -> None:
        assert isinstance(message, Ping)
        wrong = self.fault == "wrong_token" and self.running
        self.say(Pong(message.token + 1000 * wrong, self.now_us() % (1 << 32)))

    def status(self) -> None:
        lie = {"overcount": self.number, "undercount": -self.number}.get(self.fault, 0)
        flags = Status.ARMED * self.armed | Status.RUNNING * self.running
        self.say(Status(self.now_us() % (1 << 32), flags, max(0, self.pulses + lie), 0, 0, 0))

    def obey(self, seq: int, message: BoardMessage) -> None:
        if self.fault == "refuse" and self.number == message.TYPE:
            self.say(Nak(message.TYPE, seq, Reason.BAD_VALUE))
        elif isinstance(message, Hello | Ping):
            self.answers[type(message)](message)
        elif isinstance(message, Query):
            self.status()
        else:
            if isinstance(message, Arm):
                self.armed, self.pulses = True, 0
            elif isinstance(message, Start):
                self.order, self.running, self.start_us = message, True, self.now_us() + 1000
            elif isinstance(message, Stop):
                self.armed = self.running = False
            self.say(Ack(message.TYPE, seq))
            if isinstance(message, Stop):
                self.status()

    def due_us(self) -> int:
        return self.start_us + self.pulses * self.order.period_num // self.order.period_den

    def pulse(self) -> None:
        count, self.pulses = self.pulses, self.pulses + 1
        if self.fault == "restart" and count == self.number:
            self.armed = self.running = False
            self.begin_us = monotonic_ns() // 1000
            self.seq = self.pulses = 0
            self.hello(Hello())
            return
        if self.fault == "lose_edge" and count == self.number:
            self.seq += 1
            return
        if self.fault == "repeat_edge" and count == self.number:
            count -= 1
        self.say(Edge(self.order.line, Edge.RISING, count, self.due_us() % (1 << 32)))

    def run(self) -> None:
        while True:
            frozen = self.fault == "freeze" and self.pulses >= self.number
            left_us = self.due_us() - self.now_us() if self.running and not frozen else 50_000
            ready, _, _ = select.select([self.fd, sys.stdin], [], [], max(0, min(left_us, 50_000)) / 1e6)
            if sys.stdin in ready and not sys.stdin.buffer.raw.read(64):  # type: ignore[attr-defined]
                return
            if self.fault == "vanish" and self.pulses >= self.number:
                return
            stalled = self.fault == "mute" or (self.fault == "stall" and self.pulses >= self.number)
            if self.fd in ready:
                data = os.read(self.fd, 4096)
                if self.fault == "vanish" and self.slave >= 0:
                    os.close(self.slave)  # the host has it open now: the end of this process hangs the line up
                    self.slave = -1
                if self.fault == "babble":
                    os.write(self.fd, b"$GPGGA,123519,4807.038,N\r\n\0" * 3)
                    continue
                for frame in [] if stalled else self.decoder.feed(data):
                    self.obey(frame.seq, frame.message)
            while self.running and not frozen and not stalled and self.now_us() >= self.due_us():
                self.pulse()


def main() -> None:
    master, slave = os.openpty()
    tty.setraw(slave, termios.TCSANOW)
    print(os.ttyname(slave), flush=True)
    Board(master, slave, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0).run()


if __name__ == "__main__":
    main()
