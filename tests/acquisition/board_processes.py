"""Boards on pseudo-terminals, each a process: the compiled firmware core, and the emulator that fails on purpose."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
FIRMWARE = HERE.parents[1] / "deploy" / "firmware" / "ethostream_board"


def compile_firmware(folder: Path) -> Path | None:
    """The firmware's core as a program for this machine; None where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None:
        return None
    program = folder / "firmware_host"
    command = [compiler, "-std=c++11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{FIRMWARE}"]
    subprocess.run([*command, str(HERE / "firmware_host.cpp"), "-o", str(program)], check=True)
    return program


class BoardProcess:
    """A board that runs until the block ends; ``port`` is its terminal."""

    def __init__(self, *command: str) -> None:
        self._command = command

    @classmethod
    def firmware(cls, program: Path, clock_ppm: float = 0.0, clock_start_us: int = 0) -> "BoardProcess":
        return cls(str(program), str(clock_ppm), str(clock_start_us))

    @classmethod
    def faulty(cls, fault: str, number: int = 0) -> "BoardProcess":
        return cls(sys.executable, str(HERE / "board_emulator.py"), fault, str(number))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().decode().strip()
        assert self.port.startswith("/dev/"), "the board did not start"
        return self

    def set_input(self, line: int, *, high: bool) -> None:
        """Somebody pulls an input line of the compiled firmware."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"ABCD"[line : line + 1] if high else b"abcd"[line : line + 1])
        self._process.stdin.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
