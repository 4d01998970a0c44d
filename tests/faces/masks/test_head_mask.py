"""The mask of a head to be redrawn."""

from __future__ import annotations

import torch
from comfyui_dense_face.faces.masks.face_mask import head_mask


def logits(radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return radius - ((x - 15.5) ** 2 + (y - 15.5) ** 2).sqrt()[None]


def test_it_covers_the_head_and_scales_with_it() -> None:
    plain = head_mask(logits(8), 128, 128, grow=0)
    dilated = head_mask(logits(8), 128, 128, grow=0.1)
    assert plain.shape == (1, 128, 128)
    assert abs(float(plain.sum()) / (torch.pi * 32**2) - 1) < 0.05
    assert bool((dilated >= plain).all())
    # A margin of a tenth of the diameter makes the disc a fifth wider.
    assert 1.35 < float(dilated.sum() / plain.sum()) < 1.55


def test_it_follows_the_size_of_the_image() -> None:
    mask = head_mask(logits(8).expand(2, -1, -1), 64, 96)
    assert mask.shape == (2, 64, 96)
    assert mask.min() >= 0 and mask.max() == 1


def test_no_head_gives_an_empty_mask() -> None:
    assert float(head_mask(logits(-1), 128, 128).max()) == 0
