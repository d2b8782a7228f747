"""Memory of a GPU, page-locked memory of the host, and one stream that copies between them: the only file that imports
the CUDA runtime.

Page-locked memory is read and written by the GPU itself: a copy from ordinary memory first goes through a buffer of
the driver. Everything is allocated before the first set; a set only copies.
"""

import ctypes
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..sync.errors import ProviderError

INSTALL: Final = "pip install 'ethostream[gpu]' on a machine with an NVIDIA driver for CUDA 13"
DRIVER_VERSION_FILE: Final = Path("/sys/module/nvidia/version")


class CudaMemory:
    """One GPU and one stream on it. One thread uses it; what it gave out lives as long as it does.

    Args:
        device: number of the GPU.

    Raises:
        ProviderError: the CUDA runtime, the driver or the GPU is not there.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise ProviderError(f"the CUDA runtime for Python is not installed ({error}); {INSTALL}") from error
        (n_devices,) = self.call("cudaGetDeviceCount")
        if device >= n_devices:
            raise ProviderError(f"gpu.device {device}: this machine has {n_devices} GPU(s), counted from 0")
        self.device = device
        self.call("cudaSetDevice", device)
        # Non-blocking: it does not wait for what others do on the default stream.
        (self._stream,) = self.call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        weakref.finalize(self, self._cuda.cudaStreamDestroy, self._stream)

    @property
    def stream(self) -> int:
        """Address of the stream."""
        return int(self._stream)

    def call(self, function: str, *arguments: Any) -> tuple[Any, ...]:
        """Call the runtime; what it returns after the error code.

        Raises:
            ProviderError: it returned an error.
        """
        error, *values = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            text: bytes = self._cuda.cudaGetErrorString(error)[1]
            raise ProviderError(f"{function}: {text.decode()} (CUDA error {int(error)}); needed: {INSTALL}")
        return tuple(values)

    def locked(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A zeroed, page-locked array of the host."""
        n_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        (address,) = self.call("cudaHostAlloc", n_bytes, self._cuda.cudaHostAllocDefault)
        buffer: Any = (ctypes.c_uint8 * n_bytes).from_address(int(address))
        # The arrays hold the buffer, so the memory goes when the last of them has gone.
        weakref.finalize(buffer, self._cuda.cudaFreeHost, address)
        array = np.frombuffer(buffer, dtype, int(np.prod(shape))).reshape(shape)
        array.fill(0)
        return array

    def allocate(self, n_bytes: int) -> int:
        """Memory of the GPU; its address."""
        (address,) = self.call("cudaMalloc", max(1, n_bytes))
        weakref.finalize(self, self._cuda.cudaFree, address)
        return int(address)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Begin to copy a contiguous array to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Begin to copy from the GPU into a contiguous array; it is there after `wait`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Until all that was begun on the stream is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def record(self, launch: Callable[[], None]) -> Any:
        """Record what ``launch`` begins on the stream into a CUDA graph, without running it."""
        self.wait()
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            launch()
        finally:
            (graph,) = self.call("cudaStreamEndCapture", self._stream)
        (ready,) = self.call("cudaGraphInstantiate", graph, 0)
        return ready

    def replay(self, ready: Any) -> None:
        """Begin a recorded graph."""
        self.call("cudaGraphLaunch", ready, self._stream)

    def identity(self) -> dict[str, str]:
        """What an engine depends on: GPU, its compute capability, driver and CUDA runtime."""
        (properties,) = self.call("cudaGetDeviceProperties", self.device)
        (driver,) = self.call("cudaDriverGetVersion")
        (runtime,) = self.call("cudaRuntimeGetVersion")
        module = DRIVER_VERSION_FILE
        return {
            "gpu": properties.name.decode().rstrip("\0"),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "driver": module.read_text(encoding="ascii").strip() if module.is_file() else str(driver),
            "cuda": str(runtime),
        }
