"""The scene without its face, and the network's inputs made from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.crops.batch import place_for_face
from comfyui_dense_face.faces.crops.crop import cropped
from comfyui_dense_face.faces.masks.dilate import dilate, dilate_by_fraction
from comfyui_dense_face.sfsr.background import (
    LATENT_FIRST,
    BackgroundHint,
    background_channels,
    emptied,
    latent_mask,
    noise_mask,
    scheduled_mask,
    start_latent,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.nn import functional as F


def disc(size: int = 64, radius: float = 15.0) -> Tensor:
    y, x = torch.meshgrid(*[torch.arange(size) + 0.5 - size / 2] * 2, indexing="ij")
    return ((x**2 + y**2).sqrt() < radius).float()[None, None]


def scene(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_nothing_of_the_old_face_is_left() -> None:
    mask = disc()
    soft = mask * 0.01  # a soft edge hides as well
    inside = mask.bool().expand(1, 3, 64, 64)
    for some in (mask, soft):
        empty = emptied(scene(), some)
        assert bool((empty[inside] == 0.5).all())
        assert torch.equal(empty[~inside], scene()[~inside])
    other = torch.where(inside, scene(1), scene())
    assert torch.equal(emptied(other, mask), emptied(scene(), mask))


def test_margin_is_a_fraction_of_the_face() -> None:
    two = torch.cat([disc(128, 10), disc(128, 40)])
    for one, radius in zip(dilate_by_fraction(two, 0.1), (10, 40), strict=True):
        wide = float((one.sum() / torch.pi).sqrt())
        assert wide == pytest.approx(radius * 1.2, rel=0.06)
    assert torch.equal(dilate_by_fraction(two, 0.0), two)


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_erosion_dilates_the_outside(pixels: int) -> None:
    mask = disc()
    assert torch.equal(dilate(mask, -pixels), 1 - dilate(1 - mask, pixels))


def test_latents_that_touch_the_face_are_masked() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 20, 33] = 0.2
    small = latent_mask(mask, 8, 8)
    assert small.sum() == 1 and small[0, 0, 2, 4] == 1


def test_sampling_starts_from_the_scene_but_for_the_face() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :20, :16] = 1
    cells = noise_mask(mask, 4, 4)
    whole, empty = torch.ones(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    rows = start_latent(whole, empty, cells)[0, 0].tolist()
    # A cell of which anything is kept is the scene's.
    assert rows == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    soft = start_latent(whole, empty, 0.9 * cells)
    assert torch.equal(soft, whole)


@given(
    hnp.arrays(np.float32, (1, 1, 32, 40), elements=st.sampled_from([0.0, 0.25, 1.0])),
    st.tuples(st.integers(0, 3), st.integers(0, 4)),
)
def test_no_cell_that_shows_the_scene_is_redrawn(
    mask: np.ndarray, covered: tuple[int, int]
) -> None:
    """Of any mask; and an image of the cells, resized as the host does it, is these cells."""
    row, column = covered
    mask[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    pixels = torch.from_numpy(mask)
    cells = noise_mask(pixels, 4, 5)
    shown = F.interpolate(cells, (32, 40), mode="nearest")
    assert bool((shown <= pixels).all()) and cells[0, 0, row, column] == 1
    assert torch.equal(F.interpolate(shown, (4, 5), mode="bilinear"), cells)


def test_white_of_a_cropped_mask_is_white() -> None:
    """Else the sampling would start from the old face, of which traces stay."""
    mask = torch.zeros(1, 150, 110)
    mask[:, 37:112, 36:73] = 1
    place = place_for_face(manual_face((110, 150), box=(36, 37, 73, 112)), 128, 0.25)
    crop = cropped(mask, place)[None].clamp(0, 1)
    assert 0.9999 < crop[..., 56:72, 56:72].min() < 1
    cells = noise_mask(crop, 16, 16)
    assert bool((cells[..., 7:9, 7:9] == 1).all())
    grey = noise_mask(0.99 * crop, 16, 16)[..., 7:9, 7:9]
    torch.testing.assert_close(grey, torch.full((1, 1, 2, 2), 0.99))


def test_mask_smaller_than_any_cell() -> None:
    mask = torch.zeros(2, 1, 32, 32)
    mask[0], mask[1, 0, 4:16, 4:15] = 1, 1
    with pytest.raises(InputError, match="too small"):
        noise_mask(mask, 4, 4)


def test_channels_in_both_orders() -> None:
    mask, latent = torch.ones(2, 1, 4, 4), torch.zeros(2, 4, 4, 4)
    assert background_channels(mask, latent)[0, :, 0, 0].tolist() == [1, 0, 0, 0, 0]
    assert background_channels(mask, latent, LATENT_FIRST)[0, :, 0, 0].tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(InputError, match="the order 'x' is unknown"):
        background_channels(mask, latent, "x")


def test_untrained_hint_changes_nothing_and_learns() -> None:
    hint = BackgroundHint(16, 8)
    background = torch.randn(2, 5, 6, 6)
    found = hint(background)
    assert found.shape == (2, 16, 6, 6) and not found.any()
    found.sum().backward()
    assert hint.last.weight.grad is not None and bool(hint.last.weight.grad.any())


def test_scene_comes_back_bit_by_bit() -> None:
    mask = disc()
    assert bool((scheduled_mask(mask, 0.0) == 1).all())
    assert torch.equal(scheduled_mask(mask, 0.6), mask)
    assert torch.allclose(scheduled_mask(mask, 0.3), (1 + mask) / 2)
    assert torch.equal(scheduled_mask(mask, 0.0, full_at=0), mask)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.zeros(1, 1, 64, 64), "the mask covers nothing"),
        (torch.ones(1, 1, 64, 64), "the mask covers everything"),
        (torch.zeros(1, 1, 32, 48), "the mask has 48x32 px, the scene 64x64"),
        (2 * disc(), "values outside 0..1"),
        (disc() * float("nan"), "values outside 0..1"),
    ],
)
def test_masks_that_cannot_be_used(mask: Tensor, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        emptied(scene(), mask)
