"""Blendshapes from an upright crop of the face, at twice the resolution of the whole image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...faces.blendshapes import ARKIT_NAMES
from .convnet import Trunk

_SIDE = 64
_HALF_WIDTH = 1.35  # in distances from the eyes to the mouth: brows and chin are inside
_EYES, _MOUTH = slice(36, 48), slice(48, 68)
_SHORTEST = 0.03  # of the image; so that bad landmarks do not collapse the crop


class ExpressionReader(nn.Module):
    """Images and their 68 landmarks -> blendshapes [B, 51] in ARKit order, about 0..1.

    Expressions are small changes of lids, brows and lips; in the upright crop these are always in
    the same place, whatever the position and roll of the head.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 40, 64, 96)
        self.trunk = Trunk(widths, (1, 1, 1, 1))
        self.out = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * widths[-1], 96), nn.SiLU(), nn.Linear(96, len(ARKIT_NAMES))
        )

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 and landmarks [B, 68, 2] in 0..1 of the image -> [B, 51]."""
        return self.out(self.trunk(upright(images, landmarks.detach()))[-1])


def upright(images: Tensor, landmarks: Tensor) -> Tensor:
    """Crop images [B, 3, H, W] by landmarks [B, 68, 2] to [B, 3, 64, 64], mouth below the eyes."""
    with torch.autocast(images.device.type, enabled=False):
        points = landmarks.float() * 2 - 1
        eyes, mouth = points[:, _EYES].mean(1), points[:, _MOUTH].mean(1)
        down = _HALF_WIDTH * (mouth - eyes)
        down = down * (2 * _SHORTEST / down.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(min=1)
        right = torch.stack([down[:, 1], -down[:, 0]], 1)
        frame = torch.stack([right, down, (eyes + mouth) / 2], 2)
        shape = [len(images), images.shape[1], _SIDE, _SIDE]
        grid = F.affine_grid(frame, shape, align_corners=False)
        return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
