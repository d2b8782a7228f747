"""How a person arms and disarms a rig that runs: a socket file of its supervisor, which no other user can reach.

One line of JSON each way. The file lies in the session's runtime folder, which only its user may enter, and the
supervisor asks the kernel besides who has connected.
"""

import json
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from ..sync.errors import NodeError

SOCKET: Final = "arm"
"""Short, as the path of a socket file may not have more than 107 bytes."""
ANSWER_S: Final = 3.0
"""The model is asked for this long; who does not answer a disarm by then is ended."""
_CLIENT_S: Final = ANSWER_S + 5.0
_MAX_BYTES: Final = 4096
_MAX_WAITING: Final = 16
_UCRED: Final = struct.Struct("3i")

Command = Literal["arm", "disarm"]


@dataclass(slots=True)
class Asked:
    """A person who waits for an answer.

    Attributes:
        command: what was asked for.
        connection: where the answer goes.
        deadline_ns: rig time until which the model may answer; 0: it has not been asked yet.
    """

    command: Command
    connection: socket.socket
    deadline_ns: int = 0

    def answer(self, *, armed: bool | None, words: str, ok: bool = True) -> None:
        """Say it and hang up; one who has gone is nobody's loss."""
        line = json.dumps({"ok": ok, "armed": armed, "words": words}).encode() + b"\n"
        with suppress(OSError):  # who asked may have gone; what was asked for is done all the same
            self.connection.sendall(line)
        self.connection.close()


class ArmingSocket:
    """The supervisor's end. One thread; `take` never waits.

    Args:
        folder: the session's runtime folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SOCKET
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)
            self._listener.listen(_MAX_WAITING)
            self._listener.setblocking(False)
        except OSError as error:
            self._listener.close()
            raise NodeError(
                f"{self.path}: cannot be opened ({error}); set TMPDIR to a folder with a short path"
            ) from error
        self._open: list[tuple[socket.socket, bytes]] = []

    def take(self) -> list[Asked]:
        """What was asked since the last call."""
        self._accept()
        asked: list[Asked] = []
        still: list[tuple[socket.socket, bytes]] = []
        for connection, before in self._open:
            try:
                more = connection.recv(_MAX_BYTES)
            except BlockingIOError:
                still.append((connection, before))
                continue
            except OSError:
                connection.close()
                continue
            text = before + more
            if b"\n" in text:
                command = _command(text)
                if command is None:
                    connection.close()
                else:
                    asked.append(Asked(command, connection))
            elif not more or len(text) >= _MAX_BYTES:
                connection.close()
            else:
                still.append((connection, text))
        self._open = still
        return asked

    def _accept(self) -> None:
        while len(self._open) < _MAX_WAITING:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            if _uid_of(connection) != os.getuid():
                connection.close()
                continue
            connection.setblocking(False)
            self._open.append((connection, b""))

    def close(self) -> None:
        """Hang up on all who have not been heard."""
        for connection, _ in self._open:
            connection.close()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _uid_of(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def _command(text: bytes) -> Command | None:
    try:
        asked: Any = json.loads(text.partition(b"\n")[0])
        word = asked.get("command")
    except (ValueError, AttributeError):
        return None
    return word if word in ("arm", "disarm") else None


def ask(folder: Path, command: Command) -> dict[str, Any]:
    """Ask the supervisor of a runtime folder; the answer: ``ok``, ``armed`` (null: not known) and ``words``.

    Raises:
        NodeError: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CLIENT_S)
            connection.connect(str(folder / SOCKET))
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer: Any = json.loads(lines.readline(_MAX_BYTES) or b"null")
    except (OSError, ValueError) as error:
        raise NodeError(
            f"the rig's supervisor does not answer ({error}); end it with Ctrl-C in its terminal, which releases every "
            "actuator"
        ) from error
    if not isinstance(answer, dict):
        raise NodeError("the rig's supervisor hung up without an answer; is it ending?")
    return answer  # pyright: ignore[reportUnknownVariableType]
