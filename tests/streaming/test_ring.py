"""The shared-memory ring: what is read is what was written, or it is refused."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ethostream.streaming.ring import SHM, RingReader, RingWriter, ring_prefix, unlink_session_rings
from ethostream.sync.errors import FrameOverwrittenError, SharedMemoryError
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def session() -> Iterator[str]:
    name = f"test{uuid.uuid4().hex[:8]}"
    yield name
    unlink_session_rings(name)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (1, 1), (1080, 1920)])
def test_a_reader_sees_the_bytes_that_were_written(session: str, shape: tuple[int, ...]) -> None:
    writer = RingWriter(f"{ring_prefix(session)}a-0", shape, 4)
    reader = RingReader(writer.name)
    random = np.random.default_rng(1)
    for _ in range(9):
        frame = random.integers(0, 256, shape, dtype=np.uint8)
        writer.acquire()[...] = frame
        slot, generation = writer.commit()
        view = reader.view(slot, generation)
        assert np.array_equal(view, frame)
        assert not view.flags.writeable
        reader.check(slot, generation)
    writer.close()
    assert np.array_equal(view, frame), "what a reader has mapped stays valid"


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.lists(st.integers(0, 12), min_size=1, max_size=30))
def test_a_lapped_reader_is_told(n_slots: int, lags: list[int]) -> None:
    session = f"test{uuid.uuid4().hex[:8]}"
    writer = RingWriter(f"{ring_prefix(session)}a-0", (2, 2), n_slots)
    reader = RingReader(writer.name)
    written: list[tuple[int, int]] = []
    try:
        for value, lag in enumerate(lags):
            writer.acquire()[...] = value
            written.append(writer.commit())
            if lag >= len(written):
                continue
            slot, generation = written[-1 - lag]
            if lag < n_slots:
                assert int(reader.view(slot, generation)[0, 0]) == value - lag
            else:
                with pytest.raises(FrameOverwrittenError, match="frames behind"):
                    reader.view(slot, generation)
    finally:
        writer.close()


def test_a_slot_that_is_being_written_is_refused(session: str) -> None:
    writer = RingWriter(f"{ring_prefix(session)}a-0", (2, 2), 2)
    reader = RingReader(writer.name)
    places = []
    for _ in range(2):
        writer.acquire()
        places.append(writer.commit())
    reader.view(*places[0])
    writer.acquire()
    with pytest.raises(FrameOverwrittenError):
        reader.check(*places[0])
    reader.check(*places[1])
    writer.close()


def test_shared_memory_too_small_says_what_to_do(session: str) -> None:
    stat = os.statvfs(SHM)
    n_rows = stat.f_blocks * stat.f_frsize // 4096 // 4
    with pytest.raises(SharedMemoryError, match=r"needs \d+ MiB.*lower bus.ring_slots"):
        RingWriter(f"{ring_prefix(session)}a-0", (n_rows, 4096), 8)
    assert not list(SHM.glob(f"{ring_prefix(session)}*"))


def test_a_taken_name_a_missing_ring_and_a_foreign_file_are_refused(session: str) -> None:
    writer = RingWriter(f"{ring_prefix(session)}a-0", (2, 2), 2)
    with pytest.raises(SharedMemoryError, match="exists"):
        RingWriter(writer.name, (2, 2), 2)
    writer.close()
    with pytest.raises(SharedMemoryError, match="cannot be opened"):
        RingReader(writer.name)
    with pytest.raises(SharedMemoryError, match="not a ring"):
        RingReader("../etc/passwd")
    foreign = SHM / f"{ring_prefix(session)}b-0"
    for content in (b"", b"x" * 10_000):
        foreign.write_bytes(content)
        with pytest.raises(SharedMemoryError, match="not a ring"):
            RingReader(foreign.name)
    assert unlink_session_rings(session) == [foreign.name]


WRITER = """
import sys
import numpy as np
from ethostream.streaming.ring import RingWriter
writer = RingWriter(sys.argv[1], (256, 256), 4)
print("ready", flush=True)
sys.stdin.readline()
for value in range(20_000):
    frame = writer.acquire()
    frame[...] = value % 251
    print(*writer.commit(), value % 251, flush=value % 8 == 0)
sys.stdin.readline()
writer.close()
"""


def test_across_processes_no_torn_frame_passes_the_check(session: str, tmp_path: Path) -> None:
    """A writer at full speed, a reader that copies: each copy that passes the check holds one value only."""
    name = f"{ring_prefix(session)}a-0"
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    with subprocess.Popen(
        [sys.executable, str(script), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        reader = RingReader(name)
        process.stdin.write("go\n")
        process.stdin.flush()
        n_good = n_lapped = 0
        for _ in range(20_000):
            slot, generation, value = map(int, process.stdout.readline().split())
            try:
                copy = reader.view(slot, generation).copy()
                reader.check(slot, generation)
            except FrameOverwrittenError:
                n_lapped += 1
                continue
            n_good += 1
            assert (copy == value).all()
        assert n_good + n_lapped == 20_000
        assert n_good > 0
        process.communicate("stop\n")
    assert process.returncode == 0
