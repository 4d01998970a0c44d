"""The small residual trunk of the analyzer and the evaluator."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def conv_norm(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution with batch normalisation and SiLU."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.SiLU(),
    )


class Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions; [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_norm(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.first(x)))


class Trunk(nn.Module):
    """Images [B, 3, 128, 128] in 0..1 -> features at strides 2, 4, 8, 16, ...

    Args:
        widths: Channels at each stride.
        depths: Residual blocks at each stride.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = 3
        for width, depth in zip(widths, depths, strict=True):
            blocks = [Residual(width) for _ in range(depth)]
            self.stages.append(nn.Sequential(conv_norm(before, width, stride=2), *blocks))
            before = width

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images * 4 - 2
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
