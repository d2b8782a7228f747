"""`tests/leak_check.py` finds each kind of leak, names it, blames the right test, spares tidy tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ethostream.streaming.ring import SHM

LEAKS = """
import os, socket, subprocess, sys, tempfile, threading
from pathlib import Path

import pytest
import zmq

kept = []

def start(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

SLEEP = "import sys, threading; print('up', flush=True); threading.Event().wait(60)"

def test_process():
    kept.append(child := start(SLEEP))
    child.stdout.readline()

def test_orphan():
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
    child = start(code)
    child.stdout.readline()
    child.wait()
    child.stdout.close()

def test_listening_socket():
    kept.append(server := socket.create_server(("127.0.0.1", 0)))
    print("port", server.getsockname()[1])

def test_unix_socket(tmp_path):
    kept.append(server := socket.socket(socket.AF_UNIX))
    server.bind(str(tmp_path / "s"))

def test_socket_pair():
    kept.append(socket.socketpair())

def test_ring():
    Path("SHM/ethostream-leakcheck-RUN-ring").write_bytes(b"0")

def test_socket_file():
    folder = Path(tempfile.mkdtemp(prefix="ethostream-leakcheck-RUN-"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "0"))

def test_thread():
    threading.Thread(target=threading.Event().wait, args=(3,), name="forgotten").start()

def test_zmq_context():
    kept.append(context := zmq.Context())
    kept.append(context.socket(zmq.PUB))

def test_failing_without_a_leak():
    assert False

def test_tidy(tmp_path):
    with start(SLEEP) as child, socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX) as unix:
        child.stdout.readline()
        unix.bind(str(tmp_path / "s"))
        ring = Path("SHM/ethostream-leakcheck-RUN-tidy")
        ring.write_bytes(b"0")
        ring.unlink()
        thread = threading.Thread(target=threading.Event().wait, args=(0.01,))
        thread.start()
        thread.join()
        with zmq.Context() as context, context.socket(zmq.PUB):
            pass
        child.terminate()

def test_still_ending_is_not_a_leak():
    child = start("print('up', flush=True)")
    child.stdout.readline()
    child.stdout.close()

def test_socket_in_a_cycle_is_not_a_leak():
    cycle = [socket.create_server(("127.0.0.1", 0))]
    cycle[0].setblocking(True)
    cycle.append(cycle)

def test_global_context_is_not_a_leak():
    zmq.Context.instance().socket(zmq.PUB).close()

@pytest.fixture(scope="module")
def served():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server

def test_fixture_of_the_module_is_not_a_leak(served):
    pass
"""

EXPECTED = {
    "test_process": r"process \d+: .*threading.Event",
    "test_orphan": r"process \d+: .*threading.Event",
    "test_listening_socket": r"socket: AF_INET addr\(ip='127.0.0.1', port=\d+\) LISTEN",
    "test_unix_socket": r"socket: AF_UNIX .*/s",
    "test_socket_pair": r"socket: AF_UNIX \(unnamed pair\)",
    "test_ring": r"shared memory /dev/shm/\S*ethostream-leakcheck-\d+-ring",
    "test_socket_file": r"socket file .*/ethostream-leakcheck-\d+-\w+/0",
    "test_thread": r"thread 'forgotten' \(not a daemon\)",
    "test_zmq_context": r"zmq.*Context.* not terminated",
}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> str:
    folder = tmp_path_factory.mktemp("leaky")
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_bytes((repository / "tests" / "leak_check.py").read_bytes())
    (folder / "tests" / "test_leaks.py").write_text(LEAKS.replace("RUN", str(os.getpid())).replace("SHM", str(SHM)))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "tests"]
    env = os.environ | {"ETHOSTREAM_TEST_GRACE_S": "0.5", "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("test", EXPECTED)
def test_leak_is_named(output: str, test: str) -> None:
    section = re.search(rf"_ ERROR at teardown of {test} _+\n(.*?)(?=\n_{{5,}}|\n={{5,}}|\n-{{5,}})", output, re.DOTALL)
    assert section, output
    lines = section[1].strip().splitlines()
    assert lines[0] == "this test left behind:"
    assert len(lines) > 1
    assert all(re.search(EXPECTED[test], line) for line in lines[1:]), lines


def test_nothing_else_is_blamed(output: str) -> None:
    assert set(re.findall(r"ERROR at teardown of (\w+)", output)) == set(EXPECTED)
    assert re.search(r"1 failed, \d+ passed, 9 errors", output), output


def test_leaked_rings_and_processes_are_removed(output: str) -> None:
    assert not list(SHM.glob(f"ethostream-leakcheck-{os.getpid()}-*"))
    for pid in re.findall(r"process (\d+):", output):
        assert not Path(f"/proc/{pid}").exists() or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text()
