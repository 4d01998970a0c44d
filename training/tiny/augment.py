"""Augmentation of training images together with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...demo.people import Heads
from ...faces.mirror import mirrored_landmarks, mirrored_parts
from .data import Images, mirrored_heads

PART_GRID = 32


@dataclass(frozen=True)
class Batch:
    """B augmented images.

    rgb [B, 3, 128, 128] in 0..1, parts and head [B, 32, 32], landmarks [B, 68, 2] in 0..1.
    """

    rgb: Tensor
    parts: Tensor
    head: Tensor
    landmarks: Tensor
    heads: Heads


def augmented(images: Images, pick: Tensor, generator: torch.Generator) -> Batch:
    """Images ``pick``, randomly mirrored, moved, scaled, relit and degraded.

    The degradation (half resolution, noise) makes networks trained on clean renders useful on
    generated images, which are blurrier.
    """
    rgb = images.rgb[pick].float() / 255
    step = rgb.shape[-1] // PART_GRID
    cells = (slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
    parts, head = images.parts[pick][cells], images.head[pick][cells]
    landmarks = images.landmarks[pick]
    heads = images.heads[pick]

    flip = torch.rand(len(pick), generator=generator) < 0.5
    mirrored = mirrored_heads(heads)
    rgb = torch.where(flip[:, None, None, None], rgb.flip(-1), rgb)
    parts = torch.where(flip[:, None, None], mirrored_parts(parts), parts)
    head = torch.where(flip[:, None, None], head.flip(-1), head)
    landmarks = torch.where(flip[:, None, None], mirrored_landmarks(landmarks, "ibug"), landmarks)
    heads = heads.replace(
        expression=torch.where(flip[:, None], mirrored.expression, heads.expression),
        angles=torch.where(flip[:, None], mirrored.angles, heads.angles),
    )

    matrix, zoom, shift = _random_affine(len(pick), generator)
    rgb = _warped(rgb, matrix, "bilinear")
    masks = _warped(torch.stack([parts, head], 1).float(), matrix, "nearest")
    parts, head = masks[:, 0].long(), masks[:, 1]
    landmarks = ((landmarks * 2 - 1 - shift[:, None]) / zoom[:, None, None] + 1) / 2
    rgb = _degraded(rgb, generator)
    return Batch(rgb, parts, head, landmarks, heads)


def augment_pixels(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, 3, H, W] in 0..1, moved, scaled, relit and degraded like the training images.

    Differentiable: a network that reads augmented images is harder to fool with single pixels.
    """
    matrix, _, _ = _random_affine(len(rgb), generator)
    return _degraded(_warped(rgb, matrix, "bilinear"), generator)


def augmented_parts(kinds: Sequence[Images], batch: int, generator: torch.Generator) -> list[Batch]:
    """An equal number of random images of each kind, ``batch`` in all."""
    count = batch // len(kinds)
    picks = ((kind, torch.randint(len(kind), (count,), generator=generator)) for kind in kinds)
    return [augmented(kind, pick, generator) for kind, pick in picks]


def _random_affine(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random affine maps [B, 2, 3], with their zoom [B] and shift [B, 2]."""
    zoom = _uniform(0.93, 1.07, generator, count)
    shift = _uniform(-0.1, 0.1, generator, count, 2)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = zoom
    matrix[:, :, 2] = shift
    return matrix, zoom, shift


def _degraded(rgb: Tensor, generator: torch.Generator) -> Tensor:
    def each(low: float, high: float, channels: int = 1) -> Tensor:
        return _uniform(low, high, generator, len(rgb), channels, 1, 1)

    soft = F.interpolate(F.avg_pool2d(rgb, 2), scale_factor=2.0, mode="bilinear")
    rgb = torch.where(each(0, 1) < 0.3, soft, rgb)
    rgb = (rgb - 0.5) * each(0.85, 1.15) + 0.5 + each(-0.08, 0.08)
    rgb = rgb * each(0.95, 1.05, 3)
    noise = torch.randn(rgb.shape, generator=generator)
    return (rgb + each(0, 0.04) * noise).clamp(0, 1)


def _uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def faceless(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, 3, H, W] without faces: shuffled tiles, flat colour, noise or a corner."""
    count, _, height, width = batch.shape
    tiles = batch.unfold(2, 32, 32).unfold(3, 32, 32).flatten(2, 3)
    order = torch.randperm(tiles.shape[2], generator=generator)
    grid = tiles[:, :, order].unflatten(2, (height // 32, width // 32))
    shuffled = grid.permute(0, 1, 2, 4, 3, 5).reshape(batch.shape)
    flat = batch[:, :, :8, :8].mean((2, 3), keepdim=True).expand_as(batch)
    noise = torch.rand(batch.shape, generator=generator)
    corner = F.interpolate(batch[:, :, :24, :40], size=(height, width), mode="bilinear")
    kind = torch.randint(4, (count, 1, 1, 1), generator=generator)
    return torch.where(
        kind == 0, shuffled, torch.where(kind == 1, flat, torch.where(kind == 2, noise, corner))
    )


def _warped(x: Tensor, matrix: Tensor, mode: str) -> Tensor:
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)
