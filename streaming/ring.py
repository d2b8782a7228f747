"""A ring of frames in shared memory: one writer, any number of readers, one write per frame.

The writer never waits. Each slot carries a generation: odd while it is written, even when it is whole. A reader takes a
view without a copy, uses it, and then checks that the generation is still the one that the header named (a sequence
lock, as in the Linux kernel's seqlock_t). The file lies in `SHM` and is unlinked by its owner only; what readers
have mapped stays valid. Relies on the store order of x86-64; on a weaker processor a check may pass too early.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import FrameOverwrittenError, SharedMemoryError

SHM_VARIABLE = "ETHOSTREAM_SHM"
SHM = Path(os.environ.get(SHM_VARIABLE) or "/dev/shm").resolve()
"""Where rings lie: any folder in memory; processes of one rig inherit the variable, and the folder it starts from."""
_MAGIC = b"ETHORING"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQIIII")
_PAGE = 4096
MAX_SLOTS = (_PAGE - _HEADER.size - 64) // 8


def ring_prefix(session: str) -> str:
    """File names of all rings of one session begin with this."""
    return f"ethostream-{session}-"


def ring_bytes(shape: tuple[int, ...], n_slots: int) -> int:
    """Shared memory that a ring of ``n_slots`` frames of this shape takes."""
    return _Layout(n_slots, shape).total_bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    n_slots: int
    shape: tuple[int, ...]

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.shape))

    @property
    def stride(self) -> int:
        return -(-self.frame_bytes // _PAGE) * _PAGE

    @property
    def total_bytes(self) -> int:
        return _PAGE + self.n_slots * self.stride

    def generations(self, memory: mmap.mmap) -> NDArray[np.uint64]:
        return np.frombuffer(memory, np.uint64, self.n_slots, offset=64)

    def frames(self, memory: mmap.mmap) -> list[NDArray[np.uint8]]:
        return [
            np.frombuffer(memory, np.uint8, self.frame_bytes, _PAGE + slot * self.stride).reshape(self.shape)
            for slot in range(self.n_slots)
        ]


class RingWriter:
    """Creates and owns the ring. One thread of one process.

    Args:
        name: file name under `SHM`.
        shape: of one frame, uint8.
        n_slots: frames held; at most `MAX_SLOTS`.

    Raises:
        SharedMemoryError: it does not fit, or the name is taken.
    """

    def __init__(self, name: str, shape: tuple[int, ...], n_slots: int) -> None:
        if not 2 <= n_slots <= MAX_SLOTS:
            raise SharedMemoryError(f"ring {name}: {n_slots} slots; choose 2 to {MAX_SLOTS} (bus.ring_slots)")
        self.name = name
        self._layout = _Layout(n_slots, shape)
        self._path = SHM / name
        self._memory = self._create()
        self._generations = self._layout.generations(self._memory)
        self._frames = self._layout.frames(self._memory)
        self._n_written = 0

    def _create(self) -> mmap.mmap:
        size = self._layout.total_bytes
        stat = os.statvfs(SHM)
        free = stat.f_bavail * stat.f_frsize
        too_small = (
            f"ring {self.name}: needs {size / 2**20:.0f} MiB of shared memory and {SHM} has {free / 2**20:.0f} MiB "
            "free; lower bus.ring_slots in the rig file, or enlarge it: mount -o remount,size=4G /dev/shm"
        )
        if size > free:
            raise SharedMemoryError(too_small)
        try:
            fd = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError as error:
            raise SharedMemoryError(
                f"ring {self.name}: {self._path} exists; another rig uses this session id"
            ) from error
        try:
            # Reserved now: a page that is missing later would be a bus error in the middle of a run.
            os.posix_fallocate(fd, 0, size)
            memory = mmap.mmap(fd, size)
        except OSError as error:
            self._path.unlink()
            raise SharedMemoryError(too_small) from error
        finally:
            os.close(fd)
        height, width, channels = (*self._layout.shape, 1)[:3]
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            self._layout.n_slots,
            self._layout.frame_bytes,
            height,
            width,
            channels,
            len(self._layout.shape),
        )
        memory[: _HEADER.size] = header
        return memory

    @property
    def n_slots(self) -> int:
        return self._layout.n_slots

    def acquire(self) -> NDArray[np.uint8]:
        """The slot to fill next, marked as being written. Calling it again before `commit` gives the same slot."""
        slot = self._n_written % self._layout.n_slots
        self._generations[slot] = 2 * self._n_written + 1
        return self._frames[slot]

    def commit(self) -> tuple[int, int]:
        """Mark the acquired slot as whole; returns (slot, generation) for the header."""
        slot = self._n_written % self._layout.n_slots
        generation = 2 * self._n_written + 2
        self._generations[slot] = generation
        self._n_written += 1
        return slot, generation

    def close(self) -> None:
        """Unlink the file. Readers keep what they have mapped."""
        self._path.unlink(missing_ok=True)
        self._frames = []


class RingReader:
    """Attaches to a ring by name, read-only.

    Raises:
        SharedMemoryError: there is no such ring, or the file is not one.
    """

    def __init__(self, name: str) -> None:
        path = SHM / name
        if "/" in name or not name.startswith("ethostream-"):
            raise SharedMemoryError(f"ring {name!r}: not a ring of ethostream")
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SharedMemoryError(
                f"ring {name}: {path} cannot be opened ({error.strerror}); has its camera stopped?"
            ) from error
        try:
            size = os.fstat(fd).st_size
            if size < _PAGE:
                raise SharedMemoryError(f"ring {name}: {path} holds {size} bytes and is not a ring")
            self._memory = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        magic, version, n_slots, frame_bytes, height, width, channels, n_dims = _HEADER.unpack_from(self._memory)
        shape = (height, width, channels)[:n_dims]
        self._layout = _Layout(n_slots, shape)
        if (
            magic != _MAGIC
            or version != _VERSION
            or self._layout.frame_bytes != frame_bytes
            or size != self._layout.total_bytes
        ):
            raise SharedMemoryError(f"ring {name}: {path} is not a ring of this version; run one ethostream release")
        self.name = name
        self._generations = self._layout.generations(self._memory)
        self._frames = self._layout.frames(self._memory)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._layout.shape

    def view(self, slot: int, generation: int) -> NDArray[np.uint8]:
        """The pixels of a slot, without a copy; use them, then call `check`.

        Raises:
            FrameOverwrittenError: the writer has lapped this reader already.
            SharedMemoryError: there is no such slot.
        """
        if not 0 <= slot < self._layout.n_slots:
            raise SharedMemoryError(f"ring {self.name}: slot {slot} of {self._layout.n_slots}")
        self.check(slot, generation)
        return self._frames[slot]

    def check(self, slot: int, generation: int) -> None:
        """Raise FrameOverwrittenError when the slot no longer holds ``generation``."""
        if int(self._generations[slot]) != generation:
            raise FrameOverwrittenError(
                f"ring {self.name}: slot {slot} was written again before it was read; the reader is more than "
                f"{self._layout.n_slots} frames behind (raise bus.ring_slots or lighten the reader)"
            )


def unlink_session_rings(session: str) -> list[str]:
    """Remove what killed camera processes of one session left in shared memory; returns the names."""
    left = sorted(path.name for path in SHM.glob(f"{ring_prefix(session)}*"))
    for name in left:
        (SHM / name).unlink(missing_ok=True)
    return left
