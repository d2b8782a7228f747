"""Nothing may be left behind: a check after each test, and once more at the end. A plugin of pytest (`conftest.py`).

Processes, sockets and their files, shared-memory rings, threads and ZeroMQ contexts must be as they were. What is left
fails the test and is named. Other runs on this machine are not blamed: each test process has its own folders.
"""

import gc
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

SHARED_MEMORY = Path(os.environ.get("ETHOSTREAM_SHM") or "/dev/shm")
GRACE_S = float(os.environ.get("ETHOSTREAM_TEST_GRACE_S", "3"))  # what was told to end may still be ending
_LOOK_S = 0.05
MARK_NAME = "ETHOSTREAM_TEST_RUN"
MARK = f"<{os.getpid()}-{psutil.Process().create_time()}>"
# Inherited by all that the tests start, so that a process whose parent has died is still known as ours.
os.environ[MARK_NAME] = os.environ.get(MARK_NAME, "") + MARK


@pytest.fixture(autouse=True)
def _nothing_left_by_test() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield from _nothing_left("this test")


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_by_session() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield from _nothing_left("the whole run (a fixture of wider scope?)")


_watches: "list[Residue]" = []  # of the session, then of the test


def _nothing_left(who: str) -> Iterator[None]:
    before = Residue()
    _watches.append(before)
    yield
    _watches.remove(before)
    if not Residue().suspicious(before):
        return
    gc.collect()  # a socket in a reference cycle is not a leak
    left = before.settled()
    for watch in _watches:
        watch.absorb(Residue())  # blamed once is enough
    if left:
        pytest.fail(f"{who} left behind:\n" + "\n".join(f"  {line}" for line in left), pytrace=False)


class Residue:
    """What a test could leave, as it is now; cheap, since it is taken twice per test."""

    def __init__(self) -> None:
        self.pids = set(psutil.pids())
        self.sockets = _socket_fds()
        self.rings = {path.name for path in SHARED_MEMORY.glob("ethostream-*")}
        self.socket_files = _socket_files()
        self.threads = {thread for thread in threading.enumerate() if not thread.daemon}
        self.contexts = {id(context) for context in _open_contexts()}

    def suspicious(self, before: "Residue") -> bool:
        """Whether anything is here that was not, by a look that may suspect too much."""
        return bool(
            _our_processes(self.pids - before.pids)
            or self.sockets - before.sockets
            or self.rings - before.rings
            or self.socket_files - before.socket_files
            or self.threads - before.threads
            or self.contexts - before.contexts
        )

    def absorb(self, now: "Residue") -> None:
        """Take what is here now as given."""
        self.pids |= now.pids
        self.sockets |= now.sockets
        self.rings |= now.rings
        self.socket_files |= now.socket_files
        self.threads |= now.threads
        self.contexts |= now.contexts

    def settled(self) -> list[str]:
        """Wait for what is ending, describe what stays, and remove it where that is safe."""
        lines: list[str] = []
        for thread in set(threading.enumerate()) - self.threads:
            if not thread.daemon:
                thread.join(GRACE_S)
                if thread.is_alive():
                    lines.append(f"thread {thread.name!r} (not a daemon)")
        processes = _our_processes(set(psutil.pids()) - self.pids)
        _, alive = psutil.wait_procs(processes, timeout=GRACE_S)
        for process in alive:
            lines.append(f"process {process.pid}: {_command(process)}")
            _kill(process)
        psutil.wait_procs(alive, timeout=GRACE_S)
        for fd, inode in sorted(_socket_fds() - self.sockets):
            lines.append(f"socket: {_socket_name(fd)} (fd {fd}, {inode})")
        lines.extend(f"{context} not terminated" for context in _open_contexts() if id(context) not in self.contexts)
        for name in sorted({path.name for path in SHARED_MEMORY.glob("ethostream-*")} - self.rings):
            ring = SHARED_MEMORY / name
            if _stays_unused(ring):
                lines.append(f"shared memory {ring}")
                ring.unlink(missing_ok=True)
        for path in sorted(_socket_files() - self.socket_files):
            if _stays_unused(path, _served):
                lines.append(f"socket file {path}")
                path.unlink(missing_ok=True)
        return lines


def _our_processes(pids: set[int]) -> list[psutil.Process]:
    """Those of ``pids`` that descend from this process or carry its mark, zombies and Python's own trackers aside."""
    if not pids:
        return []
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    found: list[psutil.Process] = []
    for pid in sorted(pids):
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or "resource_tracker" in _command(process):
                continue
            if pid in children or MARK in process.environ().get(MARK_NAME, ""):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "(ended)"


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _socket_fds() -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:  # the descriptor of this very listing
            continue
        if target.startswith("socket:"):
            found.add((int(fd.name), target))
    return found


def _socket_files() -> set[Path]:
    """Ends of the ipc transport; each run keeps its own in a temporary folder."""
    return {path for path in Path(tempfile.gettempdir()).glob("ethostream-*/*") if path.is_socket()}


def _socket_name(fd: int) -> str:
    for connection in psutil.Process().net_connections("all"):
        if connection.fd == fd:
            family = getattr(connection.family, "name", connection.family)
            ends = " -> ".join(str(end) for end in (connection.laddr, connection.raddr) if end)
            return f"{family} {ends or '(unnamed pair)'} {connection.status}"
    return "of another family"


_contexts: "weakref.WeakSet[zmq.Context[Any]]" = weakref.WeakSet()
_init_context = zmq.Context.__init__  # pyright: ignore[reportUnknownMemberType]


def _init_and_remember(self: "zmq.Context[Any]", *args: Any, **kwargs: Any) -> None:
    _init_context(self, *args, **kwargs)
    _contexts.add(self)


zmq.Context.__init__ = _init_and_remember


def _open_contexts() -> "set[zmq.Context[Any]]":
    """The global context, which pyzmq ends at exit, does not count."""
    shared = zmq.Context._instance  # pyright: ignore[reportPrivateUsage]
    return {context for context in _contexts if not context.closed and context is not shared}


def _stays_unused(path: Path, used: Callable[[Path], bool] | None = None) -> bool:
    """Whether a file is there and nobody's for a while; who ends may be just about to remove it."""
    waited_s = 0.0
    while path.exists() and not (used and used(path)):
        if waited_s >= GRACE_S:
            return True
        threading.Event().wait(_LOOK_S)
        waited_s += _LOOK_S
    return False


def _served(path: Path) -> bool:
    """Whether some process listens there; what our own left open is told as a socket."""
    return str(path) in Path("/proc/net/unix").read_text()
