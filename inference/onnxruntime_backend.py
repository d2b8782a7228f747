"""ONNX Runtime as a backend: the only file that imports it.

ONNX Runtime lists providers that cannot run and then falls back to the CPU without an error, so the providers of the
open session are compared with the one that was asked for. Outputs are fresh arrays: recurrent state that is bound in
place is wrong under CUDA graph capture (onnxruntime #32243), and prebuilt bindings save 3 µs of an 18 µs head step.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from numpy.typing import NDArray

from ..sync.errors import BundleError, ProviderError
from .backend import Graph, Provider

PROVIDER_NAMES: Final[dict[Provider, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
EXTRA: Final[dict[Provider, str]] = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "gpu"}
FALLBACK_OF: Final[dict[Provider, list[Provider]]] = {
    "cpu": ["cpu"],
    "cuda": ["cuda", "cpu"],
    "tensorrt": ["tensorrt", "cuda", "cpu"],
}
"""Operators that a GPU provider does not know run on the next one of the list; the first must be there."""

LOG_ERROR: Final = 3


def _install_hint(provider: Provider) -> str:
    other = " (uninstall the other onnxruntime package first: they exclude each other)" if provider != "cpu" else ""
    return f"pip install 'ethostream[{EXTRA[provider]}]'{other}"


def _runtime(provider: Provider) -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise ProviderError(
            f"provider {provider!r}: onnxruntime is not installed ({error}); {_install_hint(provider)}"
        ) from error


class OnnxRuntimeGraph:
    """One ONNX graph in an ONNX Runtime session."""

    def __init__(
        self, model: bytes, name: str, provider: Provider = "cpu", threads: int = 1, spin: bool = False
    ) -> None:
        """Open ``model``.

        Args:
            model: bytes of the ``.onnx`` file.
            name: file name, for messages.
            provider: which execution provider must run it.
            threads: intra-op threads.
            spin: whether workers wait busily; not where a rig shares its cores.

        Raises:
            ProviderError: onnxruntime or the provider is not there.
            BundleError: the file is no valid ONNX graph.
        """
        runtime = _runtime(provider)
        wanted = PROVIDER_NAMES[provider]
        available: list[str] = runtime.get_available_providers()
        if wanted not in available:
            raise ProviderError(
                f"provider {provider!r}: this onnxruntime {runtime.__version__} has {', '.join(available)} only; "
                f"{_install_hint(provider)}"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        own_errors = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
        self._errors: tuple[type[Exception], ...] = (ValueError, RuntimeError, *own_errors)
        chain = [PROVIDER_NAMES[each] for each in FALLBACK_OF[provider] if PROVIDER_NAMES[each] in available]
        try:
            self._session: Any = runtime.InferenceSession(model, options, providers=chain)
        except (state.RuntimeException, state.EPFail) as error:
            raise ProviderError(f"provider {provider!r}: {error}; {_install_hint(provider)}") from error
        except self._errors as error:
            raise BundleError(f"{name}: ONNX Runtime cannot open it ({error}); export the bundle again") from error
        active: list[str] = self._session.get_providers()
        if not active or active[0] != wanted:
            raise ProviderError(
                f"provider {provider!r} was asked for {name}, but the session runs on {', '.join(active)}: "
                f"its libraries or the GPU are not there; {_install_hint(provider)}"
            )
        self.name = name
        self.provider = provider
        self.inputs: dict[str, list[int | str]] = {one.name: list(one.shape) for one in self._session.get_inputs()}
        self.outputs: dict[str, list[int | str]] = {one.name: list(one.shape) for one in self._session.get_outputs()}
        self._output_names = list(self.outputs)

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


def open_graph(model: bytes, name: str, provider: Provider, threads: int, spin: bool = False) -> Graph:
    """Open ``model`` in ONNX Runtime; see `OnnxRuntimeGraph`."""
    return OnnxRuntimeGraph(model, name, provider, threads, spin)
