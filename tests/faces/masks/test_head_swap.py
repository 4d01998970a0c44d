"""Replacing a head: what is pasted, onto which scene."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.faces.masks.face_mask import head_mask
from comfyui_dense_face.faces.masks.head_swap import NEW_MARGIN, OLD_MARGIN, inpaint, swap
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

SIDE = 128
WALL = torch.tensor([0.2, 0.6, 0.4])


def logits(radius: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return radius - ((x - 15.5) ** 2 + (y - 15.5) ** 2).sqrt()[None]


def masks(before: Tensor, after: Tensor, grow: float = NEW_MARGIN) -> tuple[Tensor, Tensor]:
    """Masks of the old and the new head, from their logits."""
    return (
        head_mask(before, SIDE, SIDE, grow=OLD_MARGIN),
        head_mask(after, SIDE, SIDE, grow=grow),
    )


def scene(radius: float) -> Tensor:
    """A white disc on a green wall [1, 3, 128, 128]."""
    disc = head_mask(logits(radius), SIDE, SIDE, grow=0)[:, None]
    return disc + (1 - disc) * WALL[:, None, None].expand(1, -1, SIDE, SIDE)


@pytest.mark.parametrize(("before", "after"), [(8, 5), (5, 8)])
def test_the_new_head_alone_is_pasted_on_a_wall_without_the_old_one(
    before: float, after: float
) -> None:
    drawn = head_mask(logits(8), SIDE, SIDE, grow=0.4)
    without, new = swap(scene(before), *masks(logits(before), logits(after), 0.05), drawn)
    assert torch.equal(new, head_mask(logits(after), SIDE, SIDE, grow=0.05))
    assert (without - WALL[:, None, None]).abs().max() < 0.03
    outside = head_mask(logits(before), SIDE, SIDE, grow=OLD_MARGIN) == 0
    assert torch.equal(without[:, :, outside[0]], scene(before)[:, :, outside[0]])


def test_pixels_that_were_not_generated_stay() -> None:
    drawn = head_mask(logits(6), SIDE, SIDE, grow=0)
    without, new = swap(scene(10), *masks(logits(10), logits(14)), drawn)
    assert torch.equal(new, drawn)
    kept = drawn[0] == 0
    assert torch.equal(without[:, :, kept], scene(10)[:, :, kept])


def test_without_one_of_the_heads_the_whole_generated_area_is_pasted() -> None:
    drawn = head_mask(logits(8), SIDE, SIDE, grow=0.4).expand(3, -1, -1)
    before, after = (torch.cat([logits(r) for r in each]) for each in ((8, 8, -1), (8, -1, 8)))
    without, new = swap(scene(8).expand(3, -1, -1, -1), *masks(before, after), drawn)
    assert new[0].sum() < drawn[0].sum()
    assert not torch.equal(without[0], scene(8)[0])
    assert torch.equal(new[1:], drawn[1:])
    assert torch.equal(without[1:], scene(8).expand(2, -1, -1, -1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_inpainting_changes_the_hole_alone_and_stays_in_range(
    height: int, width: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=rng)
    hole = (torch.rand(2, height, width, generator=rng) < 0.3).float()
    made = inpaint(images, hole)
    for one, other, mask in zip(made, images, hole, strict=True):
        assert torch.equal(one[:, mask == 0], other[:, mask == 0])
    assert made.min() >= 0 and made.max() <= 1


def test_where_nothing_is_left_around_the_hole_the_image_stays() -> None:
    image = scene(8)
    assert torch.equal(inpaint(image, torch.ones(1, SIDE, SIDE)), image)
