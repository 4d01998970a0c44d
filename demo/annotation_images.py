"""Ground truth of renders as images: depth in grey, parts in colours, landmarks as dots."""

from __future__ import annotations

import torch
from torch import Tensor

from ..faces.parts import PART_COLOURS
from .renderer.renderer import Renders

_DOT_COLOUR = torch.tensor([1.0, 0.9, 0.1])


def depth_image(depth: Tensor) -> Tensor:
    """Depth [B, S, S], -1 near .. 1 far, as grey [B, 3, S, S] in 0..1, near is bright.

    The range of a head, about -0.45..0.4, is stretched to all of the greys.
    """
    return (0.55 - depth).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def parts_image(parts: Tensor) -> Tensor:
    """Part classes [B, S, S] as colours [B, 3, S, S] in 0..1."""
    palette = torch.tensor(PART_COLOURS, dtype=torch.float32) / 255
    return palette[parts.long()].permute(0, 3, 1, 2)


def landmarks_image(rgb: Tensor, landmarks: Tensor) -> Tensor:
    """Images [B, 3, S, S] in 0..1 with a dot at each landmark [B, N, 2] (x, y in 0..1)."""
    size = rgb.shape[-1]
    centres = torch.arange(size, dtype=torch.float32) + 0.5
    spots = landmarks * size
    near_x = (centres[None, None] - spots[..., :1]).abs() < 1  # [B,N,S]
    near_y = (centres[None, None] - spots[..., 1:]).abs() < 1
    hit = torch.einsum("bny,bnx->byx", near_y.float(), near_x.float()) > 0
    return torch.where(hit[:, None], _DOT_COLOUR[None, :, None, None], rgb)


def annotation_rows(renders: Renders) -> Tensor:
    """Render, landmarks, depth and parts of each head in turn, [4B, 3, S, S] in 0..1."""
    rows = [
        renders.rgb,
        landmarks_image(renders.rgb, renders.landmarks),
        depth_image(renders.depth),
        parts_image(renders.parts),
    ]
    return torch.stack(rows, 1).flatten(0, 1)
