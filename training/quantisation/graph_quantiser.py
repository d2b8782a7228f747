"""Static quantisation of an embedder by ONNX Runtime: beside the backend, the only file that imports it.

Weights become int8 per output channel, activations uint8, as pairs of QuantizeLinear and DequantizeLinear that the
engine fuses into integer kernels (Jacob et al. 2018). Resize and normalisation in front of the first convolution stay
float32, and so does the embedding that comes out.
"""

import logging
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from ...sync.errors import BundleError, DataError

_INTEGER_OPERATORS: Final = ["Conv", "Gemm", "MatMul", "Relu", "Reshape", "MaxPool", "Add"]
"""Resize, Gather and Unsqueeze are left out: they only prepare the crop."""
_WITH_WEIGHTS: Final = ("Conv", "Gemm", "MatMul")


def quantise_graph(model: bytes, crops: Iterable[NDArray[np.uint8]], weight_bits: Literal[7, 8] = 8) -> bytes:
    """``embedder.onnx`` with integer weights and activations; inputs and outputs stay as they are.

    Args:
        model: the float32 graph.
        crops: batches uint8 [n, h, w], read once and never held together; the range of each activation is that which
            it takes over them.
        weight_bits: how many bits of a weight are used.

    Raises:
        DataError: there is no crop.
        BundleError: the graph holds nothing that can be quantised, or is quantised already.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
            self.batches = batches

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            batch = next(self.batches, None)
            return None if batch is None else {"crops": batch}

    graph = onnx.load_model_from_string(model)
    if is_quantised(graph):
        raise BundleError("embedder.onnx is quantised already; quantise the float32 bundle that it was made from")
    if not any(node.op_type in _WITH_WEIGHTS for node in graph.graph.node):
        raise BundleError("embedder.onnx has no convolution and no matrix product: there is nothing to quantise")
    first = next(iterator := iter(crops), None)
    if first is None:
        raise DataError("no crop to calibrate on: the training part gave no frame that is a step of the model")

    def batches() -> Iterator[NDArray[np.uint8]]:
        yield first
        yield from iterator

    with tempfile.TemporaryDirectory(prefix="es-int8-") as name, _quiet():
        prepared, quantised = Path(name) / "prepared.onnx", Path(name) / "quantised.onnx"
        quant_pre_process(graph, prepared)
        quantize_static(
            prepared,
            quantised,
            Reader(batches()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_INTEGER_OPERATORS,
            per_channel=True,
            reduce_range=weight_bits == 7,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # CalibMaxIntermediateOutputs stays away: in onnxruntime 1.31 it forgets the ranges that it should merge.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        made = onnx.load(quantised)
    return _finished(made, graph)


def is_quantised(model: bytes | onnx.ModelProto) -> bool:
    """Whether a graph holds QuantizeLinear or DequantizeLinear."""
    graph = onnx.load_model_from_string(model) if isinstance(model, bytes) else model
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.graph.node)


def _finished(made: onnx.ModelProto, before: onnx.ModelProto) -> bytes:
    """The graph with the shapes that the contract names, only the operator sets that it uses, and no notes."""
    used = {node.domain for node in made.graph.node}
    kept = [one for one in made.opset_import if one.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    del made.graph.value_info[:], made.metadata_props[:]
    for mine, theirs in ((made.graph.input, before.graph.input), (made.graph.output, before.graph.output)):
        names = [cast(Any, one).name for one in mine]
        if names != [cast(Any, one).name for one in theirs]:
            raise BundleError(f"quantisation renamed the inputs or outputs of embedder.onnx to {', '.join(names)}")
        del mine[:]
        mine.extend(theirs)
    for node in made.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(made, full_check=True)
    if not is_quantised(made):
        raise BundleError("embedder.onnx came back without a quantised operator; its operators are not known here")
    return made.SerializeToString(deterministic=True)


@contextmanager
def _quiet() -> Generator[None]:
    """The library gives advice on the root logger that does not apply here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
