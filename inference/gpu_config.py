"""How a model runs on a GPU: the part of the task file that ``provider: cpu`` has no use for."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..sync.strict import StrictModel
from .backend import Precision


class GpuConfig(StrictModel):
    """Options of the embedder's engine on a GPU.

    Attributes:
        device: number of the GPU.
        precision: ``fp16`` computes the embedder in half precision.
        cuda_graphs: record the embedder's kernels once and replay them: one launch a set instead of one per kernel.
        head: where the head runs. Its steps are so small that copies to a GPU and back cost more than the CPU takes.
        engine_cache: folder of TensorRT engines; null: ``ethostream/engines`` in the user's cache folder.
    """

    device: int = Field(default=0, ge=0)
    precision: Precision = "fp32"
    cuda_graphs: bool = False
    head: Literal["cpu", "cuda"] = "cpu"
    engine_cache: Path | None = None
