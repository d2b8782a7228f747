"""Embedders: uint8 crops in, one feature vector per crop out; resize and normalisation are part of the network."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError  # only the name of what a refused file raises: weights_only loads no code
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...sync.errors import DataError

_RESNET18_BLOCKS = ((64, 1), (128, 2), (256, 2), (512, 2))
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Embedder(nn.Module):
    """Base: crops uint8 [n, h, w] → resize to ``side_px`` (bilinear, half-pixel centres) → `embed` → float32 [n, d]."""

    def __init__(self, dims: int, side_px: int) -> None:
        super().__init__()
        self.dims = dims
        self.side_px = side_px

    def resize(self, crops: Tensor) -> Tensor:
        """Grey levels, float32 [n, side, side], of uint8 [n, h, w]."""
        grey = crops.to(torch.float32)[:, None]
        size = (self.side_px, self.side_px)
        return functional.interpolate(grey, size=size, mode="bilinear", align_corners=False, antialias=False)[:, 0]

    def embed(self, grey: Tensor) -> Tensor:
        """Embeddings [n, d] of resized grey levels 0..255, float32 [n, side, side]."""
        raise NotImplementedError

    def forward(self, crops: Tensor) -> Tensor:
        return self.embed(self.resize(crops))


class SmallCnn(Embedder):
    """Four strided convolutions and a linear layer, trained from scratch; about 3 million multiplications at 64 px."""

    def __init__(self, dims: int = 32, side_px: int = 64, width: int = 16) -> None:
        super().__init__(dims, side_px)
        channels = [1, width, 2 * width, 3 * width, 4 * width]
        layers: list[nn.Module] = []
        for place, (n_in, n_out) in enumerate(pairwise(channels)):
            kernel = 5 if place == 0 else 3
            layers += [
                nn.Conv2d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        last = -(-side_px // 16)
        self.project = nn.Linear(channels[-1] * last * last, dims)

    def embed(self, grey: Tensor) -> Tensor:
        return self.project(self.layers((grey[:, None] - 128.0) / 64.0).flatten(1))


def shortcut_of(n_in: int, n_out: int, stride: int) -> nn.Sequential | None:
    """What goes past a block of a ResNet; None where it goes past unchanged."""
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = shortcut_of(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet(Embedder):
    """A ResNet without its classifier (He et al. 2016); parameter names are those of torchvision.

    Grey is given to all three colour channels, normalised as the published weights expect.

    Args:
        dims: features of the last stage.
        side_px: of the square input.
        stages: blocks of each stage, made one after the other.
    """

    channel_mean: Tensor
    channel_std: Tensor

    def __init__(self, dims: int, side_px: int, stages: Iterable[list[nn.Module]]) -> None:
        super().__init__(dims, side_px)
        self.register_buffer("channel_mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("channel_std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._stages: list[str] = []
        for place, blocks in enumerate(stages, start=1):
            self._stages.append(f"layer{place}")
            self.add_module(self._stages[-1], nn.Sequential(*blocks))

    def embed(self, grey: Tensor) -> Tensor:
        y = (grey[:, None] / 255.0 - self.channel_mean) / self.channel_std
        y = self.maxpool(torch.relu(self.bn1(self.conv1(y))))
        for name in self._stages:
            y = self.get_submodule(name)(y)
        return y.mean(dim=(2, 3))


class ResNet18(ResNet):
    """ResNet-18: 512 features."""

    def __init__(self, side_px: int = 128) -> None:
        super().__init__(512, side_px, self._blocks())

    @staticmethod
    def _blocks() -> Iterator[list[nn.Module]]:
        n_in = 64
        for n_out, stride in _RESNET18_BLOCKS:
            yield [_BasicBlock(n_in, n_out, stride), _BasicBlock(n_out, n_out, 1)]
            n_in = n_out


def load_resnet18_weights(network: ResNet18, path: Path) -> None:
    """Load published weights: a ``state_dict`` saved by ``torch.save`` under torchvision's names; ``fc.*`` is left out.

    Raises:
        DataError: the file is missing or holds something else; names that are missing, unknown or of another shape are
            listed.
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: weights cannot be read ({error.strerror}); check embedder.weights") from error
    except (UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{path}: is not a state_dict saved by torch.save ({type(error).__name__}: {reason:.120}); "
            "give the published weight file of ResNet-18"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: holds {type(loaded).__name__}, expected a state_dict (name → tensor)")
    found = cast(dict[str, Any], loaded)
    given = {name: value for name, value in found.items() if not name.startswith("fc.")}
    wanted = network.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # absent from old weight files
    wrong = [f"{name} is missing" for name in wanted if name not in given and name not in counters]
    wrong += [f"{name} is unknown" for name in given if name not in wanted]
    wrong += [
        f"{name} is {tuple(getattr(given[name], 'shape', ()))}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and getattr(given[name], "shape", None) != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(f"{path}: is not a ResNet-18 state_dict: {'; '.join(wrong[:5])}{more}")
    network.load_state_dict({**{name: wanted[name] for name in counters}, **given})
