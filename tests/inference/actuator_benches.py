"""The bench of each kind of actuator, as a fixture."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from actuator_bench import Bench, LogBench, NullBench
from hardware_benches import GpioBench, NidaqBench, SerialBench, SimulatedBench, SoundBench
from network_benches import HttpBench, LslBench, OscBench, TcpBench, UdpBench, ZmqBench

KINDS = ["log", "null", "serial", "simulated", "nidaq", "gpio", "lsl", "udp", "osc", "tcp", "zmq", "http", "sound"]


@pytest.fixture
def bench(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """The bench of one kind; what it opened is closed at the end."""
    with ExitStack() as stack:
        match kind:
            case "serial":
                yield SerialBench(stack, tmp_path, request.getfixturevalue("firmware"))
            case "simulated":
                yield SimulatedBench(stack, tmp_path, request.getfixturevalue("simulated_board_library"))
            case "nidaq" | "gpio" | "lsl" | "sound":
                made = {"nidaq": NidaqBench, "gpio": GpioBench, "lsl": LslBench, "sound": SoundBench}[kind]
                yield made(stack, tmp_path, monkeypatch)
            case _:
                plain: dict[str, type[Bench]] = {
                    "log": LogBench, "null": NullBench, "udp": UdpBench, "osc": OscBench, "tcp": TcpBench,
                    "zmq": ZmqBench, "http": HttpBench,
                }  # fmt: skip
                yield plain[kind](stack, tmp_path)
