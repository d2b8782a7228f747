# ruff: noqa: N801, N802, N815, N816
"""What is used of cuda.bindings.runtime 13, without a GPU: memory of the device is memory of the host.

Copies and recorded launches happen when the stream is waited for, or when the next run needs them, in order: what is
read before that is not there yet, as on a GPU. Names, order of arguments and what is returned are those of the package.
"""

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess
cudaStreamNonBlocking = 1
cudaHostAllocDefault = 0
STREAM = 77

n_devices = 1
memory: dict[int, Any] = {}
waiting: list[Callable[[], object]] = []
recording: list[Callable[[], object]] | None = None
n_allocations = 0
copied: list[tuple[cudaMemcpyKind, int]] = []


def reset() -> None:
    global n_devices, recording, n_allocations
    n_devices, recording, n_allocations = 1, None, 0
    waiting.clear()
    copied.clear()


def begin(work: Callable[[], object]) -> None:
    """Put work on the stream."""
    (waiting if recording is None else recording).append(work)


def run_all() -> None:
    while waiting:
        waiting.pop(0)()


def cudaGetDeviceCount() -> tuple[cudaError_t, int | None]:
    return (OK, n_devices) if n_devices else (cudaError_t.cudaErrorNoDevice, None)


def cudaSetDevice(device: int) -> tuple[cudaError_t]:
    assert 0 <= device < n_devices
    return (OK,)


def cudaGetErrorString(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return OK, b"no CUDA-capable device is detected" if error == cudaError_t.cudaErrorNoDevice else b"out of memory"


def _allocate(size: int) -> tuple[cudaError_t, int | None]:
    global n_allocations
    n_allocations += 1
    if size > 2**30:
        return cudaError_t.cudaErrorMemoryAllocation, None
    block = ctypes.create_string_buffer(b"\xaa" * size, size)
    memory[ctypes.addressof(block)] = block
    return OK, ctypes.addressof(block)


def cudaMalloc(size: int) -> tuple[cudaError_t, int | None]:
    return _allocate(size)


def cudaHostAlloc(size: int, flags: int) -> tuple[cudaError_t, int | None]:
    assert flags == cudaHostAllocDefault
    return _allocate(size)


def cudaFree(address: int) -> tuple[cudaError_t]:
    del memory[address]
    return (OK,)


cudaFreeHost = cudaFree


def cudaStreamCreateWithFlags(flags: int) -> tuple[cudaError_t, int]:
    assert flags == cudaStreamNonBlocking
    return OK, STREAM


def cudaStreamDestroy(stream: int) -> tuple[cudaError_t]:
    assert stream == STREAM
    return (OK,)


def cudaMemcpyAsync(target: int, source: int, count: int, kind: cudaMemcpyKind, stream: int) -> tuple[cudaError_t]:
    assert stream == STREAM
    copied.append((kind, count))
    begin(lambda: ctypes.memmove(target, source, count))
    return (OK,)


def cudaStreamSynchronize(stream: int) -> tuple[cudaError_t]:
    assert stream == STREAM
    assert recording is None, "a stream that is recorded cannot be waited for"
    run_all()
    return (OK,)


def cudaStreamBeginCapture(stream: int, mode: cudaStreamCaptureMode) -> tuple[cudaError_t]:
    global recording
    assert stream == STREAM
    assert mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    recording = []
    return (OK,)


def cudaStreamEndCapture(stream: int) -> tuple[cudaError_t, Any]:
    global recording
    assert stream == STREAM
    recorded, recording = recording, None
    return OK, recorded


def cudaGraphInstantiate(graph: Any, flags: int) -> tuple[cudaError_t, Any]:
    assert flags == 0
    return OK, tuple(graph)


def cudaGraphLaunch(ready: Any, stream: int) -> tuple[cudaError_t]:
    assert stream == STREAM
    waiting.extend(ready)
    return (OK,)


def cudaGetDeviceProperties(device: int) -> tuple[cudaError_t, Any]:
    return OK, SimpleNamespace(name=b"Fake GPU\0\0", major=9, minor=0)


def cudaDriverGetVersion() -> tuple[cudaError_t, int]:
    return OK, 13000


def cudaRuntimeGetVersion() -> tuple[cudaError_t, int]:
    return OK, 13050
