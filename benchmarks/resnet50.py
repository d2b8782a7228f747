"""ResNet-50 without its classifier (He et al. 2016), for benchmarks: what larger embedders cost."""

import torch
from ethostream.training.networks import Embedder
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
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
        self.downsample = (
            nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
            if stride != 1 or n_in != n_out
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(Embedder):
    """2048 features; parameter names are those of torchvision. Grey is given to all three colour channels."""

    channel_mean: Tensor
    channel_std: Tensor

    def __init__(self, side_px: int = 224) -> None:
        super().__init__(2048, side_px)
        self.register_buffer("channel_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("channel_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in = 64
        for place, (width, n_blocks, stride) in enumerate(STAGES, start=1):
            blocks = [
                Bottleneck(n_in if n == 0 else 4 * width, width, stride if n == 0 else 1) for n in range(n_blocks)
            ]
            self.add_module(f"layer{place}", nn.Sequential(*blocks))
            n_in = 4 * width

    def embed(self, grey: Tensor) -> Tensor:
        y = (grey[:, None] / 255.0 - self.channel_mean) / self.channel_std
        y = self.maxpool(torch.relu(self.bn1(self.conv1(y))))
        for place in range(1, len(STAGES) + 1):
            y = self.get_submodule(f"layer{place}")(y)
        return y.mean(dim=(2, 3))
