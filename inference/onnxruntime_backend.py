"""ONNX Runtime as a backend: the file that opens its sessions.

ONNX Runtime lists providers that cannot run and then falls back to the CPU without an error, so the providers of the
open session are compared with the one that was asked for. Outputs are fresh arrays: recurrent state that is bound in
place is wrong under CUDA graph capture (onnxruntime #32243), and prebuilt bindings save 3 µs of an 18 µs head step.
"""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..sync.errors import BundleError, ProviderError
from .backend import Graph, RuntimeProvider

PROVIDER_NAMES: Final[dict[RuntimeProvider, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
EXTRA: Final[dict[RuntimeProvider, str]] = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "gpu"}
FALLBACK_OF: Final[dict[RuntimeProvider, list[RuntimeProvider]]] = {
    "cpu": ["cpu"],
    "cuda": ["cuda", "cpu"],
    "tensorrt": ["tensorrt", "cuda", "cpu"],
}
"""Operators that a GPU provider does not know run on the next one of the list; the first must be there."""

LOG_ERROR: Final = 3


def _install_hint(provider: RuntimeProvider) -> str:
    other = " (uninstall the other onnxruntime package first: they exclude each other)" if provider != "cpu" else ""
    return f"pip install 'ethostream[{EXTRA[provider]}]'{other}"


def require_runtime(provider: RuntimeProvider) -> Any:
    """The module onnxruntime, with this provider compiled in; whether it runs, only a session says.

    Raises:
        ProviderError: the package or the provider is not there.
    """
    try:
        runtime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise ProviderError(
            f"provider {provider!r}: onnxruntime is not installed ({error}); {_install_hint(provider)}"
        ) from error
    available: list[str] = runtime.get_available_providers()
    if PROVIDER_NAMES[provider] not in available:
        raise ProviderError(
            f"provider {provider!r}: this onnxruntime {runtime.__version__} has {', '.join(available)} only; "
            f"{_install_hint(provider)}"
        )
    return runtime


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What else a session is opened with.

    Attributes:
        threads: intra-op threads.
        spin: whether workers wait busily; not where a rig shares its cores.
        sizes: dynamic axis → its size, where the graph is to run at one shape only.
        options: provider → options of it.
    """

    threads: int = 1
    spin: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    options: Mapping[RuntimeProvider, Mapping[str, Any]] = field(
        default_factory=dict[RuntimeProvider, Mapping[str, Any]]
    )


class Session:
    """An ONNX Runtime session on the provider that was asked for.

    Args:
        model: bytes of the ``.onnx`` file.
        name: file name, for messages.
        provider: which execution provider must run it.
        settings: the rest.

    Attributes:
        raw: the session.
        runtime: the module.
        errors: what it raises.

    Raises:
        ProviderError: onnxruntime or the provider is not there.
        BundleError: the file is no valid ONNX graph.
    """

    def __init__(self, model: bytes, name: str, provider: RuntimeProvider, settings: SessionSettings) -> None:
        self.runtime = require_runtime(provider)
        wanted = PROVIDER_NAMES[provider]
        available: list[str] = self.runtime.get_available_providers()
        missing = "" if provider == "cpu" else _load_libraries(self.runtime)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spin else "0")
        for axis, size in settings.sizes.items():
            options.add_free_dimension_override_by_name(axis, size)
        state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        own_errors = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
        self.errors: tuple[type[Exception], ...] = (ValueError, RuntimeError, *own_errors)
        chain = [
            (PROVIDER_NAMES[each], dict(settings.options.get(each, {})))
            for each in FALLBACK_OF[provider]
            if PROVIDER_NAMES[each] in available
        ]
        try:
            self.raw: Any = self.runtime.InferenceSession(model, options, providers=chain)
        except (state.RuntimeException, state.EPFail) as error:
            raise ProviderError(f"provider {provider!r}: {error}; {missing}{_install_hint(provider)}") from error
        except self.errors as error:
            raise BundleError(f"{name}: ONNX Runtime cannot open it ({error}); export the bundle again") from error
        active: list[str] = self.raw.get_providers()
        if not active or active[0] != wanted:
            raise ProviderError(
                f"provider {provider!r} was asked for {name}, but the session runs on {', '.join(active)}: "
                f"its libraries or the GPU are not there; {missing}{_install_hint(provider)}"
            )


def _load_libraries(runtime: Any) -> str:
    """Load CUDA, cuDNN and TensorRT from their wheels, where they came as such; what was missing, for messages."""
    said = io.StringIO()
    with redirect_stdout(said):
        runtime.preload_dlls()
    with suppress(ImportError):
        import_module("tensorrt_libs")
    return f"({said.getvalue().strip()}) " if said.getvalue().strip() else ""


class OnnxRuntimeGraph:
    """One ONNX graph in an ONNX Runtime session, fed from and read into ordinary memory."""

    def __init__(
        self, model: bytes, name: str, provider: RuntimeProvider = "cpu", threads: int = 1, spin: bool = False
    ) -> None:
        """Open ``model``; see `Session` for what is raised.

        Args:
            model: bytes of the ``.onnx`` file.
            name: file name, for messages.
            provider: which execution provider must run it.
            threads: intra-op threads.
            spin: whether workers wait busily; not where a rig shares its cores.
        """
        session = Session(model, name, provider, SessionSettings(threads, spin))
        self._session: Any = session.raw
        self._errors = session.errors
        self.name = name
        self.provider = provider
        self.inputs: dict[str, list[int | str]] = {one.name: list(one.shape) for one in self._session.get_inputs()}
        self.outputs: dict[str, list[int | str]] = {one.name: list(one.shape) for one in self._session.get_outputs()}
        self._output_names = list(self.outputs)

    def input_buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Ordinary memory; see `Graph.input_buffer`."""
        if name not in self.inputs:
            raise BundleError(f"{self.name}: has no input {name!r}; inputs are {self.inputs}")
        return np.zeros(shape, dtype)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once.

        Args:
            feeds: every input by name, of the graph's dtype and shape.

        Returns:
            New arrays by output name.

        Raises:
            BundleError: an input is missing or of the wrong shape or dtype.
        """
        try:
            values = self._session.run(self._output_names, dict(feeds))
        except self._errors as error:
            raise BundleError(f"{self.name}: {error}; inputs are {self.inputs}") from error
        return dict(zip(self._output_names, values, strict=True))


def open_graph(model: bytes, name: str, provider: RuntimeProvider, threads: int, spin: bool = False) -> Graph:
    """Open ``model`` in ONNX Runtime; see `OnnxRuntimeGraph`."""
    return OnnxRuntimeGraph(model, name, provider, threads, spin)
