"""ResNet-50 without its classifier (He et al. 2016), for benchmarks: what larger embedders cost."""

from collections.abc import Iterator

import torch
from ethostream.training.networks.embedders import ResNet, shortcut_of
from torch import Tensor, nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and stride of each stage."""


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut; the stride is in the middle one, as torchvision has it."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample = shortcut_of(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(ResNet):
    """2048 features."""

    def __init__(self, side_px: int = 224) -> None:
        super().__init__(2048, side_px, self._blocks())

    @staticmethod
    def _blocks() -> Iterator[list[nn.Module]]:
        n_in = 64
        for width, n_blocks, stride in STAGES:
            yield [Bottleneck(n_in if n == 0 else 4 * width, width, stride if n == 0 else 1) for n in range(n_blocks)]
            n_in = 4 * width
